#include <rte_icmp.h>
#include <rte_ip.h>

#include "switch/parse_ip.h"

namespace podwire {
namespace {

constexpr uint32_t kQuotedL4 = 8;  // RFC 792: what an ICMP error quotes at least

constexpr uint8_t kOptionEnd = 0, kOptionNop = 1, kOptionLooseRoute = 131, kOptionStrictRoute = 137;

bool IsIcmpQuery(uint8_t type) {  // with an identifier: echo, timestamp, information, address mask
  return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

void SetIcmpQuery(FlowKey4& key, const rte_icmp_hdr& icmp) {
  key.src_port_be = key.dst_port_be = icmp.icmp_ident;
  key.icmp_reply = icmp.icmp_type != 8 && icmp.icmp_type % 2 == 0;  // requests but echo's are odd
}

bool IsIcmpError(uint8_t type) {  // unreachable, quench, redirect, time exceeded, parameter problem
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

DropReason CheckOptions(const uint8_t* options, uint32_t len) {
  for (uint32_t i = 0; i < len;) {
    const uint8_t type = options[i];
    if (type == kOptionEnd) break;
    if (type == kOptionNop) {
      ++i;
      continue;
    }
    if (i + 1 >= len || options[i + 1] < 2 || i + options[i + 1] > len) return DropReason::kMalformed;
    if (type == kOptionLooseRoute || type == kOptionStrictRoute) return DropReason::kIpOptions;
    i += options[i + 1];
  }
  return DropReason::kNone;
}

/// The quoted packet is cut off somewhere and its checksum and total length mean nothing.
DropReason Quoted(Packet& p, uint32_t offset, uint32_t end) {
  const rte_mbuf& m = *p.mbuf;
  if (!Holds(m, offset, sizeof(rte_ipv4_hdr), end)) return DropReason::kMalformed;
  const auto* h = At<rte_ipv4_hdr>(m, offset);
  const uint32_t l4 = offset + rte_ipv4_hdr_len(h);
  if (h->version != 4 || l4 < offset + sizeof(rte_ipv4_hdr) || !Holds(m, l4, kQuotedL4, end)) {
    return DropReason::kMalformed;
  }
  p.key.src.be = h->src_addr;
  p.key.dst.be = h->dst_addr;
  p.key.proto = h->next_proto_id;
  if ((h->fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK)) != 0) return DropReason::kNone;
  TakePorts(p, l4);
  if (p.key.proto != IPPROTO_ICMP) return DropReason::kNone;
  const auto* icmp = At<rte_icmp_hdr>(m, l4);
  // RFC 1122 3.2.2: there is no error about an error.
  if (!IsIcmpQuery(icmp->icmp_type)) return DropReason::kMalformed;
  SetIcmpQuery(p.key, *icmp);
  return DropReason::kNone;
}

DropReason Icmp(Packet& p, const IpSpan& ip) {
  if (!Holds(*p.mbuf, ip.l4, sizeof(rte_icmp_hdr), ip.end)) return DropReason::kMalformed;
  const auto* icmp = At<rte_icmp_hdr>(*p.mbuf, ip.l4);
  p.icmp_type = icmp->icmp_type;
  p.icmp_code = icmp->icmp_code;
  if (IsIcmpQuery(p.icmp_type)) {
    SetIcmpQuery(p.key, *icmp);
  } else if (IsIcmpError(p.icmp_type)) {
    p.kind = PacketKind::kIcmpError;
    return Quoted(p, ip.l4 + sizeof(rte_icmp_hdr), ip.end);
  }
  return DropReason::kNone;
}

}  // namespace

DropReason CheckIpv4(const rte_mbuf& m, uint32_t offset, uint32_t end, bool checksum_good,
                     IpSpan& ip) noexcept {
  if (!Holds(m, offset, sizeof(rte_ipv4_hdr), end)) return DropReason::kMalformed;
  const auto* h = At<rte_ipv4_hdr>(m, offset);
  const uint32_t header_len = rte_ipv4_hdr_len(h);
  const uint32_t total = rte_be_to_cpu_16(h->total_length);
  if (h->version != 4 || header_len < sizeof(rte_ipv4_hdr) || total < header_len || offset + total > end ||
      offset + header_len > m.data_len) {
    return DropReason::kMalformed;
  }
  if (!checksum_good && rte_raw_cksum(h, header_len) != 0xffff) return DropReason::kBadChecksum;
  const uint16_t fragment = rte_be_to_cpu_16(h->fragment_offset);
  ip = {.l3 = offset,
        .l4 = offset + header_len,
        .end = offset + total,
        .frag_id_be = h->packet_id,
        .proto = h->next_proto_id};
  ip.later_fragment = (fragment & RTE_IPV4_HDR_OFFSET_MASK) != 0;
  ip.fragment = ip.later_fragment || (fragment & RTE_IPV4_HDR_MF_FLAG) != 0;
  // RFC 3128: a second fragment that overwrites the first one's TCP flags.
  if ((fragment & RTE_IPV4_HDR_OFFSET_MASK) == 1 && h->next_proto_id == IPPROTO_TCP)
    return DropReason::kMalformed;
  if (header_len == sizeof(rte_ipv4_hdr)) return DropReason::kNone;
  return CheckOptions(reinterpret_cast<const uint8_t*>(h + 1), header_len - sizeof(rte_ipv4_hdr));
}

DropReason Describe(Packet& p, const IpSpan& ip) noexcept {
  const auto& h = *At<rte_ipv4_hdr>(*p.mbuf, ip.l3);
  p.l3_offset = static_cast<uint16_t>(ip.l3);
  p.l4_offset = static_cast<uint16_t>(ip.l4);
  p.l3_len = static_cast<uint16_t>(ip.end - ip.l3);
  p.frag_id_be = ip.frag_id_be;
  p.ttl = h.time_to_live;
  p.tos = h.type_of_service;
  p.dont_fragment = (h.fragment_offset & RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) != 0;
  p.first_fragment = ip.fragment && !ip.later_fragment;
  p.key.src.be = h.src_addr;
  p.key.dst.be = h.dst_addr;
  p.key.proto = ip.proto;
  const uint8_t top = static_cast<uint8_t>(rte_be_to_cpu_32(h.dst_addr) >> 24);
  if ((top & 0xf0) == 0xe0 || h.dst_addr == UINT32_MAX) return DropReason::kMulticast;
  if (ip.later_fragment) {
    p.kind = PacketKind::kLaterFragment;
    return DropReason::kNone;
  }
  p.kind = PacketKind::kFlow;
  return ip.proto == IPPROTO_ICMP ? Icmp(p, ip) : Transport(p, ip);
}

}  // namespace podwire
