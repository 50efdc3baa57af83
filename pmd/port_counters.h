#pragma once

#include <atomic>
#include <cstdint>

#include <rte_common.h>

#include "pmd/port.h"

namespace podwire {

/// What one thread receives from a port: written by it (Add of owned_counter.h), read by any.
struct alignas(RTE_CACHE_LINE_SIZE) RxCounters {
  std::atomic<uint64_t> packets{0}, bytes{0}, errors{0};

  void AddTo(PortStats& stats) const noexcept {
    stats.rx_packets += packets.load(std::memory_order_relaxed);
    stats.rx_bytes += bytes.load(std::memory_order_relaxed);
    stats.rx_errors += errors.load(std::memory_order_relaxed);
  }
};

/// What one worker sends by it.
struct alignas(RTE_CACHE_LINE_SIZE) TxCounters {
  std::atomic<uint64_t> packets{0}, bytes{0}, segments{0}, errors{0};

  void AddTo(PortStats& stats) const noexcept {
    stats.tx_packets += packets.load(std::memory_order_relaxed);
    stats.tx_bytes += bytes.load(std::memory_order_relaxed);
    stats.tx_segments += segments.load(std::memory_order_relaxed);
    stats.tx_errors += errors.load(std::memory_order_relaxed);
  }
};

}  // namespace podwire
