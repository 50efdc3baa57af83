#pragma once

#include <cstddef>
#include <cstring>

#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "overlay/next_hop.h"
#include "switch/adjacency_cache.h"
#include "switch/packet.h"

namespace podwire {

/// Takes one from the TTL and mends the checksum: 0x0100 less in the header is 0x0100 more in its complement
/// (RFC 1624; 0xffff cannot come out, since a header is never all zero). The TTL must be above 0.
inline void DecrementTtl(rte_ipv4_hdr& ip) noexcept {
  --ip.time_to_live;
  const uint32_t sum = uint32_t{ip.hdr_checksum} + RTE_BE16(0x0100);
  ip.hdr_checksum = static_cast<uint16_t>(sum + (sum >> 16));
}

/// Whether a plain packet may take ForwardPlain: it fits the next hop, and its mbuf has room for the header.
inline bool FitsPlain(const Packet& p, const ResolvedAdjacency& a) noexcept {
  return p.l3_len <= a.mtu && p.mbuf->data_off + p.l3_offset >= a.header_len;
}

/// Turns a plain packet into the frame that leaves by `a`: what is in front of the (inner) IPv4 header goes,
/// TTL less one, the ready-made header in its place in one copy. Outer lengths, id, checksum and ECN (RFC
/// 6040 4.1) are set; `tunnel_src_port_be` is the outer UDP source port (RFC 7348 section 5). Same outcome as
/// StripHeaders, DecrementTtl and PrependHeader, which all other packets take.
inline void ForwardPlain(Packet& p, const ResolvedAdjacency& a, uint16_t tunnel_src_port_be,
                         uint16_t& ip_id) noexcept {
  rte_mbuf& m = *p.mbuf;
  auto* ip = rte_pktmbuf_mtod_offset(&m, uint8_t*, p.l3_offset);
  DecrementTtl(*reinterpret_cast<rte_ipv4_hdr*>(ip));
  uint8_t* at = ip - a.header_len;
  const int longer = a.header_len - p.l3_offset;
  m.data_off = static_cast<uint16_t>(m.data_off - longer);
  m.data_len = static_cast<uint16_t>(m.data_len + longer);
  m.pkt_len = static_cast<uint32_t>(static_cast<int>(m.pkt_len) + longer);
  if (!a.tunnel) {
    std::memcpy(at, a.ethernet.data(), a.ethernet.size());
    return;
  }
  if (a.header_len == kVxlanHeaderLen) {
    std::memcpy(at, a.header.data(), kVxlanHeaderLen);
  } else {
    std::memcpy(at, a.header.data(), kUdpHeaderLen);
  }
  const auto outer_len = static_cast<uint16_t>(p.l3_len + a.header_len - kDirectHeaderLen);
  auto* udp = reinterpret_cast<rte_udp_hdr*>(at + kDirectHeaderLen + sizeof(rte_ipv4_hdr));
  udp->src_port = tunnel_src_port_be;
  udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(outer_len - sizeof(rte_ipv4_hdr)));
  FinishOuterIpv4(at + kDirectHeaderLen, outer_len, ip_id++, EcnEncap(p.tos));
}

}  // namespace podwire
