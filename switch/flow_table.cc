#include "switch/flow_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "switch/elapsed.h"
#include "switch/packet.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace podwire {
namespace {

// Bit i: tags[i] == tag, for the first ten. Reads 32 bytes from `tags` on.
uint32_t MatchTags(const void* tags, uint16_t tag) noexcept {
  constexpr uint32_t kTen = (1u << 10) - 1;
#ifdef __SSE2__
  const __m128i wanted = _mm_set1_epi16(static_cast<int16_t>(tag));
  const auto* words = static_cast<const __m128i*>(tags);
  const __m128i low = _mm_cmpeq_epi16(_mm_load_si128(words), wanted);
  const __m128i high = _mm_cmpeq_epi16(_mm_load_si128(words + 1), wanted);
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high))) & kTen;
#else
  uint16_t words[10];
  std::memcpy(words, tags, sizeof words);
  uint32_t mask = 0;
  for (uint32_t i = 0; i < 10; ++i) mask |= uint32_t{words[i] == tag} << i;
  return mask & kTen;
#endif
}

}  // namespace

template <class Key>
FlowTable<Key>::FlowTable(uint32_t capacity, uint64_t seed)
    : capacity_(std::clamp(capacity, 1u, 1u << 28)),
      seed_(seed),
      max_buckets_(std::max(kMinBuckets, capacity_ / kMeanLoad)),
      overflow_count_(max_buckets_ / 4 + kMinBuckets),
      table_(max_buckets_),
      overflow_(overflow_count_),
      entries_(size_t{capacity_} + kQuarantine + 1),
      free_(size_t{capacity_} + kQuarantine + 1) {
  std::memset(static_cast<void*>(&entries_[0].key), 0xff,
              sizeof(Key));  // compares unequal to any packet's key
}

template <class Key>
template <class P>
void FlowTable<Key>::LookupBulk(const P* packets, size_t n, Entry** out) const noexcept {
  const Bucket* bucket[kMaxBulk];
  Entry* candidate[kMaxBulk];
  uint64_t more = 0;   // packets whose key may be in another place than the candidate
  uint64_t retry = 0;  // those of them that need to look there
  for (size_t i = 0; i < n; ++i) {
    bucket[i] = &table_[BucketOf(packets[i].hash)];
    __builtin_prefetch(bucket[i]);
  }
  for (size_t i = 0; i < n; ++i) {
    const Bucket& b = *bucket[i];
    const uint32_t match = MatchTags(&b, TagOf(packets[i].hash));
    // Without a match the last slot will do: its key is compared, and differs.
    candidate[i] = &entries_[b.entry[std::countr_zero(match | 1u << (kSlots - 1))]];
    __builtin_prefetch(candidate[i]);
    more |= uint64_t{((match & (match - 1)) | b.more) != 0} << i;
  }
  for (size_t i = 0; i < n; ++i) {
    const bool flow = packets[i].kind == PacketKind::kFlow;
    const bool hit = candidate[i]->key == packets[i].key;
    out[i] = (hit & flow) ? candidate[i] : nullptr;
    retry |= static_cast<uint64_t>(flow & !hit) << i;
  }
  for (retry &= more; retry != 0; retry &= retry - 1) {
    const auto i = static_cast<size_t>(std::countr_zero(retry));
    out[i] = Find(packets[i].key, packets[i].hash);
  }
}

template <class Key>
auto FlowTable<Key>::Find(const Key& key, uint32_t hash) const noexcept -> Entry* {
  const Place place = Locate(key, hash);
  return place.bucket != nullptr ? &entries_[place.bucket->entry[place.slot]] : nullptr;
}

template <class Key>
auto FlowTable<Key>::Locate(const Key& key, uint32_t hash) const noexcept -> Place {
  const uint16_t tag = TagOf(hash);
  for (Bucket* b = &table_[BucketOf(hash)];; b = &overflow_[b->more]) {
    for (uint32_t match = MatchTags(b, tag); match != 0; match &= match - 1) {
      const auto slot = static_cast<uint32_t>(std::countr_zero(match));
      if (entries_[b->entry[slot]].key == key) return {b, slot};
    }
    if (b->more == 0) return {};
  }
}

template <class Key>
auto FlowTable<Key>::Insert(const Key& key, uint32_t hash, uint32_t now_ms) noexcept -> Entry* {
  Entry* e = Find(key, hash);
  if (e == nullptr) return Add(key, hash, now_ms);
  *e = Entry{.key = key, .last_seen_ms = now_ms, .in_use = true};
  return e;
}

template <class Key>
auto FlowTable<Key>::Add(const Key& key, uint32_t hash, uint32_t now_ms) noexcept -> Entry* {
  const uint32_t bucket = BucketOf(hash);
  const uint32_t index = TakeEntry(bucket, now_ms);
  while (!AddTo(bucket, TagOf(hash), index)) EvictFrom(bucket, now_ms);
  ++size_;
  Entry* e = &entries_[index];
  *e = Entry{.key = key, .last_seen_ms = now_ms, .in_use = true};
  if (size_ > size_t{kMeanLoad} * buckets_ && buckets_ < max_buckets_) Grow();
  return e;
}

template <class Key>
bool FlowTable<Key>::Erase(const Key& key, uint32_t hash) noexcept {
  const Place place = Locate(key, hash);
  if (place.bucket == nullptr) return false;
  const uint32_t index = place.bucket->entry[place.slot];
  TakeOut(BucketOf(hash), place);
  GiveBack(index);
  return true;
}

template <class Key>
size_t FlowTable<Key>::Age(uint32_t now_ms, size_t budget) noexcept {
  size_t erased = 0;
  for (budget = std::min<size_t>(budget, fresh_ - 1); budget > 0; --budget) {
    age_at_ = age_at_ + 1 < fresh_ ? age_at_ + 1 : 1;
    const Entry& e = entries_[age_at_];
    if (!e.in_use || ElapsedMs(now_ms, e.last_seen_ms) <= kIdleMs) continue;
    Erase(e.key, FlowHash(e.key, seed_));
    ++erased;
  }
  return erased;
}

// A chain has no holes: only its last bucket has empty slots, and they are its last.
template <class Key>
auto FlowTable<Key>::EndOf(uint32_t bucket) const noexcept -> Place {
  Bucket* b = &table_[bucket];
  while (b->more != 0) b = &overflow_[b->more];
  const uint32_t empty = MatchTags(b, 0);
  return {b, empty != 0 ? static_cast<uint32_t>(std::countr_zero(empty)) : kSlots};
}

// False: the chain needs another bucket, and there is none.
template <class Key>
bool FlowTable<Key>::AddTo(uint32_t bucket, uint16_t tag, uint32_t entry) noexcept {
  Place end = EndOf(bucket);
  if (end.slot == kSlots) {
    uint32_t next = overflow_free_;
    if (next != 0) {
      overflow_free_ = overflow_[next].more;
    } else if (overflow_fresh_ < overflow_count_) {
      next = overflow_fresh_++;
    } else {
      return false;
    }
    overflow_[next].more = 0;
    end.bucket->more = next;
    end = {&overflow_[next], 0};
  }
  end.bucket->tag[end.slot] = tag;
  end.bucket->entry[end.slot] = entry;
  return true;
}

// The last of the chain fills the gap; a bucket that this empties is given back.
template <class Key>
void FlowTable<Key>::TakeOut(uint32_t bucket, Place place) noexcept {
  Place last = EndOf(bucket);
  --last.slot;
  place.bucket->tag[place.slot] = last.bucket->tag[last.slot];
  place.bucket->entry[place.slot] = last.bucket->entry[last.slot];
  last.bucket->tag[last.slot] = 0;
  last.bucket->entry[last.slot] = 0;
  if (last.slot > 0 || last.bucket == &table_[bucket]) return;
  Bucket* before = &table_[bucket];
  while (&overflow_[before->more] != last.bucket) before = &overflow_[before->more];
  last.bucket->more = overflow_free_;
  overflow_free_ = before->more;
  before->more = 0;
}

// Splits one bucket into itself and a new one; every round of splits doubles the table.
template <class Key>
void FlowTable<Key>::Grow() noexcept {
  const uint32_t from = buckets_ - round_, to = buckets_;
  for (uint32_t entry : table_[from].entry) __builtin_prefetch(&entries_[entry]);
  __builtin_prefetch(&table_[from + 1]);
  Place at{&table_[from], 0};
  while (at.slot < kSlots && at.bucket->tag[at.slot] != 0) {
    const uint32_t index = at.bucket->entry[at.slot];
    const uint16_t tag = at.bucket->tag[at.slot];
    if ((FlowHash(entries_[index].key, seed_) & round_) != 0) {
      // Added first: TakeOut may give back the bucket that `at` is in, empty, and AddTo must not use it yet.
      const bool added = AddTo(to, tag, index);
      TakeOut(from, at);
      if (!added) GiveBack(index);
      continue;
    }
    if (++at.slot == kSlots && at.bucket->more != 0) at = {&overflow_[at.bucket->more], 0};
  }
  if (++buckets_ == 2 * round_) round_ = buckets_;
}

template <class Key>
uint32_t FlowTable<Key>::TakeEntry(uint32_t bucket, uint32_t now_ms) noexcept {
  if (size_ >= capacity_ && !EvictFrom(bucket, now_ms)) {
    do {
      evict_at_ = evict_at_ + 1 < buckets_ ? evict_at_ + 1 : 0;
    } while (!EvictFrom(evict_at_, now_ms));
  }
  if (free_count_ <= kQuarantine) return fresh_++;
  const uint32_t index = free_[free_head_];
  free_head_ = Wrap(free_head_ + 1);
  --free_count_;
  __builtin_prefetch(&entries_[free_[free_head_]], 1);
  return index;
}

template <class Key>
void FlowTable<Key>::GiveBack(uint32_t entry) noexcept {
  entries_[entry].in_use = false;
  free_[Wrap(free_head_ + free_count_)] = entry;
  ++free_count_;
  --size_;
}

template <class Key>
bool FlowTable<Key>::EvictFrom(uint32_t bucket, uint32_t now_ms) noexcept {
  Place oldest;
  uint32_t longest = 0;
  for (Bucket* b = &table_[bucket];; b = &overflow_[b->more]) {
    for (uint32_t slot = 0; slot < kSlots && b->tag[slot] != 0; ++slot) {
      const uint32_t idle = ElapsedMs(now_ms, entries_[b->entry[slot]].last_seen_ms);
      if (oldest.bucket != nullptr && idle <= longest) continue;
      oldest = {b, slot};
      longest = idle;
    }
    if (b->more == 0) break;
  }
  if (oldest.bucket == nullptr) return false;
  const uint32_t index = oldest.bucket->entry[oldest.slot];
  TakeOut(bucket, oldest);
  GiveBack(index);
  ++evicted_;
  return true;
}

template class FlowTable<FlowKey4>;
template class FlowTable<FlowKey6>;
template void FlowTable<FlowKey4>::LookupBulk<Packet>(const Packet*, size_t, Entry**) const noexcept;
template void FlowTable<FlowKey6>::LookupBulk<Packet6>(const Packet6*, size_t, Entry**) const noexcept;

}  // namespace podwire
