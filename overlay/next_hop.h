#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include <rte_byteorder.h>
#include <rte_ip.h>

#include "net/address.h"
#include "net/id.h"

namespace podwire {

/// Room for a ready-made header. Ethernet, IPv4, UDP, VXLAN and inner Ethernet are 64 bytes; with IPv6 84.
inline constexpr size_t kMaxHeader = 96;

inline constexpr uint16_t kDirectHeaderLen = 14;        ///< Ethernet
inline constexpr uint16_t kUdpHeaderLen = 14 + 20 + 8;  ///< Ethernet, IPv4, UDP
inline constexpr uint16_t kVxlanHeaderLen =
    14 + 20 + 8 + 8 + 14;  ///< Ethernet, IPv4, UDP, VXLAN, inner Ethernet
inline constexpr uint16_t kVxlanHeaderLen6 = kVxlanHeaderLen + 20;  ///< the same over IPv6
inline constexpr uint16_t kVxlanOverhead =
    kVxlanHeaderLen - 14;  ///< what VXLAN over IPv4 takes from the underlay's MTU
inline constexpr uint16_t kVxlanOverhead6 = kVxlanHeaderLen6 - 14;  ///< the same over IPv6
inline constexpr uint16_t kUdpOverhead = kUdpHeaderLen - 14;

/// Where packets for a prefix go on the underlay.
struct NextHop {
  enum class Kind : uint8_t {
    kDirect,  ///< plain L3: host-gw, or a host on the underlay
    kVxlan,   ///< RFC 7348
    kUdp,     ///< flannel's udp backend: the bare IPv4 packet in a UDP datagram
  };
  Kind kind = Kind::kDirect;
  std::string node;     ///< the peer's name; empty: no node
  IpAddress neighbor;   ///< underlay address whose MAC is needed; empty: the packet's own destination
  IpAddress remote;     ///< the peer's VTEP, whose family is the outer header's; empty for kDirect
  uint16_t mtu = 1500;  ///< largest (inner) L3 packet, bytes
  /// Copied in front of the IP packet in one go. To be patched: the destination MAC at 0; of tunnels the UDP
  /// source port and length, and the rest of the outer IP header (FinishOuterIpv4, FinishOuterIpv6). Over
  /// IPv6 also the UDP checksum: kernels' VXLAN devices take no datagram without one.
  uint8_t header_len = 0;
  alignas(64) std::array<uint8_t, kMaxHeader> header{};
};

/// Fills header and header_len of `hop` by its kind: outer TTL (hop limit) 64, TOS (traffic class) 0, DF
/// clear, flow label 0, UDP checksum 0 (RFC 7348 section 4.1), VXLAN flags 0x08. The outer IPv4 checksum is
/// that of a header with total length 0 and id 0; the outer IPv6 payload length is 0. kUdp is over IPv4 only.
struct HeaderAddresses {
  MacAddr src_mac;        ///< of the underlay port, or of the gateway for pods
  MacAddr dst_mac;        ///< kDirect to a pod; else left to the neighbour table
  IpAddress src, dst;     ///< tunnels: VTEPs of one family
  uint16_t udp_port = 0;  ///< destination, host order
  Vni vni{1};
  MacAddr inner_src_mac;             ///< own VtepMAC
  MacAddr inner_dst_mac;             ///< the peer's VtepMAC
  IpFamily carries = IpFamily::kV4;  ///< of the packets behind the header
};
void BuildHeader(NextHop& hop, const HeaderAddresses& a);

/// UDP source port of a tunnelled flow, host order: 49152-65535 by the flow's hash (RFC 7348 section 5).
inline uint16_t UdpSourcePort(uint32_t flow_hash) noexcept {
  return static_cast<uint16_t>(0xc000 | ((flow_hash ^ flow_hash >> 16) & 0x3fff));
}

/// Completes a ready-made outer IPv4 header at `ip`: total length (bytes), id (host order), ECN bits; mends
/// the checksum incrementally (RFC 1624).
inline void FinishOuterIpv4(uint8_t* ip, uint16_t total_length, uint16_t id, uint8_t ecn) noexcept {
  auto* h = reinterpret_cast<rte_ipv4_hdr*>(ip);
  h->type_of_service = ecn;
  h->total_length = rte_cpu_to_be_16(total_length);
  h->packet_id = rte_cpu_to_be_16(id);
  // ~checksum is the sum so far; TOS shares its word with the version, which is in that sum already.
  uint32_t sum = static_cast<uint16_t>(~rte_be_to_cpu_16(h->hdr_checksum));
  sum += uint32_t{total_length} + id + ecn;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  h->hdr_checksum = rte_cpu_to_be_16(static_cast<uint16_t>(~sum));
}

/// Completes a ready-made outer IPv6 header at `ip`: payload length (bytes), ECN bits.
inline void FinishOuterIpv6(uint8_t* ip, uint16_t payload_length, uint8_t ecn) noexcept {
  auto* h = reinterpret_cast<rte_ipv6_hdr*>(ip);
  h->vtc_flow = rte_cpu_to_be_32(6u << 28 | uint32_t{ecn} << RTE_IPV6_HDR_TC_SHIFT);
  h->payload_len = rte_cpu_to_be_16(payload_length);
}

inline constexpr uint8_t kEcnMask = 0x03, kEcnNotEct = 0, kEcnEct1 = 1, kEcnEct0 = 2, kEcnCe = 3;

/// ECN of the outer header (RFC 6040 4.1, normal mode).
constexpr uint8_t EcnEncap(uint8_t inner_tos) noexcept { return inner_tos & kEcnMask; }

enum class EcnResult : uint8_t { kKeep, kChanged, kDrop };

/// ECN of the packet that leaves a tunnel (RFC 6040 figure 4). `tos` receives the inner TOS with the outcome.
constexpr EcnResult EcnDecap(uint8_t outer_tos, uint8_t inner_tos, uint8_t& tos) noexcept {
  const uint8_t outer = outer_tos & kEcnMask, inner = inner_tos & kEcnMask;
  tos = inner_tos;
  if (outer == kEcnCe && inner == kEcnNotEct) return EcnResult::kDrop;
  const bool to_ce = outer == kEcnCe && inner != kEcnCe;
  const bool to_ect1 = outer == kEcnEct1 && inner == kEcnEct0;
  if (!to_ce && !to_ect1) return EcnResult::kKeep;
  tos = static_cast<uint8_t>((inner_tos & ~kEcnMask) | outer);
  return EcnResult::kChanged;
}

}  // namespace podwire
