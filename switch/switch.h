#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "pmd/mempool.h"
#include "switch/counters.h"
#include "switch/event_ring.h"
#include "switch/flow_access.h"
#include "switch/flow_records.h"
#include "switch/poll_plan.h"
#include "switch/tables.h"
#include "switch/timeouts.h"
#include "switch/worker_mode.h"

namespace podwire {

struct SwitchOptions {
  struct WorkerOptions {
    unsigned cpu = 0;
    WorkerMode mode = WorkerMode::kAdaptive;
  };
  std::vector<WorkerOptions> workers;  ///< there from the start; at least one
  uint16_t max_workers = 0;            ///< at once; 0: as many as there are from the start
  uint32_t max_connections = 262144;   ///< tracked at once, of each family; memory is reserved at start
  uint32_t max_embryonic = 0;          ///< unanswered ones among them; 0: a quarter
  uint32_t max_flows_per_worker = 0;   ///< 0: two a connection
  Timeouts timeouts;
  MbufPools* pools = nullptr;
  uint64_t hash_seed = 0;                                ///< 0: random
  std::vector<std::pair<IpAddress, MacAddr>> neighbors;  ///< permanent ones of the underlay
};

/// From a burst's reception to the end of its transmission, of sampled bursts, since the start.
struct LatencyReport {
  uint64_t samples = 0;  ///< packets
  double p50_us = 0, p99_us = 0, p999_us = 0, max_us = 0;
};

struct WorkerReport {
  uint16_t worker = 0;
  unsigned cpu = 0;
  WorkerMode mode = WorkerMode::kAdaptive;
  double busy_percent = 0;  ///< of the last second
  uint64_t rx_packets = 0;
  uint64_t flows = 0, flow_capacity = 0;
  LatencyReport latency;
  struct Queue {
    PortId port;
    uint16_t queue = 0;
    uint64_t rx_packets = 0;  ///< by whichever worker
  };
  std::vector<Queue> queues;  ///< that it receives from
};

/// The connections of one family.
struct ConnectionTableReport {
  IpFamily family = IpFamily::kV4;
  uint64_t connections = 0, capacity = 0;
  uint32_t connection_bytes = 0;  ///< entry, both directions' flow entries, translation room included
  uint64_t embryonic = 0;         ///< nobody has answered them yet
  uint64_t embryonic_budget = 0;  ///< as many as there may be
  uint64_t evicted = 0;           ///< forgotten before their time to make room for others, since the start
};

/// A worker's event, with the time.
struct EventRecord {
  PacketEvent event;
  uint16_t worker = 0;
  std::chrono::system_clock::time_point time;
};

struct NeighborRecord {
  IpAddress address;
  MacAddr mac;
  std::string state;  ///< none, resolving, reachable, stale, permanent
};

/// The workers and what they share. All methods are for control threads; Publish one at a time.
class Switch {
 public:
  /// Starts the workers on empty tables. EAL must be up.
  static absl::StatusOr<std::unique_ptr<Switch>> Create(const SwitchOptions& options);
  /// Stops the workers: what waits is counted as dropped (shutdown).
  ~Switch();

  /// At most; numbers of workers are below it.
  uint16_t max_workers() const;
  /// Starts a worker, which gets a share of the ports' queues; returns its number. AlreadyExists: the CPU has
  /// one; ResourceExhausted: there are max_workers(); InvalidArgument: the CPU may not be used.
  absl::StatusOr<uint16_t> AddWorker(unsigned cpu, WorkerMode mode);
  /// Ends a worker without losing a packet; the others take over its queues. NotFound; FailedPrecondition for
  /// the last one.
  absl::Status RemoveWorker(uint16_t worker);
  /// NotFound.
  absl::Status SetWorkerMode(uint16_t worker, WorkerMode mode);
  /// Gives queues to other workers, a first step for all, then the second. InvalidArgument: no such queue or
  /// worker.
  absl::Status MoveQueues(std::span<const QueueMove> moves);

  /// Puts `next` in force: sets its generation and returns it when every worker has left the tables before.
  /// After that no worker touches a port that is not in `next`.
  std::shared_ptr<const Tables> Publish(std::unique_ptr<Tables> next);
  /// Those in force; never null.
  std::shared_ptr<const Tables> tables() const;

  /// Tells the underlay's neighbours which MAC its addresses have now: when the port has come, or come again.
  void AnnounceUnderlay();

  /// Forgets the connections of an endpoint that has left the tables, so that its slot can be given to
  /// another.
  void ForgetEndpoint(EndpointId id);

  CounterTotals ReadCounters() const;
  /// Packets dropped to or from the endpoint in `id`'s slot, by reason.
  DropCounts ReadEndpointDrops(EndpointId id) const;
  /// Drops are sampled more often from now on, or no longer.
  void WatchDrops(bool watched);
  /// Takes what the workers have told since the last call, each worker's in its order. One thread at a time.
  void TakeEvents(const std::function<void(const EventRecord&)>& fn);
  /// Verdicts that the policy log wanted and that left no event, since the start.
  uint64_t verdicts_left_out() const;
  std::vector<WorkerReport> ReadWorkers() const;
  std::vector<NeighborRecord> ReadNeighbors() const;

  /// Where the kernel resolves the underlay's neighbours (LocalNode::underlay_is_shared): readable when
  /// workers want some.
  int neighbor_request_fd() const;
  /// fn for each that they want. One thread.
  void TakeNeighborRequests(const std::function<void(const IpAddress&)>& fn);
  /// The kernel's answer: `mac`, or empty: nobody is there.
  void SetNeighbor(const IpAddress& address, const MacAddr& mac);

  /// Calls fn for each cached flow, worker by worker, in bounded steps between the workers' bursts. fn
  /// returns false to stop.
  void ForEachFlow(const std::function<bool(const FlowRecord&)>& fn);
  /// The same for the tracked connections.
  void ForEachConnection(const std::function<bool(const ConnectionRecord&)>& fn);
  /// For what keeps the workers' decisions elsewhere. As long as the switch is there.
  WorkerAccess Access();
  /// One a family, IPv4 first.
  std::vector<ConnectionTableReport> ReadConnectionTables() const;
  /// The sum of their connections.
  uint64_t connections() const;

 private:
  class Impl;
  explicit Switch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podwire
