#include "switch/icmp6.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include <rte_icmp.h>
#include <rte_ip.h>

#include "net/checksum.h"
#include "switch/icmp_error.h"
#include "switch/ip_header.h"

namespace podwire {
namespace {

constexpr uint8_t kHopLimit = 64;
constexpr uint16_t kMaxError = 1280;

struct TypeCode {
  uint8_t type, code;
};

TypeCode TypeOf(IcmpError error) {
  switch (error) {
    case IcmpError::kNetUnreachable:
      return {ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE};
    case IcmpError::kHostUnreachable:
      return {ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR};
    case IcmpError::kPortUnreachable:
      return {ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT};
    case IcmpError::kFragmentationNeeded:
      return {ICMP6_PACKET_TOO_BIG, 0};
    case IcmpError::kTimeExceeded:
      return {ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT};
  }
  return {ICMP6_DST_UNREACH, 0};
}

void WriteIp(rte_ipv6_hdr& ip, uint16_t payload, const Ipv6& source, const Ipv6& destination) {
  ip.vtc_flow = RTE_BE32(6u << 28);
  ip.payload_len = rte_cpu_to_be_16(payload);
  ip.proto = IPPROTO_ICMPV6;
  ip.hop_limits = kHopLimit;
  std::memcpy(ip.src_addr, source.bytes.data(), sizeof ip.src_addr);
  std::memcpy(ip.dst_addr, destination.bytes.data(), sizeof ip.dst_addr);
}

}  // namespace

bool MakeEchoReply(Packet6& packet) noexcept {
  if (packet.kind != PacketKind::kFlow || packet.key.proto != IPPROTO_ICMPV6 ||
      packet.icmp_type != ICMP6_ECHO_REQUEST || packet.first_fragment) {
    return false;
  }
  rte_ipv6_hdr& ip = HeaderOf(packet);
  auto* icmp = rte_pktmbuf_mtod_offset(packet.mbuf, rte_icmp_hdr*, packet.l4_offset);
  std::swap_ranges(ip.src_addr, ip.src_addr + sizeof ip.src_addr, ip.dst_addr);
  ip.hop_limits = packet.ttl = kHopLimit;
  // The pseudo header's sum is the same.
  icmp->icmp_cksum =
      UpdateChecksum(icmp->icmp_cksum, RTE_BE16(ICMP6_ECHO_REQUEST << 8), RTE_BE16(ICMP6_ECHO_REPLY << 8));
  icmp->icmp_type = packet.icmp_type = ICMP6_ECHO_REPLY;
  packet.key = packet.key.Reversed();
  return true;
}

bool MayReport(const Packet6& packet) noexcept {
  if (packet.kind != PacketKind::kFlow) return false;
  const Ipv6& source = packet.key.src;
  static constexpr uint8_t kZero[8] = {};
  const bool no_network = std::memcmp(source.bytes.data(), kZero, sizeof kZero) == 0;  // ::, ::1
  return !no_network && source.bytes[0] != 0xff && !IsLinkLocal(source);
}

rte_mbuf* BuildIcmpError(rte_mempool& pool, const Packet6& packet, IcmpError error, uint16_t mtu,
                         const Ipv6& source, Packet6& out) noexcept {
  if (!MayReport(packet) || source == Ipv6{}) return nullptr;
  const auto frame = QuoteInError<rte_ipv6_hdr>(pool, packet, kMaxError);
  if (frame.mbuf == nullptr) return nullptr;
  WriteIp(*frame.ip, static_cast<uint16_t>(frame.len - sizeof(rte_ipv6_hdr)), source, packet.key.src);
  const auto [type, code] = TypeOf(error);
  rte_icmp_hdr& icmp = *frame.icmp;
  icmp = {.icmp_type = type, .icmp_code = code, .icmp_cksum = 0, .icmp_ident = 0, .icmp_seq_nb = 0};
  // 32 bits, of which an MTU here needs the lower half.
  if (error == IcmpError::kFragmentationNeeded) icmp.icmp_seq_nb = rte_cpu_to_be_16(mtu);
  icmp.icmp_cksum = rte_ipv6_udptcp_cksum(frame.ip, &icmp);
  out = DescribeError(frame, packet, kHopLimit);
  return frame.mbuf;
}

}  // namespace podwire
