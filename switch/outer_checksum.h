#pragma once

#include <netinet/in.h>

#include <cstdint>

#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "net/checksum.h"
#include "switch/packet.h"

namespace podwire {

/// The folded sum of all bytes of the IP packet at `ip`, read one by one.
uint16_t SumOfAll(const PacketBase& p, const uint8_t* ip) noexcept;

inline bool HasL4Checksum(const PacketBase& p, uint8_t proto, const uint8_t* l4) noexcept {
  if (p.kind != PacketKind::kFlow || p.first_fragment) return false;
  if (proto == IPPROTO_UDP) return reinterpret_cast<const rte_udp_hdr*>(l4)->dgram_cksum != 0;
  return proto == IPPROTO_TCP;
}

/// The folded sum of all bytes of the IP packet at `ip`. As far as an L4 checksum is known to cover them,
/// they are not read: with its pseudo header an L4 that is right sums up to 0xffff (Linux calls this local
/// checksum offload). A checksum that is still to be completed counts as complete. IPv4's header sums up to
/// 0xffff by itself.
inline uint16_t SumOfPacket(const Packet& p, const uint8_t* ip) noexcept {
  const auto* h = reinterpret_cast<const rte_ipv4_hdr*>(ip);
  const uint16_t header = static_cast<uint16_t>(p.l4_offset - p.l3_offset);
  const bool whole = (h->fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK | RTE_IPV4_HDR_MF_FLAG)) == 0;
  if (!whole || !HasL4Checksum(p, h->next_proto_id, ip + header)) return SumOfAll(p, ip);
  const auto l4_len = static_cast<uint16_t>(p.l3_len - header);
  const uint64_t pseudo =
      uint64_t{h->src_addr} + h->dst_addr + rte_cpu_to_be_16(l4_len) + rte_cpu_to_be_16(h->next_proto_id);
  return static_cast<uint16_t>(~FoldChecksum(pseudo));
}

/// IPv6's addresses are in header and pseudo header both, and need not be looked at.
inline uint16_t SumOfPacket(const Packet6& p, const uint8_t* ip) noexcept {
  const uint16_t header = static_cast<uint16_t>(p.l4_offset - p.l3_offset);
  const uint8_t proto = p.kind == PacketKind::kFlow ? p.key.proto : 0;
  const bool icmp = proto == IPPROTO_ICMPV6 && !p.first_fragment;
  if (!icmp && !HasL4Checksum(p, proto, ip + header)) return SumOfAll(p, ip);
  constexpr uint32_t kAddressesAt = 8;
  uint64_t sum = rte_raw_cksum(ip, kAddressesAt);
  if (header != sizeof(rte_ipv6_hdr))
    sum += rte_raw_cksum(ip + sizeof(rte_ipv6_hdr), header - sizeof(rte_ipv6_hdr));
  const auto l4_len = static_cast<uint16_t>(p.l3_len - header);
  const uint64_t pseudo = uint64_t{rte_cpu_to_be_16(l4_len)} + rte_cpu_to_be_16(proto);
  return FoldChecksum(sum + static_cast<uint16_t>(~FoldChecksum(pseudo)));
}

}  // namespace podwire
