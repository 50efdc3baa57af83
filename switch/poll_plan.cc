#include "switch/poll_plan.h"

#include <algorithm>
#include <tuple>

namespace podwire {
namespace {

size_t CountIn(const PollPlan::PortQueues& port, uint16_t worker) {
  return static_cast<size_t>(std::ranges::count(port.queues, worker, &PollPlan::Queue::worker));
}

/// The worker with the fewest queues of this port, then of all; the first of equals.
uint16_t LeastLoaded(const PollPlan& plan, const PollPlan::PortQueues& port,
                     std::span<const uint16_t> workers) {
  return *std::ranges::min_element(workers, {},
                                   [&](uint16_t w) { return std::tuple(CountIn(port, w), plan.CountOf(w)); });
}

}  // namespace

size_t PollPlan::CountOf(uint16_t worker) const {
  size_t count = 0;
  for (const PortQueues& port : ports) count += CountIn(port, worker);
  return count;
}

PollPlan PlanFor(const Tables& t, const PollPlan& previous, std::span<const uint16_t> workers) {
  PollPlan plan{.generation = previous.generation + 1, .ports = previous.ports};
  plan.ports.resize(t.ports.size());
  std::vector<PollPlan::PortQueues*> fresh;
  for (size_t i = 0; i < t.ports.size(); ++i) {
    const Port* port = t.ports[i].port;
    if (plan.ports[i].port == port) continue;
    plan.ports[i] = {.port = port, .queues = {}};
    if (port != nullptr) fresh.push_back(&plan.ports[i]);
  }
  for (PollPlan::PortQueues* port : fresh) {
    port->queues.resize(port->port->rx_queues());
    for (PollPlan::Queue& queue : port->queues) {
      queue = {.worker = LeastLoaded(plan, *port, workers), .counter = std::make_shared<QueueCounter>()};
    }
  }
  return plan;
}

PollPlan WithMoves(const PollPlan& plan, std::span<const QueueMove> moves, bool to_nobody) {
  PollPlan next = plan;
  ++next.generation;
  for (const QueueMove& m : moves) {
    next.ports[m.port.value()].queues[m.queue].worker = to_nobody ? kNoWorker : m.to;
  }
  return next;
}

std::vector<QueueMove> MovesTo(const PollPlan& plan, uint16_t worker, std::span<const uint16_t> workers) {
  std::vector<QueueMove> moves;
  PollPlan next = plan;
  for (;;) {
    const uint16_t donor =
        *std::ranges::max_element(workers, {}, [&](uint16_t w) { return next.CountOf(w); });
    if (next.CountOf(donor) <= next.CountOf(worker) + 1) return moves;
    // Of the port of which the donor has most, so that a port with many queues is spread.
    const auto port = std::ranges::max_element(
        next.ports, {}, [&](const PollPlan::PortQueues& p) { return CountIn(p, donor); });
    const auto queue = std::ranges::find(port->queues, donor, &PollPlan::Queue::worker);
    queue->worker = worker;
    moves.push_back({.port = PortId{static_cast<uint16_t>(port - next.ports.begin())},
                     .queue = static_cast<uint16_t>(queue - port->queues.begin()),
                     .from = donor,
                     .to = worker});
  }
}

std::vector<QueueMove> MovesFrom(const PollPlan& plan, uint16_t worker, std::span<const uint16_t> others) {
  std::vector<QueueMove> moves;
  PollPlan next = plan;
  for (size_t i = 0; i < next.ports.size(); ++i) {
    auto& port = next.ports[i];
    for (size_t q = 0; q < port.queues.size(); ++q) {
      if (port.queues[q].worker != worker) continue;
      port.queues[q].worker = kNoWorker;
      port.queues[q].worker = LeastLoaded(next, port, others);
      moves.push_back({.port = PortId{static_cast<uint16_t>(i)},
                       .queue = static_cast<uint16_t>(q),
                       .from = worker,
                       .to = port.queues[q].worker});
    }
  }
  return moves;
}

}  // namespace podwire
