#include "switch/icmp6.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include <rte_icmp.h>
#include <rte_ip.h>

#include "net/checksum.h"
#include "pmd/offload.h"
#include "switch/ip_header.h"

namespace podwire {
namespace {

constexpr uint8_t kHopLimit = 64;
constexpr uint16_t kMaxError = 1280;
constexpr uint16_t kHeaders = sizeof(rte_ipv6_hdr) + sizeof(rte_icmp_hdr);

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
  const uint16_t quoted = std::min<uint16_t>(packet.l3_len, kMaxError - kHeaders);
  const auto total = static_cast<uint16_t>(kHeaders + quoted);
  rte_mbuf* m = rte_pktmbuf_alloc(&pool);
  if (m == nullptr) return nullptr;
  auto* ip = reinterpret_cast<rte_ipv6_hdr*>(rte_pktmbuf_append(m, total));
  auto* icmp = reinterpret_cast<rte_icmp_hdr*>(ip + 1);
  auto* quote = reinterpret_cast<uint8_t*>(icmp + 1);
  const void* original =
      ip == nullptr ? nullptr : rte_pktmbuf_read(packet.mbuf, packet.l3_offset, quoted, quote);
  if (original == nullptr) {
    rte_pktmbuf_free(m);
    return nullptr;
  }
  if (original != quote) std::memcpy(quote, original, quoted);
  OffloadOf(*m) = {};
  WriteIp(*ip, static_cast<uint16_t>(total - sizeof *ip), source, packet.key.src);
  const auto [type, code] = TypeOf(error);
  *icmp = {.icmp_type = type, .icmp_code = code, .icmp_cksum = 0, .icmp_ident = 0, .icmp_seq_nb = 0};
  // 32 bits, of which an MTU here needs the lower half.
  if (error == IcmpError::kFragmentationNeeded) icmp->icmp_seq_nb = rte_cpu_to_be_16(mtu);
  icmp->icmp_cksum = rte_ipv6_udptcp_cksum(ip, icmp);
  out = Packet6{};
  out.mbuf = m;
  out.kind = PacketKind::kIcmpError;
  out.key = packet.key;
  out.key.in_port = kNoPort;
  out.l4_offset = sizeof *ip;
  out.l3_len = total;
  out.ttl = kHopLimit;
  out.icmp_type = type;
  out.icmp_code = code;
  out.dont_fragment = true;
  return m;
}

}  // namespace podwire
