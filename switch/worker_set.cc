#include "switch/worker_set.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <variant>

#include "net/status.h"
#include "switch/output.h"

namespace podwire {
namespace {

constexpr auto kDrainStep = std::chrono::milliseconds(2);

/// Later fragments are known by what the first one carried.
template <class Key>
void HandOverFragments(Worker& giver, Worker& taker, const std::set<PortId>& ports) {
  using Address = typename Key::Address;
  struct KnownFragment {
    FragmentKey<Address> key;
    FragmentPorts ports;
    uint32_t learned_ms;
  };
  std::vector<KnownFragment> known;
  known.reserve(size_t{FragmentTable::kSets} * FragmentTable::kWays);  // the worker must not allocate
  giver.Call([&](WorkerContext& w) {
    w.FragmentsOf<Key>().ForEach(w.now_ms,
                                 [&](const auto& key, FragmentPorts fragment_ports, uint32_t learned_ms) {
                                   if (ports.contains(key.in_port))
                                     known.push_back({key, fragment_ports, learned_ms});
                                 });
  });
  if (known.empty()) return;
  taker.Call([&](WorkerContext& w) {
    for (const KnownFragment& k : known) w.FragmentsOf<Key>().Learn(k.key, k.ports, k.learned_ms);
  });
}

/// Packets that wait for ARP: those that come to the next worker are behind them.
void HandOverPending(Worker& giver, Worker& taker, const std::set<PortId>& ports) {
  std::vector<PendingPacket> waiting;
  waiting.reserve(PendingQueue::kCapacity);
  giver.Call([&](WorkerContext& w) {
    w.pending.TakeIf([&](PendingPacket& p) {
      if (!ports.contains(p.in_port())) return false;
      w.counters.Subtract(Counter::kQueued);
      waiting.push_back(p);
      return true;
    });
  });
  if (waiting.empty()) return;
  taker.Call([&](WorkerContext& w) {
    for (PendingPacket& p : waiting) {
      if (w.pending.Add(p)) {
        w.counters.Add(Counter::kQueued);
      } else {
        std::visit([&](auto& packet) { DropPacket(w, packet, DropReason::kNeighborQueueFull); }, p.packet);
      }
    }
  });
}

}  // namespace

WorkerSet::WorkerSet(WorkerShared& shared, uint32_t max_flows)
    : shared_(shared),
      max_flows_(max_flows),
      workers_(shared.workers),
      leaving_(shared.workers),
      plan_(std::make_shared<const PollPlan>(PollPlan{.generation = 1, .ports = {}})) {
  shared_.plan.store(plan_.get(), std::memory_order_release);
}

WorkerSet::~WorkerSet() {
  for (const auto& worker : Running()) worker->Stop();
}

std::vector<std::shared_ptr<Worker>> WorkerSet::Running() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Worker>> running;
  for (const auto& worker : workers_) {
    if (worker != nullptr) running.push_back(worker);
  }
  return running;
}

std::vector<uint16_t> WorkerSet::Staying() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint16_t> indices;
  for (uint16_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i] != nullptr && !leaving_[i]) indices.push_back(i);
  }
  return indices;
}

std::shared_ptr<const PollPlan> WorkerSet::plan() const {
  const std::lock_guard lock(mutex_);
  return plan_;
}

std::shared_ptr<Worker> WorkerSet::Find(uint16_t index) const {
  const std::lock_guard lock(mutex_);
  return index < workers_.size() && !leaving_[index] ? workers_[index] : nullptr;
}

absl::StatusOr<uint16_t> WorkerSet::FreeIndex(unsigned cpu) const {
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_) {
    if (worker != nullptr && worker->cpu() == cpu) {
      return Error(absl::StatusCode::kAlreadyExists, "CPU {} has worker {} already", cpu, worker->index());
    }
  }
  const auto free = std::ranges::find(workers_, nullptr);
  if (free == workers_.end()) {
    return Error(absl::StatusCode::kResourceExhausted,
                 "there are {} workers, as many as lcores.maxWorkers in the configuration allows",
                 workers_.size());
  }
  return static_cast<uint16_t>(free - workers_.begin());
}

absl::StatusOr<uint16_t> WorkerSet::Add(unsigned cpu, WorkerMode mode) {
  const std::lock_guard change(change_);
  ASSIGN_OR_RETURN(const uint16_t index, FreeIndex(cpu));
  auto worker = std::make_shared<Worker>(shared_, index, cpu, max_flows_, mode);
  RETURN_IF_ERROR(worker->Start());
  {
    const std::lock_guard lock(mutex_);
    workers_[index] = std::move(worker);
  }
  WaitForAll();
  Apply(MovesTo(*plan(), index, Staying()));
  return index;
}

absl::Status WorkerSet::Remove(uint16_t index) {
  const std::shared_ptr<Worker> worker = Find(index);
  {
    const std::lock_guard change(change_);
    if (worker == nullptr || Find(index) != worker)
      return Error(absl::StatusCode::kNotFound, "there is no worker {}", index);
    std::vector<uint16_t> others = Staying();
    std::erase(others, index);
    if (others.empty()) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   "worker {} is the last: add another before it is removed", index);
    }
    {
      const std::lock_guard lock(mutex_);
      leaving_[index] = true;
    }
    Apply(MovesFrom(*plan(), index, others));
  }
  // Without the lock: publications go on meanwhile, and the worker follows them.
  while (!worker->drained()) std::this_thread::sleep_for(kDrainStep);
  const std::lock_guard change(change_);
  worker->Stop();
  const std::lock_guard lock(mutex_);
  retired_.Absorb(worker->counters());
  retired_left_out_ += worker->events().verdicts_left_out();
  workers_[index] = nullptr;
  leaving_[index] = false;
  return absl::OkStatus();
}

absl::Status WorkerSet::SetMode(uint16_t index, WorkerMode mode) {
  const std::shared_ptr<Worker> worker = Find(index);
  if (worker == nullptr) return Error(absl::StatusCode::kNotFound, "there is no worker {}", index);
  worker->SetMode(mode);
  return absl::OkStatus();
}

/// Until every worker has the tables and the plan that are published.
void WorkerSet::WaitForAll() {
  const uint32_t tables = shared_.tables.load(std::memory_order_relaxed)->generation;
  const uint32_t plan = shared_.plan.load(std::memory_order_relaxed)->generation;
  const auto workers = Running();
  for (const auto& worker : workers) worker->Wake();
  for (const auto& worker : workers) {
    while (worker->generation() != tables || worker->plan_generation() != plan) std::this_thread::yield();
  }
}

void WorkerSet::PublishPlan(PollPlan plan) {
  auto next = std::make_shared<const PollPlan>(std::move(plan));
  shared_.plan.store(next.get(), std::memory_order_release);
  WaitForAll();
  const std::lock_guard lock(mutex_);
  plan_ = std::move(next);
}

void WorkerSet::Publish(const Tables& next) {
  const std::lock_guard change(change_);
  shared_.tables.store(&next, std::memory_order_release);
  PublishPlan(PlanFor(next, *plan(), Staying()));
  shared_.qsbr.Synchronize();
}

void WorkerSet::Apply(std::span<const QueueMove> moves) {
  if (moves.empty()) return;
  PublishPlan(WithMoves(*plan(), moves, /*to_nobody=*/true));
  HandOver(moves);
  PublishPlan(WithMoves(*plan(), moves, /*to_nobody=*/false));
}

/// What the worker before knows of a queue's packets goes with the queue.
void WorkerSet::HandOver(std::span<const QueueMove> moves) {
  std::set<std::pair<uint16_t, uint16_t>> pairs;
  for (const QueueMove& m : moves) pairs.emplace(m.from, m.to);
  const auto now = plan();
  for (const auto& [from, to] : pairs) {
    std::set<PortId> ports, whole;
    for (const QueueMove& m : moves) {
      if (m.from != from || m.to != to) continue;
      // A packet does not say which queue it came from: those of a port with several stay.
      const bool only = now->ports[m.port.value()].queues.size() == 1;
      const auto add = [&](PortId id) {
        ports.insert(id);
        if (only) whole.insert(id);
      };
      add(m.port);
      const auto& members = shared_.tables.load(std::memory_order_relaxed)->ports[m.port.value()].members;
      if (members != nullptr) members->ForEach(add);
    }
    std::shared_ptr<Worker> giver, taker;
    {
      const std::lock_guard lock(mutex_);
      giver = workers_[from];
      taker = workers_[to];
    }
    HandOverFragments<FlowKey4>(*giver, *taker, ports);
    HandOverFragments<FlowKey6>(*giver, *taker, ports);
    HandOverPending(*giver, *taker, whole);
  }
}

absl::Status WorkerSet::Move(std::span<const QueueMove> moves) {
  const std::lock_guard change(change_);
  const auto now = plan();
  const std::vector<uint16_t> staying = Staying();
  for (const QueueMove& m : moves) {
    const bool exists =
        m.port.value() < now->ports.size() && m.queue < now->ports[m.port.value()].queues.size();
    if (!exists || now->ports[m.port.value()].queues[m.queue].worker != m.from) {
      return InvalidArgument("worker {} has no queue {} of port {}", m.from, m.queue, m.port.value());
    }
    if (std::ranges::find(staying, m.to) == staying.end())
      return InvalidArgument("there is no worker {}", m.to);
  }
  Apply(moves);
  return absl::OkStatus();
}

void WorkerSet::Balance() {
  const std::lock_guard change(change_);
  std::vector<Balancer::WorkerBusy> busy;
  for (const uint16_t index : Staying()) {
    busy.push_back({.worker = index, .permille = Find(index)->busy_percent() * 10});
  }
  if (const auto move = balancer_.Round(*plan(), busy)) Apply(std::span(&*move, 1));
}

CounterTotals WorkerSet::Totals() const {
  const std::lock_guard lock(mutex_);
  CounterTotals totals;
  retired_.AddTo(totals);
  for (const auto& worker : workers_) {
    if (worker != nullptr) worker->counters().AddTo(totals);
  }
  return totals;
}

DropCounts WorkerSet::EndpointDrops(EndpointId id) const {
  const std::lock_guard lock(mutex_);
  DropCounts drops{};
  retired_.AddTo(drops, id);
  for (const auto& worker : workers_) {
    if (worker != nullptr) worker->counters().AddTo(drops, id);
  }
  return drops;
}

uint64_t WorkerSet::VerdictsLeftOut() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = retired_left_out_;
  for (const auto& worker : workers_) {
    if (worker != nullptr) sum += worker->events().verdicts_left_out();
  }
  return sum;
}

void WorkerSet::ClearEndpoint(EndpointId id) {
  // One worker cannot become retired, with its counts, between the two.
  const std::lock_guard change(change_);
  for (const auto& worker : Running()) {
    worker->Call([id](WorkerContext& w) { w.counters.ClearEndpoint(id); });
  }
  const std::lock_guard lock(mutex_);
  retired_.ClearEndpoint(id);
}

}  // namespace podwire
