#pragma once

#include <cstdint>
#include <span>

#include <rte_mbuf.h>

#include "net/id.h"
#include "switch/packet.h"

namespace podwire {

struct Headers;
struct Tables;

/// Fills one descriptor a frame; the only stage that looks at bytes nobody has checked yet. All headers must
/// lie in an mbuf's first segment.
/// In:    Ethernet frames as ports give them (OffloadOf() set), in_ports[i] the port of mbufs[i].
/// Out:   out[i], kind kDrop with a reason for what goes no further. Bytes behind the IPv4 packet (Ethernet
///        padding) are trimmed; an Offload that contradicts the headers is completed, cleared or refused.
/// Tunnel packets to the node's VTEP are parsed through to the inner packet (`tunnelled`); both headers stay.
/// Drops: kMalformed, kBadChecksum, kUnsupportedEthertype, kIpOptions, kNotForUs, kSpoofedMac, kUnknownPort,
///        kUnknownVtep, kUnknownVni, kWrongTunnel, kMulticast. Addresses are decide's to judge.
/// Sources: RFC 791, 826, 1858, 3128 (tiny fragments), 7348.
void Parse(const Tables& tables, std::span<rte_mbuf* const> mbufs, const PortId* in_ports, uint64_t hash_seed,
           Packet* out) noexcept;

/// The same of one frame without the shortcut for plain packets (plain_parser.h): the same descriptor but for
/// `plain`. For tests of the shortcut.
void ParseGenerally(const Tables& tables, rte_mbuf* mbuf, PortId in_port, uint64_t hash_seed,
                    Packet& out) noexcept;

/// What decide needs of a parsed IPv4 packet. Of an ICMP error: its own addresses, not the quoted packet's.
Headers HeadersOf(const Packet& packet) noexcept;

}  // namespace podwire
