#include "switch/worker.h"

#include <immintrin.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <future>

#include <rte_cpuflags.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include "net/status.h"
#include "switch/pipeline.h"

namespace podwire {
namespace {

constexpr uint32_t kSpinUs = 20;  // without packets before the worker sleeps
// With ports that must be polled a sleep is a sixteenth of the time without packets so far, up to a limit at
// which sleeping and waking take less than 2 % of the CPU. What that costs is the machine's: a microsecond or
// two a time, in virtual machines up to thirty.
constexpr uint32_t kShortestSleepUs = 20;
constexpr uint32_t kSleepShare = 16;
constexpr uint32_t kLeastLimitUs = 70, kHighestLimitUs = 2000;
constexpr uint32_t kSleepsPerCost = 60;  // 1.6 %, and some for what is not measured
constexpr uint32_t kMeasuredSleeps = 32;
constexpr uint32_t kWatchedSleepUs = 100000;    // all ports wake us: only flow ageing wants a look
constexpr uint32_t kPendingSleepUs = 5000;      // packets wait for ARP
constexpr uint16_t kFullBurst = kMaxBurst / 2;  // what one port gives at a time when more is waiting there
constexpr uint32_t kTimerSlackNs = 1000;        // the kernel's 50 us would come on top of each sleep
constexpr uint32_t kPollPauseUs = 1;            // in poll mode, where the CPU can wait with the core asleep

/// Until the time or an interrupt, with the core in its light sleep. CPUs with WAITPKG only.
__attribute__((target("waitpkg"))) void PauseUntil(uint64_t tsc) noexcept {
  constexpr unsigned kLightSleep = 1;  // C0.1
  _tpause(kLightSleep, tsc);
}

uint64_t ThreadCpuNs() noexcept {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

/// mbufs that the thread kept for itself go back to all.
void FlushCache(rte_mempool& pool) noexcept {
  rte_mempool_cache* cache = rte_mempool_default_cache(&pool, rte_lcore_id());
  if (cache != nullptr) rte_mempool_cache_flush(cache, &pool);
}

}  // namespace

Worker::~Worker() { Stop(); }

absl::Status Worker::Start() {
  std::promise<absl::Status> entered;
  std::future<absl::Status> result = entered.get_future();
  thread_ = std::thread([this, entered = std::move(entered)]() mutable {
    const absl::Status status = Enter();
    entered.set_value(status);
    if (!status.ok()) return;
    Run();
    Leave();
  });
  absl::Status status = result.get();
  if (!status.ok()) thread_.join();
  return status;
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_release);
  Wake();
  thread_.join();
  mailbox_.Close(*context_);
}

absl::Status Worker::Enter() {
  pthread_setname_np(pthread_self(), fmt::format("pw-worker-{}", index()).c_str());
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (cpu_ < CPU_SETSIZE) CPU_SET(cpu_, &cpus);
  if (pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus) != 0)
    return InvalidArgument("CPU {} does not exist or may not be used by this process", cpu_);
  prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0);
  // A number of DPDK's for the thread: mempools keep a cache for each.
  if (rte_thread_register() != 0) return ErrnoError(rte_errno, "register worker {} with DPDK", index());
  can_pause_ = rte_cpu_get_flag_enabled(RTE_CPUFLAG_WAITPKG) == 1;
  context_->shared.qsbr.Register(index());
  return absl::OkStatus();
}

void Worker::Leave() noexcept {
  WorkerContext& w = *context_;
  DropPending(w);
  w.shared.qsbr.Unregister(w.index);
  if (w.shared.pools != nullptr) {
    FlushCache(w.shared.pools->small());
    FlushCache(w.shared.pools->big());
  }
  rte_thread_unregister();
}

void Worker::Run() noexcept {
  WorkerContext& w = *context_;
  const uint64_t spin_tsc = w.shared.tsc_per_ms * kSpinUs / 1000;
  uint64_t now = rte_rdtsc();
  second_start_tsc_ = idle_since_tsc_ = now;
  sleep_limit_us_ = kLeastLimitUs;
  while (!stop_.load(std::memory_order_acquire)) {
    const uint16_t received = OneLoop(now);
    w.shared.qsbr.Quiescent(w.index);
    const uint64_t end = rte_rdtsc();
    w.misses.Ran(end - now, received >= kFullBurst);
    Account(now, end, received != 0);
    now = end;
    if (received != 0) {
      idle_since_tsc_ = now;
      measured_sleeps_ = 0;
      w.poller.Disarm();
    } else if (now - idle_since_tsc_ >= spin_tsc && !ageing_) {
      Idle(now);
      now = rte_rdtsc();
    }
  }
}

void Worker::TakeTables() noexcept {
  WorkerContext& w = *context_;
  w.tables = w.shared.tables.load(std::memory_order_acquire);
  const PollPlan* plan = w.shared.plan.load(std::memory_order_acquire);
  if (w.tables->generation == generation_.load(std::memory_order_relaxed) &&
      plan->generation == plan_generation_.load(std::memory_order_relaxed)) {
    return;
  }
  w.tx.Resize(*w.tables);
  w.adjacencies.Resize(*w.tables);
  w.poller.Rebuild(*w.tables, *plan);
  generation_.store(w.tables->generation, std::memory_order_release);
  plan_generation_.store(plan->generation, std::memory_order_release);
}

uint16_t Worker::OneLoop(uint64_t now_tsc) noexcept {
  WorkerContext& w = *context_;
  TakeTables();
  rte_mbuf* mbufs[kMaxBurst];
  PortId in_ports[kMaxBurst];
  if (now_tsc >= next_ms_tsc_) {
    const uint64_t now_ms = w.shared.MsAt(now_tsc);
    w.now_ms = static_cast<uint32_t>(now_ms);
    next_ms_tsc_ = w.shared.start_tsc + (now_ms + 1) * w.shared.tsc_per_ms;
    w.events.Tick(w.now_ms, w.shared.drops_watched.load(std::memory_order_relaxed));
  }
  const uint16_t n = w.poller.Receive(mbufs, in_ports, kMaxBurst);
  const bool sampled = n != 0 && bursts_++ % kLatencyPeriod == 0;
  const uint64_t received_tsc = sampled ? rte_rdtsc() : 0;
  if (n != 0) RunBurst(w, mbufs, in_ports, n);
  FlushPending(w);
  w.tx.Flush(*w.tables, w.counters);
  if (sampled) latency_.Record(rte_rdtsc() - received_tsc, n);
  const bool ageing = w.flows.AgeInPace(w.now_ms), ageing6 = w.flows6.AgeInPace(w.now_ms);
  ageing_ = ageing || ageing6;
  flow_count_.store(w.flows.size() + w.flows6.size(), std::memory_order_relaxed);
  mailbox_.Poll(w);
  waiting_.store(w.pending.size(), std::memory_order_release);
  return n;
}

void Worker::Idle(uint64_t now_tsc) noexcept {
  WorkerContext& w = *context_;
  if (mode() == WorkerMode::kPoll) {
    if (can_pause_) {
      PauseUntil(now_tsc + w.shared.tsc_per_ms * kPollPauseUs / 1000);
    } else {
      rte_pause();
    }
    return;
  }
  if (w.poller.Arm()) return;
  uint32_t timeout_us = kWatchedSleepUs;
  if (w.poller.must_poll()) {
    MeasureSleeps();
    const uint64_t idle_us = (now_tsc - idle_since_tsc_) * 1000 / w.shared.tsc_per_ms;
    timeout_us =
        static_cast<uint32_t>(std::clamp<uint64_t>(idle_us / kSleepShare, kShortestSleepUs, sleep_limit_us_));
  }
  if (w.pending.size() != 0) timeout_us = std::min(timeout_us, kPendingSleepUs);
  w.shared.qsbr.Offline(w.index);
  w.poller.Wait(timeout_us);
  w.shared.qsbr.Online(w.index);
}

/// Adjusts the limit to what sleeps without packets in between cost.
void Worker::MeasureSleeps() noexcept {
  if (measured_sleeps_ == 0) measured_from_ns_ = ThreadCpuNs();
  if (measured_sleeps_++ < kMeasuredSleeps) return;
  const uint64_t cost_ns = (ThreadCpuNs() - measured_from_ns_) / kMeasuredSleeps;
  const auto limit_us = static_cast<uint32_t>(
      std::clamp<uint64_t>(cost_ns * kSleepsPerCost / 1000, kLeastLimitUs, kHighestLimitUs));
  sleep_limit_us_ = (3 * sleep_limit_us_ + limit_us) / 4;
  measured_sleeps_ = 0;
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
