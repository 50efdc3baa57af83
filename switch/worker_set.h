#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "switch/balancer.h"
#include "switch/poll_plan.h"
#include "switch/worker.h"

namespace podwire {

/// The workers that run, and which queues each has. They come, go and change queues without losing a packet:
/// a queue is first taken from one worker, whose packets of it have left by then, and only then given to
/// another. All methods are for control threads.
class WorkerSet {
 public:
  WorkerSet(WorkerShared& shared, uint32_t max_flows);
  /// Stops all.
  ~WorkerSet();

  /// Starts a worker, which gets its share of the queues; returns its index. AlreadyExists: the CPU has one;
  /// ResourceExhausted: there are shared.workers; InvalidArgument: the CPU may not be used.
  absl::StatusOr<uint16_t> Add(unsigned cpu, WorkerMode mode);
  /// Ends a worker whose queues the others take over; waits for what waits there for a neighbour (a second at
  /// most). Its counters stay in the totals. NotFound; FailedPrecondition for the last.
  absl::Status Remove(uint16_t index);
  absl::Status SetMode(uint16_t index, WorkerMode mode);

  /// Puts the tables in force; returns when every worker has left those before, which may be freed then.
  void Publish(const Tables& next);
  /// A round of balancing, to be called once a second: moves a queue from the busiest worker to the idlest if
  /// that pays.
  void Balance();
  /// Moves queues. InvalidArgument: `from` has no such queue, or `to` does not run.
  absl::Status Move(std::span<const QueueMove> moves);

  /// Those that run, by index. A call to one that has been removed meanwhile is refused by its mailbox.
  std::vector<std::shared_ptr<Worker>> Running() const;
  std::shared_ptr<const PollPlan> plan() const;

  // Sums over those that run and those that have run.
  CounterTotals Totals() const;
  DropCounts EndpointDrops(EndpointId id) const;
  void ClearEndpoint(EndpointId id);
  uint64_t VerdictsLeftOut() const;

 private:
  std::vector<uint16_t> Staying() const;
  std::shared_ptr<Worker> Find(uint16_t index) const;
  absl::StatusOr<uint16_t> FreeIndex(unsigned cpu) const;
  void PublishPlan(PollPlan plan);
  void Apply(std::span<const QueueMove> moves);
  void HandOver(std::span<const QueueMove> moves);
  void WaitForAll();

  WorkerShared& shared_;
  const uint32_t max_flows_;
  std::mutex change_;         // one change at a time: publication, move, addition, removal
  mutable std::mutex mutex_;  // what follows
  std::vector<std::shared_ptr<Worker>> workers_;  // by index; null: none
  std::vector<bool> leaving_;                     // by index: gets no queues any more
  std::shared_ptr<const PollPlan> plan_;
  WorkerCounters retired_;  // of those that are gone
  uint64_t retired_left_out_ = 0;
  Balancer balancer_;  // under change_
};

}  // namespace podwire
