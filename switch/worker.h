#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include <absl/status/status.h>

#include "switch/latency.h"
#include "switch/mailbox.h"
#include "switch/worker_context.h"
#include "switch/worker_mode.h"

namespace podwire {

/// One poll-mode loop on a thread of its own, pinned to one CPU.
class Worker {
 public:
  /// `index` is one of shared.workers; it is also the number of the transmit queue and of the RCU reader.
  Worker(WorkerShared& shared, uint16_t index, unsigned cpu, uint32_t max_flows, WorkerMode mode)
      : cpu_(cpu), mode_(mode), context_(std::make_unique<WorkerContext>(shared, index, max_flows)) {}
  /// Stops.
  ~Worker();

  // For control threads:
  /// Starts the loop. InvalidArgument: the CPU may not be used. Once.
  absl::Status Start();
  /// Ends the loop: what waits is counted as dropped (shutdown). Calls that wait get their turn.
  void Stop();
  /// Nothing waits for a neighbour: with no queue to receive from, Stop would lose nothing.
  bool drained() const noexcept { return waiting_.load(std::memory_order_acquire) == 0; }

  /// Runs `fn` between two bursts and waits for it; false if the worker has stopped.
  bool Call(Mailbox<WorkerContext>::Function fn) {
    return mailbox_.Run(std::move(fn), [this] { Wake(); });
  }
  void Wake() const noexcept { context_->poller.Wake(); }
  /// Generations of the tables and the poll plan that it works by.
  uint32_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
  uint32_t plan_generation() const noexcept { return plan_generation_.load(std::memory_order_acquire); }

  WorkerMode mode() const noexcept { return mode_.load(std::memory_order_relaxed); }
  void SetMode(WorkerMode mode) noexcept {
    mode_.store(mode, std::memory_order_relaxed);
    Wake();
  }

  uint16_t index() const { return context_->index; }
  unsigned cpu() const { return cpu_; }
  const WorkerCounters& counters() const { return context_->counters; }
  /// To take from; one thread at a time.
  EventRing& events() { return context_->events; }
  uint64_t flows() const noexcept { return flow_count_.load(std::memory_order_relaxed); }
  uint64_t flow_capacity() const { return context_->flows.capacity(); }
  /// Percent of the last whole second that went into packets.
  double busy_percent() const noexcept { return busy_permille_.load(std::memory_order_relaxed) / 10.0; }
  /// TSC cycles from a burst's reception to the end of its transmission, of one burst in kLatencyPeriod.
  const LatencyHistogram& latency() const noexcept { return latency_; }
  static constexpr uint32_t kLatencyPeriod = 64;

 private:
  absl::Status Enter();
  void Run() noexcept;
  void Leave() noexcept;
  void TakeTables() noexcept;
  uint16_t OneLoop(uint64_t now_tsc) noexcept;
  void Idle(uint64_t now_tsc) noexcept;
  void MeasureSleeps() noexcept;
  void Account(uint64_t begin_tsc, uint64_t end_tsc, bool busy) noexcept;

  const unsigned cpu_;
  std::atomic<WorkerMode> mode_;
  std::atomic<bool> stop_{false};
  std::unique_ptr<WorkerContext> context_;
  Mailbox<WorkerContext> mailbox_;
  std::thread thread_;
  // The loop's own:
  uint64_t busy_tsc_ = 0, second_start_tsc_ = 0;
  uint64_t idle_since_tsc_ = 0;
  uint64_t next_ms_tsc_ = 0;     // when now_ms is out of date
  uint32_t bursts_ = 0;          // with packets
  uint32_t sleep_limit_us_ = 0;  // with ports that must be polled
  uint32_t measured_sleeps_ = 0;
  uint64_t measured_from_ns_ = 0;
  bool can_pause_ = false;
  bool ageing_ = false;  // flows are due to be looked at
  LatencyHistogram latency_;
  // Written by the loop, read by control:
  std::atomic<uint32_t> generation_{0};
  std::atomic<uint32_t> plan_generation_{0};
  std::atomic<uint32_t> busy_permille_{0};
  std::atomic<uint32_t> waiting_{0};
  std::atomic<uint64_t> flow_count_{0};
};

}  // namespace podwire
