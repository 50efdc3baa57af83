#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "net/address.h"
#include "net/id.h"
#include "switch/action.h"
#include "switch/connection.h"
#include "switch/drop_reasons.h"
#include "switch/flow_records.h"

namespace podwire {

struct WorkerContext;
struct WorkerShared;

/// One direction of a connection that comes in on one port: a flow table's key for control, either family,
/// ports in host order.
struct FlowId {
  IpAddress src, dst;
  uint16_t src_port = 0, dst_port = 0;
  uint8_t proto = 0;
  PortId in_port = kNoPort;

  auto operator<=>(const FlowId&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const FlowId& f) {
    return H::combine(std::move(h), f.src, f.dst, f.src_port, f.dst_port, f.proto, f.in_port);
  }
};
FlowId FlowIdOf(const FlowRecord& r);

/// How control reaches what workers own.
struct WorkerAccess {
  WorkerShared* shared = nullptr;
  std::function<std::vector<uint16_t>()> running;  ///< workers' numbers
  /// Runs fn between two bursts of a worker, which must not allocate there; false: it does not run.
  std::function<bool(uint16_t, const std::function<void(WorkerContext&)>&)> call;
};

/// Which flows a scan is for.
struct FlowFilter {
  /// Kinds of flows, by family and what was decided: bits.
  static constexpr uint8_t kDrop4 = 1, kDrop6 = 2, kForward4 = 4, kForward6 = 8;
  std::vector<uint8_t> ports;   ///< by PortId: what came in there and is of one of these kinds
  uint64_t min_packets = 0;     ///< so far
  uint32_t max_idle_ms = 2000;  ///< last_seen is good to a second
};

/// A look at one flow entry and its connection, for who has offloaded it or may.
struct FlowVisit {
  FlowId id;
  uint16_t worker = 0;
  // What the NIC has carried since the last visit: goes into the entry, the connection and the worker's
  // counters.
  uint64_t packets = 0, bytes = 0;         ///< bytes: L3
  DropReason dropped = DropReason::kNone;  ///< it dropped them for this; kNone: it forwarded them
  EndpointId victim = kNoEndpoint;         ///< to whom the drops happened
  bool keep = false;                       ///< the entry is in use, whether or not the NIC counts
  // What is found:
  bool found = false;          ///< the entry is there
  uint64_t entry_packets = 0;  ///< so far
  bool current = false;        ///< it was decided from the tables in force
  Action action = Action::kDrop;
  DropReason reason = DropReason::kNone;
  uint16_t tunnel_src_port = 0;  ///< host order
  bool connected = false;        ///< a connection that the policies allow has this tuple
  bool reply = false;            ///< a connection, allowed or cut, has this tuple in its reply direction
  bool established = false;      ///< both sides of it take part, and none has begun to end it
  FlowId original{};             ///< its first packet's; no in_port
};

/// The workers' flow tables, as offload looks at them: in bounded steps between bursts. Control threads, one
/// at a time but for HashOf.
class FlowAccess {
 public:
  explicit FlowAccess(WorkerAccess workers) : workers_(std::move(workers)) {}

  /// Looks at the next `places` of each worker's tables, round and round, and adds what the filter lets
  /// through.
  void Scan(const FlowFilter& filter, size_t places, std::vector<FlowVisit>& out);
  /// Visits each. What a worker that is gone would have counted, another counts.
  void Visit(std::span<FlowVisit> visits);

  /// Has a worker ask for an underlay neighbour that is at `known`, and stamps it as used: for packets that
  /// no worker sees.
  void AskNeighbor(const IpAddress& address, const MacAddr& known);

  /// SymmetricHash of the flow's tuple.
  uint32_t HashOf(const FlowId& id) const;
  WorkerShared& shared() const { return *workers_.shared; }

 private:
  WorkerAccess workers_;
  std::map<std::pair<uint16_t, bool>, uint32_t> cursors_;  // by worker and family
};

}  // namespace podwire
