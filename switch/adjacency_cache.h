#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "net/address.h"
#include "net/id.h"
#include "overlay/next_hop.h"
#include "switch/neighbor.h"
#include "switch/tables.h"

namespace podwire {

/// A next hop with its neighbour's MAC filled in: all that the fast path needs of it, in one cache line, or
/// two for tunnels.
struct alignas(64) ResolvedAdjacency {
  std::array<uint8_t, kDirectHeaderLen> ethernet;  ///< outermost Ethernet header
  PortId port = kNoPort;
  uint32_t epoch = 0;  ///< good while it is the cache's
  uint16_t mtu = 0;    ///< largest (inner) L3 packet, bytes
  uint8_t header_len = 0;
  bool tunnel = false;
  NeighborId neighbor = kNoNeighbor;                   ///< whose MAC it has; of next hops on the underlay
  alignas(64) std::array<uint8_t, kMaxHeader> header;  ///< the whole ready-made header
};

/// One worker's resolved adjacencies, by NextHopId. They are filled by the packets that take the long way
/// (output.cc) and are all void when the tables or a neighbour change, and after kValidMs in any case: so a
/// neighbour that is used stays marked as used, is asked for in time and is given up in time. None is good
/// while a packet waits for its neighbour.
class AdjacencyCache {
 public:
  static constexpr uint32_t kValidMs = 256;

  /// Makes room for the tables' next hops. Not on the packet path.
  void Resize(const Tables& t) {
    if (resolved_.size() < t.adjacencies.size()) resolved_.resize(t.adjacencies.size());
  }

  /// Once a burst: `generation` of the tables, `neighbor_changes` of the neighbour table.
  void Tick(uint32_t generation, uint32_t neighbor_changes, uint32_t now_ms) noexcept {
    if (generation == generation_ && neighbor_changes == changes_ && now_ms - since_ms_ < kValidMs) return;
    generation_ = generation;
    changes_ = neighbor_changes;
    since_ms_ = now_ms;
    Void();
  }
  /// None is good until it is learned again.
  void Void() noexcept { ++epoch_; }

  /// `hop` is one of the tables that Resize has seen.
  const ResolvedAdjacency& At(NextHopId hop) const noexcept { return resolved_[hop.value()]; }
  bool IsGood(const ResolvedAdjacency& a) const noexcept { return a.epoch == epoch_; }

  /// `mac` is the neighbour's; neither is looked at for local endpoints. A next hop whose neighbour is each
  /// packet's own destination cannot be kept.
  void Learn(NextHopId id, const Adjacency& a, NeighborId neighbor, const MacAddr& mac) noexcept {
    if (!a.to_endpoint && a.hop.neighbor.empty()) return;
    ResolvedAdjacency& r = resolved_[id.value()];
    r.header = a.hop.header;
    if (!a.to_endpoint) std::memcpy(r.header.data(), mac.bytes.data(), mac.bytes.size());
    std::memcpy(r.ethernet.data(), r.header.data(), r.ethernet.size());
    r.port = a.port;
    r.neighbor = neighbor;
    r.mtu = a.hop.mtu;
    r.header_len = a.hop.header_len;
    r.tunnel = a.hop.kind != NextHop::Kind::kDirect;
    r.epoch = epoch_;
  }

 private:
  std::vector<ResolvedAdjacency> resolved_;
  uint32_t epoch_ = 1;
  uint32_t generation_ = 0, changes_ = 0, since_ms_ = 0;
};

}  // namespace podwire
