#pragma once

#include <cstdint>
#include <span>

#include <rte_mbuf.h>

#include "net/address.h"
#include "pmd/mempool.h"
#include "switch/packet.h"

namespace podwire {

struct Adjacency;

/// Takes one from the TTL and mends IPv4's checksum (RFC 1812 5.3.1, RFC 1624). False, and nothing changed,
/// when the TTL would reach 0.
template <class Key>
bool DecrementTtl(BasicPacket<Key>& packet) noexcept;

/// Removes everything in front of the (inner) IP header, which then starts the mbuf; offsets and Offload
/// follow. Of tunnelled packets the outer congestion mark is carried over (RFC 6040 4.2). kNone or
/// kEcnCongested.
template <class Key>
DropReason StripHeaders(BasicPacket<Key>& packet) noexcept;

/// Whether a packet, or of a super-packet a full segment, is larger than `mtu` (L3 bytes).
bool ExceedsMtu(const PacketBase& packet, uint16_t mtu) noexcept;

/// Gives a super-packet without DF segments that fit in `mtu` and so spares its fragmentation. False if it is
/// none.
bool ShrinkSegments(PacketBase& packet, uint16_t mtu) noexcept;

/// As many fragments as a 64 KB packet has at the smallest MTU of a sane underlay (RFC 791: 576).
inline constexpr uint16_t kMaxFragments = 128;

/// Splits a stripped IPv4 packet into fragments of at most `mtu` bytes (RFC 791), new mbufs that start with
/// their IPv4 headers, headroom in front, checksums complete. Returns how many; the original stays the
/// caller's. 0: `reason` is kNoMbuf, kTooBig (DF, or an MTU too small) or kMalformed.
uint16_t Fragment(const Packet& packet, uint16_t mtu, const MbufPools& pools, std::span<rte_mbuf*> out,
                  DropReason& reason) noexcept;

/// The descriptor of one of `packet`'s fragments, for PrependHeader.
Packet FragmentPacket(const Packet& packet, rte_mbuf* fragment) noexcept;

/// Puts the adjacency's ready-made header in front of a stripped packet: Ethernet (delivery, direct), or
/// Ethernet, IP, UDP and, for VXLAN, VXLAN and inner Ethernet (RFC 7348 section 5). Its last Ethernet type is
/// IPv4's; IPv6 packets put theirs in.
/// In:    neighbor_mac: destination MAC, not looked at for local endpoints. ip_id: the worker's next outer
///        IPv4 identification, host order; counted up, by a super-packet's segments too.
/// Out:   whole frame; outer lengths, id, checksum, ECN (RFC 6040 4.1), flow label and source port set.
/// Offload
///        moved; where it holds work, the mbuf's tunnel flag and lengths are set as pmd/offload.h says. The
///        outer lengths of a super-packet that exceed 16 bits are cut: segmentation writes its own.
/// Returns kNone or kNoHeadroom (packet unchanged). Cost: one copy of up to 84 bytes.
template <class Key>
DropReason PrependHeader(BasicPacket<Key>& packet, const Adjacency& adjacency, const MacAddr& neighbor_mac,
                         uint16_t& ip_id) noexcept;

}  // namespace podwire
