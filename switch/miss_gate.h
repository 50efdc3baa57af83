#pragma once

#include <cstdint>

#include "switch/packet.h"
#include "switch/worker_context.h"

namespace podwire {

/// Of a burst's packets: one bit each.
struct Admitted {
  uint64_t all = 0;      ///< that go on
  uint64_t counted = 0;  ///< those of them that w.misses has counted and wants to be told about
};

/// The beginning of the miss stage, before any dear look-up. Drops `misses` (bits of `packets`) that the
/// limiter refuses as kOverload, and brings what the others need into the cache.
///
/// What can only begin a connection (a SYN), and ICMP errors, are refused for the price of a counter. Other
/// packets may belong to a connection whose flow entry has gone, so these look for it first and are refused
/// only without one, or as more of what nobody has answered.
template <class Key>
Admitted AdmitMisses(WorkerContext& w, BasicPacket<Key>* packets, uint64_t misses) noexcept;

/// Whose the packet is, as the limiter numbers sources.
template <class Key>
uint32_t SourceOf(const WorkerContext& w, const BasicPacket<Key>& p) noexcept;

}  // namespace podwire
