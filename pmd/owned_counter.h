#pragma once

#include <atomic>
#include <cstdint>

namespace podwire {

/// To a counter that one thread writes and any reads: no locked instruction.
inline void Add(std::atomic<uint64_t>& counter, uint64_t n) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace podwire
