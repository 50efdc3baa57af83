#pragma once

#include <cstdint>

#include <rte_ip.h>

#include "switch/packet.h"
#include "switch/plain_frame.h"

namespace podwire {

/// Parses the packets that are most of any traffic, and leaves all others, good or bad, to the general parser
/// (parse.cc), which alone knows drop reasons: a frame for us with the right MACs, IPv4 without options or
/// fragments, TCP or UDP, nothing left to do by an Offload; plain or in a VXLAN tunnel of a known node. What
/// it takes, it describes as the general parser would (a test compares them).
class PlainParser : PlainFrame {
 public:
  explicit PlainParser(const Tables& tables) : PlainFrame(tables) {
    if (!local_.underlay_address.is_v4()) return;
    own_address_ = local_.underlay_address.v4();
    if (local_.tunnel_enabled && local_.tunnel_is_vxlan)
      inner_ = Expect(local_.vtep_mac, nullptr, RTE_ETHER_TYPE_IPV4);
  }

  /// Fills all of `p` but hash; false, and `p` is undefined, if the packet is not of these.
  bool Parse(Packet& p, rte_mbuf* m, PortId in_port) noexcept {
    if (in_port != port_ && !TakePort(in_port)) return false;
    const auto* data = rte_pktmbuf_mtod(m, const uint8_t*);
    if (m->data_len < kMinFrame || !ethernet_.Matches(data) || !IsDone(OffloadOf(*m))) return false;
    Ip ip;
    const bool good = (m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    if (!TakeIp(data, kEthernet, m->data_len, m->pkt_len, good, ip)) return false;
    Tunnel tunnel;
    if (underlay_ && ip.header->dst_addr == own_address_.be && !TakeTunnel(data, m->data_len, ip, tunnel))
      return false;
    if (!Describe(p, m, in_port, data, ip, tunnel) || !Trim(*m, ip.end)) return false;
    // The port's word on checksums is of the outer header.
    Offload& offload = OffloadOf(*m);
    offload = {.flags = static_cast<uint8_t>(p.tunnelled ? 0 : offload.flags & Offload::kDataValid)};
    return true;
  }

 private:
  static constexpr uint32_t kMinFrame = kEthernet + sizeof(rte_ipv4_hdr) + sizeof(rte_udp_hdr);
  static constexpr uint32_t kVxlanHeaders =
      sizeof(rte_ipv4_hdr) + sizeof(rte_udp_hdr) + sizeof(rte_vxlan_hdr) + kEthernet;

  struct Ip {
    const rte_ipv4_hdr* header;
    uint32_t l3, end;  // bytes from mbuf data: of the header, behind the packet
  };
  struct Tunnel {
    Ipv4 source;  // zero: none
    uint8_t tos = 0;
  };

  bool TakePort(PortId in_port) noexcept {
    port_ = kNoPort;
    const PortSlot* slot = SlotOf(in_port);
    if (slot == nullptr) return false;
    ethernet_ = Expect(*slot, RTE_ETHER_TYPE_IPV4);
    underlay_ = slot->role == PortRole::kUnderlay;
    port_ = in_port;
    return true;
  }

  /// An IPv4 packet at `l3` within data_len and `limit` that has at least UDP's header.
  static bool TakeIp(const uint8_t* data, uint32_t l3, uint32_t data_len, uint32_t limit, bool checksum_good,
                     Ip& ip) noexcept {
    const auto* h = reinterpret_cast<const rte_ipv4_hdr*>(data + l3);
    const uint32_t total = rte_be_to_cpu_16(h->total_length);
    ip = {.header = h, .l3 = l3, .end = l3 + total};
    const uint32_t l4_end = l3 + sizeof(rte_ipv4_hdr) + sizeof(rte_udp_hdr);
    const bool fits = l4_end <= data_len && l4_end <= ip.end && ip.end <= limit;
    return fits && h->version_ihl == RTE_IPV4_VHL_DEF && IsWhole(*h) && (checksum_good || ChecksumHolds(h));
  }

  /// From the outer packet in `ip` to the inner one (RFC 7348).
  bool TakeTunnel(const uint8_t* data, uint32_t data_len, Ip& ip, Tunnel& tunnel) noexcept {
    const auto* udp = reinterpret_cast<const rte_udp_hdr*>(ip.header + 1);
    const uint32_t end = ip.l3 + sizeof(rte_ipv4_hdr) + rte_be_to_cpu_16(udp->dgram_len);
    const uint32_t l3 = ip.l3 + kVxlanHeaders;
    if (end > ip.end || l3 + sizeof(rte_ipv4_hdr) > data_len) return false;
    const bool ours = ip.header->next_proto_id == IPPROTO_UDP && IsOurs(*udp);
    tunnel = {.source = {ip.header->src_addr}, .tos = ip.header->type_of_service};
    return ours && inner_.Matches(data + l3 - kEthernet) && IsKnown(tunnel.source) &&
           TakeIp(data, l3, data_len, end, false, ip);
  }

  static bool Describe(Packet& p, rte_mbuf* m, PortId in_port, const uint8_t* data, const Ip& ip,
                       const Tunnel& tunnel) noexcept {
    const rte_ipv4_hdr& h = *ip.header;
    const uint32_t l4 = ip.l3 + sizeof(rte_ipv4_hdr);
    const auto* ports = reinterpret_cast<const rte_udp_hdr*>(data + l4);
    uint8_t tcp_flags = 0;
    if (!TakeL4(*m, ports, l4, ip.end, h.next_proto_id, tcp_flags)) return false;
    // Class D and E are no unicast; the general parser says what they are.
    if ((h.dst_addr & RTE_BE32(0xe0000000)) == RTE_BE32(0xe0000000)) return false;
    const uint8_t outer_ecn = tunnel.tos & 3, ecn = h.type_of_service & 3;
    // Field by field, since a temporary would be written and read again for each packet.
    p.mbuf = m;
    p.key.src.be = h.src_addr;
    p.key.dst.be = h.dst_addr;
    p.key.src_port_be = ports->src_port;
    p.key.dst_port_be = ports->dst_port;
    p.key.in_port = in_port;
    p.key.proto = h.next_proto_id;
    p.key.icmp_reply = 0;
    p.l3_offset = static_cast<uint16_t>(ip.l3);
    p.l4_offset = static_cast<uint16_t>(l4);
    p.l3_len = static_cast<uint16_t>(ip.end - ip.l3);
    p.frag_id_be = h.packet_id;
    p.kind = PacketKind::kFlow;
    p.reason = DropReason::kNone;
    p.tcp_flags = tcp_flags;
    p.icmp_type = p.icmp_code = 0;
    p.ttl = h.time_to_live;
    p.tos = h.type_of_service;
    p.outer_tos = tunnel.tos;
    p.tunnelled = tunnel.source.be != 0;
    p.first_fragment = false;
    p.dont_fragment = (h.fragment_offset & RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) != 0;
    p.plain =
        (h.time_to_live > 1) & ((tcp_flags & kTcpStateFlags) == 0) & ((outer_ecn == 0) | (outer_ecn == ecn));
    return true;
  }

  Ipv4 own_address_;
  Ethernet inner_;  // without VXLAN over IPv4 nothing matches
  // Of the port that the last packet came from.
  PortId port_ = kNoPort;
  Ethernet ethernet_;
  bool underlay_ = false;
};

}  // namespace podwire
