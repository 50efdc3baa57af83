#include <cstring>

#include <rte_icmp.h>
#include <rte_ip.h>

#include "switch/parse_ip.h"

namespace podwire {
namespace {

constexpr uint32_t kHeader = sizeof(rte_ipv6_hdr);
constexpr uint32_t kUnit = 8;      // of extension headers' lengths and fragment offsets, bytes
constexpr int kMaxExtensions = 8;  // one of each kind, destination options twice, is 7
constexpr uint32_t kQuotedL4 = 8;
constexpr uint8_t kLastError = 127;  // RFC 4443 2.1
constexpr uint8_t kEchoRequest = 128, kEchoReply = 129;

constexpr bool IsLinkMessage(uint8_t type) {  // listeners (RFC 2710, 3810), neighbours (RFC 4861)
  return (type >= 130 && type <= 137) || type == 143;
}

/// What each extension header begins with (RFC 8200 4).
struct Extension {
  uint8_t next;
  uint8_t length;  // in 8 bytes, the first not counted; AH: in 4 bytes, the first two not counted
  uint8_t routing_type;
  uint8_t segments_left;
};
static_assert(sizeof(Extension) == 4);

struct FragmentHeader {
  uint8_t next;
  uint8_t reserved;
  rte_be16_t offset_and_more;
  rte_be32_t id_be;
} __rte_packed;
static_assert(sizeof(FragmentHeader) == kUnit);

/// RFC 8200 4.5. A datagram in one fragment is as good as whole (RFC 6946).
DropReason TakeFragment(const FragmentHeader& f, uint32_t behind, IpSpan& ip) {
  const uint16_t word = rte_be_to_cpu_16(f.offset_and_more);
  const bool more = (word & 1) != 0;
  ip.frag_offset = word & 0xfff8;
  ip.later_fragment = ip.frag_offset != 0;
  ip.fragment = ip.later_fragment || more;
  ip.frag_id_be = f.id_be;
  ip.fragmented = behind;
  const uint32_t len = ip.end - behind;
  const bool bad = (more && (len % kUnit != 0 || len == 0)) || ip.frag_offset + len > UINT16_MAX;
  return bad ? DropReason::kMalformed : DropReason::kNone;
}

/// From the fixed header, whose next header is in ip.proto, to the L4 header: all must lie before `end` and
/// in the first segment, of a first fragment too (RFC 7112).
DropReason WalkExtensions(const rte_mbuf& m, uint32_t end, bool quoted, IpSpan& ip) {
  bool fragment_seen = false;
  for (int n = 0;; ++n) {
    uint32_t len = 0;
    const bool known = ip.proto == IPPROTO_HOPOPTS || ip.proto == IPPROTO_ROUTING ||
                       ip.proto == IPPROTO_DSTOPTS || ip.proto == IPPROTO_AH || ip.proto == IPPROTO_FRAGMENT;
    if (!known) return DropReason::kNone;
    if (n == kMaxExtensions) return DropReason::kExtensionHeader;
    if (!Holds(m, ip.l4, kUnit, end)) return DropReason::kMalformed;
    const auto& h = *At<Extension>(m, ip.l4);
    switch (ip.proto) {
      case IPPROTO_HOPOPTS:
        if (n != 0) return DropReason::kMalformed;
        len = (h.length + 1u) * kUnit;
        break;
      case IPPROTO_ROUTING:
        // Would go on to other addresses than those that were judged (RFC 5095).
        if (h.segments_left != 0) return DropReason::kExtensionHeader;
        len = (h.length + 1u) * kUnit;
        break;
      case IPPROTO_AH:
        len = (h.length + 2u) * 4;
        break;
      case IPPROTO_FRAGMENT: {
        if (fragment_seen) return DropReason::kMalformed;
        fragment_seen = true;
        len = sizeof(FragmentHeader);
        const DropReason r = TakeFragment(*At<FragmentHeader>(m, ip.l4), ip.l4 + len, ip);
        if (r != DropReason::kNone && !quoted) return r;
        break;
      }
      default:
        len = (h.length + 1u) * kUnit;
    }
    if (!Holds(m, ip.l4, len, end)) return DropReason::kMalformed;
    ip.proto = h.next;
    ip.l4 += len;
    if (ip.later_fragment) return DropReason::kNone;  // what follows is the middle of something
  }
}

void SetAddresses(FlowKey6& key, const rte_ipv6_hdr& h) {
  std::memcpy(key.src.bytes.data(), h.src_addr, sizeof h.src_addr);
  std::memcpy(key.dst.bytes.data(), h.dst_addr, sizeof h.dst_addr);
}

bool SetEcho(FlowKey6& key, const rte_icmp_hdr& icmp) {
  if (icmp.icmp_type != kEchoRequest && icmp.icmp_type != kEchoReply) return false;
  key.src_port_be = key.dst_port_be = icmp.icmp_ident;
  key.icmp_reply = icmp.icmp_type == kEchoReply;
  return true;
}

/// The quoted packet is cut off somewhere and its length means nothing.
DropReason Quoted(Packet6& p, uint32_t offset, uint32_t end) {
  const rte_mbuf& m = *p.mbuf;
  if (!Holds(m, offset, kHeader, end)) return DropReason::kMalformed;
  const auto& h = *At<rte_ipv6_hdr>(m, offset);
  IpSpan ip{.l3 = offset, .l4 = offset + kHeader, .end = end, .proto = h.proto};
  if (*At<uint8_t>(m, offset) >> 4 != 6) return DropReason::kMalformed;
  const DropReason r = WalkExtensions(m, end, true, ip);
  if (r != DropReason::kNone) return r;
  SetAddresses(p.key, h);
  p.key.proto = ip.proto;
  if (ip.later_fragment) return DropReason::kNone;
  if (!Holds(m, ip.l4, kQuotedL4, end)) return DropReason::kMalformed;
  TakePorts(p, ip.l4);
  // There is no error about an error (RFC 4443 2.4 e).
  if (ip.proto == IPPROTO_ICMPV6 && !SetEcho(p.key, *At<rte_icmp_hdr>(m, ip.l4)))
    return DropReason::kMalformed;
  return DropReason::kNone;
}

DropReason Icmp(Packet6& p, const IpSpan& ip) {
  if (!Holds(*p.mbuf, ip.l4, sizeof(rte_icmp_hdr), ip.end)) return DropReason::kMalformed;
  const auto& icmp = *At<rte_icmp_hdr>(*p.mbuf, ip.l4);
  p.icmp_type = icmp.icmp_type;
  p.icmp_code = icmp.icmp_code;
  if (p.icmp_type <= kLastError) {
    p.kind = PacketKind::kIcmpError;
    return Quoted(p, ip.l4 + sizeof(rte_icmp_hdr), ip.end);
  }
  if (IsLinkMessage(p.icmp_type)) {
    if (ip.fragment || p.tunnelled) return DropReason::kInvalidNd;  // RFC 6980
    p.kind = PacketKind::kNd;
  } else {
    SetEcho(p.key, icmp);
  }
  return DropReason::kNone;
}

}  // namespace

DropReason CheckIpv6(const rte_mbuf& m, uint32_t offset, uint32_t end, IpSpan& ip) noexcept {
  if (!Holds(m, offset, kHeader, end)) return DropReason::kMalformed;
  const auto& h = *At<rte_ipv6_hdr>(m, offset);
  const uint32_t payload = rte_be_to_cpu_16(h.payload_len);
  const uint32_t total = kHeader + payload;
  // Without payload: a jumbogram (RFC 2675), or nothing worth forwarding.
  if (*At<uint8_t>(m, offset) >> 4 != 6 || payload == 0 || total > UINT16_MAX || offset + total > end) {
    return DropReason::kMalformed;
  }
  ip = {.l3 = offset, .l4 = offset + kHeader, .end = offset + total, .proto = h.proto};
  return WalkExtensions(m, ip.end, false, ip);
}

DropReason Describe(Packet6& p, const IpSpan& ip) noexcept {
  const auto& h = *At<rte_ipv6_hdr>(*p.mbuf, ip.l3);
  p.l3_offset = static_cast<uint16_t>(ip.l3);
  p.l4_offset = static_cast<uint16_t>(ip.l4);
  p.l3_len = static_cast<uint16_t>(ip.end - ip.l3);
  p.frag_id_be = ip.frag_id_be;
  p.frag_bytes = static_cast<uint16_t>(ip.later_fragment ? ip.frag_offset : ip.end - ip.fragmented);
  p.ttl = h.hop_limits;
  p.tos = static_cast<uint8_t>(rte_be_to_cpu_32(h.vtc_flow) >> RTE_IPV6_HDR_TC_SHIFT);
  p.dont_fragment = true;  // RFC 8200 section 5: the source fragments, nobody else
  p.first_fragment = ip.fragment && !ip.later_fragment;
  SetAddresses(p.key, h);
  p.key.proto = ip.proto;
  p.kind = ip.later_fragment ? PacketKind::kLaterFragment : PacketKind::kFlow;
  DropReason r = DropReason::kNone;
  if (!ip.later_fragment) r = ip.proto == IPPROTO_ICMPV6 ? Icmp(p, ip) : Transport(p, ip);
  if (r != DropReason::kNone) return r;
  return h.dst_addr[0] == 0xff && p.kind != PacketKind::kNd ? DropReason::kMulticast : DropReason::kNone;
}

}  // namespace podwire
