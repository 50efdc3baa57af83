#pragma once

#include "switch/decide.h"
#include "switch/icmp.h"
#include "switch/packet.h"
#include "switch/worker_context.h"

namespace podwire {

/// Where a decided packet goes: what a flow entry caches.
struct Path {
  NextHopId next_hop = kNoNextHop;
  NeighborId neighbor = kNoNeighbor;  ///< of adjacencies on the underlay
};

/// The path of a forwarding decision that is kDeliver or kForward.
Path PathOf(WorkerContext& w, const Forwarding& f) noexcept;

/// Counts the drop, also for the endpoint it happened to, tells of it if there is credit, and frees the
/// packet.
template <class Key>
void DropPacket(WorkerContext& w, BasicPacket<Key>& p, DropReason reason) noexcept;

/// Routes a packet onto its path: TTL, MTU, decapsulation, the next hop's header, tx buffer. Answers by ICMP
/// what cannot go on.
template <class Key>
void ForwardPacket(WorkerContext& w, BasicPacket<Key>& p, const Path& path) noexcept;

/// Sends a packet that waited for `mac`; decides its way anew if the tables have changed meanwhile.
void ResumePacket(WorkerContext& w, PendingPacket& waiting, const MacAddr& mac) noexcept;

/// Sends a stripped packet that the switch made itself (already counted as generated).
template <class Key>
void EmitOwn(WorkerContext& w, BasicPacket<Key>& p) noexcept;

/// Asks the underlay for the neighbour's MAC; at `known`, if that is not empty, to hear that it is still
/// there. Where the kernel keeps the underlay's interface, has control ask the kernel.
void AskNeighbor(WorkerContext& w, NeighborId neighbor, const MacAddr& known) noexcept;

/// Tells the underlay where the node's addresses are, unasked; not of a shared one, whose are the kernel's.
void AnnounceUnderlay(WorkerContext& w) noexcept;

/// Sends an ICMP error about `p` to its source, if one may be sent; `p` stays the caller's.
template <class Key>
void ReportError(WorkerContext& w, const BasicPacket<Key>& p, IcmpError error, uint16_t mtu) noexcept;

}  // namespace podwire
