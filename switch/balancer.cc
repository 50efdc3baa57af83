#include "switch/balancer.h"

#include <algorithm>
#include <cmath>

namespace podwire {

std::optional<QueueMove> BestMove(std::span<const QueueLoad> queues, std::span<const uint16_t> workers,
                                  BalanceLimits limits) {
  if (workers.size() < 2) return std::nullopt;
  const auto load_of = [&](uint16_t worker) {
    double sum = 0;
    for (const QueueLoad& q : queues) sum += q.worker == worker ? q.permille : 0;
    return sum;
  };
  const uint16_t busiest = *std::ranges::max_element(workers, {}, load_of);
  const uint16_t idlest = *std::ranges::min_element(workers, {}, load_of);
  const double gap = load_of(busiest) - load_of(idlest);
  if (gap < limits.min_gap) return std::nullopt;
  const QueueLoad* best = nullptr;
  double best_gain = limits.min_gain;
  for (const QueueLoad& q : queues) {
    // Afterwards the busier of the two has the larger of (busiest - q) and (idlest + q).
    const double gain = std::min(q.permille, gap - q.permille);
    if (q.worker != busiest || q.fixed || gain < best_gain) continue;
    best = &q;
    best_gain = gain;
  }
  if (best == nullptr) return std::nullopt;
  return QueueMove{.port = best->port, .queue = best->queue, .from = busiest, .to = idlest};
}

void Balancer::Measure(const PollPlan& plan, std::span<const WorkerBusy> workers) {
  std::map<Key, Queue> next;
  std::map<uint16_t, uint64_t> received;  // by worker, this round
  std::map<Key, uint64_t> deltas;
  for (size_t i = 0; i < plan.ports.size(); ++i) {
    for (size_t q = 0; q < plan.ports[i].queues.size(); ++q) {
      const Key key{static_cast<uint16_t>(i), static_cast<uint16_t>(q)};
      const PollPlan::Queue& planned = plan.ports[i].queues[q];
      const uint64_t packets = planned.counter->packets.load(std::memory_order_relaxed);
      const auto before = queues_.find(key);
      const bool known = before != queues_.end() && before->second.counter == planned.counter;
      Queue queue = known ? before->second : Queue{.counter = planned.counter};
      const uint64_t delta = known ? packets - queue.packets : 0;
      if (known && queue.worker != planned.worker) queue.hold = kHoldRounds;
      queue.packets = packets;
      queue.worker = planned.worker;
      received[planned.worker] += delta;
      deltas[key] = delta;
      next[key] = queue;
    }
  }
  for (auto& [key, queue] : next) {
    const auto busy = std::ranges::find(workers, queue.worker, &WorkerBusy::worker);
    const uint64_t all = received[queue.worker];
    const double now = busy == workers.end() || all == 0
                           ? 0
                           : busy->permille * static_cast<double>(deltas[key]) / static_cast<double>(all);
    queue.permille = queue.measured ? (queue.permille + now) / 2 : now;
    queue.measured = true;
  }
  queues_ = std::move(next);
}

std::optional<QueueMove> Balancer::Round(const PollPlan& plan, std::span<const WorkerBusy> workers) {
  Measure(plan, workers);
  std::vector<QueueLoad> loads;
  for (auto& [key, queue] : queues_) {
    loads.push_back({.port = PortId{key.first},
                     .queue = key.second,
                     .worker = queue.worker,
                     .permille = queue.permille,
                     .fixed = queue.hold != 0});
    if (queue.hold != 0) --queue.hold;
  }
  std::vector<uint16_t> indices;
  for (const WorkerBusy& w : workers) indices.push_back(w.worker);
  return BestMove(loads, indices);
}

}  // namespace podwire
