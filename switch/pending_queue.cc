#include "switch/pending_queue.h"

#include <algorithm>

namespace podwire {

DropReason PendingQueue::Push(const Packet& packet, NextHopId next_hop, uint32_t generation,
                              NeighborId neighbor, uint32_t now_ms) noexcept {
  const bool added = Add({.packet = packet,
                          .next_hop = next_hop,
                          .generation = generation,
                          .deadline_ms = now_ms + kWaitMs,
                          .neighbor = neighbor});
  return added ? DropReason::kNone : DropReason::kNeighborQueueFull;
}

bool PendingQueue::Add(PendingPacket waiting) noexcept {
  waiting.bytes = std::max(waiting.packet.mbuf->pkt_len, kLeastBytes);
  uint32_t& neighbors_bytes = waiting_bytes_[SlotOf(waiting.neighbor)];
  if (size_ == kCapacity || neighbors_bytes + waiting.bytes > kNeighborBytes) return false;
  queue_[size_++] = waiting;
  neighbors_bytes += waiting.bytes;
  return true;
}

bool PendingQueue::Due(uint32_t now_ms, uint32_t changes) noexcept {
  if (changes == seen_changes_ && now_ms - scanned_ms_ < kScanMs) return false;
  seen_changes_ = changes;
  scanned_ms_ = now_ms;
  return true;
}

}  // namespace podwire
