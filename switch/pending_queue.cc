#include "switch/pending_queue.h"

#include <algorithm>

namespace podwire {

DropReason PendingQueue::Push(const Packet& packet, NextHopId next_hop, uint32_t generation,
                              NeighborId neighbor, uint32_t now_ms) noexcept {
  const auto same = std::count_if(queue_.begin(), queue_.begin() + size_,
                                  [neighbor](const PendingPacket& p) { return p.neighbor == neighbor; });
  if (size_ == kCapacity || same >= kPerNeighbor) return DropReason::kNeighborQueueFull;
  queue_[size_++] = {.packet = packet,
                     .next_hop = next_hop,
                     .generation = generation,
                     .deadline_ms = now_ms + kWaitMs,
                     .neighbor = neighbor};
  return DropReason::kNone;
}

bool PendingQueue::Due(uint32_t now_ms, uint32_t changes) noexcept {
  if (changes == seen_changes_ && now_ms - scanned_ms_ < kScanMs) return false;
  seen_changes_ = changes;
  scanned_ms_ = now_ms;
  return true;
}

}  // namespace podwire
