#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace podwire {

/// Values with their counts in log-linear buckets: exact up to 15, above that sixteen buckets between a power
/// of two and the next, so a value read back is at most a sixteenth too high. Written by one thread (relaxed,
/// no shared writes), read by any.
class LatencyHistogram {
 public:
  static constexpr uint32_t kSubBits = 4;
  static constexpr uint32_t kMaxBits = 40;  ///< larger values (minutes, in TSC cycles) share the last bucket
  static constexpr uint32_t kBuckets = (kMaxBits - kSubBits + 1) << kSubBits;

  static constexpr uint32_t BucketOf(uint64_t value) noexcept {
    const auto width = static_cast<uint32_t>(std::bit_width(value));
    if (width <= kSubBits) return static_cast<uint32_t>(value);
    if (width > kMaxBits) return kBuckets - 1;
    const uint32_t shift = width - 1 - kSubBits;
    return (shift << kSubBits) + static_cast<uint32_t>(value >> shift);
  }
  /// The largest value that falls into the bucket.
  static constexpr uint64_t HighestOf(uint32_t bucket) noexcept {
    const uint32_t octave = bucket >> kSubBits;
    if (octave == 0) return bucket;
    const uint64_t sub = (bucket & ((1u << kSubBits) - 1)) | 1u << kSubBits;
    return ((sub + 1) << (octave - 1)) - 1;
  }

  /// `weight` packets took `value`. Owner thread.
  void Record(uint64_t value, uint64_t weight) noexcept {
    Cell& cell = cells_[BucketOf(value)];
    cell.store(cell.load(std::memory_order_relaxed) + weight, std::memory_order_relaxed);
    if (value > max_.load(std::memory_order_relaxed)) max_.store(value, std::memory_order_relaxed);
  }

  struct Summary {
    uint64_t samples = 0;  ///< sum of weights
    uint64_t p50 = 0, p99 = 0, p999 = 0, max = 0;
  };
  /// All that was recorded so far. Any thread.
  Summary Summarize() const;

 private:
  using Cell = std::atomic<uint64_t>;
  std::array<Cell, kBuckets> cells_{};
  Cell max_{0};
};

}  // namespace podwire
