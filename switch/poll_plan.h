#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "net/id.h"
#include "switch/tables.h"

namespace podwire {

inline constexpr uint16_t kNoWorker = UINT16_MAX;

/// Packets received from one queue: written by the worker that has it, read by control.
struct alignas(64) QueueCounter {
  std::atomic<uint64_t> packets{0};
  /// Owner only.
  void Add(uint64_t n) noexcept {
    packets.store(packets.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

/// Which worker receives from which queue of which port: an immutable value, published by Switch beside the
/// Tables. A queue is moved in two publications, so that two workers never receive from it at once: first it
/// is nobody's; when every worker has seen that, it is the next one's.
struct PollPlan {
  struct Queue {
    uint16_t worker = kNoWorker;
    std::shared_ptr<QueueCounter> counter;
  };
  struct PortQueues {
    const Port* port = nullptr;  ///< the plan is for this one; a worker whose tables have another there waits
    std::vector<Queue> queues;
  };
  uint32_t generation = 0;        ///< counts up
  std::vector<PortQueues> ports;  ///< by PortId

  size_t CountOf(uint16_t worker) const;
};

/// One queue's change of hands.
struct QueueMove {
  PortId port;
  uint16_t queue = 0;
  uint16_t from = kNoWorker, to = kNoWorker;
  bool operator==(const QueueMove&) const = default;
};

/// The plan for the tables' ports: who has a queue keeps it; a new port's queues go to the workers that have
/// the fewest of that port, then the fewest of all. `workers`: indices of those that run, in order; at least
/// one.
PollPlan PlanFor(const Tables& t, const PollPlan& previous, std::span<const uint16_t> workers);

/// `plan` with each moved queue given to `to`, or to nobody.
PollPlan WithMoves(const PollPlan& plan, std::span<const QueueMove> moves, bool to_nobody);

/// Gives a worker that has just begun its share of the queues: as many as the others have, from those that
/// have most.
std::vector<QueueMove> MovesTo(const PollPlan& plan, uint16_t worker, std::span<const uint16_t> workers);
/// Spreads the queues of a worker that is to go over `others`; at least one.
std::vector<QueueMove> MovesFrom(const PollPlan& plan, uint16_t worker, std::span<const uint16_t> others);

}  // namespace podwire
