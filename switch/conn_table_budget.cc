// Who may have a connection, and who gives way: quotas, the embryonic budget, eviction.
#include <algorithm>

#include "switch/conn_table.h"
#include "switch/elapsed.h"

namespace podwire {
namespace {

constexpr uint32_t kClosingSample = 16;
constexpr uint32_t kVictims = 4;       // embryonic connections that are compared to find one that goes
constexpr uint32_t kSearchSlots = 64;  // of the ring, looked at for one connection; eight cache lines
constexpr EndpointId kAnybody{UINT32_MAX - 1};

// No longer a conversation, or one that has begun again: may go to make room.
bool IsClosing(ConnState s) {
  switch (s) {
    case ConnState::kNone:
    case ConnState::kSynSent:
    case ConnState::kSynRecv:
    case ConnState::kLastAck:
    case ConnState::kTimeWait:
    case ConnState::kClose:
    case ConnState::kNew:
      return true;
    case ConnState::kEstablished:
    case ConnState::kFinWait:
    case ConnState::kCloseWait:
    case ConnState::kReply:
      return false;
  }
  return false;
}

uint64_t WordOf(EndpointId payer, uint32_t index) { return uint64_t{payer.value()} << 32 | index; }
EndpointId PayerOf(uint64_t word) { return EndpointId{static_cast<uint32_t>(word >> 32)}; }

}  // namespace

// The last entries of a shard: what nobody has answered goes first, then what is over.
template <class Key>
void ConnTable<Key>::MakeRoom(Shard& shard, uint32_t shard_index, uint32_t now_ms) noexcept {
  if (EvictEmbryonic(shard, shard_index, now_ms, kAnybody, 0)) return;
  EvictClosing(shard, shard_index, now_ms, kAnybody);
}

// The one that began the connection pays, if it is of this node.
template <class Key>
DropReason ConnTable<Key>::Charge(Shard& shard, uint32_t index, uint32_t now_ms) noexcept {
  Conn& c = pool_[index];
  const EndpointId payer = c.src_endpoint != kNoEndpoint ? c.src_endpoint : c.dst_endpoint;
  c.charged = payer.value() < max_endpoints_ ? payer : kNoEndpoint;
  if (c.charged != kNoEndpoint) {
    const DropReason refused = ChargeQuota(shard, index, now_ms);
    if (refused != DropReason::kNone) return refused;
  }
  if (!c.embryonic.load(std::memory_order_relaxed) || EnterBudget(shard, index, now_ms))
    return DropReason::kNone;
  if (c.charged != kNoEndpoint) {
    charged_[c.charged.value()].embryonic.fetch_sub(1, std::memory_order_relaxed);
    charged_[c.charged.value()].all.fetch_sub(1, std::memory_order_relaxed);
  }
  return DropReason::kConnectionTableFull;
}

// Counted first, so that two workers never take the same last place; then another of the endpoint's goes.
template <class Key>
DropReason ConnTable<Key>::ChargeQuota(Shard& shard, uint32_t index, uint32_t now_ms) noexcept {
  const Conn& c = pool_[index];
  Account& account = charged_[c.charged.value()];
  const uint32_t shard_index = index & (shard_count_ - 1);
  const bool embryonic = c.embryonic.load(std::memory_order_relaxed);
  if (embryonic && account.embryonic.fetch_add(1, std::memory_order_relaxed) >= embryonic_quota_ &&
      !EvictEmbryonic(shard, shard_index, now_ms, c.charged, 0)) {
    account.embryonic.fetch_sub(1, std::memory_order_relaxed);
    return DropReason::kConnectionQuota;
  }
  if (account.all.fetch_add(1, std::memory_order_relaxed) < quota_) return DropReason::kNone;
  if (EvictEmbryonic(shard, shard_index, now_ms, c.charged, 0) ||
      EvictClosing(shard, shard_index, now_ms, c.charged))
    return DropReason::kNone;
  account.all.fetch_sub(1, std::memory_order_relaxed);
  if (embryonic) account.embryonic.fetch_sub(1, std::memory_order_relaxed);
  return DropReason::kConnectionQuota;
}

// Gives the connection a slot of the ring. When no victim is near the budget is exceeded for a while; the
// ring has the room. False: not even a free slot is near.
template <class Key>
bool ConnTable<Key>::EnterBudget(Shard& shard, uint32_t index, uint32_t now_ms) noexcept {
  const uint32_t shard_index = index & (shard_count_ - 1);
  Conn& c = pool_[index];
  // Two when it has been exceeded: back to the budget in as many steps.
  for (int n = 0; n < 2 && shard.embryonic.load(std::memory_order_relaxed) >= budget_; ++n)
    EvictEmbryonic(shard, shard_index, now_ms, kAnybody, WeightOf(c.charged));
  Slot* ring = Ring(shard_index);
  for (uint32_t n = std::min(kSearchSlots, ring_size_); n > 0; --n) {
    const uint32_t at = shard.put_at;
    shard.put_at = at + 1 < ring_size_ ? at + 1 : 0;
    if (ring[at].word.load(std::memory_order_relaxed) != 0) continue;
    ring[at].word.store(WordOf(c.charged, index), std::memory_order_relaxed);
    c.slot = at;
    shard.embryonic.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  return false;
}

// Who clears the flag owns the slot and the counts. The entry is not used again, nor its slot, before that
// thread's next quiescent state (or, under the lock, before the lock is released).
template <class Key>
bool ConnTable<Key>::LeaveBudget(Shard& shard, Conn& c) noexcept {
  if (!c.embryonic.exchange(false, std::memory_order_acq_rel)) return false;
  const auto shard_index = static_cast<uint32_t>(&shard - shards_.get());
  Ring(shard_index)[c.slot].word.store(0, std::memory_order_relaxed);
  shard.embryonic.fetch_sub(1, std::memory_order_relaxed);
  if (c.charged != kNoEndpoint) charged_[c.charged.value()].embryonic.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// Unanswered connections of an endpoint: who has most gives way first.
template <class Key>
uint32_t ConnTable<Key>::WeightOf(EndpointId payer) const noexcept {
  return payer == kNoEndpoint ? embryonic_quota_
                              : charged_[payer.value()].embryonic.load(std::memory_order_relaxed);
}

// Of the next few in the ring (of `payer`, or kAnybody), the heaviest endpoint's, of these the longest idle.
// Those of endpoints with fewer than `at_least` stay.
template <class Key>
bool ConnTable<Key>::EvictEmbryonic(Shard& shard, uint32_t shard_index, uint32_t now_ms, EndpointId payer,
                                    uint32_t at_least) noexcept {
  const Slot* ring = Ring(shard_index);
  uint32_t victim = 0, weight = 0, longest = 0, after = 0, at = shard.take_at, seen = 0;
  for (uint32_t n = std::min(kSearchSlots, ring_size_); n > 0 && seen < kVictims; --n) {
    const uint64_t word = ring[at].word.load(std::memory_order_relaxed);
    at = at + 1 < ring_size_ ? at + 1 : 0;
    if (word == 0 || (payer != kAnybody && PayerOf(word) != payer)) continue;
    const uint32_t w = payer == kAnybody ? WeightOf(PayerOf(word)) : 0;
    if (w < std::max(at_least, weight)) {
      seen += w < at_least ? 0 : 1;
      continue;
    }
    ++seen;
    const auto i = static_cast<uint32_t>(word);
    const uint32_t idle = ElapsedMs(now_ms, pool_[i].last_seen_ms.load(std::memory_order_relaxed));
    if (victim != 0 && w == weight && idle <= longest) continue;
    victim = i;
    weight = w;
    longest = idle;
    after = at;
  }
  shard.take_at = victim != 0 ? after : at;
  for (uint32_t n = 0, i = shard.take_at; n < kVictims; ++n, i = i + 1 < ring_size_ ? i + 1 : 0)
    Warm(static_cast<uint32_t>(ring[i].word.load(std::memory_order_relaxed)));
  // It may have been confirmed at this very moment: then it stays.
  if (victim == 0 || !LeaveBudget(shard, pool_[victim])) return false;
  Evict(shard, victim);
  return true;
}

// A random sample: connections of a kind lie together, and a run of established ones must not hide the
// others.
template <class Key>
bool ConnTable<Key>::EvictClosing(Shard& shard, uint32_t shard_index, uint32_t now_ms,
                                  EndpointId payer) noexcept {
  const uint32_t rows = shard.fresh.load(std::memory_order_relaxed);
  const uint32_t sample = std::min(kClosingSample, rows);
  uint32_t entry[kClosingSample];
  for (uint32_t n = 0; n < sample; ++n) {
    shard.random = shard.random * 1664525 + 1013904223;
    const auto row = static_cast<uint32_t>(uint64_t{shard.random} * rows >> 32) + 1;
    entry[n] = row * shard_count_ + shard_index;
    __builtin_prefetch(&pool_[entry[n]]);
  }
  uint32_t victim = 0, longest = 0;
  for (uint32_t n = 0; n < sample; ++n) {
    const Conn& c = pool_[entry[n]];
    if ((c.serial.load(std::memory_order_relaxed) & 1) == 0 ||
        !IsClosing(c.state.load(std::memory_order_relaxed)) || (payer != kAnybody && c.charged != payer))
      continue;
    const uint32_t idle = ElapsedMs(now_ms, c.last_seen_ms.load(std::memory_order_relaxed));
    if (victim != 0 && idle <= longest) continue;
    victim = entry[n];
    longest = idle;
  }
  if (victim == 0) return false;
  Evict(shard, victim);
  return true;
}

template <class Key>
void ConnTable<Key>::Evict(Shard& shard, uint32_t index) noexcept {
  Unlink(shard, index);
  ++shard.evictions;
  evicted_.fetch_add(1, std::memory_order_relaxed);
}

// conn_table.cc instantiates the rest.
#define PODWIRE_INSTANTIATE(Table)                                                                \
  template void Table::MakeRoom(Shard&, uint32_t, uint32_t) noexcept;                             \
  template DropReason Table::Charge(Shard&, uint32_t, uint32_t) noexcept;                         \
  template DropReason Table::ChargeQuota(Shard&, uint32_t, uint32_t) noexcept;                    \
  template bool Table::EnterBudget(Shard&, uint32_t, uint32_t) noexcept;                          \
  template bool Table::LeaveBudget(Shard&, Conn&) noexcept;                                       \
  template uint32_t Table::WeightOf(EndpointId) const noexcept;                                   \
  template bool Table::EvictEmbryonic(Shard&, uint32_t, uint32_t, EndpointId, uint32_t) noexcept; \
  template bool Table::EvictClosing(Shard&, uint32_t, uint32_t, EndpointId) noexcept;             \
  template void Table::Evict(Shard&, uint32_t) noexcept;

PODWIRE_INSTANTIATE(ConnTable<FlowKey4>)
PODWIRE_INSTANTIATE(ConnTable<FlowKey6>)
#undef PODWIRE_INSTANTIATE

}  // namespace podwire
