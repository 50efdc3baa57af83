#include "switch/icmp.h"

#include <algorithm>
#include <type_traits>

#include <rte_icmp.h>
#include <rte_ip.h>

#include "net/checksum.h"
#include "switch/icmp_error.h"
#include "switch/tables.h"

namespace podwire {
namespace {

constexpr uint8_t kEchoReply = 0, kEchoRequest = 8;
constexpr uint8_t kUnreachable = 3, kTimeExceededType = 11;
constexpr uint8_t kTtl = 64;
constexpr uint8_t kInternetworkControl = 0xc0;  // RFC 1812 4.3.2.5: precedence of ICMP errors
constexpr uint16_t kMaxError = 576;

struct TypeCode {
  uint8_t type, code;
};

TypeCode TypeOf(IcmpError error) {
  switch (error) {
    case IcmpError::kNetUnreachable:
      return {kUnreachable, 0};
    case IcmpError::kHostUnreachable:
      return {kUnreachable, 1};
    case IcmpError::kPortUnreachable:
      return {kUnreachable, 3};
    case IcmpError::kFragmentationNeeded:
      return {kUnreachable, 4};
    case IcmpError::kTimeExceeded:
      return {kTimeExceededType, 0};
  }
  return {kUnreachable, 0};
}

void WriteIp(rte_ipv4_hdr& ip, uint16_t total_length, Ipv4 source, Ipv4 destination) {
  ip = {};
  ip.version_ihl = RTE_IPV4_VHL_DEF;
  ip.type_of_service = kInternetworkControl;
  ip.total_length = rte_cpu_to_be_16(total_length);
  ip.fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG);  // so its identification need not be unique (RFC 6864)
  ip.time_to_live = kTtl;
  ip.next_proto_id = IPPROTO_ICMP;
  ip.src_addr = source.be;
  ip.dst_addr = destination.be;
  ip.hdr_checksum = rte_ipv4_cksum(&ip);
}

}  // namespace

bool IcmpLimiter::Take(uint32_t now_ms) noexcept {
  const uint32_t elapsed = std::min(now_ms - filled_ms_, kBurst);  // a token a millisecond
  static_assert(kPerSecond == 1000);
  tokens_ = std::min(tokens_ + elapsed, kBurst);
  filled_ms_ = now_ms;
  if (tokens_ == 0) return false;
  --tokens_;
  return true;
}

bool MakeEchoReply(Packet& packet) noexcept {
  if (packet.kind != PacketKind::kFlow || packet.key.proto != IPPROTO_ICMP ||
      packet.icmp_type != kEchoRequest || packet.first_fragment) {
    return false;
  }
  auto* ip = rte_pktmbuf_mtod_offset(packet.mbuf, rte_ipv4_hdr*, packet.l3_offset);
  auto* icmp = rte_pktmbuf_mtod_offset(packet.mbuf, rte_icmp_hdr*, packet.l4_offset);
  ip->src_addr = packet.key.dst.be;
  ip->dst_addr = packet.key.src.be;
  const uint16_t ttl_before = static_cast<uint16_t>(ip->time_to_live << 8);
  ip->hdr_checksum = UpdateChecksum(ip->hdr_checksum, rte_cpu_to_be_16(ttl_before), RTE_BE16(kTtl << 8));
  ip->time_to_live = kTtl;
  const uint16_t sum =
      UpdateChecksum(icmp->icmp_cksum, RTE_BE16(kEchoRequest << 8), RTE_BE16(kEchoReply << 8));
  // Of an all-zero message the checksum is 0xffff, which RFC 1624's sum cannot tell from 0; it is right for
  // both.
  icmp->icmp_cksum = sum == 0 ? 0xffff : sum;
  icmp->icmp_type = kEchoReply;
  packet.key = packet.key.Reversed();
  packet.ttl = kTtl;
  packet.icmp_type = kEchoReply;
  return true;
}

bool MayReport(const Packet& packet) noexcept {
  if (packet.kind != PacketKind::kFlow) return false;
  const uint32_t source = rte_be_to_cpu_32(packet.key.src.be);
  const uint8_t top = static_cast<uint8_t>(source >> 24);
  return top != 0 && top != 127 && top < 224;
}

rte_mbuf* BuildIcmpError(rte_mempool& pool, const Packet& packet, IcmpError error, uint16_t mtu, Ipv4 source,
                         Packet& out) noexcept {
  if (!MayReport(packet)) return nullptr;
  const auto frame = QuoteInError<rte_ipv4_hdr>(pool, packet, kMaxError);
  if (frame.mbuf == nullptr) return nullptr;
  WriteIp(*frame.ip, frame.len, source, packet.key.src);
  const auto [type, code] = TypeOf(error);
  rte_icmp_hdr& icmp = *frame.icmp;
  icmp = {.icmp_type = type, .icmp_code = code, .icmp_cksum = 0, .icmp_ident = 0, .icmp_seq_nb = 0};
  if (error == IcmpError::kFragmentationNeeded) icmp.icmp_seq_nb = rte_cpu_to_be_16(mtu);
  icmp.icmp_cksum = static_cast<uint16_t>(~rte_raw_cksum(&icmp, frame.len - sizeof(rte_ipv4_hdr)));
  out = DescribeError(frame, packet, kTtl);
  out.tos = kInternetworkControl;
  return frame.mbuf;
}

template <class Address>
Address OwnAddress(const Tables& tables) noexcept {
  constexpr bool kIpv4 = std::is_same_v<Address, Ipv4>;
  const auto fits = [](const IpAddress& a) { return kIpv4 ? a.is_v4() : a.is_v6(); };
  const auto take = [](const IpAddress& a) {
    if constexpr (kIpv4) {
      return a.v4();
    } else {
      return a.v6();
    }
  };
  for (const IpAddress& gateway : tables.local.gateways) {
    if (fits(gateway)) return take(gateway);
  }
  const IpAddress& underlay = kIpv4 ? tables.local.underlay_address : tables.local.underlay_address6;
  return fits(underlay) ? take(underlay) : Address{};
}

template Ipv4 OwnAddress(const Tables&) noexcept;
template Ipv6 OwnAddress(const Tables&) noexcept;

}  // namespace podwire
