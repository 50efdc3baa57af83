#pragma once

#include <cstddef>
#include <cstring>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "net/checksum.h"
#include "overlay/next_hop.h"
#include "switch/adjacency_cache.h"
#include "switch/ip_header.h"
#include "switch/outer_checksum.h"
#include "switch/packet.h"

namespace podwire {

/// Whether a plain packet may take ForwardPlain: it fits the next hop, and its mbuf has room for the header.
inline bool FitsPlain(const PacketBase& p, const ResolvedAdjacency& a) noexcept {
  return p.l3_len <= a.mtu && p.mbuf->data_off + p.l3_offset >= a.header_len;
}

/// The Ethernet type in front of `ip`, in a ready-made header, which has IPv4's.
inline void PutEtherType(const Packet&, uint8_t*) noexcept {}
inline void PutEtherType(const Packet6&, uint8_t* ip) noexcept {
  ip[-2] = RTE_ETHER_TYPE_IPV6 >> 8;
  ip[-1] = RTE_ETHER_TYPE_IPV6 & 0xff;
}

/// Completes a tunnel's outer headers at `ip`, which with what follows are `len` bytes.
inline void FinishTunnelOverIpv4(uint8_t* ip, uint16_t len, rte_be16_t src_port_be, uint16_t ip_id,
                                 uint8_t ecn) noexcept {
  auto* udp = reinterpret_cast<rte_udp_hdr*>(ip + sizeof(rte_ipv4_hdr));
  udp->src_port = src_port_be;
  udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(len - sizeof(rte_ipv4_hdr)));
  FinishOuterIpv4(ip, len, ip_id, ecn);
}
/// The source port tells flows apart, so the flow label does too (RFC 6438).
inline void FinishTunnelOverIpv6(uint8_t* ip, uint16_t len, rte_be16_t src_port_be, uint8_t ecn) noexcept {
  auto* h = reinterpret_cast<rte_ipv6_hdr*>(ip);
  auto* udp = reinterpret_cast<rte_udp_hdr*>(h + 1);
  const auto payload = static_cast<uint16_t>(len - sizeof *h);
  udp->src_port = src_port_be;
  udp->dgram_len = rte_cpu_to_be_16(payload);
  FinishOuterIpv6(ip, payload, ecn);
  h->vtc_flow |= rte_cpu_to_be_32(rte_be_to_cpu_16(src_port_be));
}

/// The UDP checksum of a finished VXLAN header over IPv6, without which kernels' VXLAN devices take no
/// datagram; `packet_sum` is the inner packet's SumOfPacket.
inline void PutTunnelChecksum(uint8_t* ip, uint16_t packet_sum) noexcept {
  auto* h = reinterpret_cast<rte_ipv6_hdr*>(ip);
  auto* udp = reinterpret_cast<rte_udp_hdr*>(h + 1);
  // Addresses, UDP, VXLAN and inner Ethernet lie in one piece.
  constexpr uint32_t kCovered = 2 * sizeof h->src_addr + kVxlanHeaderLen6 - kDirectHeaderLen - sizeof *h;
  const uint64_t sum =
      uint64_t{rte_raw_cksum(h->src_addr, kCovered)} + packet_sum + udp->dgram_len + RTE_BE16(IPPROTO_UDP);
  const auto checksum = static_cast<uint16_t>(~FoldChecksum(sum));
  udp->dgram_cksum = checksum == 0 ? 0xffff : checksum;
}

/// Turns a plain packet into the frame that leaves by `a`: what is in front of the (inner) IP header goes,
/// TTL less one, the ready-made header in its place in one copy. Outer lengths, id, checksum and ECN (RFC
/// 6040 4.1) are set; `tunnel_src_port_be` is the outer UDP source port (RFC 7348 section 5). Same outcome as
/// StripHeaders, DecrementTtl and PrependHeader, which all other packets take.
template <class Key>
void ForwardPlain(BasicPacket<Key>& p, const ResolvedAdjacency& a, uint16_t tunnel_src_port_be,
                  uint16_t& ip_id) noexcept {
  rte_mbuf& m = *p.mbuf;
  auto* ip = rte_pktmbuf_mtod_offset(&m, uint8_t*, p.l3_offset);
  DecrementTtl(HeaderOf(p));
  uint8_t* at = ip - a.header_len;
  const int longer = a.header_len - p.l3_offset;
  m.data_off = static_cast<uint16_t>(m.data_off - longer);
  m.data_len = static_cast<uint16_t>(m.data_len + longer);
  m.pkt_len = static_cast<uint32_t>(static_cast<int>(m.pkt_len) + longer);
  if (!a.tunnel) {
    std::memcpy(at, a.ethernet.data(), a.ethernet.size());
    PutEtherType(p, ip);
    return;
  }
  const auto outer_len = static_cast<uint16_t>(p.l3_len + a.header_len - kDirectHeaderLen);
  if (a.header_len == kVxlanHeaderLen) {
    std::memcpy(at, a.header.data(), kVxlanHeaderLen);
  } else if (a.header_len == kUdpHeaderLen) {
    std::memcpy(at, a.header.data(), kUdpHeaderLen);
  } else {
    std::memcpy(at, a.header.data(), kVxlanHeaderLen6);
    PutEtherType(p, ip);
    FinishTunnelOverIpv6(at + kDirectHeaderLen, outer_len, tunnel_src_port_be, EcnEncap(p.tos));
    return PutTunnelChecksum(at + kDirectHeaderLen, SumOfPacket(p, ip));
  }
  PutEtherType(p, ip);
  FinishTunnelOverIpv4(at + kDirectHeaderLen, outer_len, tunnel_src_port_be, ip_id++, EcnEncap(p.tos));
}

}  // namespace podwire
