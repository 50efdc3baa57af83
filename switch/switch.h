#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "pmd/mempool.h"
#include "switch/counters.h"
#include "switch/flow_records.h"
#include "switch/tables.h"
#include "switch/timeouts.h"

namespace podwire {

struct SwitchOptions {
  std::vector<unsigned> worker_lcores;  ///< EAL lcores, the main one not among them; at least one
  uint32_t max_connections = 262144;    ///< tracked at once; memory is taken at start
  uint32_t max_flows_per_worker = 0;    ///< 0: two a connection
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
  unsigned lcore = 0;
  double busy_percent = 0;  ///< of the last second
  uint64_t rx_packets = 0;
  uint64_t flows = 0, flow_capacity = 0;
  LatencyReport latency;
};

struct NeighborRecord {
  IpAddress address;
  MacAddr mac;
  std::string state;  ///< none, resolving, reachable, stale, permanent
};

/// The workers and what they share. All methods are for control threads; Publish and ForgetEndpoint one at a
/// time.
class Switch {
 public:
  /// Starts the workers on empty tables. EAL must be up.
  static absl::StatusOr<std::unique_ptr<Switch>> Create(const SwitchOptions& options);
  /// Stops the workers: what waits is counted as dropped (shutdown).
  ~Switch();

  uint16_t workers() const;

  /// Puts `next` in force: sets its generation and returns it when every worker has left the tables before.
  /// After that no worker touches a port that is not in `next`.
  std::shared_ptr<const Tables> Publish(std::unique_ptr<Tables> next);
  /// Those in force; never null.
  std::shared_ptr<const Tables> tables() const;

  /// Forgets the connections of an endpoint that has left the tables, so that its slot can be given to
  /// another.
  void ForgetEndpoint(EndpointId id);

  CounterTotals ReadCounters() const;
  /// Packets dropped to or from the endpoint in `id`'s slot, by reason.
  DropCounts ReadEndpointDrops(EndpointId id) const;
  std::vector<WorkerReport> ReadWorkers() const;
  std::vector<NeighborRecord> ReadNeighbors() const;

  /// Calls fn for each cached flow, worker by worker, in bounded steps between the workers' bursts. fn
  /// returns false to stop.
  void ForEachFlow(const std::function<bool(const FlowRecord&)>& fn);
  /// The same for the tracked connections.
  void ForEachConnection(const std::function<bool(const ConnectionRecord&)>& fn);
  uint64_t connections() const;
  uint64_t connection_capacity() const;
  /// Bytes a connection takes: entry, both directions' flow entries, translation room included.
  static constexpr uint32_t kConnectionBytes = 256;

 private:
  class Impl;
  explicit Switch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podwire
