#pragma once

#include <cstdint>

#include <rte_ip.h>

#include "switch/ip_header.h"
#include "switch/packet.h"
#include "switch/plain_frame.h"

namespace podwire {

/// PlainParser's sibling for IPv6: without extension headers, TCP or UDP, nothing left to do by an Offload;
/// plain or in a VXLAN tunnel of a known node over either family.
class PlainParser6 : PlainFrame {
 public:
  explicit PlainParser6(const Tables& tables) : PlainFrame(tables) {
    if (!local_.tunnel_enabled || !local_.tunnel_is_vxlan) return;
    inner_ = Expect(local_.vtep_mac, nullptr, RTE_ETHER_TYPE_IPV6);
    if (local_.underlay_address.is_v4()) own_address4_ = local_.underlay_address.v4();
    if (local_.underlay_address6.is_v6()) own_address6_ = local_.underlay_address6.v6();
  }

  /// Fills all of `p` but hash; false, and `p` is undefined, if the packet is not of these.
  bool Parse(Packet6& p, rte_mbuf* m, PortId in_port) noexcept {
    if (in_port != port_ && !TakePort(in_port)) return false;
    const auto* data = rte_pktmbuf_mtod(m, const uint8_t*);
    if (m->data_len < kEthernet + kIpAndPorts || !IsDone(OffloadOf(*m))) return false;
    Outer outer{.l3 = kEthernet, .end = m->pkt_len};
    if (ethernet_.Matches(data)) {
      const auto* ip = reinterpret_cast<const rte_ipv6_hdr*>(data + kEthernet);
      if (underlay_ && ToIpv6(ip->dst_addr) == own_address6_ && !TakeOuter6(*ip, data, m->data_len, outer))
        return false;
    } else if (!TakeOuter4(*m, data, outer)) {
      return false;
    }
    uint32_t end = 0;
    if (!Describe(p, m, in_port, data, outer, end) || !Trim(*m, end)) return false;
    // The port's word on checksums is of the outer header.
    Offload& offload = OffloadOf(*m);
    offload = {.flags = static_cast<uint8_t>(p.tunnelled ? 0 : offload.flags & Offload::kDataValid)};
    return true;
  }

 private:
  static constexpr uint32_t kIpAndPorts = sizeof(rte_ipv6_hdr) + sizeof(rte_udp_hdr);
  static constexpr uint32_t kVxlanHeaders = sizeof(rte_udp_hdr) + sizeof(rte_vxlan_hdr) + kEthernet;

  /// Where the (inner) packet begins and must end at the latest.
  struct Outer {
    uint32_t l3, end;
    uint8_t tos = 0;
    bool tunnelled = false;
  };

  bool TakePort(PortId in_port) noexcept {
    port_ = kNoPort;
    const PortSlot* slot = SlotOf(in_port);
    if (slot == nullptr) return false;
    ethernet_ = Expect(*slot, RTE_ETHER_TYPE_IPV6);
    underlay_ = slot->role == PortRole::kUnderlay;
    over_v4_ = underlay_ ? Expect(*slot, RTE_ETHER_TYPE_IPV4) : Ethernet{};
    port_ = in_port;
    return true;
  }

  static uint8_t TosOf(const rte_ipv6_hdr& h) noexcept {
    return static_cast<uint8_t>(rte_be_to_cpu_32(h.vtc_flow) >> RTE_IPV6_HDR_TC_SHIFT);
  }
  static bool IsVersion6(const rte_ipv6_hdr& h) noexcept {
    return (h.vtc_flow & RTE_BE32(0xf0000000)) == RTE_BE32(0x60000000);
  }

  /// UDP at `l4` of an outer packet that ends at `end`, down to the inner Ethernet header.
  bool TakeVxlan(const uint8_t* data, uint32_t l4, uint32_t end, uint32_t data_len, Outer& outer) noexcept {
    const auto* udp = reinterpret_cast<const rte_udp_hdr*>(data + l4);
    outer.l3 = l4 + kVxlanHeaders;
    if (outer.l3 + kIpAndPorts > data_len) return false;
    outer.end = l4 + rte_be_to_cpu_16(udp->dgram_len);
    outer.tunnelled = true;
    return outer.end <= end && IsOurs(*udp) && inner_.Matches(data + outer.l3 - kEthernet);
  }

  bool TakeOuter6(const rte_ipv6_hdr& ip, const uint8_t* data, uint32_t data_len, Outer& outer) noexcept {
    const uint32_t l4 = kEthernet + sizeof ip;
    const uint32_t end = l4 + rte_be_to_cpu_16(ip.payload_len);
    outer.tos = TosOf(ip);
    const bool fits =
        own_address6_ != Ipv6{} && IsVersion6(ip) && ip.proto == IPPROTO_UDP && end <= outer.end;
    return fits && TakeVxlan(data, l4, end, data_len, outer) && IsKnown6(ToIpv6(ip.src_addr));
  }

  bool TakeOuter4(const rte_mbuf& m, const uint8_t* data, Outer& outer) noexcept {
    if (!over_v4_.Matches(data)) return false;
    const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(data + kEthernet);
    const uint32_t end = kEthernet + rte_be_to_cpu_16(ip->total_length);
    outer.tos = ip->type_of_service;
    const bool good = (m.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    const bool fits = ip->version_ihl == RTE_IPV4_VHL_DEF && IsWhole(*ip) &&
                      ip->next_proto_id == IPPROTO_UDP && end <= outer.end && own_address4_.be != 0 &&
                      ip->dst_addr == own_address4_.be;
    return fits && TakeVxlan(data, kEthernet + sizeof *ip, end, m.data_len, outer) &&
           IsKnown({ip->src_addr}) && (good || ChecksumHolds(ip));
  }

  bool IsKnown6(const Ipv6& source) noexcept {
    if (source == known_vtep6_) return source != Ipv6{};
    if (!tables_.vteps.Contains(IpAddress(source))) return false;
    known_vtep6_ = source;
    return true;
  }

  static bool Describe(Packet6& p, rte_mbuf* m, PortId in_port, const uint8_t* data, const Outer& outer,
                       uint32_t& end) noexcept {
    const auto& h = *reinterpret_cast<const rte_ipv6_hdr*>(data + outer.l3);
    const uint32_t l4 = outer.l3 + sizeof h;
    const uint32_t l3_len = sizeof h + rte_be_to_cpu_16(h.payload_len);
    end = outer.l3 + l3_len;
    const bool fits = l4 + sizeof(rte_udp_hdr) <= end && end <= outer.end && l3_len <= UINT16_MAX;
    if (!fits || !IsVersion6(h) || h.dst_addr[0] == 0xff) return false;
    const auto* ports = reinterpret_cast<const rte_udp_hdr*>(data + l4);
    uint8_t tcp_flags = 0;
    if (!TakeL4(*m, ports, l4, end, h.proto, tcp_flags)) return false;
    const uint8_t tos = TosOf(h), ecn = tos & 3, outer_ecn = outer.tos & 3;
    p.mbuf = m;
    std::memcpy(p.key.src.bytes.data(), h.src_addr, sizeof h.src_addr);
    std::memcpy(p.key.dst.bytes.data(), h.dst_addr, sizeof h.dst_addr);
    p.key.src_port_be = ports->src_port;
    p.key.dst_port_be = ports->dst_port;
    p.key.in_port = in_port;
    p.key.proto = h.proto;
    p.key.icmp_reply = 0;
    p.l3_offset = static_cast<uint16_t>(outer.l3);
    p.l4_offset = static_cast<uint16_t>(l4);
    p.l3_len = static_cast<uint16_t>(l3_len);
    p.frag_id_be = 0;
    p.kind = PacketKind::kFlow;
    p.reason = DropReason::kNone;
    p.tcp_flags = tcp_flags;
    p.icmp_type = p.icmp_code = 0;
    p.ttl = h.hop_limits;
    p.tos = tos;
    p.outer_tos = outer.tos;
    p.tunnelled = outer.tunnelled;
    p.first_fragment = false;
    p.dont_fragment = true;
    p.plain =
        (h.hop_limits > 1) & ((tcp_flags & kTcpStateFlags) == 0) & ((outer_ecn == 0) | (outer_ecn == ecn));
    return true;
  }

  Ipv4 own_address4_;  // zero: no tunnels over IPv4
  Ipv6 own_address6_;  // zero: none over IPv6
  Ethernet inner_;     // without VXLAN nothing matches
  // Of the port that the last packet came from.
  PortId port_ = kNoPort;
  Ethernet ethernet_, over_v4_;
  bool underlay_ = false;
  Ipv6 known_vtep6_;  // the last one found; zero: none
};

}  // namespace podwire
