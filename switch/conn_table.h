#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include <absl/status/statusor.h>
#include <rte_rcu_qsbr.h>

#include "switch/connection.h"
#include "switch/drop_reasons.h"
#include "switch/page_array.h"
#include "switch/spin_lock.h"
#include "switch/timeouts.h"

namespace podwire {

struct ConnTableOptions {
  uint32_t capacity = 262144;     ///< connections at once, 1 to 2^28
  uint32_t max_endpoints = 4096;  ///< endpoint slots with a quota; those of higher ids are not limited
  uint32_t endpoint_quota =
      0;                   ///< connections one endpoint may have; 0: a quarter of the capacity, at least 1
  uint32_t embryonic = 0;  ///< unanswered connections at once; 0: a quarter of the capacity, at least 1
  uint32_t endpoint_embryonic =
      0;  ///< unanswered connections one endpoint may have; 0: a quarter of `embryonic`, at least 1
};

/// The connections, shared by all workers and indexed by their tuple, the same for both directions.
///
/// Sharded by hash; a shard's writers hold its spin lock, a few hundred instructions at most. Look-ups take
/// no lock: a removed entry keeps its content and its chain link until all readers have passed a quiescent
/// state of `qsbr`, so callers of Find, Insert and At are registered there and online. Flow entries keep
/// {index, serial} and compare the serial on each use; a match holds until the caller's next quiescent state.
/// Time is milliseconds modulo 2^32.
///
/// Full means that the shard is. Shards have some room to spare, so `capacity` connections fit but for a
/// skewed hash. Before a shard is full, embryonic and closing connections go (longest idle of a sample
/// first), never established ones: those end by their time limits alone, in Sweep.
///
/// A connection is embryonic until Confirm. Embryonic ones have a budget of their own, split over the shards,
/// and a quota an endpoint; when one is used up, an older embryonic connection gives way to the new one: for
/// the budget one of the endpoint that has most of them, for a quota one of the same endpoint. So a flood
/// displaces itself, and costs the same few steps a packet whether there is room or not.
template <class Key>
class ConnTable {
 public:
  using Conn = Connection<Key>;

  /// Memory is reserved at once and taken from the kernel as it is first used. `qsbr` outlives the table.
  static absl::StatusOr<std::unique_ptr<ConnTable>> Create(const ConnTableOptions& options,
                                                           rte_rcu_qsbr* qsbr);

  struct Found {
    uint32_t index = 0;  ///< 0: none
    uint32_t serial = 0;
    bool reply = false;  ///< the key is the reply direction's
  };
  /// The connection that `key` belongs to in either direction; in_port is ignored. `hash` is
  /// SymmetricHash(key).
  Found Find(const Key& key, uint32_t hash) const noexcept;

  /// Brings a chain into the cache, for a Find or Insert soon after: its head, then its first entry.
  void PrefetchHead(uint32_t hash) const noexcept { __builtin_prefetch(&heads_[hash & head_mask_]); }
  void PrefetchFirst(uint32_t hash) const noexcept {
    __builtin_prefetch(&pool_[heads_[hash & head_mask_].load(std::memory_order_relaxed)]);
  }

  struct Inserted {
    uint32_t index = 0;  ///< 0: not inserted, for `reason`
    uint32_t serial = 0;
    bool existed = false;    ///< another packet was first: nothing was filled
    bool reply = false;      ///< existed, and `key` is its reply direction
    bool displaced = false;  ///< another connection had to go for it
    DropReason reason = DropReason::kNone;
  };
  /// Adds a connection whose original direction is `key`, unless it is there in either direction.
  /// `fill(Conn&)` sets state, decision and translation of an entry with the defaults, under the shard's
  /// lock, before others see it; it is called at most once. The connection counts against the quota of its
  /// src_endpoint, else its dst_endpoint, as fill has set them, until it is removed. It is embryonic, unless
  /// fill says that it is not. Reasons: kConnectionTableFull, kConnectionQuota.
  template <class Fill>
  Inserted Insert(const Key& key, uint32_t hash, uint32_t now_ms, Fill&& fill) noexcept {
    Shard& shard = ShardOf(hash);
    const std::lock_guard lock(shard.lock);
    if (const Found f = Find(key, hash); f.index != 0)
      return {.index = f.index, .serial = f.serial, .existed = true, .reply = f.reply};
    const uint32_t evictions = shard.evictions;
    const uint32_t index = Allocate(shard, hash, now_ms);
    if (index == 0) return {.reason = DropReason::kConnectionTableFull};
    Conn& c = pool_[index];
    Reset(c, key, hash, now_ms);
    fill(c);
    if (const DropReason refused = Charge(shard, index, now_ms); refused != DropReason::kNone) {
      PushFree(shard, index);
      return {.reason = refused};
    }
    return {.index = index, .serial = Link(shard, index), .displaced = shard.evictions != evictions};
  }

  /// The entry, in use or not. `index` is one that the table gave out.
  Conn& At(uint32_t index) noexcept { return pool_[index]; }
  const Conn& At(uint32_t index) const noexcept { return pool_[index]; }

  /// Runs fn(Conn&) under the shard's lock if the connection still is `serial`'s; false if not. Must not
  /// change key or translation. Any thread.
  template <class Fn>
  bool UpdateLocked(uint32_t index, uint32_t serial, Fn&& fn) noexcept {
    const std::lock_guard lock(ShardAt(index).lock);
    if (pool_[index].serial.load(std::memory_order_relaxed) != serial) return false;
    fn(pool_[index]);
    return true;
  }

  /// The connection has been answered: it no longer counts as embryonic. No lock; many may say so, also while
  /// another thread removes it. The entry is one that the caller has found since its last quiescent state.
  void Confirm(uint32_t index) noexcept {
    Conn& c = pool_[index];
    if (c.embryonic.load(std::memory_order_relaxed)) LeaveBudget(ShardAt(index), c);
  }

  /// False if the connection was gone already. Any thread.
  bool Remove(uint32_t index, uint32_t serial) noexcept;

  /// Removes the connections that have been idle for longer than their limit, looking at up to `max_entries`
  /// places and going on where it stopped. Returns how many it removed. One thread at a time (the maintenance
  /// thread, which may be Urgent); takes a lock for a removal only, and waits for none: what another thread
  /// is at stays for the next time.
  size_t Sweep(uint32_t now_ms, const Timeouts& timeouts, size_t max_entries) noexcept;

  /// Places in use or once used: a Sweep of so many has looked at each connection.
  size_t places() const noexcept;

  /// Removes every connection for which pred(const ConnectionSnapshot<Key>&); returns how many. Any thread;
  /// takes one lock a connection.
  template <class Pred>
  size_t RemoveIf(Pred&& pred) {
    size_t removed = 0;
    ForEach([&](const ConnectionSnapshot<Key>& c) {
      if (pred(c)) removed += Remove(c.index, c.serial) ? 1 : 0;
      return true;
    });
    return removed;
  }

  /// Calls fn(const ConnectionSnapshot<Key>&) for each connection, without a lock held, until it returns
  /// false. One that is there all the time is seen exactly once. Any thread; takes one lock a connection.
  template <class Fn>
  void ForEach(Fn&& fn) const {
    const uint32_t end = End();
    ConnectionSnapshot<Key> snapshot;
    for (uint32_t i = first(); i < end; ++i) {
      if (Snapshot(i, snapshot) && !fn(std::as_const(snapshot))) return;
    }
  }

  size_t size() const noexcept;
  size_t capacity() const noexcept { return size_t{rows_} * shard_count_; }
  /// Connections that went early to make room.
  uint64_t evicted() const noexcept { return evicted_.load(std::memory_order_relaxed); }
  /// Connections that count against the endpoint's quota; the embryonic ones among them.
  uint32_t charged(EndpointId id) const noexcept;
  uint32_t charged_embryonic(EndpointId id) const noexcept;
  /// Embryonic connections, and how many there may be.
  size_t embryonic() const noexcept;
  size_t embryonic_budget() const noexcept { return size_t{budget_} * shard_count_; }

 private:
  struct List {
    uint32_t head = 0, tail = 0, count = 0;
  };
  // Entries of a shard are every shard_count_-th of the pool, so that a table with few connections is small
  // in memory.
  struct alignas(64) Shard {
    mutable SpinLock lock;
    std::atomic<uint32_t> fresh{0};  // rows ever used; entries above are not constructed
    std::atomic<uint32_t> used{0};
    std::atomic<uint32_t> embryonic{0};  // slots of the ring in use
    uint32_t put_at = 0, take_at = 0;    // where the ring is filled, and where victims are looked for
    uint32_t random = 0;                 // state of eviction's random sample
    uint32_t evictions = 0;
    List free;
    List retired;  // removed since the last grace period began
    List waiting;  // removed before `token`
    uint64_t token = 0;
  };

  struct Account {
    std::atomic<uint32_t> all, embryonic;
  };
  // A shard's embryonic connections, about in the order in which they came: twice as many slots as the budget
  // allows connections, so that a free one is near. A slot in use belongs to who clears its connection's
  // `embryonic` flag: that thread, and no other, frees it.
  struct Slot {
    std::atomic<uint64_t> word;  // payer << 32 | index; 0: free
  };

  ConnTable(const ConnTableOptions& options, uint32_t shards, uint32_t rows, rte_rcu_qsbr* qsbr);

  Shard& ShardOf(uint32_t hash) noexcept { return shards_[hash & (shard_count_ - 1)]; }
  Shard& ShardAt(uint32_t index) const noexcept { return shards_[index & (shard_count_ - 1)]; }
  uint32_t first() const noexcept { return shard_count_; }  // row 0 is left out: index 0 is none
  uint32_t End() const noexcept;
  bool Constructed(uint32_t index) const noexcept;

  uint32_t Allocate(Shard& shard, uint32_t hash, uint32_t now_ms) noexcept;
  uint32_t PopFree(Shard& shard) noexcept;
  /// An entry that will be written next time, as far as one can tell.
  void Warm(uint32_t index) const noexcept {
    const auto* c = reinterpret_cast<const char*>(&pool_[index]);
    for (size_t at = 0; at < sizeof(Conn); at += 64) __builtin_prefetch(c + at, 1);
  }
  void PushFree(Shard& shard, uint32_t index) noexcept;
  void Append(List& list, uint32_t index) noexcept;
  void Reclaim(Shard& shard) noexcept;
  bool GracePassed(uint64_t token) noexcept;
  void MakeRoom(Shard& shard, uint32_t shard_index, uint32_t now_ms) noexcept;
  bool EvictEmbryonic(Shard& shard, uint32_t shard_index, uint32_t now_ms, EndpointId payer,
                      uint32_t at_least) noexcept;
  bool EvictClosing(Shard& shard, uint32_t shard_index, uint32_t now_ms, EndpointId payer) noexcept;
  void Evict(Shard& shard, uint32_t index) noexcept;

  void Reset(Conn& c, const Key& key, uint32_t hash, uint32_t now_ms) noexcept;
  uint32_t Link(Shard& shard, uint32_t index) noexcept;
  void Unlink(Shard& shard, uint32_t index) noexcept;
  DropReason Charge(Shard& shard, uint32_t index, uint32_t now_ms) noexcept;
  DropReason ChargeQuota(Shard& shard, uint32_t index, uint32_t now_ms) noexcept;
  bool EnterBudget(Shard& shard, uint32_t index, uint32_t now_ms) noexcept;
  bool LeaveBudget(Shard& shard, Conn& c) noexcept;
  Slot* Ring(uint32_t shard_index) const noexcept { return &ring_[size_t{shard_index} * ring_size_]; }
  uint32_t WeightOf(EndpointId payer) const noexcept;
  bool Snapshot(uint32_t index, ConnectionSnapshot<Key>& out) const noexcept;

  const uint32_t shard_count_;  // power of two
  const uint32_t rows_;         // entries a shard
  const uint32_t reserve_;      // entries that eviction keeps free or on their way
  const uint32_t head_mask_;
  const uint32_t max_endpoints_, quota_, embryonic_quota_;
  const uint32_t budget_;     // embryonic entries a shard
  const uint32_t ring_size_;  // slots a shard
  rte_rcu_qsbr* const qsbr_;
  std::unique_ptr<Shard[]> shards_;
  PageArray<Conn> pool_;
  PageArray<std::atomic<uint32_t>> heads_;  // chains' first entries, by hash
  PageArray<Account> charged_;              // by endpoint
  PageArray<Slot> ring_;                    // shard by shard
  SpinLock grace_lock_;                     // one thread at a time asks qsbr
  std::atomic<uint64_t> grace_passed_{0};   // tokens up to here are over
  std::atomic<uint64_t> evicted_{0};
  uint32_t sweep_at_ = 0;
};

extern template class ConnTable<FlowKey4>;
extern template class ConnTable<FlowKey6>;

}  // namespace podwire
