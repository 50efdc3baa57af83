#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <rte_mbuf.h>

#include "net/id.h"
#include "switch/counters.h"
#include "switch/tables.h"

namespace podwire {

/// One worker's outgoing packets, gathered by port and handed over in bursts. Every buffer is empty at the
/// end of a worker's loop, so a port that leaves the tables never has packets waiting.
class TxBuffers {
 public:
  explicit TxBuffers(uint16_t worker) : worker_(worker) {}

  /// Takes the mbuf; sends when the port's buffer is full.
  void Add(const Tables& t, WorkerCounters& counters, PortId port, rte_mbuf* mbuf) noexcept {
    Buffer& b = BufferOf(port);
    if (!b.listed) {
      b.listed = true;
      dirty_[dirty_count_++] = port;
    }
    b.mbufs[b.count++] = mbuf;
    if (b.count == kBurst) Send(t, counters, port, b);
  }

  /// Sends all that is gathered. What a port does not take is dropped (tx_full).
  void Flush(const Tables& t, WorkerCounters& counters) noexcept;

  /// Makes room for the tables' ports. Not on the packet path.
  void Resize(const Tables& t);

 private:
  static constexpr uint16_t kBurst = 64;
  struct Buffer {
    uint16_t count = 0;
    bool listed = false;
    std::array<rte_mbuf*, kBurst> mbufs;
  };
  Buffer& BufferOf(PortId port) noexcept { return buffers_[port.value()]; }
  void Send(const Tables& t, WorkerCounters& counters, PortId port, Buffer& b) noexcept;

  uint16_t worker_;
  uint16_t dirty_count_ = 0;
  std::vector<Buffer> buffers_;  // by PortId
  std::vector<PortId> dirty_;    // ports with packets, each once
};

}  // namespace podwire
