#pragma once

#include <cstdint>
#include <span>

#include <rte_mbuf.h>

#include "net/address.h"
#include "net/id.h"
#include "switch/packet.h"

namespace podwire {

struct Headers;
struct Tables;

/// How many of a burst's packets are of which family. What is neither, and ARP, is with IPv4.
struct BurstCounts {
  uint16_t v4 = 0, v6 = 0;
};

/// Fills one descriptor a frame, in the array of its (inner) family; the only stage that looks at bytes
/// nobody has checked yet. All headers must lie in an mbuf's first segment. In:    Ethernet frames as ports
/// give them (OffloadOf() set), in_ports[i] the port of mbufs[i]. Room for all
///        of them in either array.
/// Out:   both arrays in the burst's order, kind kDrop with a reason for what goes no further. Bytes behind
/// the
///        IP packet (Ethernet padding) are trimmed; an Offload that contradicts the headers is completed,
///        cleared or refused.
/// Tunnel packets to the node's VTEP are parsed through to the inner packet (`tunnelled`); both headers stay.
/// Drops: kMalformed, kBadChecksum, kUnsupportedEthertype, kIpOptions, kExtensionHeader, kInvalidNd,
/// kNotForUs,
///        kSpoofedMac, kUnknownPort, kUnknownVtep, kUnknownVni, kWrongTunnel, kMulticast. Addresses are
///        decide's to judge.
/// Sources: RFC 791, 826, 1858, 3128 (tiny fragments), 7348; 8200, 4443, 5095, 6946, 6980, 7112.
BurstCounts Parse(const Tables& tables, std::span<rte_mbuf* const> mbufs, const PortId* in_ports,
                  uint64_t hash_seed, Packet* out, Packet6* out6) noexcept;

/// The same of one frame without the shortcut for plain packets (plain_parser.h): the same descriptor but for
/// `plain`. For tests of the shortcut.
IpFamily ParseGenerally(const Tables& tables, rte_mbuf* mbuf, PortId in_port, uint64_t hash_seed, Packet& out,
                        Packet6& out6) noexcept;

/// The outer source of a frame that came in by a tunnel; its outer headers are still in front.
IpAddress TunnelSource(const rte_mbuf& mbuf) noexcept;

/// What decide needs of a parsed packet. Of an ICMP error: its own addresses, not the quoted packet's.
template <class Key>
Headers HeadersOf(const BasicPacket<Key>& packet) noexcept;

}  // namespace podwire
