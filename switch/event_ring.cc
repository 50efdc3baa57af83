// rte_ring by atomics: what its other model does in assembler and plain stores, TSan takes for races.
#define RTE_USE_C11_MEM_MODEL

#include "switch/event_ring.h"

#include <cstdlib>
#include <new>

#include <rte_ring.h>

namespace podwire {

void EventRing::Free::operator()(rte_ring* ring) const noexcept { std::free(ring); }

// Memory of its own: DPDK's would need a name that no other ring has.
EventRing::EventRing() {
  const ssize_t size = rte_ring_get_memsize_elem(sizeof(PacketEvent), kCapacity + 1);
  void* memory =
      std::aligned_alloc(alignof(rte_ring), static_cast<size_t>(RTE_ALIGN(size, RTE_CACHE_LINE_SIZE)));
  if (memory == nullptr) throw std::bad_alloc();
  ring_.reset(static_cast<rte_ring*>(memory));
  rte_ring_init(ring_.get(), "events", kCapacity + 1, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

bool EventRing::WantsVerdict(EndpointId victim, DropReason reason) noexcept {
  uint8_t& credit = verdict_credit_[LaneOf(victim, reason)];
  if (credit != 0) {
    --credit;
    return true;
  }
  verdicts_left_out_.store(verdicts_left_out_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return false;
}

void EventRing::Put(const PacketEvent& event) noexcept {
  const int put = rte_ring_sp_enqueue_elem(ring_.get(), const_cast<PacketEvent*>(&event), sizeof event);
  if (put != 0 && event.kind == EventKind::kVerdict) {
    verdicts_left_out_.store(verdicts_left_out_.load(std::memory_order_relaxed) + 1,
                             std::memory_order_relaxed);
  }
}

void EventRing::Tick(uint32_t now_ms, bool watched) noexcept {
  if (!begun_ || now_ms - drops_at_ms_ >= (watched ? kWatchedPeriodMs : kQuietPeriodMs)) {
    drop_credit_.fill(watched ? kWatchedDrops : kQuietDrops);
    drops_at_ms_ = now_ms;
  }
  if (!begun_ || now_ms - verdicts_at_ms_ >= kWatchedPeriodMs) {
    verdict_credit_.fill(kVerdicts);
    verdicts_at_ms_ = now_ms;
  }
  begun_ = true;
}

uint32_t EventRing::Take(std::span<PacketEvent> room) noexcept {
  return rte_ring_sc_dequeue_burst_elem(ring_.get(), room.data(), sizeof(PacketEvent),
                                        static_cast<unsigned>(room.size()), nullptr);
}

}  // namespace podwire
