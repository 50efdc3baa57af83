#include "switch/switch.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include <rte_cycles.h>

#include "net/status.h"
#include "switch/output.h"
#include "switch/urgent.h"
#include "switch/worker_set.h"

namespace podwire {
namespace {

constexpr auto kSweepPeriod = std::chrono::milliseconds(100);
constexpr size_t kSweepStep = 4096;       // connections; a worker may share the CPU
constexpr uint32_t kBalancePeriod = 10;   // sweeps
constexpr uint32_t kNeighborPeriod = 50;  // sweeps
constexpr uint32_t kFlowsPerStep = 64;    // copied by a worker between two bursts

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

std::vector<WorkerReport::Queue> QueuesOf(const PollPlan& plan, uint16_t worker) {
  std::vector<WorkerReport::Queue> queues;
  for (size_t i = 0; i < plan.ports.size(); ++i) {
    for (size_t q = 0; q < plan.ports[i].queues.size(); ++q) {
      const PollPlan::Queue& queue = plan.ports[i].queues[q];
      if (queue.worker != worker) continue;
      queues.push_back({.port = PortId{static_cast<uint16_t>(i)},
                        .queue = static_cast<uint16_t>(q),
                        .rx_packets = queue.counter->packets.load(std::memory_order_relaxed)});
    }
  }
  return queues;
}

template <class Key>
FlowRecord RecordOf(const FlowEntry<Key>& e, const WorkerContext& w) {
  FlowRecord r{.worker = w.index,
               .tuple = TupleRecordOf(e.key),
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
  explicit Impl(const SwitchOptions& o)
      : shared(std::max(static_cast<uint16_t>(o.workers.size()), o.max_workers)),
        workers(shared, o.max_flows_per_worker != 0 ? o.max_flows_per_worker : 2 * o.max_connections) {}

  absl::Status Start(const SwitchOptions& o) {
    shared.pools = o.pools;
    shared.timeouts = o.timeouts;
    shared.hash_seed = o.hash_seed != 0 ? o.hash_seed : RandomSeed();
    for (const auto& [address, mac] : o.neighbors) {
      if (!shared.neighbors.SetPermanent(address, mac))
        return Error(absl::StatusCode::kResourceExhausted, "more than {} neighbours",
                     NeighborTable::kCapacity);
    }
    const ConnTableOptions table{
        .capacity = o.max_connections, .max_endpoints = kMaxEndpoints, .embryonic = o.max_embryonic};
    ASSIGN_OR_RETURN(shared.connections, ConnTable<FlowKey4>::Create(table, shared.qsbr.get()));
    ASSIGN_OR_RETURN(shared.connections6, ConnTable<FlowKey6>::Create(table, shared.qsbr.get()));
    current = std::make_shared<const Tables>(EmptyTables());
    workers.Publish(*current);
    for (const SwitchOptions::WorkerOptions& w : o.workers) {
      RETURN_IF_ERROR(Annotate(workers.Add(w.cpu, w.mode).status(), "lcores.workers"));
    }
    sweeper = std::thread([this] { Sweep(); });
    return absl::OkStatus();
  }

  ~Impl() {
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

  /// Connections end by idleness, neighbours by disuse, on a thread of their own: workers never stop for it.
  void Sweep() {
    pthread_setname_np(pthread_self(), "pw-sweep");
    uint32_t rounds = 0;
    std::unique_lock lock(mutex);
    while (!stop_changed.wait_for(lock, kSweepPeriod, [this] { return stopping; })) {
      lock.unlock();
      const uint32_t now = shared.NowMs();
      shared.ForEachFamily([&](auto& table) {
        size_t left = std::min(table.capacity() / 20 + 1024, table.places());
        while (left > 0) {
          const Urgent urgent;  // a worker may wait for the lock that this thread would be put off with
          const size_t step = std::min(left, kSweepStep);
          table.Sweep(now, shared.timeouts, step);
          left -= step;
        }
      });
      if (++rounds % kNeighborPeriod == 0) shared.neighbors.Sweep(now);
      if (rounds % kBalancePeriod == 0) workers.Balance();
      lock.lock();
    }
  }

  WorkerShared shared;
  std::shared_ptr<const Tables> current;  // outlives the workers
  WorkerSet workers;
  std::thread sweeper;
  mutable std::mutex mutex;  // current, stopping
  std::condition_variable stop_changed;
  bool stopping = false;
};

Switch::Switch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Switch::~Switch() = default;

absl::StatusOr<std::unique_ptr<Switch>> Switch::Create(const SwitchOptions& options) {
  if (options.workers.empty()) return InvalidArgument("a switch needs at least one worker");
  auto impl = std::make_unique<Impl>(options);
  RETURN_IF_ERROR(impl->Start(options));
  return std::unique_ptr<Switch>(new Switch(std::move(impl)));
}

uint16_t Switch::max_workers() const { return impl_->shared.workers; }

absl::StatusOr<uint16_t> Switch::AddWorker(unsigned cpu, WorkerMode mode) {
  return impl_->workers.Add(cpu, mode);
}
absl::Status Switch::RemoveWorker(uint16_t worker) { return impl_->workers.Remove(worker); }
absl::Status Switch::SetWorkerMode(uint16_t worker, WorkerMode mode) {
  return impl_->workers.SetMode(worker, mode);
}
absl::Status Switch::MoveQueues(std::span<const QueueMove> moves) { return impl_->workers.Move(moves); }

std::shared_ptr<const Tables> Switch::Publish(std::unique_ptr<Tables> next) {
  std::shared_ptr<const Tables> old = tables();
  next->generation = old->generation + 1;
  std::shared_ptr<const Tables> published = std::move(next);
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->current = published;
  }
  impl_->workers.Publish(*published);
  return published;
}

std::shared_ptr<const Tables> Switch::tables() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->current;
}

void Switch::ForgetEndpoint(EndpointId id) {
  impl_->shared.ForEachFamily([id](auto& table) {
    table.RemoveIf([id](const auto& c) { return c.src_endpoint == id || c.dst_endpoint == id; });
  });
  impl_->workers.ClearEndpoint(id);
}

CounterTotals Switch::ReadCounters() const { return impl_->workers.Totals(); }

DropCounts Switch::ReadEndpointDrops(EndpointId id) const { return impl_->workers.EndpointDrops(id); }

void Switch::WatchDrops(bool watched) {
  impl_->shared.drops_watched.store(watched, std::memory_order_relaxed);
}

void Switch::TakeEvents(const std::function<void(const EventRecord&)>& fn) {
  using Clock = std::chrono::system_clock;
  std::array<PacketEvent, 64> events;
  const Clock::time_point now = Clock::now();
  const uint64_t now_tsc = rte_get_tsc_cycles();
  const double hz = static_cast<double>(rte_get_tsc_hz());
  for (const auto& worker : impl_->workers.Running()) {
    // No more than a full ring: a worker that goes on telling does not keep us here.
    for (uint32_t left = EventRing::kCapacity; left != 0;) {
      const uint32_t n =
          worker->events().Take(std::span(events).first(std::min<size_t>(left, events.size())));
      for (const PacketEvent& e : std::span(events).first(n)) {
        const std::chrono::duration<double> age(static_cast<double>(static_cast<int64_t>(now_tsc - e.tsc)) /
                                                hz);
        fn({.event = e,
            .worker = worker->index(),
            .time = now - std::chrono::duration_cast<Clock::duration>(age)});
      }
      if (n == 0) break;
      left -= n;
    }
  }
}

uint64_t Switch::verdicts_left_out() const { return impl_->workers.VerdictsLeftOut(); }

std::vector<WorkerReport> Switch::ReadWorkers() const {
  std::vector<WorkerReport> reports;
  const auto plan = impl_->workers.plan();
  for (const auto& worker : impl_->workers.Running()) {
    reports.push_back({.worker = worker->index(),
                       .cpu = worker->cpu(),
                       .mode = worker->mode(),
                       .busy_percent = worker->busy_percent(),
                       .rx_packets = worker->counters().Get(Counter::kReceived),
                       .flows = worker->flows(),
                       .flow_capacity = worker->flow_capacity(),
                       .latency = ReportOf(worker->latency()),
                       .queues = QueuesOf(*plan, worker->index())});
  }
  return reports;
}

void Switch::AnnounceUnderlay() {
  for (const auto& worker : impl_->workers.Running()) {
    const bool called = worker->Call([](WorkerContext& w) {
      podwire::AnnounceUnderlay(w);
      w.tx.Flush(*w.tables, w.counters);  // or they would wait for the next loop, with another one's tables
    });
    if (called) return;
  }
}

int Switch::neighbor_request_fd() const { return impl_->shared.neighbor_requests.fd(); }

void Switch::TakeNeighborRequests(const std::function<void(const IpAddress&)>& fn) {
  impl_->shared.neighbor_requests.Take([&](uint16_t slot) {
    const IpAddress address = impl_->shared.neighbors.AddressAt(slot);
    if (!address.empty()) fn(address);
  });
}

void Switch::SetNeighbor(const IpAddress& address, const MacAddr& mac) {
  impl_->shared.neighbors.Set(address, mac, impl_->shared.NowMs());
}

std::vector<NeighborRecord> Switch::ReadNeighbors() const {
  std::vector<NeighborRecord> records;
  for (const auto& e : impl_->shared.neighbors.Snapshot(impl_->shared.NowMs())) {
    records.push_back({.address = e.address, .mac = e.mac, .state = std::string(Name(e.state))});
  }
  return records;
}

namespace {

/// False: fn has had enough.
template <class Key>
bool ForEachFlowOf(Worker& worker, const std::function<bool(const FlowRecord&)>& fn) {
  uint32_t cursor = 0;
  bool more = true;
  while (more) {
    std::vector<FlowRecord> step;
    step.reserve(kFlowsPerStep);  // the worker must not allocate
    const bool called = worker.Call([&](WorkerContext& w) {
      more = w.FlowsOf<Key>().ForEachChunk(cursor, kFlowsPerStep,
                                           [&](const auto& e) { step.push_back(RecordOf(e, w)); });
    });
    if (!called) break;  // removed meanwhile
    for (const FlowRecord& r : step) {
      if (!fn(r)) return false;
    }
  }
  return true;
}

}  // namespace

void Switch::ForEachFlow(const std::function<bool(const FlowRecord&)>& fn) {
  for (const auto& worker : impl_->workers.Running()) {
    if (!ForEachFlowOf<FlowKey4>(*worker, fn) || !ForEachFlowOf<FlowKey6>(*worker, fn)) return;
  }
}

void Switch::ForEachConnection(const std::function<bool(const ConnectionRecord&)>& fn) {
  const uint32_t now = impl_->shared.NowMs();
  bool go_on = true;
  impl_->shared.ForEachFamily([&](auto& table) {
    if (!go_on) return;
    table.ForEach([&](const auto& c) {
      const uint32_t idle = now - c.last_seen_ms;
      const uint32_t limit = IdleLimitMs(impl_->shared.timeouts, c.key.proto, c.state, c.embryonic);
      go_on = fn({.tuple = TupleRecordOf(c.key),
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
      return go_on;
    });
  });
}

WorkerAccess Switch::Access() {
  Impl* impl = impl_.get();
  return {.shared = &impl->shared,
          .running =
              [impl] {
                std::vector<uint16_t> indices;
                for (const auto& worker : impl->workers.Running()) indices.push_back(worker->index());
                return indices;
              },
          .call =
              [impl](uint16_t index, const std::function<void(WorkerContext&)>& fn) {
                for (const auto& worker : impl->workers.Running()) {
                  if (worker->index() == index) return worker->Call(fn);
                }
                return false;
              }};
}

namespace {

constexpr uint32_t kConnectionBytes = 256, kConnectionBytes6 = 448;

template <class Key>
ConnectionTableReport ReportOf(const ConnTable<Key>& table) {
  constexpr bool v6 = std::is_same_v<Key, FlowKey6>;
  return {.family = v6 ? IpFamily::kV6 : IpFamily::kV4,
          .connections = table.size(),
          .capacity = table.capacity(),
          .connection_bytes = v6 ? kConnectionBytes6 : kConnectionBytes,
          .embryonic = table.embryonic(),
          .embryonic_budget = table.embryonic_budget(),
          .evicted = table.evicted()};
}

}  // namespace

std::vector<ConnectionTableReport> Switch::ReadConnectionTables() const {
  std::vector<ConnectionTableReport> reports;
  impl_->shared.ForEachFamily([&](const auto& table) { reports.push_back(ReportOf(table)); });
  return reports;
}

uint64_t Switch::connections() const {
  uint64_t sum = 0;
  impl_->shared.ForEachFamily([&](const auto& table) { sum += table.size(); });
  return sum;
}

}  // namespace podwire
