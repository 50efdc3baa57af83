#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "net/address.h"
#include "switch/drop_reasons.h"
#include "switch/flow_key.h"

namespace podwire {

/// Packets handled together at most.
inline constexpr uint16_t kMaxBurst = 64;

/// What parse found a packet to be; decides which path it takes.
enum class PacketKind : uint8_t {
  kFlow,           ///< IP with a flow key: the flow table, then decide
  kIcmpError,      ///< ICMP error: `key` is the tuple quoted in it, as its connection's packets carry it (not
                   ///< reversed)
  kLaterFragment,  ///< fragment without ports: key ports are 0, frag_id_be set
  kArp,            ///< in bursts of IPv4
  kNd,             ///< ICMPv6 of the link: neighbour discovery (RFC 4861), multicast listeners (RFC 3810)
  kDrop,           ///< `reason` says why
};

/// What a packet's descriptor has in either family.
struct PacketBase {
  rte_mbuf* mbuf;
  uint32_t hash;        ///< FlowHash(key)
  uint16_t l3_offset;   ///< bytes from mbuf data to the IP header (of the inner packet once decapsulated:
                        ///< l3_offset counts from the outer frame's start until Decap strips it)
  uint16_t l4_offset;   ///< bytes from mbuf data to the L4 header; of IPv6's later fragments to the payload
  uint16_t l3_len;      ///< bytes of IP packet (super-packets up to 65,535)
  uint16_t frag_bytes;  ///< IPv6: of first fragments the fragmented bytes they hold, of later ones the offset
  uint32_t frag_id_be;  ///< identification, for fragments
  PacketKind kind;
  DropReason reason;
  uint8_t tcp_flags;
  uint8_t icmp_type;
  uint8_t icmp_code;
  uint8_t ttl;  ///< or hop limit
  uint8_t tos;  ///< or traffic class
  uint8_t outer_tos;
  bool tunnelled;       ///< came in by VXLAN or the udp backend; outer headers are still in front
  bool first_fragment;  ///< kFlow with ports, more fragments follow
  bool dont_fragment;   ///< IPv6: always
  bool plain;  ///< kFlow that a settled flow may forward without another look: whole, TTL above 1, no
               ///< checksum or segmentation left to do, no SYN, FIN or RST, no congestion mark to move
};

/// A packet's descriptor: one a packet in a burst, filled by Parse, shared by the later stages. Aligned so
/// that IPv4's are a power of two apart.
template <class K>
struct alignas(32) BasicPacket : PacketBase {
  using Key = K;
  Key key;  ///< of the innermost IP; in_port set for every kind
};

using Packet = BasicPacket<FlowKey4>;
using Packet6 = BasicPacket<FlowKey6>;
static_assert(sizeof(Packet) == 64 && sizeof(Packet6) == 96);

}  // namespace podwire
