#include "switch/counters.h"

namespace podwire {

void WorkerCounters::AddTo(CounterTotals& t) const {
  for (size_t i = 0; i < kCounterCount; ++i) t.counters[i] += counters_[i].load(std::memory_order_relaxed);
  AddTo(t.drops);
}

void WorkerCounters::AddTo(DropCounts& d) const {
  for (size_t i = 0; i < kDropReasonCount; ++i) d[i] += drops_[i].load(std::memory_order_relaxed);
}

void WorkerCounters::AddTo(DropCounts& d, EndpointId endpoint) const {
  if (endpoint.value() >= kMaxEndpoints) return;
  const Cell* cells = &endpoint_drops_[endpoint.value() * kDropReasonCount];
  for (size_t i = 0; i < kDropReasonCount; ++i) d[i] += cells[i].load(std::memory_order_relaxed);
}

void WorkerCounters::Absorb(const WorkerCounters& other) noexcept {
  const auto add = [](auto& to, const auto& from) {
    for (size_t i = 0; i < to.size(); ++i) Bump(to[i], from[i].load(std::memory_order_relaxed));
  };
  add(counters_, other.counters_);
  add(drops_, other.drops_);
  add(endpoint_drops_, other.endpoint_drops_);
}

void WorkerCounters::ClearEndpoint(EndpointId endpoint) noexcept {
  if (endpoint.value() >= kMaxEndpoints) return;
  Cell* cells = &endpoint_drops_[endpoint.value() * kDropReasonCount];
  for (size_t i = 0; i < kDropReasonCount; ++i) cells[i].store(0, std::memory_order_relaxed);
}

}  // namespace podwire
