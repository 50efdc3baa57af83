// rte_ipv4_fragment_copy_nonseg_packet: fragments in one segment each, which every port can send.
#define ALLOW_EXPERIMENTAL_API

#include "switch/rewrite.h"

#include <cstddef>
#include <cstring>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_ip_frag.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "overlay/next_hop.h"
#include "pmd/offload.h"
#include "pmd/segment.h"
#include "switch/fast_forward.h"
#include "switch/ip_header.h"
#include "switch/outer_checksum.h"
#include "switch/tables.h"

namespace podwire {
namespace {

constexpr uint16_t kEthernet = sizeof(rte_ether_hdr);

/// IP and TCP headers of a super-packet, bytes.
uint16_t SegmentHeaders(const PacketBase& p) {
  const auto* tcp = rte_pktmbuf_mtod_offset(p.mbuf, const rte_tcp_hdr*, p.l4_offset);
  return static_cast<uint16_t>(p.l4_offset - p.l3_offset + (tcp->data_off >> 4) * 4);
}

uint16_t SegmentCount(const PacketBase& p, const Offload& offload) {
  if (offload.gso_size == 0) return 1;
  const int payload = p.l3_len - SegmentHeaders(p);
  return static_cast<uint16_t>((payload + offload.gso_size - 1) / offload.gso_size);
}

/// What ports need to know of an encapsulated packet whose checksum or segmentation is still to be done.
template <class Key>
void DescribeTunnel(const BasicPacket<Key>& p, const NextHop& hop) {
  rte_mbuf& m = *p.mbuf;
  m.outer_l2_len = kEthernet;
  m.outer_l3_len = hop.remote.is_v6() ? sizeof(rte_ipv6_hdr) : sizeof(rte_ipv4_hdr);
  m.l2_len = hop.header_len - kEthernet - m.outer_l3_len;
  m.l3_len = p.l4_offset - p.l3_offset;
  m.l4_len = p.key.proto == IPPROTO_TCP ? SegmentHeaders(p) - m.l3_len : sizeof(rte_udp_hdr);
  m.ol_flags |= hop.kind == NextHop::Kind::kVxlan ? RTE_MBUF_F_TX_TUNNEL_VXLAN : RTE_MBUF_F_TX_TUNNEL_UDP;
}

}  // namespace

template <class Key>
bool DecrementTtl(BasicPacket<Key>& packet) noexcept {
  if (packet.ttl <= 1) return false;
  --packet.ttl;
  DecrementTtl(HeaderOf(packet));
  return true;
}

template <class Key>
DropReason StripHeaders(BasicPacket<Key>& packet) noexcept {
  rte_mbuf& m = *packet.mbuf;
  if (packet.tunnelled) {
    uint8_t tos = packet.tos;
    if (EcnDecap(packet.outer_tos, packet.tos, tos) == EcnResult::kDrop) return DropReason::kEcnCongested;
    if (tos != packet.tos) SetTos(packet, tos);
    packet.tunnelled = false;
  }
  const uint16_t len = packet.l3_offset;
  rte_pktmbuf_adj(&m, len);
  packet.l4_offset = static_cast<uint16_t>(packet.l4_offset - len);
  packet.l3_offset = 0;
  if (Offload& offload = OffloadOf(m); offload.needs_csum()) {
    offload.csum_start = static_cast<uint16_t>(offload.csum_start - len);
  }
  return DropReason::kNone;
}

bool ExceedsMtu(const PacketBase& packet, uint16_t mtu) noexcept {
  const Offload& offload = OffloadOf(*packet.mbuf);
  if (offload.gso_size == 0) return packet.l3_len > mtu;
  return uint32_t{offload.gso_size} + SegmentHeaders(packet) > mtu;
}

bool ShrinkSegments(PacketBase& packet, uint16_t mtu) noexcept {
  Offload& offload = OffloadOf(*packet.mbuf);
  if (offload.gso_size == 0 || packet.dont_fragment) return false;
  const uint16_t headers = SegmentHeaders(packet);
  if (mtu < headers + kMinGsoSize) return false;
  offload.gso_size = static_cast<uint16_t>(mtu - headers);
  return true;
}

uint16_t Fragment(const Packet& packet, uint16_t mtu, const MbufPools& pools, std::span<rte_mbuf*> out,
                  DropReason& reason) noexcept {
  rte_mbuf& m = *packet.mbuf;
  Offload& offload = OffloadOf(m);
  reason = DropReason::kTooBig;
  if (packet.dont_fragment || offload.gso_size != 0) return 0;
  if (offload.needs_csum() && !CompleteChecksum(m)) {
    reason = DropReason::kMalformed;
    return 0;
  }
  rte_mempool& pool = mtu <= kSmallRoom ? pools.small() : pools.big();
  const int n =
      rte_ipv4_fragment_copy_nonseg_packet(&m, out.data(), static_cast<uint16_t>(out.size()), mtu, &pool);
  if (n <= 0) {
    if (n == -ENOMEM) reason = DropReason::kNoMbuf;
    return 0;
  }
  reason = DropReason::kNone;
  for (rte_mbuf* fragment : out.first(static_cast<size_t>(n))) {
    auto* ip = rte_pktmbuf_mtod(fragment, rte_ipv4_hdr*);
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    OffloadOf(*fragment) = {};
  }
  return static_cast<uint16_t>(n);
}

Packet FragmentPacket(const Packet& packet, rte_mbuf* fragment) noexcept {
  Packet p = packet;
  const auto* ip = rte_pktmbuf_mtod(fragment, const rte_ipv4_hdr*);
  p.mbuf = fragment;
  p.l3_offset = 0;
  p.l4_offset = rte_ipv4_hdr_len(ip);
  p.l3_len = rte_be_to_cpu_16(ip->total_length);
  p.first_fragment = (ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK)) == 0;
  return p;
}

template <class Key>
DropReason PrependHeader(BasicPacket<Key>& packet, const Adjacency& adjacency, const MacAddr& neighbor_mac,
                         uint16_t& ip_id) noexcept {
  const NextHop& hop = adjacency.hop;
  rte_mbuf& m = *packet.mbuf;
  const uint16_t len = hop.header_len;
  auto* at = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(&m, len));
  if (at == nullptr) return DropReason::kNoHeadroom;
  std::memcpy(at, hop.header.data(), len);
  if (!adjacency.to_endpoint) std::memcpy(at, neighbor_mac.bytes.data(), neighbor_mac.bytes.size());
  PutEtherType(packet, at + len);
  packet.l3_offset = len;
  packet.l4_offset = static_cast<uint16_t>(packet.l4_offset + len);
  Offload& offload = OffloadOf(m);
  const bool work = offload.needs_csum();
  if (work) offload.csum_start = static_cast<uint16_t>(offload.csum_start + len);
  if (hop.kind == NextHop::Kind::kDirect) return DropReason::kNone;

  const auto outer_len = static_cast<uint16_t>(packet.l3_len + len - kEthernet);
  const rte_be16_t src_port_be = rte_cpu_to_be_16(UdpSourcePort(SymmetricHash(packet.key, 0)));
  if (hop.remote.is_v6()) {
    // Of a super-packet each frame will have another one: none for now.
    const bool whole = offload.gso_size == 0;
    FinishTunnelOverIpv6(at + kEthernet, outer_len, src_port_be, EcnEncap(packet.tos));
    if (whole) PutTunnelChecksum(at + kEthernet, SumOfPacket(packet, at + len));
  } else {
    FinishTunnelOverIpv4(at + kEthernet, outer_len, src_port_be, ip_id, EcnEncap(packet.tos));
    ip_id = static_cast<uint16_t>(ip_id + SegmentCount(packet, offload));
  }
  if (work) DescribeTunnel(packet, hop);
  return DropReason::kNone;
}

template bool DecrementTtl(Packet&) noexcept;
template bool DecrementTtl(Packet6&) noexcept;
template DropReason StripHeaders(Packet&) noexcept;
template DropReason StripHeaders(Packet6&) noexcept;
template DropReason PrependHeader(Packet&, const Adjacency&, const MacAddr&, uint16_t&) noexcept;
template DropReason PrependHeader(Packet6&, const Adjacency&, const MacAddr&, uint16_t&) noexcept;

}  // namespace podwire
