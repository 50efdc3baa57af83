#include "switch/nd.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include <rte_ether.h>
#include <rte_ip.h>

#include "net/checksum.h"
#include "pmd/offload.h"
#include "switch/ip_header.h"
#include "switch/tables.h"

namespace podwire {
namespace {

constexpr uint8_t kHopLimit = 255;  // RFC 4861: nobody off the link can have sent it
constexpr uint32_t kUnit = 8;       // of options' lengths, bytes
constexpr uint16_t kRouterLifetimeS = 1800;
constexpr uint32_t kRouter = 0x80000000, kSolicited = 0x40000000, kOverride = 0x20000000;  // NA flags
constexpr Ipv6 kAllNodes{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

struct LinkOption {
  uint8_t type, length;
  uint8_t mac[6];
};
static_assert(sizeof(LinkOption) == kUnit);

/// Neighbour solicitation and advertisement, RFC 4861 4.3 and 4.4.
struct [[gnu::packed]] Neighbor {
  uint8_t type, code;
  rte_be16_t checksum;
  rte_be32_t flags;
  uint8_t target[16];
  LinkOption link;  // ours have it
};
constexpr uint32_t kNeighborLen = sizeof(Neighbor) - sizeof(LinkOption);
static_assert(kNeighborLen == 24);

/// Router advertisement, RFC 4861 4.2.
struct [[gnu::packed]] Router {
  uint8_t type, code;
  rte_be16_t checksum;
  uint8_t hop_limit, flags;
  rte_be16_t lifetime_s;
  rte_be32_t reachable_ms, retransmit_ms;  // 0: not told
  LinkOption link;
  uint8_t mtu_type, mtu_length;
  uint16_t reserved;
  rte_be32_t mtu;
};
static_assert(sizeof(Router) == 16 + 8 + 8);

rte_ether_addr ToEther(const MacAddr& mac) {
  rte_ether_addr a;
  std::memcpy(&a, mac.bytes.data(), sizeof a);
  return a;
}

MacAddr ToMac(const uint8_t* bytes) {
  MacAddr mac;
  std::memcpy(mac.bytes.data(), bytes, mac.bytes.size());
  return mac;
}

LinkOption LinkOf(uint8_t type, const MacAddr& mac) {
  LinkOption option{.type = type, .length = 1, .mac = {}};
  std::memcpy(option.mac, mac.bytes.data(), sizeof option.mac);
  return option;
}

/// Of a multicast group, RFC 2464 section 7.
MacAddr GroupMac(const Ipv6& a) { return {{0x33, 0x33, a.bytes[12], a.bytes[13], a.bytes[14], a.bytes[15]}}; }

Ipv6 SolicitedNode(const Ipv6& a) {
  return {{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a.bytes[13], a.bytes[14], a.bytes[15]}};
}

bool IsMulticast(const Ipv6& a) { return a.bytes[0] == 0xff; }
bool IsHost(const MacAddr& mac) { return !mac.empty() && (mac.bytes[0] & 1) == 0; }

/// A message that has been checked.
struct Message {
  uint8_t type = 0;
  uint32_t flags = 0;
  Ipv6 src, dst, target;
  MacAddr frame_source;
  std::optional<MacAddr> source_mac, target_mac;  ///< from the options

  bool from_nobody() const { return src == Ipv6{}; }
};

/// Bytes in front of the options; 0: no neighbour discovery.
uint32_t FixedLength(uint8_t type) {
  switch (type) {
    case ND_ROUTER_SOLICIT:
      return 8;
    case ND_ROUTER_ADVERT:
      return 16;
    case ND_NEIGHBOR_SOLICIT:
    case ND_NEIGHBOR_ADVERT:
      return kNeighborLen;
    case ND_REDIRECT:
      return 40;
    default:
      return 0;
  }
}

bool ChecksumHolds(const rte_ipv6_hdr& ip, const uint8_t* l4, uint32_t len) {
  const uint64_t sum = uint64_t{rte_raw_cksum(ip.src_addr, 32)} + rte_raw_cksum(l4, len) +
                       rte_cpu_to_be_16(static_cast<uint16_t>(len)) + RTE_BE16(IPPROTO_ICMPV6);
  return FoldChecksum(sum) == 0xffff;
}

bool TakeOptions(const uint8_t* at, uint32_t len, Message& m) {
  while (len != 0) {
    if (len < kUnit || at[1] == 0 || at[1] * kUnit > len) return false;
    const auto* option = reinterpret_cast<const LinkOption*>(at);
    if (option->type == ND_OPT_SOURCE_LINKADDR) m.source_mac = ToMac(option->mac);
    if (option->type == ND_OPT_TARGET_LINKADDR) m.target_mac = ToMac(option->mac);
    len -= at[1] * kUnit;
    at += at[1] * kUnit;
  }
  return (!m.source_mac || IsHost(*m.source_mac)) && (!m.target_mac || IsHost(*m.target_mac));
}

/// RFC 4861 6.1 and 7.1.
DropReason Take(const Packet6& p, Message& m) {
  const rte_ipv6_hdr& ip = HeaderOf(p);
  const uint32_t len = p.l3_len - (p.l4_offset - uint32_t{p.l3_offset});
  const uint32_t fixed = FixedLength(p.icmp_type);
  if (p.ttl != kHopLimit || p.icmp_code != 0 || len < fixed || p.l4_offset + len > p.mbuf->data_len) {
    return DropReason::kInvalidNd;
  }
  const auto* l4 = rte_pktmbuf_mtod_offset(p.mbuf, const uint8_t*, p.l4_offset);
  if (!ChecksumHolds(ip, l4, len)) return DropReason::kBadChecksum;
  m.type = p.icmp_type;
  m.src = SourceIn(p);
  m.dst = DestinationIn(p);
  m.frame_source = ToMac(rte_pktmbuf_mtod(p.mbuf, const rte_ether_hdr*)->src_addr.addr_bytes);
  if (fixed >= kNeighborLen) {
    const auto* neighbor = reinterpret_cast<const Neighbor*>(l4);
    m.flags = rte_be_to_cpu_32(neighbor->flags);
    m.target = ToIpv6(neighbor->target);
    if (IsMulticast(m.target)) return DropReason::kInvalidNd;
  }
  if (!TakeOptions(l4 + fixed, len - fixed, m) || IsMulticast(m.src)) return DropReason::kInvalidNd;
  const bool ok = !m.from_nobody() ||
                  (!m.source_mac && (m.type == ND_ROUTER_SOLICIT ||
                                     (m.type == ND_NEIGHBOR_SOLICIT && m.dst == SolicitedNode(m.target))));
  const bool lies = m.type == ND_NEIGHBOR_ADVERT && IsMulticast(m.dst) && (m.flags & kSolicited) != 0;
  return ok && !lies ? DropReason::kNone : DropReason::kInvalidNd;
}

NdResult Drop(DropReason reason) { return {.reason = reason}; }

struct Route {
  MacAddr src_mac, dst_mac;
  Ipv6 src, dst;
};

/// A frame with `body`, whose checksum is still 0. nullptr: no mbuf.
template <class Body>
rte_mbuf* NewFrame(rte_mempool& pool, const Route& route, const Body& body) {
  rte_mbuf* m = rte_pktmbuf_alloc(&pool);
  if (m == nullptr) return nullptr;
  OffloadOf(*m) = {};
  char* data = rte_pktmbuf_append(m, sizeof(rte_ether_hdr) + sizeof(rte_ipv6_hdr) + sizeof body);
  auto* eth = reinterpret_cast<rte_ether_hdr*>(data);
  auto* ip = reinterpret_cast<rte_ipv6_hdr*>(eth + 1);
  auto* message = reinterpret_cast<Body*>(ip + 1);
  eth->dst_addr = ToEther(route.dst_mac);
  eth->src_addr = ToEther(route.src_mac);
  eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV6);
  ip->vtc_flow = RTE_BE32(6u << 28);
  ip->payload_len = rte_cpu_to_be_16(sizeof body);
  ip->proto = IPPROTO_ICMPV6;
  ip->hop_limits = kHopLimit;
  std::memcpy(ip->src_addr, route.src.bytes.data(), sizeof ip->src_addr);
  std::memcpy(ip->dst_addr, route.dst.bytes.data(), sizeof ip->dst_addr);
  *message = body;
  message->checksum = rte_ipv6_udptcp_cksum(ip, message);
  return m;
}

NdResult Answer(rte_mbuf* frame, Counter counter) {
  return {.reason = frame == nullptr ? DropReason::kNoMbuf : DropReason::kNone,
          .answer = frame,
          .counter = counter};
}

/// `who` is at `mac`, in answer to `m`.
NdResult Advertise(rte_mempool& pool, const Message& m, const Ipv6& who, const MacAddr& mac, uint32_t flags) {
  Neighbor n{.type = ND_NEIGHBOR_ADVERT};
  n.flags = rte_cpu_to_be_32(flags | (m.from_nobody() ? 0 : kSolicited));
  std::memcpy(n.target, who.bytes.data(), sizeof n.target);
  n.link = LinkOf(ND_OPT_TARGET_LINKADDR, mac);
  const Route route{.src_mac = mac,
                    .dst_mac = m.from_nobody() ? GroupMac(kAllNodes) : m.source_mac.value_or(m.frame_source),
                    .src = who,
                    .dst = m.from_nobody() ? kAllNodes : m.src};
  return Answer(NewFrame(pool, route, n), Counter::kNdAdvertisements);
}

NdResult AdvertiseRouter(rte_mempool& pool, const Message& m, const MacAddr& mac, uint16_t mtu) {
  Router r{.type = ND_ROUTER_ADVERT, .hop_limit = 64, .lifetime_s = rte_cpu_to_be_16(kRouterLifetimeS)};
  r.link = LinkOf(ND_OPT_SOURCE_LINKADDR, mac);
  r.mtu_type = ND_OPT_MTU;
  r.mtu_length = 1;
  r.mtu = rte_cpu_to_be_32(mtu);
  const Route route{.src_mac = mac,
                    .dst_mac = m.from_nobody() ? GroupMac(kAllNodes) : m.frame_source,
                    .src = LinkLocalOf(mac),
                    .dst = m.from_nobody() ? kAllNodes : m.src};
  return Answer(NewFrame(pool, route, r), Counter::kRouterAdvertisements);
}

bool IsGateway(const LocalNode& local, const Ipv6& a) {
  return a == LinkLocalOf(local.gateway_mac) ||
         std::find(local.gateways.begin(), local.gateways.end(), IpAddress(a)) != local.gateways.end();
}

NdResult FromPod(const Tables& tables, const PortSlot& slot, const Message& m, rte_mempool& pool) {
  const LocalNode& local = tables.local;
  const Endpoint* pod = tables.EndpointAt(slot.endpoint);
  if (pod == nullptr) return Drop(DropReason::kUnknownPort);
  if (m.type == ND_ROUTER_ADVERT || m.type == ND_REDIRECT) return Drop(DropReason::kInvalidNd);
  if (m.source_mac.value_or(slot.peer_mac) != slot.peer_mac ||
      m.target_mac.value_or(slot.peer_mac) != slot.peer_mac) {
    return Drop(DropReason::kSpoofedMac);
  }
  const auto is_pods = [pod](const Ipv6& a) {
    return std::find(pod->addresses.begin(), pod->addresses.end(), IpAddress(a)) != pod->addresses.end();
  };
  const bool may_send = m.from_nobody() || is_pods(m.src) || (IsLinkLocal(m.src) && !IsGateway(local, m.src));
  if (!may_send) return Drop(DropReason::kSpoofedAddress);
  if (m.type == ND_ROUTER_SOLICIT) return AdvertiseRouter(pool, m, slot.own_mac, local.pod_mtu);
  if (m.type != ND_NEIGHBOR_SOLICIT) return {};
  if (IsGateway(local, m.target)) return Advertise(pool, m, m.target, slot.own_mac, kRouter | kOverride);
  // A probe (RFC 4862): an answer would mean that the address is taken.
  const bool mute = m.from_nobody() || is_pods(m.target) || IsLinkLocal(m.target);
  return mute ? NdResult{} : Advertise(pool, m, m.target, slot.own_mac, 0);
}

NdResult FromUnderlay(const LocalNode& local, const PortSlot& slot, const Message& m, rte_mempool& pool,
                      NeighborTable& neighbors, uint32_t now_ms) {
  if (m.frame_source == slot.own_mac) return {};  // our own, come back
  if (!local.underlay_address6.is_v6()) return {};
  const Ipv6 own = local.underlay_address6.v6();
  if (m.type == ND_NEIGHBOR_SOLICIT) {
    if (m.src == own) return Drop(DropReason::kSpoofedAddress);
    const bool asks_us = m.target == own;
    const IpPrefix subnet = IpPrefix::Make(own, local.underlay_length6);
    if (m.source_mac)
      neighbors.TakeSolicitation(m.src, *m.source_mac, now_ms, asks_us && subnet.Contains(m.src));
    return asks_us ? Advertise(pool, m, own, slot.own_mac, kOverride) : NdResult{};
  }
  if (m.type != ND_NEIGHBOR_ADVERT) return {};
  if (m.target == own) return Drop(DropReason::kSpoofedAddress);
  neighbors.TakeAdvertisement({.target = m.target,
                               .mac = m.target_mac,
                               .solicited = (m.flags & kSolicited) != 0,
                               .overrides = (m.flags & kOverride) != 0},
                              now_ms);
  return {};
}

}  // namespace

NdResult HandleNd(const Tables& tables, const Packet6& packet, NeighborTable& neighbors, rte_mempool& pool,
                  uint32_t now_ms) noexcept {
  const uint16_t port = packet.key.in_port.value();
  if (port >= tables.ports.size()) return Drop(DropReason::kUnknownPort);
  if (FixedLength(packet.icmp_type) == 0) return {};
  Message m;
  const DropReason reason = Take(packet, m);
  if (reason != DropReason::kNone) return Drop(reason);
  const PortSlot& slot = tables.ports[port];
  switch (slot.role) {
    case PortRole::kPod:
      return FromPod(tables, slot, m, pool);
    case PortRole::kUnderlay:
      return FromUnderlay(tables.local, slot, m, pool, neighbors, now_ms);
    case PortRole::kNone:
    case PortRole::kTrunk:
      break;
  }
  return Drop(DropReason::kUnknownPort);
}

rte_mbuf* BuildNeighborAnnouncement(rte_mempool& pool, const MacAddr& own_mac, const Ipv6& address) noexcept {
  Neighbor n{.type = ND_NEIGHBOR_ADVERT, .flags = rte_cpu_to_be_32(kOverride)};
  std::memcpy(n.target, address.bytes.data(), sizeof n.target);
  n.link = LinkOf(ND_OPT_TARGET_LINKADDR, own_mac);
  const Route route{.src_mac = own_mac, .dst_mac = GroupMac(kAllNodes), .src = address, .dst = kAllNodes};
  return NewFrame(pool, route, n);
}

rte_mbuf* BuildNeighborSolicitation(rte_mempool& pool, const MacAddr& own_mac, const Ipv6& own_address,
                                    const Ipv6& target, const MacAddr& known) noexcept {
  Neighbor n{.type = ND_NEIGHBOR_SOLICIT};
  std::memcpy(n.target, target.bytes.data(), sizeof n.target);
  n.link = LinkOf(ND_OPT_SOURCE_LINKADDR, own_mac);
  const Ipv6 to = known.empty() ? SolicitedNode(target) : target;
  const Route route{
      .src_mac = own_mac, .dst_mac = known.empty() ? GroupMac(to) : known, .src = own_address, .dst = to};
  return NewFrame(pool, route, n);
}

}  // namespace podwire
