#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>

#include <absl/container/flat_hash_map.h>

#include "net/address.h"
#include "net/id.h"

namespace podwire {

using PodGroupId = Id<struct PodGroupIdTag, uint32_t>;  ///< pods that no policy can tell apart
inline constexpr PodGroupId kNoPodGroup{UINT32_MAX};

/// The group of every pod address. A copy shares all of its shards with the original, and a change makes anew
/// only the shard that it is in: the copy stays what it was. Edited by one thread; a copy is read by any.
class PodAddresses {
 public:
  PodAddresses() = default;
  PodAddresses(const PodAddresses&) = delete;
  PodAddresses& operator=(const PodAddresses&) = delete;
  PodAddresses(PodAddresses&&) = default;
  PodAddresses& operator=(PodAddresses&&) = default;

  /// A copy for readers.
  PodAddresses Share() {
    PodAddresses copy;
    copy.shards_ = shards_;
    copy.size_ = size_;
    own_.reset();
    return copy;
  }

  /// kNoPodGroup: no pod has it.
  PodGroupId Find(const IpAddress& a) const noexcept {
    const Shard* shard = shards_[ShardOf(a)].get();
    if (shard == nullptr) return kNoPodGroup;
    const auto it = shard->find(a);
    return it == shard->end() ? kNoPodGroup : it->second;
  }
  void Set(const IpAddress& a, PodGroupId group) { size_ += Own(a).insert_or_assign(a, group).second; }
  void Erase(const IpAddress& a) { size_ -= Own(a).erase(a); }
  size_t size() const { return size_; }

  /// Calls fn(const IpAddress&, PodGroupId) for each, in no order.
  template <class Fn>
  void ForEach(Fn&& fn) const {
    for (const auto& shard : shards_) {
      if (shard == nullptr) continue;
      for (const auto& [address, group] : *shard) fn(address, group);
    }
  }

 private:
  using Shard = absl::flat_hash_map<IpAddress, PodGroupId>;
  static constexpr size_t kShards = 256;
  /// By the last byte: neighbours are in different ones.
  static size_t ShardOf(const IpAddress& a) { return a.bytes()[3] ^ a.bytes()[15]; }

  Shard& Own(const IpAddress& a) {
    const size_t at = ShardOf(a);
    if (!own_[at]) {
      shards_[at] =
          shards_[at] == nullptr ? std::make_shared<Shard>() : std::make_shared<Shard>(*shards_[at]);
      own_.set(at);
    }
    return *shards_[at];
  }

  std::array<std::shared_ptr<Shard>, kShards> shards_;
  std::bitset<kShards> own_;  // no copy has it
  size_t size_ = 0;
};

}  // namespace podwire
