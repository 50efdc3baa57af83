#include "switch/arp.h"

#include <algorithm>
#include <cstring>

#include <rte_arp.h>
#include <rte_ether.h>

#include "pmd/offload.h"
#include "switch/tables.h"

namespace podwire {
namespace {

struct ArpFrame {
  rte_ether_hdr eth;
  rte_arp_hdr arp;
};
static_assert(sizeof(ArpFrame) == 42);

MacAddr ToMac(const rte_ether_addr& a) {
  MacAddr mac;
  std::memcpy(mac.bytes.data(), &a, sizeof a);
  return mac;
}

rte_ether_addr ToEther(const MacAddr& mac) {
  rte_ether_addr a;
  std::memcpy(&a, mac.bytes.data(), sizeof a);
  return a;
}

ArpResult Drop(DropReason reason) { return {.action = ArpAction::kDrop, .reason = reason}; }

bool WellFormed(const rte_arp_hdr& arp) {
  return arp.arp_hardware == RTE_BE16(RTE_ARP_HRD_ETHER) &&
         arp.arp_protocol == RTE_BE16(RTE_ETHER_TYPE_IPV4) && arp.arp_hlen == RTE_ETHER_ADDR_LEN &&
         arp.arp_plen == sizeof(rte_be32_t) &&
         (arp.arp_opcode == RTE_BE16(RTE_ARP_OP_REQUEST) || arp.arp_opcode == RTE_BE16(RTE_ARP_OP_REPLY));
}

/// Says that the asked address is at `mac`.
ArpResult Answer(rte_mbuf& m, ArpFrame& f, const MacAddr& mac) {
  const rte_be32_t asked = f.arp.arp_data.arp_tip;
  f.arp.arp_opcode = RTE_BE16(RTE_ARP_OP_REPLY);
  f.arp.arp_data.arp_tha = f.arp.arp_data.arp_sha;
  f.arp.arp_data.arp_tip = f.arp.arp_data.arp_sip;
  f.arp.arp_data.arp_sha = ToEther(mac);
  f.arp.arp_data.arp_sip = asked;
  f.eth.dst_addr = f.arp.arp_data.arp_tha;
  f.eth.src_addr = f.arp.arp_data.arp_sha;
  OffloadOf(m) = {};
  return {.action = ArpAction::kReply};
}

ArpResult FromPod(const Tables& tables, const PortSlot& slot, rte_mbuf& m, ArpFrame& f) {
  const rte_arp_ipv4& data = f.arp.arp_data;
  if (ToMac(data.arp_sha) != slot.peer_mac) return Drop(DropReason::kSpoofedMac);
  if (data.arp_sip == 0) return {};  // a probe (RFC 5227): an answer would mean that the address is taken
  const Endpoint* pod = tables.EndpointAt(slot.endpoint);
  const IpAddress sender = Ipv4{data.arp_sip};
  if (pod == nullptr ||
      std::find(pod->addresses.begin(), pod->addresses.end(), sender) == pod->addresses.end()) {
    return Drop(DropReason::kSpoofedAddress);
  }
  if (f.arp.arp_opcode != RTE_BE16(RTE_ARP_OP_REQUEST) || data.arp_tip == data.arp_sip) return {};
  return Answer(m, f, slot.own_mac);
}

ArpResult FromUnderlay(const LocalNode& local, const PortSlot& slot, rte_mbuf& m, ArpFrame& f,
                       NeighborTable& neighbors, uint32_t now_ms) {
  const rte_arp_ipv4& data = f.arp.arp_data;
  const MacAddr sender_mac = ToMac(data.arp_sha);
  if (sender_mac == slot.own_mac) return {};  // our own broadcast, come back
  if (sender_mac.empty() || rte_is_multicast_ether_addr(&data.arp_sha)) return Drop(DropReason::kMalformed);
  const IpAddress sender = Ipv4{data.arp_sip};
  if (sender == local.underlay_address) return Drop(DropReason::kSpoofedAddress);
  const bool request = f.arp.arp_opcode == RTE_BE16(RTE_ARP_OP_REQUEST);
  const bool asks_us = request && local.underlay_address == IpAddress(Ipv4{data.arp_tip});
  if (data.arp_sip != 0) {
    const IpPrefix subnet = IpPrefix::Make(local.underlay_address, local.underlay_length);
    neighbors.Learn(sender, sender_mac, now_ms, asks_us && subnet.Contains(sender));
  }
  return asks_us ? Answer(m, f, slot.own_mac) : ArpResult{};
}

rte_mbuf* Request(rte_mempool& pool, const MacAddr& destination, const MacAddr& own_mac, Ipv4 sender,
                  Ipv4 target) noexcept {
  rte_mbuf* m = rte_pktmbuf_alloc(&pool);
  if (m == nullptr) return nullptr;
  OffloadOf(*m) = {};
  auto* f = reinterpret_cast<ArpFrame*>(rte_pktmbuf_append(m, sizeof(ArpFrame)));
  *f = {};
  f->eth.dst_addr = ToEther(destination);
  f->eth.src_addr = ToEther(own_mac);
  f->eth.ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
  f->arp.arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
  f->arp.arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
  f->arp.arp_hlen = RTE_ETHER_ADDR_LEN;
  f->arp.arp_plen = sizeof(rte_be32_t);
  f->arp.arp_opcode = RTE_BE16(RTE_ARP_OP_REQUEST);
  f->arp.arp_data.arp_sha = ToEther(own_mac);
  f->arp.arp_data.arp_sip = sender.be;
  f->arp.arp_data.arp_tip = target.be;
  return m;
}

constexpr MacAddr kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

}  // namespace

ArpResult HandleArp(const Tables& tables, Packet& packet, NeighborTable& neighbors,
                    uint32_t now_ms) noexcept {
  rte_mbuf& m = *packet.mbuf;
  auto& frame = *rte_pktmbuf_mtod(&m, ArpFrame*);
  const uint16_t port = packet.key.in_port.value();
  if (port >= tables.ports.size()) return Drop(DropReason::kUnknownPort);
  if (!WellFormed(frame.arp)) return Drop(DropReason::kMalformed);
  const PortSlot& slot = tables.ports[port];
  switch (slot.role) {
    case PortRole::kPod:
      return FromPod(tables, slot, m, frame);
    case PortRole::kUnderlay:
      return FromUnderlay(tables.local, slot, m, frame, neighbors, now_ms);
    case PortRole::kNone:
    case PortRole::kTrunk:
      break;
  }
  return Drop(DropReason::kUnknownPort);
}

rte_mbuf* BuildArpRequest(rte_mempool& pool, const MacAddr& own_mac, Ipv4 own_address, Ipv4 target,
                          const MacAddr& known) noexcept {
  return Request(pool, known.empty() ? kBroadcast : known, own_mac, own_address, target);
}

rte_mbuf* BuildArpAnnouncement(rte_mempool& pool, const MacAddr& own_mac, Ipv4 address) noexcept {
  return Request(pool, kBroadcast, own_mac, address, address);
}

}  // namespace podwire
