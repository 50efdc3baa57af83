#include "pmd/coalesce.h"

#include <cstddef>
#include <cstring>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "net/checksum.h"

namespace podwire {
namespace {

constexpr uint8_t kIp4 = sizeof(rte_ipv4_hdr), kIp6 = sizeof(rte_ipv6_hdr);
constexpr uint8_t kPlainIhl = 0x45;
constexpr uint8_t kEndFlags = RTE_TCP_PSH_FLAG | RTE_TCP_FIN_FLAG;
constexpr uint8_t kAllowedFlags = RTE_TCP_ACK_FLAG | RTE_TCP_ECE_FLAG | kEndFlags;

const rte_ipv4_hdr& Ip4Of(const TcpSegment& s) { return *reinterpret_cast<const rte_ipv4_hdr*>(s.ip); }
const rte_ipv6_hdr& Ip6Of(const TcpSegment& s) { return *reinterpret_cast<const rte_ipv6_hdr*>(s.ip); }
const rte_tcp_hdr& TcpOf(const TcpSegment& s) {
  return *reinterpret_cast<const rte_tcp_hdr*>(s.ip + s.l3_len);
}

bool SameIp4(const rte_ipv4_hdr& a, const rte_ipv4_hdr& b) {
  return a.type_of_service == b.type_of_service && a.fragment_offset == b.fragment_offset &&
         a.time_to_live == b.time_to_live && a.src_addr == b.src_addr && a.dst_addr == b.dst_addr;
}

/// All but the length: the flow label too.
bool SameIp6(const rte_ipv6_hdr& a, const rte_ipv6_hdr& b) {
  return a.vtc_flow == b.vtc_flow && a.hop_limits == b.hop_limits &&
         std::memcmp(a.src_addr, b.src_addr, sizeof a.src_addr + sizeof a.dst_addr) == 0;
}

bool SameTcp(const rte_tcp_hdr& a, const rte_tcp_hdr& b) {
  return a.src_port == b.src_port && a.dst_port == b.dst_port && a.recv_ack == b.recv_ack &&
         a.rx_win == b.rx_win && a.tcp_urp == b.tcp_urp && ((a.tcp_flags ^ b.tcp_flags) & ~kEndFlags) == 0 &&
         a.data_off == b.data_off;
}

bool IsPlainIp4(const rte_ipv4_hdr& h, uint32_t len) {
  return h.version_ihl == kPlainIhl && h.next_proto_id == IPPROTO_TCP &&
         rte_be_to_cpu_16(h.total_length) == len &&
         (h.fragment_offset & ~RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) == 0;
}

bool IsPlainIp6(const rte_ipv6_hdr& h, uint32_t len) {
  return h.proto == IPPROTO_TCP && uint32_t{kIp6} + rte_be_to_cpu_16(h.payload_len) == len;
}

}  // namespace

bool FindTcpSegment(const uint8_t* ip, uint32_t contiguous, uint32_t len, TcpSegment& segment) noexcept {
  if (contiguous < kIp4 + sizeof(rte_tcp_hdr)) return false;
  segment.ip = ip;
  segment.l3_len = ip[0] >> 4 == 6 ? kIp6 : kIp4;
  if (contiguous < segment.l3_len + sizeof(rte_tcp_hdr)) return false;
  if (!(segment.v6() ? IsPlainIp6(Ip6Of(segment), len) : IsPlainIp4(Ip4Of(segment), len))) return false;
  const rte_tcp_hdr& tcp = TcpOf(segment);
  const uint32_t tcp_header = (tcp.data_off >> 4) * 4u;
  const uint32_t header = segment.l3_len + tcp_header;
  if (tcp_header < sizeof(rte_tcp_hdr) || header > contiguous || header >= len) return false;
  if ((tcp.tcp_flags & ~kAllowedFlags) != 0 || (tcp.tcp_flags & RTE_TCP_ACK_FLAG) == 0) return false;
  segment.header_len = static_cast<uint16_t>(header);
  segment.payload_len = static_cast<uint16_t>(len - header);
  return true;
}

uint16_t TcpPseudoSum(const TcpSegment& segment, uint16_t tcp_len) noexcept {
  const uint16_t addresses = segment.v6() ? rte_raw_cksum(segment.ip + offsetof(rte_ipv6_hdr, src_addr), 32)
                                          : rte_raw_cksum(segment.ip + offsetof(rte_ipv4_hdr, src_addr), 8);
  return FoldChecksum(uint64_t{addresses} + RTE_BE16(IPPROTO_TCP) + rte_cpu_to_be_16(tcp_len));
}

TcpCoalescer::TcpCoalescer(const TcpSegment& first) noexcept : first_(first), len_(first.header_len) {
  next_sequence_ = rte_be_to_cpu_32(TcpOf(first).sent_seq);
  Append(first);
}

bool TcpCoalescer::Continues(const TcpSegment& next) const noexcept {
  if (ended_ || next.l3_len != first_.l3_len || next.header_len != first_.header_len) return false;
  if (next.payload_len > first_.payload_len || first_.payload_len < kMinGsoSize) return false;
  if (len_ + next.payload_len > UINT16_MAX) return false;
  const rte_tcp_hdr& tcp = TcpOf(first_);
  if (rte_be_to_cpu_32(TcpOf(next).sent_seq) != next_sequence_) return false;
  if (!ContinuesIp(next) || !SameTcp(tcp, TcpOf(next))) return false;
  return std::memcmp(&tcp + 1, &TcpOf(next) + 1, first_.header_len - first_.l3_len - sizeof tcp) == 0;
}

bool TcpCoalescer::ContinuesIp(const TcpSegment& next) const noexcept {
  if (first_.v6()) return SameIp6(Ip6Of(first_), Ip6Of(next));
  const rte_ipv4_hdr& ip = Ip4Of(first_);
  if (!SameIp4(ip, Ip4Of(next))) return false;
  // Without DF the id means something; whoever segments the super-packet counts it up.
  const auto id = static_cast<uint16_t>(rte_be_to_cpu_16(ip.packet_id) + segments_);
  return ip.fragment_offset != 0 || rte_be_to_cpu_16(Ip4Of(next).packet_id) == id;
}

void TcpCoalescer::Append(const TcpSegment& next) noexcept {
  next_sequence_ += next.payload_len;
  len_ += next.payload_len;
  ++segments_;
  end_flags_ = TcpOf(next).tcp_flags & kEndFlags;
  ended_ = end_flags_ != 0 || next.payload_len != first_.payload_len;
}

void TcpCoalescer::WriteHeader(uint8_t* to) const noexcept {
  std::memmove(to, first_.ip, first_.header_len);
  TcpSegment written = first_;
  written.ip = to;
  const auto tcp_len = static_cast<uint16_t>(len_ - first_.l3_len);
  if (first_.v6()) {
    reinterpret_cast<rte_ipv6_hdr*>(to)->payload_len = rte_cpu_to_be_16(tcp_len);
  } else {
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(to);
    ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(len_));
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  }
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(to + first_.l3_len);
  tcp->tcp_flags |= end_flags_;
  tcp->cksum = TcpPseudoSum(written, tcp_len);
}

Offload TcpCoalescer::OffloadAt(uint16_t l3_offset) const noexcept {
  return {.csum_start = static_cast<uint16_t>(l3_offset + first_.l3_len),
          .csum_offset = offsetof(rte_tcp_hdr, cksum),
          .gso_size = first_.payload_len,
          .gso_type = first_.v6() ? GsoType::kTcp6 : GsoType::kTcp4,
          .flags = Offload::kNeedsCsum};
}

}  // namespace podwire
