#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "net/id.h"
#include "switch/drop_reasons.h"

namespace podwire {

// Besides drops. Books: received + generated = sent + dropped + consumed + queued.
#define PODWIRE_COUNTERS(X)                                                                           \
  X(kReceived, "received", "packets taken from ports")                                                \
  X(kGenerated, "generated", "packets the switch made: ARP, ND, ICMP, fragments of a packet")         \
  X(kSent, "sent", "packets handed to ports")                                                         \
  X(kConsumed, "consumed", "packets that ended here: ARP, ND, pings to the gateway, fragmented ones") \
  X(kQueued, "queued", "packets waiting now for an underlay neighbour")                               \
  X(kFlowHits, "flow_hits", "packets whose decision was cached")                                      \
  X(kFlowMisses, "flow_misses", "packets that were decided")                                          \
  X(kOffloaded, "offloaded", "packets received that a NIC dropped or forwarded by a rule")            \
  X(kRevalidated, "flow_revalidated", "cached decisions checked against newer tables")                \
  X(kConnectionsCreated, "connections_created", "connections tracked")                                \
  X(kConnectionsCut, "connections_cut", "connections that a later policy forbids")                    \
  X(kEncapsulated, "encapsulated", "packets put into a tunnel")                                       \
  X(kDecapsulated, "decapsulated", "packets taken out of a tunnel")                                   \
  X(kSuperPackets, "super_packets", "packets with segmentation left to the port")                     \
  X(kIcmpErrors, "icmp_errors", "ICMP errors sent")                                                   \
  X(kArpReplies, "arp_replies", "ARP requests answered")                                              \
  X(kArpRequests, "arp_requests", "ARP requests sent")                                                \
  X(kNdSolicitations, "nd_solicitations", "IPv6 neighbour solicitations sent")                        \
  X(kNdAdvertisements, "nd_advertisements", "IPv6 neighbour solicitations answered")                  \
  X(kRouterAdvertisements, "router_advertisements", "IPv6 router solicitations answered")

enum class Counter : uint8_t {
#define PODWIRE_X(id, name, help) id,
  PODWIRE_COUNTERS(PODWIRE_X)
#undef PODWIRE_X
      kCount,
};
inline constexpr size_t kCounterCount = static_cast<size_t>(Counter::kCount);

struct CounterInfo {
  std::string_view name, help;
};
inline constexpr std::array<CounterInfo, kCounterCount> kCounterInfo{{
#define PODWIRE_X(id, name, help) {name, help},
    PODWIRE_COUNTERS(PODWIRE_X)
#undef PODWIRE_X
}};

using DropCounts = std::array<uint64_t, kDropReasonCount>;  ///< by DropReason

/// Sums over the workers.
struct CounterTotals {
  std::array<uint64_t, kCounterCount> counters{};  ///< by Counter
  DropCounts drops{};
  uint64_t Get(Counter c) const { return counters[static_cast<size_t>(c)]; }
  uint64_t dropped() const {
    uint64_t sum = 0;
    for (const uint64_t d : drops) sum += d;
    return sum;
  }
};

/// Endpoint slots a node can have.
inline constexpr uint32_t kMaxEndpoints = 4096;

/// One worker's counters: written by that worker only (relaxed, no shared writes), read by control.
class alignas(64) WorkerCounters {
 public:
  WorkerCounters() : endpoint_drops_(kMaxEndpoints * kDropReasonCount) {}

  void Add(Counter c, uint64_t n = 1) noexcept { Bump(counters_[static_cast<size_t>(c)], n); }
  void Subtract(Counter c, uint64_t n = 1) noexcept {
    Bump(counters_[static_cast<size_t>(c)], uint64_t{0} - n);
  }
  /// Counts a drop, also for the local endpoint that it happened to, if any.
  void AddDrop(DropReason r, EndpointId endpoint, uint64_t n = 1) noexcept {
    Bump(drops_[static_cast<size_t>(r)], n);
    if (endpoint.value() < kMaxEndpoints) {
      Bump(endpoint_drops_[endpoint.value() * kDropReasonCount + static_cast<size_t>(r)], n);
    }
  }
  void AddTo(CounterTotals& t) const;
  void AddTo(DropCounts& d) const;
  void AddTo(DropCounts& d, EndpointId endpoint) const;
  /// Adds those of a worker that has ended. Not while this object's owner adds.
  void Absorb(const WorkerCounters& other) noexcept;
  /// Owner thread only: the slot has a new owner.
  void ClearEndpoint(EndpointId endpoint) noexcept;
  uint64_t Get(Counter c) const noexcept {
    return counters_[static_cast<size_t>(c)].load(std::memory_order_relaxed);
  }

 private:
  using Cell = std::atomic<uint64_t>;
  static void Bump(Cell& c, uint64_t n) noexcept {
    c.store(c.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::array<Cell, kCounterCount> counters_{};
  std::array<Cell, kDropReasonCount> drops_{};
  std::vector<Cell> endpoint_drops_;
};

}  // namespace podwire
