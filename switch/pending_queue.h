#pragma once

#include <array>
#include <cstdint>
#include <variant>

#include "net/id.h"
#include "switch/drop_reasons.h"
#include "switch/neighbor.h"
#include "switch/packet.h"

namespace podwire {

/// A packet that waits for its next hop's MAC.
struct PendingPacket {
  std::variant<Packet, Packet6> packet;  ///< owned mbuf
  NextHopId next_hop;                    ///< of the tables of `generation`
  uint32_t generation = 0;               ///< Tables::generation when it was queued; others: decide again
  uint32_t deadline_ms = 0;
  uint32_t bytes = 0;  ///< what it takes of its neighbour's room: the queue's
  NeighborId neighbor = kNoNeighbor;

  rte_mbuf& mbuf() const noexcept {
    return std::visit([](const auto& p) -> rte_mbuf& { return *p.mbuf; }, packet);
  }
  PortId in_port() const noexcept {
    return std::visit([](const auto& p) { return p.key.in_port; }, packet);
  }
};

/// A worker's packets that wait for a neighbour's MAC: few, and not for long. Single-threaded.
class PendingQueue {
 public:
  static constexpr uint16_t kCapacity = 1024;
  /// What may wait for one neighbour, each packet by its length or an mbuf's, whichever is more: a hundred
  /// small ones, the first of many connections that begin at once, or three super-packets. Linux keeps as
  /// much (unres_qlen_bytes).
  static constexpr uint32_t kNeighborBytes = 212'992;
  static constexpr uint32_t kLeastBytes = 2048;
  static constexpr uint32_t kWaitMs = 1000;

  /// Takes the mbuf when kNone; else kNeighborQueueFull and it stays the caller's.
  template <class P>
  DropReason Push(const P& packet, NextHopId next_hop, uint32_t generation, NeighborId neighbor,
                  uint32_t now_ms) noexcept {
    const bool added = Add({.packet = packet,
                            .next_hop = next_hop,
                            .generation = generation,
                            .deadline_ms = now_ms + kWaitMs,
                            .neighbor = neighbor});
    return added ? DropReason::kNone : DropReason::kNeighborQueueFull;
  }
  /// One that has waited in another queue goes on waiting. False when full: the mbuf stays the caller's.
  bool Add(const PendingPacket& waiting) noexcept;

  /// emit(PendingPacket&, const MacAddr&) for what can go, in order of arrival; drop(PendingPacket&) for what
  /// has waited kWaitMs. Both take the mbuf. probe(NeighborId) when it is time to ask again. Cheap when
  /// nothing has changed: for every loop.
  template <class Emit, class Probe, class Drop>
  void Flush(uint32_t now_ms, NeighborTable& neighbors, Emit&& emit, Probe&& probe, Drop&& drop) noexcept {
    if (size_ == 0 || !Due(now_ms, neighbors.changes())) return;
    TakeIf([&](PendingPacket& p) {
      const NeighborTable::Result r = neighbors.Use(p.neighbor, now_ms);
      if (r.probe && !r.usable) probe(p.neighbor);
      if (r.usable) {
        emit(p, r.mac);
        return true;
      }
      if (!r.expired && static_cast<int32_t>(now_ms - p.deadline_ms) < 0) return false;
      drop(p);
      return true;
    });
  }

  /// emit(PendingPacket&) for all that waits for this neighbour, in order of arrival: before anything else is
  /// sent there. Cheap when nothing does, for every packet that is not plain. False, and nothing done, while
  /// others are taken out (an emit has this called): some may be waiting still.
  template <class Emit>
  bool Release(NeighborId neighbor, Emit&& emit) noexcept {
    if (waiting_bytes_[SlotOf(neighbor)] == 0) return true;
    if (taking_) return false;
    TakeIf([&](PendingPacket& p) {
      if (p.neighbor != neighbor) return false;
      emit(p);
      return true;
    });
    return true;
  }

  /// Takes out those of which take(PendingPacket&) is true: it has the mbuf. `take` may queue again; what
  /// came meanwhile stays, behind the others.
  template <class Take>
  void TakeIf(Take&& take) noexcept {
    taking_ = true;
    const uint16_t n = size_;
    uint16_t kept = 0;
    for (uint16_t i = 0; i < n; ++i) {
      PendingPacket p = queue_[i];
      const uint32_t slot = SlotOf(p.neighbor), bytes = p.bytes;
      if (take(p)) {
        waiting_bytes_[slot] -= bytes;
      } else {
        queue_[kept++] = p;
      }
    }
    for (uint16_t i = n; i < size_; ++i) queue_[kept++] = queue_[i];
    size_ = kept;
    taking_ = false;
  }

  /// Gives everything to drop(PendingPacket&): the worker ends.
  template <class Drop>
  void Clear(Drop&& drop) noexcept {
    TakeIf([&](PendingPacket& p) {
      drop(p);
      return true;
    });
  }

  uint16_t size() const { return size_; }

 private:
  static constexpr uint32_t kScanMs = 10;  // deadlines are looked at so often

  /// Of the neighbour table; its owners in turn have one count.
  static uint32_t SlotOf(NeighborId id) noexcept { return id.value() & NeighborTable::kCapacity; }
  static_assert((NeighborTable::kCapacity & (NeighborTable::kCapacity + 1)) == 0);

  bool Due(uint32_t now_ms, uint32_t changes) noexcept;

  std::array<PendingPacket, kCapacity> queue_;
  std::array<uint32_t, NeighborTable::kCapacity + 1> waiting_bytes_{};  ///< by SlotOf
  uint16_t size_ = 0;
  bool taking_ = false;
  uint32_t seen_changes_ = 0;
  uint32_t scanned_ms_ = 0;
};

}  // namespace podwire
