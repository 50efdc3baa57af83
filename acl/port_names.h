#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/model.h"
#include "acl/port_set.h"

namespace podwire {

/// The names that a pod gives its ports: key of the port, key of the name. Sorted.
using PortNames = std::vector<std::pair<PortKey, PortKey>>;

/// Port names (with their protocol) that egress rules use, as keys of the axis that port sets live on.
class PortNameTable {
 public:
  PortKey Intern(const std::string& name, L4Protocol protocol);
  /// What a pod with these ports serves under names of this table.
  PortNames NamesOf(const std::vector<ContainerPort>& ports) const;
  /// The same for the same name in every compilation.
  uint64_t Hash(PortKey name) const { return hashes_[name - kFirstPortName]; }
  bool empty() const { return hashes_.empty(); }
  size_t size() const { return hashes_.size(); }

 private:
  absl::flat_hash_map<std::pair<std::string, L4Protocol>, PortKey> keys_;
  std::vector<uint64_t> hashes_;
};

/// Who serves a name at which port, as sums of hashes that can be asked for a prefix: for fingerprints.
class PortNameMembers {
 public:
  /// What `a` adds to the sums from the next Finish on; minus that: it does so no more.
  void Add(const IpAddress& a, uint64_t hash) { added_.push_back({a, hash}); }
  /// After Adds, before questions.
  void Finish();
  uint64_t Total() const { return members_.empty() ? 0 : members_.back().second; }
  uint64_t Within(const IpPrefix& prefix) const;

 private:
  std::vector<std::pair<IpAddress, uint64_t>> members_;  // sorted; the sum up to and including each
  std::vector<std::pair<IpAddress, uint64_t>> added_;    // since the last Finish
};

}  // namespace podwire
