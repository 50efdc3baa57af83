#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "net/id.h"
#include "switch/drop_reasons.h"
#include "switch/flow_records.h"

struct rte_ring;

namespace podwire {

enum class EventKind : uint8_t {
  kDrop,     ///< a packet was dropped
  kCut,      ///< a connection that a later policy forbids; `tuple` is its original direction's
  kVerdict,  ///< a connection began, or, with a policy's `reason`, may not begin
};

/// What happened to a packet, as a worker saw it. Who its addresses belong to is for control to say.
struct PacketEvent {
  uint64_t tsc = 0;
  TupleRecord tuple;  ///< as far as parse got; of an ICMP error, what it quotes
  EndpointId victim = kNoEndpoint;
  PortId in_port = kNoPort;
  EventKind kind = EventKind::kDrop;
  DropReason reason = DropReason::kNone;
};
static_assert(std::is_trivially_copyable_v<PacketEvent> && sizeof(PacketEvent) <= 64);

/// One worker's events: it puts them in, control takes them out; neither waits for the other. Drops and
/// verdicts are samples: each pod and reason has some credit, so that a flood costs no more than the look at
/// an empty one and leaves the others' alone. Cuts are as many as the ring takes.
class EventRing {
 public:
  static constexpr uint32_t kCapacity = 4095;
  static constexpr uint32_t kLanes = 64;  ///< of credit; pods may share one
  static constexpr uint32_t kWatchedPeriodMs = 10, kQuietPeriodMs = 1000;
  static constexpr uint8_t kWatchedDrops = 2, kQuietDrops = 1, kVerdicts = 4;  ///< a lane and period

  EventRing();

  // The worker's:
  /// Whether a drop is to be put in; takes from the credit.
  bool WantsDrop(EndpointId victim, DropReason reason) noexcept {
    uint8_t& credit = drop_credit_[LaneOf(victim, reason)];
    if (credit == 0) [[likely]]
      return false;
    --credit;
    return true;
  }
  /// The same of a verdict on what `victim` opens; counts those that are not.
  bool WantsVerdict(EndpointId victim, DropReason reason) noexcept;
  /// Drops it if the ring is full.
  void Put(const PacketEvent& event) noexcept;
  /// Credit grows with time: every kWatchedPeriodMs if somebody looks at drops, else every kQuietPeriodMs, so
  /// that there always is a last one to tell of.
  void Tick(uint32_t now_ms, bool watched) noexcept;

  // Control's, one thread at a time:
  /// Takes out the oldest, at most as many as there is room for; returns how many.
  uint32_t Take(std::span<PacketEvent> room) noexcept;
  /// Verdicts that left no event, since the start.
  uint64_t verdicts_left_out() const noexcept { return verdicts_left_out_.load(std::memory_order_relaxed); }

 private:
  static uint32_t LaneOf(EndpointId victim, DropReason reason) noexcept {
    return (victim.value() * 31 + static_cast<uint32_t>(reason)) % kLanes;
  }

  struct Free {
    void operator()(rte_ring* ring) const noexcept;
  };
  std::array<uint8_t, kLanes> drop_credit_{};
  std::array<uint8_t, kLanes> verdict_credit_{};
  uint32_t drops_at_ms_ = 0, verdicts_at_ms_ = 0;  // the last growth
  bool begun_ = false;
  std::atomic<uint64_t> verdicts_left_out_{0};
  std::unique_ptr<rte_ring, Free> ring_;
};

}  // namespace podwire
