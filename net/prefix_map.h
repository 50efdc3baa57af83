#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "net/address.h"

namespace podwire {

/// Longest-prefix match for either family. One hash table for each prefix length in use, longest first: a
/// look-up costs a probe for each length in use (at most 33 or 129, usually two or three), however many
/// prefixes. Built by one thread; look-ups are const and safe from any.
template <class V>
class PrefixMap {
 public:
  void Set(const IpPrefix& prefix, V value) {
    auto& tables = TablesOf(prefix.address.family());
    auto it = std::lower_bound(tables.begin(), tables.end(), prefix.length,
                               [](const Table& t, uint8_t length) { return t.length > length; });
    if (it == tables.end() || it->length != prefix.length) it = tables.insert(it, Table{prefix.length, {}});
    it->entries.insert_or_assign(prefix.address, std::move(value));
  }

  /// The value of the longest prefix that holds `a`, or nullptr. `matched` (optional) receives the prefix.
  const V* Find(const IpAddress& a, IpPrefix* matched = nullptr) const {
    for (const Table& t : TablesOf(a.family())) {
      const IpPrefix key = IpPrefix::Make(a, t.length);
      const auto it = t.entries.find(key.address);
      if (it == t.entries.end()) continue;
      if (matched != nullptr) *matched = key;
      return &it->second;
    }
    return nullptr;
  }

  const V* FindExact(const IpPrefix& prefix) const {
    for (const Table& t : TablesOf(prefix.address.family())) {
      if (t.length != prefix.length) continue;
      const auto it = t.entries.find(prefix.address);
      return it == t.entries.end() ? nullptr : &it->second;
    }
    return nullptr;
  }

  /// Calls fn(const IpPrefix&, const V&) for each entry, in no order.
  template <class Fn>
  void ForEach(Fn&& fn) const {
    for (const auto* tables : {&v4_, &v6_}) {
      for (const Table& t : *tables) {
        for (const auto& [address, value] : t.entries) fn(IpPrefix{address, t.length}, value);
      }
    }
  }

 private:
  struct Table {
    uint8_t length;
    absl::flat_hash_map<IpAddress, V> entries;
  };
  std::vector<Table>& TablesOf(IpFamily f) { return f == IpFamily::kV6 ? v6_ : v4_; }
  const std::vector<Table>& TablesOf(IpFamily f) const { return f == IpFamily::kV6 ? v6_ : v4_; }

  std::vector<Table> v4_, v6_;  // longest first
};

}  // namespace podwire
