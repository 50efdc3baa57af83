#include "switch/tx_buffers.h"

namespace podwire {

void TxBuffers::Resize(const Tables& t) {
  if (buffers_.size() >= t.ports.size()) return;
  buffers_.resize(t.ports.size());
  dirty_.resize(t.ports.size());
}

void TxBuffers::Flush(const Tables& t, WorkerCounters& counters) noexcept {
  for (uint16_t i = 0; i < dirty_count_; ++i) {
    Buffer& b = BufferOf(dirty_[i]);
    Send(t, counters, dirty_[i], b);
    b.listed = false;
  }
  dirty_count_ = 0;
}

void TxBuffers::Send(const Tables& t, WorkerCounters& counters, PortId port, Buffer& b) noexcept {
  const PortSlot& slot = t.ports[port.value()];
  const uint16_t sent =
      slot.port == nullptr || b.count == 0 ? 0 : slot.port->TxBurst(worker_, b.mbufs.data(), b.count);
  counters.Add(Counter::kSent, sent);
  if (sent < b.count) {
    const uint16_t lost = b.count - sent;
    counters.AddDrop(slot.port == nullptr ? DropReason::kEndpointDown : DropReason::kTxFull, slot.endpoint,
                     lost);
    rte_pktmbuf_free_bulk(&b.mbufs[sent], lost);
  }
  b.count = 0;
}

}  // namespace podwire
