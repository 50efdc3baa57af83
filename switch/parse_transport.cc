#include <cstddef>

#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "switch/parse_ip.h"

namespace podwire {
namespace {

template <class Key>
DropReason Tcp(BasicPacket<Key>& p, const IpSpan& ip) noexcept {
  const auto* tcp = At<rte_tcp_hdr>(*p.mbuf, ip.l4);
  const uint32_t len = (tcp->data_off >> 4) * 4u;
  if (len < sizeof(rte_tcp_hdr) || !Holds(*p.mbuf, ip.l4, len, ip.end)) return DropReason::kMalformed;
  p.tcp_flags = tcp->tcp_flags;
  return DropReason::kNone;
}

template <class Key>
DropReason CheckSegments(const BasicPacket<Key>& p, const IpSpan& ip, Offload& offload) noexcept {
  constexpr GsoType kType = std::is_same_v<Key, FlowKey4> ? GsoType::kTcp4 : GsoType::kTcp6;
  if (offload.gso_type != kType || p.key.proto != IPPROTO_TCP || offload.gso_size < kMinGsoSize) {
    return DropReason::kMalformed;
  }
  const uint32_t header = (At<rte_tcp_hdr>(*p.mbuf, ip.l4)->data_off >> 4) * 4u;
  if (ip.end - ip.l4 - header <= offload.gso_size) {  // one segment only
    offload.gso_size = 0;
    offload.gso_type = GsoType::kNone;
  }
  return DropReason::kNone;
}

}  // namespace

template <class Key>
void TakePorts(BasicPacket<Key>& p, uint32_t offset) noexcept {
  if (!HasPorts(p.key.proto)) return;
  const auto* ports = At<rte_udp_hdr>(*p.mbuf, offset);
  p.key.src_port_be = ports->src_port;
  p.key.dst_port_be = ports->dst_port;
}

template <class Key>
DropReason Transport(BasicPacket<Key>& p, const IpSpan& ip) noexcept {
  const uint8_t proto = ip.proto;
  if (!HasPorts(proto)) return DropReason::kNone;
  const uint32_t header = proto == IPPROTO_TCP   ? sizeof(rte_tcp_hdr)
                          : proto == IPPROTO_UDP ? sizeof(rte_udp_hdr)
                                                 : sizeof(rte_sctp_hdr);
  // A first fragment too short for these is RFC 1858's tiny fragment, forbidden by RFC 7112.
  if (!Holds(*p.mbuf, ip.l4, header, ip.end)) return DropReason::kMalformed;
  TakePorts(p, ip.l4);
  if (proto == IPPROTO_TCP) return Tcp(p, ip);
  if (proto != IPPROTO_UDP) return DropReason::kNone;
  const uint32_t len = rte_be_to_cpu_16(At<rte_udp_hdr>(*p.mbuf, ip.l4)->dgram_len);
  const bool fits = len >= sizeof(rte_udp_hdr) && (ip.fragment || ip.l4 + len <= ip.end);
  return fits ? DropReason::kNone : DropReason::kMalformed;
}

template <class Key>
DropReason CheckOffload(BasicPacket<Key>& p, const IpSpan& ip, uint32_t outer_l4) noexcept {
  Offload& offload = OffloadOf(*p.mbuf);
  if (offload.gso_size == 0 && !offload.needs_csum()) {
    // In a tunnel the port's word is of the outer header.
    offload = {.flags = static_cast<uint8_t>(p.tunnelled ? 0 : offload.flags & Offload::kDataValid)};
    return DropReason::kNone;
  }
  if (!offload.needs_csum()) return DropReason::kMalformed;
  const bool of_l4 = offload.csum_start == ip.l4 && !ip.fragment &&
                     ((ip.proto == IPPROTO_TCP && offload.csum_offset == offsetof(rte_tcp_hdr, cksum)) ||
                      (ip.proto == IPPROTO_UDP && offload.csum_offset == offsetof(rte_udp_hdr, dgram_cksum)));
  if (offload.gso_size != 0) return of_l4 ? CheckSegments(p, ip, offload) : DropReason::kMalformed;
  offload.gso_type = GsoType::kNone;
  if (of_l4) return DropReason::kNone;
  if (p.tunnelled && offload.csum_start == outer_l4) {  // the outer UDP checksum goes with its header
    offload = {};
    return DropReason::kNone;
  }
  // A checksum deeper in the payload (the pod's own tunnel), or ICMPv6's: finished here, then it is nobody's
  // business.
  if (ip.fragment || offload.csum_start < ip.l4 || !CompleteChecksum(*p.mbuf)) return DropReason::kMalformed;
  offload = {};
  return DropReason::kNone;
}

template void TakePorts(Packet&, uint32_t) noexcept;
template void TakePorts(Packet6&, uint32_t) noexcept;
template DropReason Transport(Packet&, const IpSpan&) noexcept;
template DropReason Transport(Packet6&, const IpSpan&) noexcept;
template DropReason CheckOffload(Packet&, const IpSpan&, uint32_t) noexcept;
template DropReason CheckOffload(Packet6&, const IpSpan&, uint32_t) noexcept;

}  // namespace podwire
