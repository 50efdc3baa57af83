#include "switch/latency.h"

namespace podwire {

LatencyHistogram::Summary LatencyHistogram::Summarize() const {
  std::array<uint64_t, kBuckets> counts;
  Summary s{.max = max_.load(std::memory_order_relaxed)};
  for (uint32_t i = 0; i < kBuckets; ++i) {
    counts[i] = cells_[i].load(std::memory_order_relaxed);
    s.samples += counts[i];
  }
  // The smallest value that at least so many of a thousand are not above.
  const auto percentile = [&](uint64_t permille) -> uint64_t {
    const uint64_t wanted = (s.samples * permille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < kBuckets; ++i) {
      seen += counts[i];
      if (seen >= wanted) return std::min(HighestOf(i), s.max);
    }
    return s.max;
  };
  if (s.samples == 0) return {};
  s.p50 = percentile(500);
  s.p99 = percentile(990);
  s.p999 = percentile(999);
  return s;
}

}  // namespace podwire
