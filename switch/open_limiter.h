#pragma once

#include <algorithm>
#include <cstdint>

namespace podwire {

/// Keeps a flood of new connections from taking the time that packets of established ones need. One worker's;
/// one thread only. Lets everything pass unless the worker falls behind and has both to do; then openings get
/// half of its time, by what one has been measured to cost, in each millisecond.
class OpenLimiter {
 public:
  static constexpr uint32_t kBehindMs = 2;       ///< full bursts only, for so long: the worker falls behind
  static constexpr uint32_t kAlwaysPerMs = 300;  ///< openings a millisecond that pass whatever they cost

  explicit OpenLimiter(uint64_t tsc_per_ms) noexcept : share_(tsc_per_ms / 2) {}

  /// Whether one more connection may be opened. `drained_ms`: when the ports last had nothing more waiting;
  /// `hits`: packets so far that needed no decision.
  bool Admit(uint32_t now_ms, uint32_t drained_ms, uint64_t hits) noexcept {
    if (now_ms != window_ms_) Begin(now_ms, hits);
    if (++opened_ <= allowance_) return true;
    return !both_ || now_ms - drained_ms < kBehindMs;
  }

  /// One opening in sixteen is measured.
  bool IsSampled() noexcept { return (++count_ & 15) == 0; }
  /// What it cost. An outlier (an interrupt, another tenant of the core) moves the mean by little.
  void Learn(uint64_t cycles) noexcept {
    const uint64_t capped = std::min(cycles, 4 * cost_);
    cost_ = std::max<uint64_t>(cost_ - cost_ / 16 + capped / 16, 16);
  }

 private:
  void Begin(uint32_t now_ms, uint64_t hits) noexcept {
    both_ = hits != hits_;
    hits_ = hits;
    window_ms_ = now_ms;
    opened_ = 0;
    allowance_ = std::max(static_cast<uint32_t>(share_ / cost_), kAlwaysPerMs);
  }

  const uint64_t share_;  // cycles of a millisecond
  uint64_t cost_ = 1024;  // cycles an opening, moving mean
  uint64_t hits_ = 0;     // when the window began
  uint32_t window_ms_ = 0, opened_ = 0, allowance_ = kAlwaysPerMs, count_ = 0;
  bool both_ = false;  // the window before had packets of established connections
};

}  // namespace podwire
