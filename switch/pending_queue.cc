#include "switch/pending_queue.h"

#include <algorithm>

namespace podwire {

bool PendingQueue::Add(const PendingPacket& waiting) noexcept {
  const uint32_t bytes = std::max(waiting.mbuf().pkt_len, kLeastBytes);
  uint32_t& neighbors_bytes = waiting_bytes_[SlotOf(waiting.neighbor)];
  if (size_ == kCapacity || neighbors_bytes + bytes > kNeighborBytes) return false;
  queue_[size_] = waiting;
  queue_[size_++].bytes = bytes;
  neighbors_bytes += bytes;
  return true;
}

bool PendingQueue::Due(uint32_t now_ms, uint32_t changes) noexcept {
  if (changes == seen_changes_ && now_ms - scanned_ms_ < kScanMs) return false;
  seen_changes_ = changes;
  scanned_ms_ = now_ms;
  return true;
}

}  // namespace podwire
