#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

#include <rte_cycles.h>

#include "pmd/mempool.h"
#include "switch/adjacency_cache.h"
#include "switch/conn_table.h"
#include "switch/counters.h"
#include "switch/event_ring.h"
#include "switch/flow_table.h"
#include "switch/fragment_table.h"
#include "switch/icmp.h"
#include "switch/miss_limiter.h"
#include "switch/neighbor.h"
#include "switch/neighbor_requests.h"
#include "switch/offload_marks.h"
#include "switch/pending_queue.h"
#include "switch/poll_plan.h"
#include "switch/poller.h"
#include "switch/qsbr.h"
#include "switch/tables.h"
#include "switch/timeouts.h"
#include "switch/tx_buffers.h"

namespace podwire {

/// What all workers share. Fixed before they start, but for what is atomic or has a writer rule of its own.
struct WorkerShared {
  explicit WorkerShared(uint16_t max_workers) : workers(max_workers), qsbr(max_workers) {}

  const uint16_t workers;                             ///< at most; indices are below
  Qsbr qsbr;                                          ///< thread numbers are worker indices
  std::atomic<const Tables*> tables{nullptr};         ///< written by WorkerSet
  std::atomic<const PollPlan*> plan{nullptr};         ///< written by WorkerSet
  std::unique_ptr<ConnTable<FlowKey4>> connections;   ///< of IPv4
  std::unique_ptr<ConnTable<FlowKey6>> connections6;  ///< of IPv6
  NeighborTable neighbors;
  NeighborRequests neighbor_requests;  ///< for the kernel
  OffloadMarks offload_marks;
  std::atomic<bool> drops_watched{false};  ///< written by control
  Timeouts timeouts;
  MbufPools* pools = nullptr;
  uint64_t hash_seed = 0;
  uint64_t start_tsc = rte_get_tsc_cycles();
  uint64_t tsc_per_ms = rte_get_tsc_hz() / 1000;

  template <class Key>
  ConnTable<Key>& ConnectionsOf() const noexcept {
    if constexpr (std::is_same_v<Key, FlowKey4>) {
      return *connections;
    } else {
      return *connections6;
    }
  }

  /// fn(ConnTable&) for both.
  template <class Fn>
  void ForEachFamily(Fn&& fn) const {
    fn(*connections);
    fn(*connections6);
  }

  /// Milliseconds since the start.
  uint64_t MsAt(uint64_t tsc) const noexcept { return (tsc - start_tsc) / tsc_per_ms; }
  /// Modulo 2^32; compared by signed difference.
  uint32_t NowMs() const noexcept { return static_cast<uint32_t>(MsAt(rte_get_tsc_cycles())); }
};

/// All that one worker writes. Touched by its own thread only; counters are read by control.
struct alignas(64) WorkerContext {
  WorkerContext(WorkerShared& all, uint16_t worker, uint32_t max_flows)
      : shared(all),
        index(worker),
        flows(max_flows, all.hash_seed),
        flows6(max_flows, all.hash_seed),
        fragments(all.hash_seed),
        fragments6(all.hash_seed),
        misses(all.tsc_per_ms),
        tx(worker),
        poller(worker) {}

  WorkerShared& shared;
  const uint16_t index;
  const Tables* tables = nullptr;    ///< this loop's
  uint32_t now_ms = 0;               ///< this loop's
  uint32_t denied_when_crowded = 0;  ///< first packets, while the flow table was nearly full
  uint16_t outer_ip_id = 0;
  WorkerCounters counters;
  FlowTable<FlowKey4> flows;   ///< of IPv4
  FlowTable<FlowKey6> flows6;  ///< of IPv6
  AdjacencyCache adjacencies;
  FragmentTable fragments;
  FragmentTable6 fragments6;
  MissLimiter misses;
  PendingQueue pending;
  IcmpLimiter icmp_limiter;
  TxBuffers tx;
  Poller poller;
  EventRing events;
  std::array<Packet, kMaxBurst> packets;    ///< a burst's, of IPv4
  std::array<Packet6, kMaxBurst> packets6;  ///< of IPv6

  template <class Key>
  FlowTable<Key>& FlowsOf() noexcept {
    if constexpr (std::is_same_v<Key, FlowKey4>) {
      return flows;
    } else {
      return flows6;
    }
  }
  template <class Key>
  BasicFragmentTable<typename Key::Address>& FragmentsOf() noexcept {
    if constexpr (std::is_same_v<Key, FlowKey4>) {
      return fragments;
    } else {
      return fragments6;
    }
  }
};

}  // namespace podwire
