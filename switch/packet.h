#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "net/address.h"
#include "switch/drop_reasons.h"
#include "switch/flow_key.h"

namespace podwire {

/// What parse found a packet to be; decides which path it takes.
enum class PacketKind : uint8_t {
  kFlow,           ///< IPv4 with a flow key: the flow table, then decide
  kIcmpError,      ///< ICMP error: `key` is the tuple quoted in it, as its connection's packets carry it (not
                   ///< reversed)
  kLaterFragment,  ///< IPv4 fragment without ports: key ports are 0, frag_id set
  kArp,
  kDrop,  ///< `reason` says why
};

/// A packet's descriptor: one a packet in a burst, filled by Parse, shared by the later stages. 64 bytes.
struct Packet {
  rte_mbuf* mbuf;
  FlowKey4 key;         ///< innermost IPv4; in_port set for every kind
  uint32_t hash;        ///< FlowHash(key)
  uint16_t l3_offset;   ///< bytes from mbuf data to the IPv4 header (of the inner packet once decapsulated:
                        ///< l3_offset counts from the outer frame's start until Decap strips it)
  uint16_t l4_offset;   ///< bytes from mbuf data to the L4 header
  uint16_t l3_len;      ///< IPv4 total length, bytes (super-packets up to 65,535)
  uint16_t frag_id_be;  ///< IPv4 id, for fragments
  Ipv4 tunnel_src;      ///< outer source, when `tunnelled`
  PacketKind kind;
  DropReason reason;
  uint8_t tcp_flags;
  uint8_t icmp_type;
  uint8_t icmp_code;
  uint8_t ttl;
  uint8_t tos;
  uint8_t outer_tos;
  bool tunnelled;       ///< came in by VXLAN or the udp backend; outer headers are still in front
  bool first_fragment;  ///< kFlow with ports, more fragments follow
  bool dont_fragment;
  bool plain;  ///< kFlow that a settled flow may forward without another look: whole, TTL above 1, no
               ///< checksum or segmentation left to do, no SYN, FIN or RST, no congestion mark to move
};
static_assert(sizeof(Packet) <= 64);

}  // namespace podwire
