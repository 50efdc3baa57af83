#pragma once

// The (inner) IP header of a packet that parse has described, by family.

#include <cstdint>
#include <cstring>

#include <rte_ip.h>
#include <rte_mbuf.h>

#include "net/address.h"
#include "net/checksum.h"
#include "switch/packet.h"

namespace podwire {

inline rte_ipv4_hdr& HeaderOf(const Packet& p) noexcept {
  return *rte_pktmbuf_mtod_offset(p.mbuf, rte_ipv4_hdr*, p.l3_offset);
}
inline rte_ipv6_hdr& HeaderOf(const Packet6& p) noexcept {
  return *rte_pktmbuf_mtod_offset(p.mbuf, rte_ipv6_hdr*, p.l3_offset);
}

inline Ipv6 ToIpv6(const uint8_t* bytes) noexcept {
  Ipv6 a;
  std::memcpy(a.bytes.data(), bytes, sizeof a);
  return a;
}

/// The header's addresses, which are not the key's in an ICMP error.
inline Ipv4 SourceIn(const Packet& p) noexcept { return {HeaderOf(p).src_addr}; }
inline Ipv4 DestinationIn(const Packet& p) noexcept { return {HeaderOf(p).dst_addr}; }
inline Ipv6 SourceIn(const Packet6& p) noexcept { return ToIpv6(HeaderOf(p).src_addr); }
inline Ipv6 DestinationIn(const Packet6& p) noexcept { return ToIpv6(HeaderOf(p).dst_addr); }

/// TOS or traffic class, in header and descriptor.
inline void SetTos(Packet& p, uint8_t tos) noexcept {
  rte_ipv4_hdr& ip = HeaderOf(p);
  ip.hdr_checksum = UpdateChecksum(ip.hdr_checksum, rte_cpu_to_be_16(p.tos), rte_cpu_to_be_16(tos));
  ip.type_of_service = p.tos = tos;
}
inline void SetTos(Packet6& p, uint8_t tos) noexcept {
  rte_ipv6_hdr& ip = HeaderOf(p);
  const uint32_t others = rte_be_to_cpu_32(ip.vtc_flow) & ~RTE_IPV6_HDR_TC_MASK;
  ip.vtc_flow = rte_cpu_to_be_32(others | uint32_t{tos} << RTE_IPV6_HDR_TC_SHIFT);
  p.tos = tos;
}

/// Of the IPv6 header alone: there is nothing to mend.
inline void DecrementTtl(rte_ipv6_hdr& ip) noexcept { --ip.hop_limits; }
/// Takes one from the TTL and mends the checksum: 0x0100 less in the header is 0x0100 more in its complement
/// (RFC 1624; 0xffff cannot come out, since a header is never all zero). The TTL must be above 0.
inline void DecrementTtl(rte_ipv4_hdr& ip) noexcept {
  --ip.time_to_live;
  const uint32_t sum = uint32_t{ip.hdr_checksum} + RTE_BE16(0x0100);
  ip.hdr_checksum = static_cast<uint16_t>(sum + (sum >> 16));
}

}  // namespace podwire
