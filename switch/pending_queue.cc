#include "switch/pending_queue.h"

#include <algorithm>

namespace podwire {

DropReason PendingQueue::Push(const Packet& packet, NextHopId next_hop, uint32_t generation,
                              NeighborId neighbor, uint32_t now_ms) noexcept {
  const auto same = std::count_if(queue_.begin(), queue_.begin() + size_,
                                  [neighbor](const PendingPacket& p) { return p.neighbor == neighbor; });
  if (same >= kPerNeighbor) return DropReason::kNeighborQueueFull;
  const bool added = Add({.packet = packet,
                          .next_hop = next_hop,
                          .generation = generation,
                          .deadline_ms = now_ms + kWaitMs,
                          .neighbor = neighbor});
  return added ? DropReason::kNone : DropReason::kNeighborQueueFull;
}

bool PendingQueue::Add(const PendingPacket& waiting) noexcept {
  if (size_ == kCapacity) return false;
  queue_[size_++] = waiting;
  waited_for_.set(waiting.neighbor.value());
  return true;
}

bool PendingQueue::Due(uint32_t now_ms, uint32_t changes) noexcept {
  if (changes == seen_changes_ && now_ms - scanned_ms_ < kScanMs) return false;
  seen_changes_ = changes;
  scanned_ms_ = now_ms;
  return true;
}

}  // namespace podwire
