#include "switch/parse.h"

#include <cstring>

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_prefetch.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include "switch/decide.h"
#include "switch/ip_header.h"
#include "switch/parse_ip.h"
#include "switch/plain_parser.h"
#include "switch/plain_parser_v6.h"
#include "switch/tables.h"

namespace podwire {
namespace {

constexpr uint32_t kEthernet = sizeof(rte_ether_hdr);
constexpr uint8_t kVxlanFlags =
    0x08;  // a VNI and nothing else: other bits change the format (GPE, group policy)
constexpr rte_be16_t kTypeIpv4 = RTE_BE16(RTE_ETHER_TYPE_IPV4), kTypeIpv6 = RTE_BE16(RTE_ETHER_TYPE_IPV6),
                     kTypeArp = RTE_BE16(RTE_ETHER_TYPE_ARP);

bool Same(const rte_ether_addr& a, const MacAddr& b) { return std::memcmp(&a, b.bytes.data(), 6) == 0; }

/// One burst's parser: what does not change between its packets.
class Parser {
 public:
  Parser(const Tables& tables, uint64_t seed)
      : tables_(tables), local_(tables.local), seed_(seed), plain_(tables), plain6_(tables) {
    if (!local_.tunnel_enabled) return;
    if (local_.underlay_address.is_v4()) tunnel_address_ = local_.underlay_address.v4();
    if (local_.tunnel_is_vxlan && local_.underlay_address6.is_v6())
      tunnel_address6_ = local_.underlay_address6.v6();
  }

  /// Fills one of the two; which, says the result.
  IpFamily Parse(Packet& p, Packet6& p6, rte_mbuf* m, PortId in_port) noexcept {
    if (plain_.Parse(p, m, in_port)) {
      p.hash = FlowHash(p.key, seed_);
      return IpFamily::kV4;
    }
    if (plain6_.Parse(p6, m, in_port)) {
      p6.hash = FlowHash(p6.key, seed_);
      return IpFamily::kV6;
    }
    return ParseGenerally(p, p6, m, in_port);
  }

  IpFamily ParseGenerally(Packet& p, Packet6& p6, rte_mbuf* m, PortId in_port) noexcept {
    Found found;
    const DropReason reason = Frame(*m, in_port, found);
    if (found.type == kTypeIpv6) {
      Fill(p6, m, in_port, found, reason);
      return IpFamily::kV6;
    }
    Fill(p, m, in_port, found, reason);
    return IpFamily::kV4;
  }

 private:
  /// What a frame's outer headers were, and the (inner) IP header.
  struct Found {
    rte_be16_t type = 0;  ///< of the innermost Ethernet header
    bool multicast = false;
    bool tunnelled = false;
    uint8_t outer_tos = 0;
    uint32_t outer_l4 = 0;
    IpSpan ip;
  };

  template <class Key>
  void Fill(BasicPacket<Key>& p, rte_mbuf* m, PortId in_port, const Found& found, DropReason reason) noexcept;
  DropReason Frame(rte_mbuf& m, PortId in_port, Found& found) const noexcept;
  static DropReason CheckMacs(const PortSlot& slot, const rte_ether_hdr& eth, Found& found) noexcept;
  bool IsTunnel(const rte_mbuf& m, const PortSlot& slot, const Found& found) const noexcept;
  DropReason Tunnel(const rte_mbuf& m, Found& found) const noexcept;
  DropReason InnerOffset(const rte_mbuf& m, uint32_t payload, uint32_t end, Found& found,
                         uint32_t& inner) const noexcept;

  const Tables& tables_;
  const LocalNode& local_;
  uint64_t seed_;
  Ipv4 tunnel_address_;   // zero: no tunnels over IPv4
  Ipv6 tunnel_address6_;  // zero: none over IPv6
  PlainParser plain_;
  PlainParser6 plain6_;
};

template <class Key>
void Parser::Fill(BasicPacket<Key>& p, rte_mbuf* m, PortId in_port, const Found& found,
                  DropReason reason) noexcept {
  p = BasicPacket<Key>{};
  p.mbuf = m;
  p.key.in_port = in_port;
  p.tunnelled = found.tunnelled;
  p.outer_tos = found.outer_tos;
  p.l3_offset = kEthernet;
  if (reason == DropReason::kNone && found.type == kTypeArp) {
    p.kind = PacketKind::kArp;
    return;
  }
  if (reason == DropReason::kNone) reason = Describe(p, found.ip);
  if (reason == DropReason::kNone) reason = CheckOffload(p, found.ip, found.outer_l4);
  // Neighbours are asked for by multicast; nothing else has a reason to come so.
  if (reason == DropReason::kNone && found.multicast && p.kind != PacketKind::kNd)
    reason = DropReason::kMulticast;
  p.reason = reason;
  if (reason != DropReason::kNone) {
    p.kind = PacketKind::kDrop;
  } else {
    p.hash = FlowHash(p.key, seed_);
  }
}

DropReason Parser::CheckMacs(const PortSlot& slot, const rte_ether_hdr& eth, Found& found) noexcept {
  if (slot.role == PortRole::kPod && !Same(eth.src_addr, slot.peer_mac)) return DropReason::kSpoofedMac;
  if (slot.role == PortRole::kTrunk) return DropReason::kSpoofedMac;  // nobody's
  if (Same(eth.dst_addr, slot.own_mac)) return DropReason::kNone;
  if (!rte_is_multicast_ether_addr(&eth.dst_addr)) return DropReason::kNotForUs;
  if (eth.ether_type == kTypeArp) return DropReason::kNone;
  found.multicast = true;
  const bool of_ipv6 = eth.dst_addr.addr_bytes[0] == 0x33 && eth.dst_addr.addr_bytes[1] == 0x33;
  return eth.ether_type == kTypeIpv6 && of_ipv6 ? DropReason::kNone : DropReason::kMulticast;
}

DropReason Parser::Frame(rte_mbuf& m, PortId in_port, Found& found) const noexcept {
  const uint16_t port = in_port.value();
  if (port >= tables_.ports.size() || tables_.ports[port].role == PortRole::kNone)
    return DropReason::kUnknownPort;
  const PortSlot& slot = tables_.ports[port];
  if (m.data_len < kEthernet) return DropReason::kMalformed;
  const auto* eth = At<rte_ether_hdr>(m, 0);
  found.type = eth->ether_type;
  DropReason r = CheckMacs(slot, *eth, found);
  if (r != DropReason::kNone) return r;
  const bool good = (m.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  if (found.type == kTypeArp)
    return m.data_len < kEthernet + sizeof(rte_arp_hdr) ? DropReason::kMalformed : DropReason::kNone;
  if (found.type == kTypeIpv4) {
    r = CheckIpv4(m, kEthernet, m.pkt_len, good, found.ip);
  } else if (found.type == kTypeIpv6) {
    r = CheckIpv6(m, kEthernet, m.pkt_len, found.ip);
  } else {
    return DropReason::kUnsupportedEthertype;
  }
  if (r == DropReason::kNone && IsTunnel(m, slot, found)) r = Tunnel(m, found);
  if (r != DropReason::kNone) return r;
  const uint32_t excess = m.pkt_len - found.ip.end;
  if (excess == 0) return DropReason::kNone;
  // Fails when more than the last segment is in excess; that is no padding.
  const bool trimmed = excess <= UINT16_MAX && rte_pktmbuf_trim(&m, static_cast<uint16_t>(excess)) == 0;
  return trimmed ? DropReason::kNone : DropReason::kMalformed;
}

bool Parser::IsTunnel(const rte_mbuf& m, const PortSlot& slot, const Found& found) const noexcept {
  const IpSpan& ip = found.ip;
  if (slot.role != PortRole::kUnderlay || ip.proto != IPPROTO_UDP || ip.later_fragment) return false;
  if (found.type == kTypeIpv4) {
    const uint32_t to = At<rte_ipv4_hdr>(m, ip.l3)->dst_addr;
    if (tunnel_address_.be == 0 || to != tunnel_address_.be) return false;
  } else {
    Ipv6 to;
    std::memcpy(to.bytes.data(), At<rte_ipv6_hdr>(m, ip.l3)->dst_addr, sizeof to);
    if (tunnel_address6_ == Ipv6{} || to != tunnel_address6_) return false;
  }
  return Holds(m, ip.l4, sizeof(rte_udp_hdr), ip.end) &&
         At<rte_udp_hdr>(m, ip.l4)->dst_port == local_.tunnel_port_be;
}

DropReason Parser::InnerOffset(const rte_mbuf& m, uint32_t payload, uint32_t end, Found& found,
                               uint32_t& inner) const noexcept {
  inner = payload;
  if (local_.tunnel_is_vxlan) {
    inner += sizeof(rte_vxlan_hdr) + kEthernet;
    if (!Holds(m, payload, sizeof(rte_vxlan_hdr) + kEthernet, end)) return DropReason::kMalformed;
    const auto* vxlan = At<rte_vxlan_hdr>(m, payload);
    if (*At<uint8_t>(m, payload) != kVxlanFlags ||
        rte_be_to_cpu_32(vxlan->vx_vni) >> 8 != local_.vni.value()) {
      return DropReason::kUnknownVni;
    }
    const auto* eth = At<rte_ether_hdr>(m, payload + sizeof(rte_vxlan_hdr));
    if (!Same(eth->dst_addr, local_.vtep_mac)) return DropReason::kWrongTunnel;
    if (eth->ether_type != kTypeIpv4 && eth->ether_type != kTypeIpv6) return DropReason::kWrongTunnel;
    found.type = eth->ether_type;
  } else if (Holds(m, payload, 1, end) && *At<uint8_t>(m, payload) >> 4 != 4) {
    return DropReason::kWrongTunnel;
  }
  return DropReason::kNone;
}

DropReason Parser::Tunnel(const rte_mbuf& m, Found& found) const noexcept {
  const IpSpan outer = found.ip;
  if (outer.fragment) return DropReason::kWrongTunnel;
  // The UDP checksum is not looked at: inner ones are, by their receivers. 0 is fine (RFC 7348, RFC 6935).
  const uint32_t udp_len = rte_be_to_cpu_16(At<rte_udp_hdr>(m, outer.l4)->dgram_len);
  const uint32_t end = outer.l4 + udp_len;
  if (udp_len < sizeof(rte_udp_hdr) || end > outer.end) return DropReason::kMalformed;
  if (!tables_.vteps.Contains(TunnelSource(m))) return DropReason::kUnknownVtep;
  const bool over_v4 = found.type == kTypeIpv4;
  uint32_t offset = 0;
  const DropReason r = InnerOffset(m, outer.l4 + sizeof(rte_udp_hdr), end, found, offset);
  if (r != DropReason::kNone) return r;
  found.tunnelled = true;
  found.outer_l4 = outer.l4;
  found.outer_tos = over_v4
                        ? At<rte_ipv4_hdr>(m, outer.l3)->type_of_service
                        : static_cast<uint8_t>(rte_be_to_cpu_32(At<rte_ipv6_hdr>(m, outer.l3)->vtc_flow) >>
                                               RTE_IPV6_HDR_TC_SHIFT);
  // The mbuf's word on checksums is of the outer header.
  return found.type == kTypeIpv4 ? CheckIpv4(m, offset, end, false, found.ip)
                                 : CheckIpv6(m, offset, end, found.ip);
}

}  // namespace

BurstCounts Parse(const Tables& tables, std::span<rte_mbuf* const> mbufs, const PortId* in_ports,
                  uint64_t hash_seed, Packet* out, Packet6* out6) noexcept {
  constexpr size_t kAhead = 4;
  Parser parser(tables, hash_seed);
  BurstCounts n;
  for (size_t i = 0; i < mbufs.size() && i < kAhead; ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
  for (size_t i = 0; i < mbufs.size(); ++i) {
    if (i + kAhead < mbufs.size()) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + kAhead], void*));
    const IpFamily family = parser.Parse(out[n.v4], out6[n.v6], mbufs[i], in_ports[i]);
    if (family == IpFamily::kV4) {
      ++n.v4;
    } else {
      ++n.v6;
    }
  }
  return n;
}

IpFamily ParseGenerally(const Tables& tables, rte_mbuf* mbuf, PortId in_port, uint64_t hash_seed, Packet& out,
                        Packet6& out6) noexcept {
  return Parser(tables, hash_seed).ParseGenerally(out, out6, mbuf, in_port);
}

IpAddress TunnelSource(const rte_mbuf& mbuf) noexcept {
  if (*At<uint8_t>(mbuf, kEthernet) >> 4 == 4) return Ipv4{At<rte_ipv4_hdr>(mbuf, kEthernet)->src_addr};
  Ipv6 source;
  std::memcpy(source.bytes.data(), At<rte_ipv6_hdr>(mbuf, kEthernet)->src_addr, sizeof source);
  return source;
}

template <class Key>
Headers HeadersOf(const BasicPacket<Key>& packet) noexcept {
  Headers h{.src = packet.key.src,
            .dst = packet.key.dst,
            .proto = packet.key.proto,
            .src_port = rte_be_to_cpu_16(packet.key.src_port_be),
            .dst_port = rte_be_to_cpu_16(packet.key.dst_port_be),
            .in_port = packet.key.in_port,
            .tunnelled = packet.tunnelled,
            .tunnel_src = IpAddress{}};
  if (packet.tunnelled) h.tunnel_src = TunnelSource(*packet.mbuf);
  if (packet.kind == PacketKind::kIcmpError) {
    h.src = SourceIn(packet);
    h.dst = DestinationIn(packet);
    h.proto = Key::kIcmp;
    h.src_port = h.dst_port = 0;
  }
  return h;
}

template Headers HeadersOf(const Packet&) noexcept;
template Headers HeadersOf(const Packet6&) noexcept;

}  // namespace podwire
