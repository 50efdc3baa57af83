#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace podwire {

/// Keeps packets without a flow entry (misses) from taking the time that those of established connections
/// need. One worker's; one thread only.
///
/// While the worker falls behind and has both to do, misses that open connections get a quarter of its time,
/// and fruitless ones (denied, or a connection that only takes the place of another nobody has answered) a
/// 64th, by what they are measured to cost. What they need less than that is credit, up to a limit, and
/// nobody is refused before it is used up: a storm of new connections is no flood. Then either share is
/// divided among the sources: each gets what it asks for up to a level, the same for all, which is adjusted
/// every millisecond. So who floods is refused, and who opens a few connections is not.
class MissLimiter {
 public:
  static constexpr uint32_t kBehindMs = 2;  ///< full bursts only, for so long: the worker falls behind
  static constexpr uint32_t kUsefulShare = 4, kFruitlessShare = 64;        ///< of the time, one in so many
  static constexpr uint32_t kUsefulCreditMs = 32, kFruitlessCreditMs = 8;  ///< of the worker's time
  /// Sources are known by numbers below this; those with the same one share what it gets.
  static constexpr uint32_t kSources = 256;

  explicit MissLimiter(uint64_t tsc_per_ms) noexcept
      : tsc_per_ms_(tsc_per_ms),
        useful_(tsc_per_ms, kUsefulShare, kUsefulCreditMs),
        fruitless_(tsc_per_ms, kFruitlessShare, kFruitlessCreditMs) {}

  /// After each burst: how long it took, and whether it was `full`, so that more may be waiting in the ports.
  /// Counts for little if it took long: the thread was held up, and how much had come meanwhile the next
  /// bursts will show.
  void Ran(uint64_t cycles, bool full) noexcept {
    behind_tsc_ = full ? behind_tsc_ + std::min(cycles, tsc_per_ms_ / kBurstsPerMs) : 0;
  }

  /// Before a burst's misses; whether they need Admit. `hits`: packets so far that had an entry.
  bool Begin(uint32_t now_ms, uint64_t hits) noexcept {
    if (now_ms != window_ms_) {
      const uint32_t elapsed_ms = now_ms - window_ms_;
      both_ = hits - hits_ >= elapsed_ms;
      hits_ = hits;
      window_ms_ = now_ms;
      useful_.Adjust(elapsed_ms);
      fruitless_.Adjust(elapsed_ms);
    }
    useful_.in_burst = fruitless_.in_burst = 0;
    limiting_ = both_ && behind_tsc_ >= kBehindMs * tsc_per_ms_;
    return limiting_;
  }
  bool limiting() const noexcept { return limiting_; }

  /// Whether a miss of the source may be looked at. It counts as useful and as fruitless until Account says
  /// which it was.
  bool Admit(uint32_t source) noexcept {
    Source& s = sources_[source];
    if (s.window_ms != window_ms_) s = {.window_ms = window_ms_};
    const bool useful = useful_.HasRoom(s.useful), fruitless = fruitless_.HasRoom(s.fruitless);
    if (!useful || !fruitless) return false;
    ++s.useful;
    ++s.fruitless;
    return true;
  }

  /// What an admitted miss was, before the next Begin.
  void Account(uint32_t source, bool fruitless) noexcept {
    Source& s = sources_[source];
    if (fruitless) {
      --s.useful;
      fruitless_.Count(s.fruitless);
    } else {
      --s.fruitless;
      useful_.Count(s.useful);
    }
  }

  /// What the burst's `n` misses cost, of which some were accounted for. Nothing costs more than a few
  /// microseconds: the thread was held up.
  void End(uint64_t cycles, uint32_t n) noexcept {
    const auto each = static_cast<float>(std::min(cycles / n, tsc_per_ms_ / kMissesPerMs));
    useful_.Spend(each);
    fruitless_.Spend(each);
  }

 private:
  static constexpr uint32_t kBurstsPerMs = 8, kMissesPerMs = 64;  // at least, of a thread that runs

  struct Source {
    uint32_t window_ms = 0;
    uint16_t useful = 0, fruitless = 0;
  };

  /// A share of the time, and how many misses of each source it is enough for.
  class Share {
   public:
    Share(uint64_t tsc_per_ms, uint32_t share, uint32_t credit_ms) noexcept
        : budget_(static_cast<float>(tsc_per_ms) / static_cast<float>(share)),
          most_credit_(static_cast<float>(tsc_per_ms * credit_ms)) {}

    bool HasRoom(uint32_t count) noexcept {
      const bool room = count < level_;
      refused_ |= !room;
      return room;
    }
    void Count(uint16_t of_source) noexcept {
      ++in_burst;
      highest_ = std::max<uint32_t>(highest_, of_source);
    }
    void Spend(float each) noexcept { spent_ += each * static_cast<float>(in_burst); }

    /// A window ends, and some milliseconds without misses may have passed since.
    void Adjust(uint32_t elapsed_ms) noexcept {
      const float left = credit_ + budget_ - spent_;
      if (left < 0) {
        level_ = Lowered();
        credit_ = 0;
      } else if (refused_) {  // nothing is saved that somebody has asked for
        level_ = std::min(kMost, static_cast<uint32_t>(static_cast<float>(level_) * kRise) + 1);
        credit_ = std::min(credit_, left);
      } else {
        credit_ = left;
      }
      credit_ = std::min(most_credit_, credit_ + budget_ * static_cast<float>(elapsed_ms - 1));
      if (credit_ > most_credit_ / 8) level_ = kMost;
      spent_ = 0;
      highest_ = 0;
      refused_ = false;
    }

    uint32_t in_burst = 0;  // accounted for since Begin

   private:
    static constexpr uint32_t kMost = 65'000;
    static constexpr float kFall = 0.25F;  // at most so far at a time
    static constexpr float kRise = 1.25F;

    uint32_t Lowered() const noexcept {
      const auto lowered = static_cast<float>(highest_) * std::max(budget_ / spent_, kFall);
      return std::max(1u, static_cast<uint32_t>(lowered));
    }

    const float budget_;       // cycles a window
    const float most_credit_;  // cycles
    float credit_ = most_credit_;
    float spent_ = 0;  // in this window
    uint32_t level_ = kMost;
    uint32_t highest_ = 0;  // what one source had in this window
    bool refused_ = false;  // somebody, in this window
  };

  const uint64_t tsc_per_ms_;
  Share useful_, fruitless_;
  uint64_t behind_tsc_ = 0;  // running time of full bursts since one was not
  uint64_t hits_ = 0;        // when the window began
  uint32_t window_ms_ = 0;
  bool both_ = false;  // the window before had packets with an entry, one a millisecond at least
  bool limiting_ = false;
  std::array<Source, kSources> sources_{};
};

}  // namespace podwire
