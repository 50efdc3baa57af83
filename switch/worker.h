#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "switch/latency.h"
#include "switch/mailbox.h"
#include "switch/worker_context.h"

namespace podwire {

/// One poll-mode loop on one lcore.
class Worker {
 public:
  Worker(WorkerShared& shared, uint16_t index, unsigned lcore, uint32_t max_flows)
      : lcore_(lcore), context_(std::make_unique<WorkerContext>(shared, index, max_flows)) {}

  /// The loop, until shared.stop; on its lcore.
  void Run() noexcept;

  // For control threads:
  /// Runs `fn` between two bursts and waits for it.
  void Call(Mailbox<WorkerContext>::Function fn) {
    mailbox_.Run(std::move(fn), [this] { Wake(); });
  }
  void Wake() const noexcept { context_->poller.Wake(); }
  /// Generation of the tables that it works by and whose ports it has taken over.
  uint32_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
  unsigned lcore() const { return lcore_; }
  const WorkerCounters& counters() const { return context_->counters; }
  uint64_t flows() const noexcept { return flow_count_.load(std::memory_order_relaxed); }
  uint64_t flow_capacity() const { return context_->flows.capacity(); }
  /// Percent of the last whole second that went into packets.
  double busy_percent() const noexcept { return busy_permille_.load(std::memory_order_relaxed) / 10.0; }
  /// TSC cycles from a burst's reception to the end of its transmission, of one burst in kLatencyPeriod.
  const LatencyHistogram& latency() const noexcept { return latency_; }
  static constexpr uint32_t kLatencyPeriod = 64;

 private:
  void TakeTables() noexcept;
  uint16_t OneLoop() noexcept;
  void Idle() noexcept;
  void Account(uint64_t begin_tsc, uint64_t end_tsc, bool busy) noexcept;

  const unsigned lcore_;
  std::unique_ptr<WorkerContext> context_;
  Mailbox<WorkerContext> mailbox_;
  LatencyHistogram latency_;
  uint32_t bursts_ = 0;  // with packets
  uint32_t idle_loops_ = 0;
  uint64_t busy_tsc_ = 0, second_start_tsc_ = 0;
  std::atomic<uint32_t> generation_{0};
  std::atomic<uint32_t> busy_permille_{0};
  std::atomic<uint64_t> flow_count_{0};
};

}  // namespace podwire
