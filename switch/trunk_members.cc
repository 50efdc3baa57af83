#include "switch/trunk_members.h"

#include <cstring>

#include <rte_byteorder.h>
#include <rte_ether.h>

#include "pmd/offload.h"

namespace podwire {
namespace {

constexpr uint64_t kVlanKey = uint64_t{1} << 48;
constexpr uint16_t kVlanMask = 0x0fff;

uint64_t KeyOf(const uint8_t (&mac)[6]) noexcept {
  uint64_t key = 0;
  std::memcpy(&key, mac, sizeof mac);
  return key;
}

/// The device may have taken the tag off already.
bool IsStripped(const rte_mbuf& m) noexcept { return (m.ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0; }

void TakeTagOff(rte_mbuf& m) noexcept {
  Offload& offload = OffloadOf(m);
  if (offload.needs_csum()) offload.csum_start = static_cast<uint16_t>(offload.csum_start - RTE_VLAN_HLEN);
  rte_vlan_strip(&m);
}

}  // namespace

void TrunkMembers::Add(PortId id, TrunkMember& port, const MacAddr& mac, uint16_t vlan) {
  uint64_t key = kVlanKey + vlan;
  if (vlan == 0) {
    key = 0;
    std::memcpy(&key, mac.bytes.data(), mac.bytes.size());
  }
  members_[key] = {.id = id, .port = &port};
}

const TrunkMembers::Member* TrunkMembers::Find(uint64_t key) const noexcept {
  const auto it = members_.find(key);
  return it == members_.end() ? nullptr : &it->second;
}

void TrunkMembers::Assign(uint16_t queue, rte_mbuf** mbufs, PortId* in_ports, uint16_t n) const noexcept {
  for (uint16_t i = 0; i < n; ++i) {
    rte_mbuf& m = *mbufs[i];
    if (m.data_len < sizeof(rte_ether_hdr) + sizeof(rte_vlan_hdr)) continue;
    const auto* eth = rte_pktmbuf_mtod(&m, const rte_ether_hdr*);
    const bool inband = eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_VLAN);
    const Member* member = nullptr;
    if (IsStripped(m) && (m.vlan_tci & kVlanMask) != 0) {
      member = Find(kVlanKey + (m.vlan_tci & kVlanMask));
      if (member == nullptr) in_ports[i] = kNoPort;  // for it looks like an untagged one by now
    } else {
      if (inband) {
        const auto* tag = reinterpret_cast<const rte_vlan_hdr*>(eth + 1);
        member = Find(kVlanKey + (rte_be_to_cpu_16(tag->vlan_tci) & kVlanMask));
        if (member != nullptr) TakeTagOff(m);
      }
      if (member == nullptr) member = Find(KeyOf(eth->src_addr.addr_bytes));
    }
    if (member == nullptr) continue;
    in_ports[i] = member->id;
    member->port->CountReceived(queue, m.pkt_len);
  }
}

}  // namespace podwire
