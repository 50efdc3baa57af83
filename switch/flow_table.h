#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "net/id.h"
#include "switch/action.h"
#include "switch/drop_reasons.h"
#include "switch/flow_key.h"
#include "switch/page_array.h"

namespace podwire {

/// What becomes of the packets of one direction of a connection that come in on one port: a cached Decision.
template <class Key>
struct alignas(64) FlowEntry {
  static constexpr uint8_t kReply = 1;      ///< flags: the connection's reply direction
  static constexpr uint8_t kUnsettled = 2;  ///< flags: the connection's state must see every packet
  static constexpr uint8_t kPlain = 4;      ///< flags: plain packets are forwarded without another look

  Key key;
  uint32_t conn = 0;         ///< index in the connection table; 0: none
  uint32_t conn_serial = 0;  ///< the entry is good while the connection has this serial
  uint32_t generation = 0;   ///< of the tables it was decided from
  uint32_t last_seen_ms = 0;
  uint64_t packets = 0;
  uint64_t bytes = 0;
  NextHopId next_hop = kNoNextHop;
  uint16_t neighbor = UINT16_MAX;   ///< a NeighborId's value
  uint16_t tunnel_src_port_be = 0;  ///< outer UDP source port, if the next hop is a tunnel
  Action action{};
  DropReason reason = DropReason::kNone;  ///< when action is to drop
  uint8_t flags = 0;
  bool in_use = false;  ///< the table's

  /// After action, reason or kUnsettled has changed.
  void SetPlain() noexcept {
    const bool plain = action != Action::kDrop && action != Action::kLocal && reason == DropReason::kNone &&
                       (flags & kUnsettled) == 0;
    flags = static_cast<uint8_t>((flags & ~kPlain) | (plain ? kPlain : 0));
  }
};
static_assert(sizeof(FlowEntry<FlowKey4>) == 64);
static_assert(sizeof(FlowEntry<FlowKey6>) == 128);

/// One worker's cache of decisions, by exact match of the whole key. One thread only, no locks.
///
/// 64-byte buckets of ten 16-bit tags and entry indices, entries beside them: a look-up touches two cache
/// lines, which LookupBulk fetches ahead for a burst. Grows by one bucket at a time (linear hashing), so no
/// call does more than a few entries' work. Memory is reserved at once for `capacity` and taken from the
/// kernel as the table grows.
template <class Key>
class FlowTable {
 public:
  using Entry = FlowEntry<Key>;
  static constexpr size_t kMaxBulk = 64;
  /// A flow entry unused for so long goes at the next Age: it is only a cache.
  static constexpr uint32_t kIdleMs = 60'000;
  static constexpr uint32_t kAgeRoundMs = 16384;                     ///< see AgeInPace
  static constexpr uint32_t kAgeStep = 16;                           ///< places that a burst may wait for
  static constexpr uint32_t kLongestIdleMs = kIdleMs + kAgeRoundMs;  ///< that an entry is found again after
  /// Entries that Insert, Erase or Age have taken out keep their content until so many others have been taken
  /// out after them: pointers into the table stay good for a burst, though counting in them may be lost.
  static constexpr uint32_t kQuarantine = 256;

  /// `capacity`: flows at once, 1 to 2^28. `seed` is FlowHash's. Throws std::bad_alloc.
  FlowTable(uint32_t capacity, uint64_t seed);

  /// out[i]: the entry of packets[i].key, or null. Uses P::key, P::hash (FlowHash(key, seed)) and P::kind: a
  /// packet that is no PacketKind::kFlow finds nothing. n is at most kMaxBulk. Does not count or touch
  /// last_seen_ms.
  template <class P>
  void LookupBulk(const P* packets, size_t n, Entry** out) const noexcept;

  /// The entry of one key, or null.
  Entry* Find(const Key& key, uint32_t hash) const noexcept;

  /// The key's entry with all else at its defaults but last_seen_ms, also when it was there before. Never
  /// fails: a full table gives up the longest idle entry of the key's bucket (or of one after it).
  Entry* Insert(const Key& key, uint32_t hash, uint32_t now_ms) noexcept;
  /// The same for a key that is known not to be there.
  Entry* Add(const Key& key, uint32_t hash, uint32_t now_ms) noexcept;

  /// False if there was none.
  bool Erase(const Key& key, uint32_t hash) noexcept;

  /// Looks at the next `budget` places and erases what has been idle for longer than kIdleMs; goes on where
  /// it stopped. Returns how many it erased.
  size_t Age(uint32_t now_ms, size_t budget) noexcept;

  /// For every loop: ages so that each place is looked at about once in kAgeRoundMs, however many there are
  /// and however long the last call is past, up to kAgeStep places a call. True: more is due, call again
  /// soon.
  bool AgeInPace(uint32_t now_ms) noexcept {
    if (now_ms != paced_ms_) {
      const uint32_t elapsed = std::min(now_ms - paced_ms_, kAgeRoundMs);
      paced_ms_ = now_ms;
      const uint64_t due = age_due_ + uint64_t{fresh_} * elapsed / kAgeRoundMs + 1;
      age_due_ = static_cast<uint32_t>(std::min<uint64_t>(due, fresh_ - 1));
    }
    if (age_due_ == 0) return false;
    const uint32_t now = std::min(age_due_, kAgeStep);
    age_due_ -= now;
    Age(now_ms, now);
    return age_due_ != 0;
  }

  /// Calls fn(const Entry&) for the entries at the next `max` places from `cursor` on (start with 0) and
  /// moves it. False when the end is reached. What stays in the table between calls is seen exactly once.
  template <class Fn>
  bool ForEachChunk(uint32_t& cursor, size_t max, Fn&& fn) const {
    for (; max > 0 && cursor + 1 < fresh_; --max) {
      const Entry& e = entries_[++cursor];
      if (e.in_use) fn(e);
    }
    return cursor + 1 < fresh_;
  }

  size_t size() const noexcept { return size_; }
  size_t capacity() const noexcept { return capacity_; }
  uint64_t evicted() const noexcept { return evicted_; }
  uint64_t seed() const noexcept { return seed_; }

 private:
  static constexpr uint32_t kSlots = 10;
  static constexpr uint32_t kMinBuckets = 64;
  static constexpr uint32_t kMeanLoad = 5;  // entries a bucket at which the table grows

  // Tag 0 is an empty slot. A full bucket continues in another of overflow_, by index; 0: none.
  struct alignas(64) Bucket {
    uint16_t tag[kSlots];
    uint32_t entry[kSlots];
    uint32_t more;
  };
  static_assert(sizeof(Bucket) == 64);

  static uint16_t TagOf(uint32_t hash) noexcept { return static_cast<uint16_t>(hash >> 16 | (hash < 65536)); }
  uint32_t BucketOf(uint32_t hash) const noexcept {
    const uint32_t b = hash & (2 * round_ - 1);
    return b < buckets_ ? b : b & (round_ - 1);
  }

  struct Place {
    Bucket* bucket = nullptr;
    uint32_t slot = 0;
  };
  Place Locate(const Key& key, uint32_t hash) const noexcept;
  Place EndOf(uint32_t bucket) const noexcept;
  bool AddTo(uint32_t bucket, uint16_t tag, uint32_t entry) noexcept;
  void TakeOut(uint32_t bucket, Place place) noexcept;
  void Grow() noexcept;
  uint32_t TakeEntry(uint32_t bucket, uint32_t now_ms) noexcept;
  void GiveBack(uint32_t entry) noexcept;
  bool EvictFrom(uint32_t bucket, uint32_t now_ms) noexcept;
  uint32_t Wrap(uint32_t i) const noexcept {
    return i > capacity_ + kQuarantine ? i - (capacity_ + kQuarantine + 1) : i;
  }

  const uint32_t capacity_;
  const uint64_t seed_;
  const uint32_t max_buckets_;
  const uint32_t overflow_count_;
  PageArray<Bucket> table_;
  PageArray<Bucket> overflow_;
  PageArray<Entry> entries_;
  PageArray<uint32_t> free_;  // ring of entries that were given back, oldest first
  uint32_t free_head_ = 0, free_count_ = 0;
  uint32_t overflow_free_ = 0, overflow_fresh_ = 1;
  uint32_t fresh_ = 1;              // entries from here on were never used; entry 0 is none
  uint32_t round_ = kMinBuckets;    // buckets when this doubling began
  uint32_t buckets_ = kMinBuckets;  // now: round_ <= buckets_ < 2 * round_
  uint32_t age_at_ = 0, evict_at_ = 0;
  uint32_t age_due_ = 0;  // places that AgeInPace has still to look at
  uint32_t paced_ms_ = 0;
  size_t size_ = 0;
  uint64_t evicted_ = 0;
};

extern template class FlowTable<FlowKey4>;
extern template class FlowTable<FlowKey6>;

}  // namespace podwire
