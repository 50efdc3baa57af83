#pragma once

#include <cstdint>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "net/address.h"
#include "switch/drop_reasons.h"
#include "switch/neighbor.h"
#include "switch/packet.h"

namespace podwire {

struct Tables;

enum class ArpAction : uint8_t {
  kReply,     ///< the mbuf has become the answer: send it out of the port it came in by
  kConsumed,  ///< nothing to answer: free it; no drop
  kDrop,
};

struct ArpResult {
  ArpAction action = ArpAction::kConsumed;
  DropReason reason = DropReason::kNone;  ///< kDrop: kMalformed, kSpoofedMac, kSpoofedAddress, kUnknownPort
};

/// Answers or learns from an ARP packet for Ethernet and IPv4 (RFC 826).
/// Pod ports: proxy ARP. Each address but the pod's own is at the gateway's MAC; a sender that is not the pod
/// is refused; probes (RFC 5227) and announcements of its own address are left unanswered. Underlay: requests
/// for the underlay address are answered. The neighbour table learns who asked or answered us; who tells
/// others only updates what it already knows.
ArpResult HandleArp(const Tables& tables, Packet& packet, NeighborTable& neighbors, uint32_t now_ms) noexcept;

/// A request for `target` on the underlay, as a whole frame; broadcast unless `known` is not empty. nullptr:
/// no mbuf.
rte_mbuf* BuildArpRequest(rte_mempool& pool, const MacAddr& own_mac, Ipv4 own_address, Ipv4 target,
                          const MacAddr& known = {}) noexcept;

/// Tells the underlay where `address` is now (RFC 5227 announcement), as a whole frame. nullptr: no mbuf.
rte_mbuf* BuildArpAnnouncement(rte_mempool& pool, const MacAddr& own_mac, Ipv4 address) noexcept;

}  // namespace podwire
