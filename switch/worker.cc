#include "switch/worker.h"

#include <rte_cycles.h>

#include "switch/pipeline.h"

namespace podwire {
namespace {

constexpr uint32_t kSpinLoops = 64;           // empty loops before the worker sleeps
constexpr uint32_t kPolledSleepUs = 50;       // with ports that have no descriptor
constexpr uint32_t kWatchedSleepUs = 100000;  // all ports wake us: only flow ageing wants a look
constexpr uint32_t kPendingSleepUs = 5000;    // packets wait for ARP

}  // namespace

void Worker::Run() noexcept {
  WorkerContext& w = *context_;
  w.shared.qsbr.Register(w.index);
  second_start_tsc_ = rte_get_tsc_cycles();
  while (!w.shared.stop.load(std::memory_order_acquire)) {
    const uint64_t begin = rte_get_tsc_cycles();
    const uint16_t received = OneLoop();
    w.shared.qsbr.Quiescent(w.index);
    Account(begin, rte_get_tsc_cycles(), received != 0);
    idle_loops_ = received == 0 ? idle_loops_ + 1 : 0;
    if (idle_loops_ > kSpinLoops) Idle();
  }
  DropPending(w);
  w.shared.qsbr.Unregister(w.index);
}

void Worker::TakeTables() noexcept {
  WorkerContext& w = *context_;
  w.tables = w.shared.tables.load(std::memory_order_acquire);
  if (w.tables->generation == generation_.load(std::memory_order_relaxed)) return;
  w.tx.Resize(*w.tables);
  w.adjacencies.Resize(*w.tables);
  w.poller.Rebuild(*w.tables);
  generation_.store(w.tables->generation, std::memory_order_release);
}

uint16_t Worker::OneLoop() noexcept {
  WorkerContext& w = *context_;
  TakeTables();
  rte_mbuf* mbufs[kMaxBurst];
  PortId in_ports[kMaxBurst];
  w.now_ms = w.shared.NowMs();
  const uint16_t n = w.poller.Receive(mbufs, in_ports, kMaxBurst);
  const bool sampled = n != 0 && bursts_++ % kLatencyPeriod == 0;
  const uint64_t received_tsc = sampled ? rte_rdtsc() : 0;
  if (n != 0) RunBurst(w, mbufs, in_ports, n);
  FlushPending(w);
  w.tx.Flush(*w.tables, w.counters);
  if (sampled) latency_.Record(rte_rdtsc() - received_tsc, n);
  w.flows.AgeInPace(w.now_ms);
  flow_count_.store(w.flows.size(), std::memory_order_relaxed);
  mailbox_.Poll(w);
  return n;
}

void Worker::Idle() noexcept {
  WorkerContext& w = *context_;
  uint32_t timeout_us = w.poller.has_polled() ? kPolledSleepUs : kWatchedSleepUs;
  if (w.pending.size() != 0) timeout_us = std::min(timeout_us, kPendingSleepUs);
  w.shared.qsbr.Offline(w.index);
  w.poller.Wait(timeout_us);
  w.shared.qsbr.Online(w.index);
}

void Worker::Account(uint64_t begin_tsc, uint64_t end_tsc, bool busy) noexcept {
  if (busy) busy_tsc_ += end_tsc - begin_tsc;
  const uint64_t elapsed = end_tsc - second_start_tsc_;
  if (elapsed < context_->shared.tsc_per_ms * 1000) return;
  busy_permille_.store(static_cast<uint32_t>(busy_tsc_ * 1000 / elapsed), std::memory_order_relaxed);
  busy_tsc_ = 0;
  second_start_tsc_ = end_tsc;
}

}  // namespace podwire
