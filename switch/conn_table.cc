#include "switch/conn_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>

#include "net/status.h"
#include "switch/elapsed.h"

namespace podwire {
namespace {

constexpr uint32_t kMaxCapacity = 1u << 28;
constexpr uint32_t kMaxShards = 64;
constexpr uint32_t kEntriesPerShard = 1024;  // below, a shard's share of the connections varies too much
constexpr uint32_t kMinRing = 8;
constexpr uint32_t kMaxReserve = 256;  // several bursts of connections, for as long as grace periods take

bool InUse(uint32_t serial) { return (serial & 1) != 0; }

template <class Key>
bool Expired(const Connection<Key>& c, uint32_t now_ms, const Timeouts& t) {
  const uint32_t idle = ElapsedMs(now_ms, c.last_seen_ms.load(std::memory_order_relaxed));
  return idle > IdleLimitMs(t, c.proto.load(std::memory_order_relaxed),
                            c.state.load(std::memory_order_relaxed),
                            c.embryonic.load(std::memory_order_relaxed));
}

template <class Key>
Key WithoutPort(Key key) {
  key.in_port = PortId{};
  return key;
}

// What was configured, or a quarter of `whole`.
uint32_t OrQuarter(uint32_t configured, uint32_t whole) {
  return configured != 0 ? configured : std::max(whole / 4, 1u);
}

// A shard's share, and four standard deviations of it when hashes decide which shard a connection is in.
uint32_t RowsFor(uint32_t capacity, uint32_t shards) {
  if (shards == 1) return capacity;
  const uint32_t share = (capacity + shards - 1) / shards;
  return share + 4 * static_cast<uint32_t>(std::sqrt(share));
}

}  // namespace

template <class Key>
auto ConnTable<Key>::Create(const ConnTableOptions& options, rte_rcu_qsbr* qsbr)
    -> absl::StatusOr<std::unique_ptr<ConnTable>> {
  if (options.capacity < 1 || options.capacity > kMaxCapacity) {
    return InvalidArgument("connection table: capacity {} is not 1 to {}", options.capacity, kMaxCapacity);
  }
  const uint32_t shards = std::bit_floor(std::clamp(options.capacity / kEntriesPerShard, 1u, kMaxShards));
  try {
    return std::unique_ptr<ConnTable>(
        new ConnTable(options, shards, RowsFor(options.capacity, shards), qsbr));
  } catch (const std::bad_alloc&) {
    return Error(absl::StatusCode::kResourceExhausted, "connection table: no memory for {} connections",
                 options.capacity);
  }
}

template <class Key>
ConnTable<Key>::ConnTable(const ConnTableOptions& options, uint32_t shards, uint32_t rows, rte_rcu_qsbr* qsbr)
    : shard_count_(shards),
      rows_(rows),
      reserve_(std::clamp(rows / 8, 1u, kMaxReserve)),
      head_mask_(std::bit_ceil(options.capacity) - 1),
      max_endpoints_(options.max_endpoints),
      quota_(OrQuarter(options.endpoint_quota, options.capacity)),
      embryonic_quota_(OrQuarter(options.endpoint_embryonic, OrQuarter(options.embryonic, options.capacity))),
      budget_(std::min(RowsFor(OrQuarter(options.embryonic, options.capacity), shards), rows)),
      ring_size_(std::max(2 * budget_, kMinRing)),
      qsbr_(qsbr),
      shards_(std::make_unique<Shard[]>(shards)),
      pool_((size_t{rows} + 1) * shards),
      heads_(size_t{head_mask_} + 1),
      charged_(options.max_endpoints),
      ring_(size_t{ring_size_} * shards) {}

template <class Key>
auto ConnTable<Key>::Find(const Key& key, uint32_t hash) const noexcept -> Found {
  const Key original = WithoutPort(key);
  const Key reversed = original.Reversed();
  uint32_t next;
  for (uint32_t i = heads_[hash & head_mask_].load(std::memory_order_acquire); i != 0; i = next) {
    const Conn& c = pool_[i];
    next = c.next.load(std::memory_order_acquire);
    const bool same = c.key == original;
    if (!same && !(c.key == reversed)) continue;
    const uint32_t serial = c.serial.load(std::memory_order_acquire);
    if (InUse(serial)) return {i, serial, !same};
  }
  return {};
}

template <class Key>
bool ConnTable<Key>::Remove(uint32_t index, uint32_t serial) noexcept {
  Shard& shard = ShardAt(index);
  const std::lock_guard lock(shard.lock);
  if (!InUse(serial) || pool_[index].serial.load(std::memory_order_relaxed) != serial) return false;
  Unlink(shard, index);
  return true;
}

template <class Key>
size_t ConnTable<Key>::Sweep(uint32_t now_ms, const Timeouts& timeouts, size_t max_entries) noexcept {
  const uint32_t end = End();
  size_t removed = 0;
  for (size_t n = std::min<size_t>(max_entries, end - first()); n > 0; --n) {
    if (sweep_at_ < first() || sweep_at_ >= end) sweep_at_ = first();
    const uint32_t i = sweep_at_++;
    if (!Constructed(i)) continue;
    Conn& c = pool_[i];
    // Looked at without the lock first: few have expired, and a worker must not wait for the others.
    if (!InUse(c.serial.load(std::memory_order_acquire)) || !Expired(c, now_ms, timeouts)) continue;
    Shard& shard = ShardAt(i);
    const std::unique_lock lock(shard.lock, std::try_to_lock);
    if (!lock.owns_lock() || !InUse(c.serial.load(std::memory_order_relaxed)) ||
        !Expired(c, now_ms, timeouts))
      continue;
    Unlink(shard, i);
    ++removed;
  }
  return removed;
}

template <class Key>
size_t ConnTable<Key>::places() const noexcept {
  return End() - first();
}

template <class Key>
size_t ConnTable<Key>::size() const noexcept {
  size_t n = 0;
  for (uint32_t s = 0; s < shard_count_; ++s) n += shards_[s].used.load(std::memory_order_relaxed);
  return n;
}

template <class Key>
uint32_t ConnTable<Key>::charged(EndpointId id) const noexcept {
  return id.value() < max_endpoints_ ? charged_[id.value()].all.load(std::memory_order_relaxed) : 0;
}

template <class Key>
uint32_t ConnTable<Key>::charged_embryonic(EndpointId id) const noexcept {
  return id.value() < max_endpoints_ ? charged_[id.value()].embryonic.load(std::memory_order_relaxed) : 0;
}

template <class Key>
size_t ConnTable<Key>::embryonic() const noexcept {
  size_t n = 0;
  for (uint32_t s = 0; s < shard_count_; ++s) n += shards_[s].embryonic.load(std::memory_order_relaxed);
  return n;
}

template <class Key>
uint32_t ConnTable<Key>::End() const noexcept {
  uint32_t rows = 0;
  for (uint32_t s = 0; s < shard_count_; ++s) {
    rows = std::max(rows, shards_[s].fresh.load(std::memory_order_acquire));
  }
  return (rows + 1) * shard_count_;
}

template <class Key>
bool ConnTable<Key>::Constructed(uint32_t index) const noexcept {
  return index / shard_count_ <= ShardAt(index).fresh.load(std::memory_order_acquire);
}

// Entries that were used before first, so that a quiet table stays small; 0: full.
template <class Key>
uint32_t ConnTable<Key>::Allocate(Shard& shard, uint32_t hash, uint32_t now_ms) noexcept {
  const uint32_t fresh = shard.fresh.load(std::memory_order_relaxed);
  if (shard.free.count < reserve_) Reclaim(shard);
  const uint32_t coming = shard.free.count + shard.retired.count + shard.waiting.count + (rows_ - fresh);
  const uint32_t shard_index = hash & (shard_count_ - 1);
  if (coming < reserve_) MakeRoom(shard, shard_index, now_ms);
  if (shard.free.count > 0) return PopFree(shard);
  if (fresh == rows_) return 0;
  const uint32_t index = (fresh + 1) * shard_count_ + shard_index;
  new (&pool_[index]) Conn;
  shard.fresh.store(fresh + 1, std::memory_order_release);
  return index;
}

template <class Key>
uint32_t ConnTable<Key>::PopFree(Shard& shard) noexcept {
  const uint32_t index = shard.free.head;
  shard.free.head = pool_[index].link;
  if (--shard.free.count == 0) shard.free.tail = 0;
  Warm(shard.free.head);
  return index;
}

// To the front: the warmest entry is used first.
template <class Key>
void ConnTable<Key>::PushFree(Shard& shard, uint32_t index) noexcept {
  pool_[index].link = shard.free.head;
  shard.free.head = index;
  if (shard.free.count++ == 0) shard.free.tail = index;
}

template <class Key>
void ConnTable<Key>::Append(List& list, uint32_t index) noexcept {
  pool_[index].link = 0;
  if (list.count++ == 0) {
    list.head = index;
  } else {
    pool_[list.tail].link = index;
  }
  list.tail = index;
}

// Moves entries whose grace period is over to the free list, and begins one for those removed since.
template <class Key>
void ConnTable<Key>::Reclaim(Shard& shard) noexcept {
  if (shard.waiting.count > 0) {
    if (!GracePassed(shard.token)) return;
    pool_[shard.waiting.tail].link = shard.free.head;
    if (shard.free.count == 0) shard.free.tail = shard.waiting.tail;
    shard.free.head = shard.waiting.head;
    shard.free.count += shard.waiting.count;
    shard.waiting = {};
  }
  if (shard.retired.count > 0) {
    shard.token = rte_rcu_qsbr_start(qsbr_);
    shard.waiting = std::exchange(shard.retired, {});
  }
}

// One thread at a time asks; what it learns is passed on by grace_passed_ with acquire and release, which
// rte_rcu_qsbr_check's own short cut (acked_token, a plain read) does not give.
template <class Key>
bool ConnTable<Key>::GracePassed(uint64_t token) noexcept {
  if (grace_passed_.load(std::memory_order_acquire) >= token) return true;
  const std::unique_lock lock(grace_lock_, std::try_to_lock);
  if (!lock.owns_lock() || rte_rcu_qsbr_check(qsbr_, token, false) != 1) return false;
  if (grace_passed_.load(std::memory_order_relaxed) < token)
    grace_passed_.store(token, std::memory_order_release);
  return true;
}

// Field by field: others may look at the serial of what was here before.
template <class Key>
void ConnTable<Key>::Reset(Conn& c, const Key& key, uint32_t hash, uint32_t now_ms) noexcept {
  c.key = WithoutPort(key);
  c.last_seen_ms.store(now_ms, std::memory_order_relaxed);
  c.hash = hash;
  c.state.store(ConnState::kNone, std::memory_order_relaxed);
  c.denied.store(DropReason::kNone, std::memory_order_relaxed);
  c.embryonic.store(true, std::memory_order_relaxed);
  c.proto.store(key.proto, std::memory_order_relaxed);
  c.src_version.store(0, std::memory_order_relaxed);
  c.dst_version.store(0, std::memory_order_relaxed);
  c.src_endpoint = c.dst_endpoint = kNoEndpoint;
  c.egress_rule = c.ingress_rule = RuleRef{};
  c.translation = {};
}

template <class Key>
uint32_t ConnTable<Key>::Link(Shard& shard, uint32_t index) noexcept {
  Conn& c = pool_[index];
  std::atomic<uint32_t>& head = heads_[c.hash & head_mask_];
  const uint32_t serial = c.serial.load(std::memory_order_relaxed) + 1;
  c.next.store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
  c.serial.store(serial, std::memory_order_release);
  head.store(index, std::memory_order_release);
  shard.used.store(shard.used.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return serial;
}

// The entry keeps its chain link: a reader that stands on it goes on to the rest.
template <class Key>
void ConnTable<Key>::Unlink(Shard& shard, uint32_t index) noexcept {
  Conn& c = pool_[index];
  c.serial.store(c.serial.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  std::atomic<uint32_t>* link = &heads_[c.hash & head_mask_];
  for (uint32_t i = link->load(std::memory_order_relaxed); i != index;
       i = link->load(std::memory_order_relaxed)) {
    link = &pool_[i].next;
  }
  link->store(c.next.load(std::memory_order_relaxed), std::memory_order_release);
  LeaveBudget(shard, c);
  if (c.charged != kNoEndpoint) charged_[c.charged.value()].all.fetch_sub(1, std::memory_order_relaxed);
  shard.used.store(shard.used.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  Append(shard.retired, index);
}

template <class Key>
bool ConnTable<Key>::Snapshot(uint32_t index, ConnectionSnapshot<Key>& out) const noexcept {
  if (!Constructed(index)) return false;
  const Conn& c = pool_[index];
  if (!InUse(c.serial.load(std::memory_order_acquire))) return false;
  const std::lock_guard lock(ShardAt(index).lock);
  out.serial = c.serial.load(std::memory_order_relaxed);
  if (!InUse(out.serial)) return false;
  out.key = c.key;
  out.index = index;
  out.last_seen_ms = c.last_seen_ms.load(std::memory_order_relaxed);
  out.state = c.state.load(std::memory_order_relaxed);
  out.denied = c.denied.load(std::memory_order_relaxed);
  out.embryonic = c.embryonic.load(std::memory_order_relaxed);
  out.src_version = c.src_version.load(std::memory_order_relaxed);
  out.dst_version = c.dst_version.load(std::memory_order_relaxed);
  out.src_endpoint = c.src_endpoint;
  out.dst_endpoint = c.dst_endpoint;
  out.egress_rule = c.egress_rule;
  out.ingress_rule = c.ingress_rule;
  out.translation = c.translation;
  return true;
}

template class ConnTable<FlowKey4>;
template class ConnTable<FlowKey6>;

}  // namespace podwire
