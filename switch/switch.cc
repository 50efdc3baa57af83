#include "switch/switch.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include <rte_launch.h>
#include <rte_lcore.h>

#include "net/status.h"
#include "switch/worker.h"

namespace podwire {
namespace {

constexpr auto kSweepPeriod = std::chrono::milliseconds(100);
constexpr uint32_t kFlowsPerStep = 256;  // copied by a worker between two bursts

int RunWorker(void* worker) {
  static_cast<Worker*>(worker)->Run();
  return 0;
}

TupleRecord RecordOf(const FlowKey4& k) {
  return {.src = k.src,
          .dst = k.dst,
          .src_port = rte_be_to_cpu_16(k.src_port_be),
          .dst_port = rte_be_to_cpu_16(k.dst_port_be),
          .proto = k.proto};
}

uint64_t RandomSeed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

LatencyReport ReportOf(const LatencyHistogram& h) {
  const LatencyHistogram::Summary s = h.Summarize();
  const double per_us = static_cast<double>(rte_get_tsc_hz()) / 1e6;
  const auto us = [per_us](uint64_t cycles) { return static_cast<double>(cycles) / per_us; };
  return {.samples = s.samples,
          .p50_us = us(s.p50),
          .p99_us = us(s.p99),
          .p999_us = us(s.p999),
          .max_us = us(s.max)};
}

FlowRecord RecordOf(const FlowEntry<FlowKey4>& e, const WorkerContext& w) {
  FlowRecord r{.worker = w.index,
               .tuple = RecordOf(e.key),
               .in_port = e.key.in_port,
               .action = e.action,
               .reason = e.reason};
  r.next_hop = e.next_hop;
  r.generation = e.generation;
  r.packets = e.packets;
  r.bytes = e.bytes;
  r.idle_ms = w.now_ms - e.last_seen_ms;
  const bool valid =
      e.generation == w.tables->generation && e.next_hop.value() < w.tables->adjacencies.size();
  if (valid && e.action != Action::kDrop) r.out_port = w.tables->adjacencies[e.next_hop.value()].port;
  return r;
}

}  // namespace

class Switch::Impl {
 public:
  explicit Impl(const SwitchOptions& o) : shared(static_cast<uint16_t>(o.worker_lcores.size())) {}

  absl::Status Start(const SwitchOptions& o) {
    shared.pools = o.pools;
    shared.timeouts = o.timeouts;
    shared.hash_seed = o.hash_seed != 0 ? o.hash_seed : RandomSeed();
    for (const auto& [address, mac] : o.neighbors) {
      if (!shared.neighbors.SetPermanent(address, mac))
        return Error(absl::StatusCode::kResourceExhausted, "more than {} neighbours",
                     NeighborTable::kCapacity);
    }
    ASSIGN_OR_RETURN(shared.connections,
                     ConnTable<FlowKey4>::Create(
                         {.capacity = o.max_connections, .max_endpoints = kMaxEndpoints}, shared.qsbr.get()));
    SetTables(std::make_unique<Tables>(EmptyTables()));
    const uint32_t flows = o.max_flows_per_worker != 0 ? o.max_flows_per_worker : 2 * o.max_connections;
    for (uint16_t i = 0; i < o.worker_lcores.size(); ++i) {
      workers.push_back(std::make_unique<Worker>(shared, i, o.worker_lcores[i], flows));
    }
    for (const auto& worker : workers) {
      const int rc = rte_eal_remote_launch(RunWorker, worker.get(), worker->lcore());
      if (rc != 0) return ErrnoError(-rc, "start a worker on lcore {}", worker->lcore());
      ++launched;
    }
    sweeper = std::thread([this] { Sweep(); });
    return absl::OkStatus();
  }

  ~Impl() {
    shared.stop.store(true, std::memory_order_release);
    for (size_t i = 0; i < launched; ++i) {
      workers[i]->Wake();
      rte_eal_wait_lcore(workers[i]->lcore());
    }
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    stop_changed.notify_all();
    if (sweeper.joinable()) sweeper.join();
  }

  static Tables EmptyTables() {
    Tables t;
    t.generation = 1;
    t.policy = std::make_shared<const CompiledPolicy>(Compile(Model{}, {}));
    return t;
  }

  /// Returns the tables that were in force before.
  std::shared_ptr<const Tables> SetTables(std::shared_ptr<const Tables> next) {
    const std::lock_guard lock(mutex);
    shared.tables.store(next.get(), std::memory_order_release);
    std::swap(current, next);
    return next;
  }

  /// Connections end by idleness, neighbours by disuse, on a thread of their own: workers never stop for it.
  void Sweep() {
    pthread_setname_np(pthread_self(), "pw-sweep");
    uint32_t rounds = 0;
    std::unique_lock lock(mutex);
    while (!stop_changed.wait_for(lock, kSweepPeriod, [this] { return stopping; })) {
      lock.unlock();
      const uint32_t now = shared.NowMs();
      shared.connections->Sweep(now, shared.timeouts, shared.connections->capacity() / 20 + 1024);
      if (++rounds % 50 == 0) shared.neighbors.Sweep(now);
      lock.lock();
    }
  }

  WorkerShared shared;
  std::vector<std::unique_ptr<Worker>> workers;
  size_t launched = 0;
  std::thread sweeper;
  mutable std::mutex mutex;  // current, stopping
  std::condition_variable stop_changed;
  bool stopping = false;
  std::shared_ptr<const Tables> current;
};

Switch::Switch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Switch::~Switch() = default;

absl::StatusOr<std::unique_ptr<Switch>> Switch::Create(const SwitchOptions& options) {
  if (options.worker_lcores.empty())
    return absl::InvalidArgumentError("a switch needs at least one worker lcore");
  auto impl = std::make_unique<Impl>(options);
  RETURN_IF_ERROR(impl->Start(options));
  return std::unique_ptr<Switch>(new Switch(std::move(impl)));
}

uint16_t Switch::workers() const { return impl_->shared.workers; }

std::shared_ptr<const Tables> Switch::Publish(std::unique_ptr<Tables> next) {
  next->generation = impl_->current->generation + 1;
  std::shared_ptr<const Tables> published = std::move(next);
  const auto old = impl_->SetTables(published);
  for (const auto& worker : impl_->workers) worker->Wake();
  for (const auto& worker : impl_->workers) {
    while (worker->generation() != published->generation) std::this_thread::yield();
  }
  impl_->shared.qsbr.Synchronize();
  return published;
}

std::shared_ptr<const Tables> Switch::tables() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->current;
}

void Switch::ForgetEndpoint(EndpointId id) {
  impl_->shared.connections->RemoveIf(
      [id](const auto& c) { return c.src_endpoint == id || c.dst_endpoint == id; });
  for (const auto& worker : impl_->workers) {
    worker->Call([id](WorkerContext& w) { w.counters.ClearEndpoint(id); });
  }
}

CounterTotals Switch::ReadCounters() const {
  CounterTotals totals;
  for (const auto& worker : impl_->workers) worker->counters().AddTo(totals);
  return totals;
}

DropCounts Switch::ReadEndpointDrops(EndpointId id) const {
  DropCounts drops{};
  for (const auto& worker : impl_->workers) worker->counters().AddTo(drops, id);
  return drops;
}

std::vector<WorkerReport> Switch::ReadWorkers() const {
  std::vector<WorkerReport> reports;
  for (const auto& worker : impl_->workers) {
    reports.push_back({.lcore = worker->lcore(),
                       .busy_percent = worker->busy_percent(),
                       .rx_packets = worker->counters().Get(Counter::kReceived),
                       .flows = worker->flows(),
                       .flow_capacity = worker->flow_capacity(),
                       .latency = ReportOf(worker->latency())});
  }
  return reports;
}

std::vector<NeighborRecord> Switch::ReadNeighbors() const {
  std::vector<NeighborRecord> records;
  for (const auto& e : impl_->shared.neighbors.Snapshot(impl_->shared.NowMs())) {
    records.push_back({.address = e.address, .mac = e.mac, .state = std::string(Name(e.state))});
  }
  return records;
}

void Switch::ForEachFlow(const std::function<bool(const FlowRecord&)>& fn) {
  for (const auto& worker : impl_->workers) {
    uint32_t cursor = 0;
    bool more = true;
    while (more) {
      std::vector<FlowRecord> step;
      step.reserve(kFlowsPerStep);  // the worker must not allocate
      worker->Call([&](WorkerContext& w) {
        more = w.flows.ForEachChunk(cursor, kFlowsPerStep,
                                    [&](const auto& e) { step.push_back(RecordOf(e, w)); });
      });
      for (const FlowRecord& r : step) {
        if (!fn(r)) return;
      }
    }
  }
}

void Switch::ForEachConnection(const std::function<bool(const ConnectionRecord&)>& fn) {
  const uint32_t now = impl_->shared.NowMs();
  impl_->shared.connections->ForEach([&](const auto& c) {
    const uint32_t idle = now - c.last_seen_ms;
    const uint32_t limit = IdleLimitMs(impl_->shared.timeouts, c.key.proto, c.state);
    return fn({.tuple = RecordOf(c.key),
               .state = std::string(Name(c.state)),
               .idle_ms = idle,
               .expires_ms = limit > idle ? limit - idle : 0,
               .allowed = c.denied == DropReason::kNone,
               .src_endpoint = c.src_endpoint,
               .dst_endpoint = c.dst_endpoint,
               .egress_rule = c.egress_rule,
               .ingress_rule = c.ingress_rule,
               .src_version = c.src_version,
               .dst_version = c.dst_version});
  });
}

uint64_t Switch::connections() const { return impl_->shared.connections->size(); }
uint64_t Switch::connection_capacity() const { return impl_->shared.connections->capacity(); }

}  // namespace podwire
