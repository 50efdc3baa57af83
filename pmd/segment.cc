#include "pmd/segment.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_memcpy.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "net/checksum.h"

namespace podwire {
namespace {

constexpr uint16_t kUdpChecksumOffset = offsetof(rte_udp_hdr, dgram_cksum);
constexpr uint64_t kTunnelFlags = RTE_MBUF_F_TX_TUNNEL_MASK;

/// Offset of the L3 header of an untunnelled frame: 14, or more behind VLAN tags.
uint16_t PlainL3Offset(const rte_mbuf& m) {
  uint16_t offset = offsetof(rte_ether_hdr, ether_type);
  uint16_t type = 0;
  for (int tags = 0; tags <= 2 && offset + 2 <= m.data_len; ++tags) {
    std::memcpy(&type, rte_pktmbuf_mtod_offset(&m, const uint8_t*, offset), sizeof type);
    offset += 2;
    if (type != RTE_BE16(RTE_ETHER_TYPE_VLAN) && type != RTE_BE16(RTE_ETHER_TYPE_QINQ)) return offset;
    offset += 2;
  }
  return UINT16_MAX;
}

/// Folded sum of the bytes from `offset` (in the first mbuf) to the packet's end. Not rte_raw_cksum_mbuf:
/// that of DPDK 22.11 cuts off a segment's carries when an odd number of bytes came before it.
uint16_t SumFrom(const rte_mbuf& packet, uint16_t offset) {
  uint64_t sum =
      rte_raw_cksum(rte_pktmbuf_mtod_offset(&packet, const uint8_t*, offset), packet.data_len - offset);
  uint32_t done = packet.data_len - offset;
  for (const rte_mbuf* m = packet.next; m != nullptr; m = m->next) {
    const uint16_t part = rte_raw_cksum(rte_pktmbuf_mtod(m, const uint8_t*), m->data_len);
    sum += (done & 1) != 0 ? AtOddOffset(part) : part;
    done += m->data_len;
  }
  return FoldChecksum(sum);
}

/// ~`sum`, as UDP wants it: never 0 (RFC 768, RFC 8200 8.1).
uint16_t UdpChecksum(uint64_t sum) {
  const auto checksum = static_cast<uint16_t>(~FoldChecksum(sum));
  return checksum == 0 ? UINT16_MAX : checksum;
}

/// Of the IPv6 pseudo header for `udp`, whose length is set.
uint64_t UdpPseudoSum6(const rte_ipv6_hdr& ip, const rte_udp_hdr& udp) {
  return uint64_t{rte_raw_cksum(ip.src_addr, sizeof ip.src_addr + sizeof ip.dst_addr)} +
         RTE_BE16(IPPROTO_UDP) + udp.dgram_len;
}

}  // namespace

bool CompleteChecksum(rte_mbuf& packet) noexcept {
  Offload& offload = OffloadOf(packet);
  const uint32_t field = uint32_t{offload.csum_start} + offload.csum_offset;
  if (field + 2 > packet.data_len || packet.pkt_len < packet.data_len) return false;
  auto sum = static_cast<uint16_t>(~SumFrom(packet, offload.csum_start));
  if (sum == 0 && offload.csum_offset == kUdpChecksumOffset) sum = 0xffff;
  std::memcpy(rte_pktmbuf_mtod_offset(&packet, uint8_t*, field), &sum, sizeof sum);
  offload.flags = static_cast<uint8_t>((offload.flags & ~Offload::kNeedsCsum) | Offload::kDataValid);
  return true;
}

bool Segmenter::FindHeaders(const rte_mbuf& packet) noexcept {
  const Offload& offload = OffloadOf(packet);
  const uint8_t* data = rte_pktmbuf_mtod(&packet, const uint8_t*);
  const auto version = [&](uint16_t offset) { return data[offset] >> 4; };
  tunnel_ = (packet.ol_flags & kTunnelFlags) != 0;
  uint32_t l3 = PlainL3Offset(packet);
  if (tunnel_) {
    outer_l3_ = packet.outer_l2_len;
    outer_l4_ = static_cast<uint16_t>(outer_l3_ + packet.outer_l3_len);
    l3 = uint32_t{outer_l4_} + packet.l2_len;
    const uint32_t outer_min = packet.outer_l3_len + sizeof(rte_udp_hdr);
    if (packet.outer_l3_len < sizeof(rte_ipv4_hdr) || packet.l2_len < sizeof(rte_udp_hdr) ||
        outer_l3_ + outer_min > packet.data_len) {
      return false;
    }
    outer_v4_ = version(outer_l3_) == 4;
    if (!outer_v4_ && packet.outer_l3_len < sizeof(rte_ipv6_hdr)) return false;
  }
  v4_ = offload.gso_type == GsoType::kTcp4;
  const uint32_t l3_min = v4_ ? sizeof(rte_ipv4_hdr) : sizeof(rte_ipv6_hdr);
  const uint32_t l4 = offload.csum_start;
  if (l3 + l3_min > l4 || l4 + sizeof(rte_tcp_hdr) > packet.data_len) return false;
  if (version(static_cast<uint16_t>(l3)) != (v4_ ? 4 : 6)) return false;
  if (v4_ && l3 + (data[l3] & 15u) * 4 != l4) return false;
  l3_ = static_cast<uint16_t>(l3);
  l4_ = static_cast<uint16_t>(l4);
  const uint32_t tcp_len = (data[l4 + offsetof(rte_tcp_hdr, data_off)] >> 4) * 4u;
  const uint32_t header = l4 + tcp_len;
  if (tcp_len < sizeof(rte_tcp_hdr) || header > packet.data_len || header > kMaxHeader) return false;
  header_len_ = static_cast<uint16_t>(header);
  return true;
}

bool Segmenter::Start(const rte_mbuf& packet) noexcept {
  const Offload& offload = OffloadOf(packet);
  payload_left_ = 0;
  if (offload.gso_size == 0 || offload.gso_type == GsoType::kNone || !offload.needs_csum()) return false;
  if (!FindHeaders(packet) || packet.pkt_len <= header_len_) return false;
  if (header_len_ + uint32_t{offload.gso_size} > UINT16_MAX - RTE_PKTMBUF_HEADROOM) return false;
  std::memcpy(header_.data(), rte_pktmbuf_mtod(&packet, const void*), header_len_);
  ZeroWhatVaries();
  gso_size_ = offload.gso_size;
  index_ = 0;
  source_ = &packet;
  source_offset_ = header_len_;
  payload_left_ = packet.pkt_len - header_len_;
  return true;
}

/// Takes out of header_ what frames differ in, and sums up the rest.
void Segmenter::ZeroWhatVaries() noexcept {
  uint8_t* data = header_.data();
  if (tunnel_ && outer_v4_) outer_ip_ = TakeIpv4(outer_l3_);
  if (v4_) ip_ = TakeIpv4(l3_);
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(data + l4_);
  sequence_ = rte_be_to_cpu_32(tcp->sent_seq);
  tcp_flags_ = tcp->tcp_flags;
  tcp->sent_seq = 0;
  tcp->tcp_flags = 0;
  tcp->cksum = 0;
  const uint16_t addresses = v4_ ? offsetof(rte_ipv4_hdr, src_addr) : offsetof(rte_ipv6_hdr, src_addr);
  pseudo_sum_ = uint32_t{rte_raw_cksum(data + l3_ + addresses, v4_ ? 8 : 32)} + RTE_BE16(IPPROTO_TCP);
  tcp_sum_ = pseudo_sum_ + rte_raw_cksum(tcp, header_len_ - size_t{l4_});
}

Segmenter::Ipv4Template Segmenter::TakeIpv4(uint16_t offset) noexcept {
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(header_.data() + offset);
  const uint16_t id = rte_be_to_cpu_16(ip->packet_id);
  ip->total_length = 0;
  ip->packet_id = 0;
  ip->hdr_checksum = 0;
  return {.sum = rte_raw_cksum(ip, rte_ipv4_hdr_len(ip)), .id = id};
}

void Segmenter::CopyPayload(uint8_t* to, uint32_t len) noexcept {
  while (len > 0) {
    if (source_offset_ == source_->data_len) {
      source_ = source_->next;
      source_offset_ = 0;
      continue;
    }
    const uint32_t part = std::min(len, source_->data_len - source_offset_);
    rte_memcpy(to, rte_pktmbuf_mtod_offset(source_, const uint8_t*, source_offset_), part);
    to += part;
    len -= part;
    source_offset_ += part;
  }
}

/// `v4`: null for IPv6.
void Segmenter::WriteIp(uint8_t* frame, uint16_t offset, const Ipv4Template* v4,
                        uint16_t frame_len) const noexcept {
  const auto l3_len = static_cast<uint16_t>(frame_len - offset);
  if (v4 == nullptr) {
    auto* ip = reinterpret_cast<rte_ipv6_hdr*>(frame + offset);
    ip->payload_len = rte_cpu_to_be_16(static_cast<uint16_t>(l3_len - sizeof(rte_ipv6_hdr)));
    return;
  }
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(frame + offset);
  const rte_be16_t len = rte_cpu_to_be_16(l3_len);
  const rte_be16_t id = rte_cpu_to_be_16(static_cast<uint16_t>(v4->id + index_));
  ip->total_length = len;
  ip->packet_id = id;
  ip->hdr_checksum = static_cast<uint16_t>(~FoldChecksum(uint64_t{v4->sum} + len + id));
}

void Segmenter::WriteHeaders(uint8_t* frame, uint16_t payload_len) noexcept {
  const auto frame_len = static_cast<uint16_t>(header_len_ + payload_len);
  if (tunnel_) {
    std::memcpy(frame, header_.data(), outer_l4_ + sizeof(rte_udp_hdr));
    WriteIp(frame, outer_l3_, outer_v4_ ? &outer_ip_ : nullptr, frame_len);
    auto* udp = reinterpret_cast<rte_udp_hdr*>(frame + outer_l4_);
    udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(frame_len - outer_l4_));
  }
  WriteInnerHeaders(frame, payload_len);
}

/// All but the outermost headers of a tunnel.
void Segmenter::WriteInnerHeaders(uint8_t* frame, uint16_t payload_len) noexcept {
  const size_t from = tunnel_ ? outer_l4_ + sizeof(rte_udp_hdr) : 0;
  std::memcpy(frame + from, header_.data() + from, header_len_ - from);
  WriteIp(frame, l3_, v4_ ? &ip_ : nullptr, static_cast<uint16_t>(header_len_ + payload_len));
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(frame + l4_);
  uint8_t flags = tcp_flags_;
  if (payload_left_ != payload_len) flags &= static_cast<uint8_t>(~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG));
  if (index_ != 0) flags &= static_cast<uint8_t>(~RTE_TCP_CWR_FLAG);
  tcp->sent_seq = rte_cpu_to_be_32(sequence_);
  tcp->tcp_flags = flags;
}

/// After WriteInnerHeaders. `payload_sum`: folded, from the payload's first byte.
void Segmenter::WriteTcpChecksum(uint8_t* frame, uint16_t payload_len, uint16_t payload_sum) const noexcept {
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(frame + l4_);
  const auto tcp_len = static_cast<uint16_t>(header_len_ - l4_ + payload_len);
  const rte_be32_t sequence = rte_cpu_to_be_32(sequence_);
  tcp->cksum = static_cast<uint16_t>(~FoldChecksum(uint64_t{tcp_sum_} + rte_cpu_to_be_16(tcp_len) +
                                                   (sequence >> 16) + (sequence & 0xffff) +
                                                   rte_cpu_to_be_16(tcp->tcp_flags) + payload_sum));
}

/// Over IPv6, after the inner checksum, by which the inner TCP segment adds up to the complement of its
/// pseudo header's sum.
void Segmenter::WriteOuterChecksum(uint8_t* frame, uint16_t payload_len) const noexcept {
  const auto* ip = reinterpret_cast<const rte_ipv6_hdr*>(frame + outer_l3_);
  auto* udp = reinterpret_cast<rte_udp_hdr*>(frame + outer_l4_);
  const auto tcp_len = static_cast<uint16_t>(header_len_ - l4_ + payload_len);
  const uint16_t pseudo = FoldChecksum(uint64_t{pseudo_sum_} + rte_cpu_to_be_16(tcp_len));
  udp->dgram_cksum = 0;
  udp->dgram_cksum = UdpChecksum(UdpPseudoSum6(*ip, *udp) + rte_raw_cksum(udp, l4_ - size_t{outer_l4_}) +
                                 static_cast<uint16_t>(~pseudo));
}

void Segmenter::NextFrame(uint16_t payload_len) noexcept {
  sequence_ += payload_len;
  payload_left_ -= payload_len;
  ++index_;
}

uint16_t Segmenter::Next(const MbufPools& pools, std::span<rte_mbuf*> frames) noexcept {
  uint16_t n = 0;
  for (; n < frames.size() && payload_left_ > 0; ++n) {
    const auto payload_len = static_cast<uint16_t>(std::min<uint32_t>(payload_left_, gso_size_));
    const auto frame_len = static_cast<uint16_t>(header_len_ + payload_len);
    rte_mbuf* m = rte_pktmbuf_alloc(frame_len <= kSmallRoom ? &pools.small() : &pools.big());
    if (m == nullptr) break;
    auto* frame = rte_pktmbuf_mtod(m, uint8_t*);
    m->data_len = frame_len;
    m->pkt_len = frame_len;
    OffloadOf(*m) = Offload{};
    WriteHeaders(frame, payload_len);
    CopyPayload(frame + header_len_, payload_len);
    WriteTcpChecksum(frame, payload_len, rte_raw_cksum(frame + header_len_, payload_len));
    if (tunnel_ && !outer_v4_) WriteOuterChecksum(frame, payload_len);
    NextFrame(payload_len);
    frames[n] = m;
  }
  return n;
}

}  // namespace podwire
