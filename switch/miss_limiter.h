#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace podwire {

/// Keeps packets without a flow entry (misses) from taking the time that those of established connections
/// need. One worker's; one thread only.
///
/// Lets all pass unless the worker falls behind and has both to do. Then misses that open connections get a
/// quarter of its time, and fruitless ones (denied, or a connection that only takes the place of another
/// nobody has answered) a 64th, by what they are measured to cost. Either share is divided among the sources:
/// each gets what it asks for up to a level, the same for all, which is adjusted every millisecond. So who
/// floods is refused, and who opens a few connections is not.
class MissLimiter {
 public:
  static constexpr uint32_t kBehindMs = 2;  ///< full bursts only, for so long: the worker falls behind
  static constexpr uint32_t kUsefulShare = 4, kFruitlessShare = 64;  ///< of the time, one in so many
  /// Sources are known by numbers below this; those with the same one share what it gets.
  static constexpr uint32_t kSources = 256;

  explicit MissLimiter(uint64_t tsc_per_ms) noexcept
      : useful_{.budget = static_cast<float>(tsc_per_ms) / kUsefulShare},
        fruitless_{.budget = static_cast<float>(tsc_per_ms) / kFruitlessShare} {}

  /// Before a burst's misses; whether they need Admit. `drained_ms`: when the ports last had nothing more
  /// waiting; `hits`: packets so far that had an entry.
  bool Begin(uint32_t now_ms, uint32_t drained_ms, uint64_t hits) noexcept {
    if (now_ms != window_ms_) {
      both_ = hits != hits_;
      hits_ = hits;
      window_ms_ = now_ms;
      useful_.Adjust();
      fruitless_.Adjust();
    }
    useful_.in_burst = fruitless_.in_burst = 0;
    limiting_ = both_ && now_ms - drained_ms >= kBehindMs;
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

  /// What the burst's `n` misses cost, of which some were accounted for.
  void End(uint64_t cycles, uint32_t n) noexcept {
    const float each = static_cast<float>(cycles) / static_cast<float>(n);
    useful_.spent += each * static_cast<float>(useful_.in_burst);
    fruitless_.spent += each * static_cast<float>(fruitless_.in_burst);
  }

 private:
  struct Source {
    uint32_t window_ms = 0;
    uint16_t useful = 0, fruitless = 0;
  };

  /// A share of the time, and how many misses of each source it is enough for.
  struct Share {
    static constexpr uint32_t kMost = 65'000;
    static constexpr float kFall = 0.25F;  // at most so far at a time: an interrupt is no flood
    static constexpr float kRise = 1.25F;

    bool HasRoom(uint32_t count) noexcept {
      const bool room = count < level;
      refused |= !room;
      return room;
    }
    void Count(uint16_t of_source) noexcept {
      ++in_burst;
      highest = std::max<uint32_t>(highest, of_source);
    }
    /// A window ends.
    void Adjust() noexcept {
      const auto now = static_cast<float>(spent > budget ? highest : level);
      if (spent > budget) {
        level = std::max(1u, static_cast<uint32_t>(now * std::max(budget / spent, kFall)));
      } else if (refused) {
        level = std::min(kMost, static_cast<uint32_t>(now * kRise) + 1);
      }
      spent = 0;
      highest = 0;
      refused = false;
    }

    float budget;     // cycles a window
    float spent = 0;  // in this window
    uint32_t level = kMost;
    uint32_t highest = 0;   // what one source had in this window
    uint32_t in_burst = 0;  // accounted for since Begin
    bool refused = false;   // somebody, in this window
  };

  Share useful_, fruitless_;
  uint64_t hits_ = 0;  // when the window began
  uint32_t window_ms_ = 0;
  bool both_ = false;  // the window before had packets with an entry
  bool limiting_ = false;
  std::array<Source, kSources> sources_{};
};

}  // namespace podwire
