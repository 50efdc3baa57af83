#pragma once

#include <cstdint>

#include <absl/container/flat_hash_map.h>
#include <rte_mbuf.h>

#include "net/address.h"
#include "net/id.h"
#include "pmd/trunk_member.h"

namespace podwire {

/// Whose the frames are that come in by a trunk: told by their VLAN tag, or else by their source MAC.
/// Immutable once it is in the Tables.
class TrunkMembers {
 public:
  /// `vlan` 0: by `mac`.
  void Add(PortId id, TrunkMember& port, const MacAddr& mac, uint16_t vlan);

  /// Sets in_ports[i] of those `n` frames, received by the trunk's `queue`, that are a member's, and takes
  /// its tag off. The others, and a frame with the tag of no member, stay as they are; kNoPort
  /// where the device has taken such a tag off. The worker that has the queue.
  void Assign(uint16_t queue, rte_mbuf** mbufs, PortId* in_ports, uint16_t n) const noexcept;

  /// fn(PortId) for each.
  template <class Fn>
  void ForEach(Fn&& fn) const {
    for (const auto& [key, member] : members_) fn(member.id);
  }

 private:
  struct Member {
    PortId id;
    TrunkMember* port;
  };
  const Member* Find(uint64_t key) const noexcept;

  absl::flat_hash_map<uint64_t, Member> members_;  ///< by MAC as a number, or by VLAN beyond these
};

}  // namespace podwire
