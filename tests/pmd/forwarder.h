#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "pmd/port.h"

namespace podwire {

/// Edits a packet on its way; false: drop it.
using Edit = std::function<bool(rte_mbuf&)>;

/// Moves packets between two ports, both ways, on a thread of its own, until destroyed.
class Forwarder {
 public:
  Forwarder(Port& a, Port& b, Edit a_to_b, Edit b_to_a)
      : thread_([=, this, &a, &b] {
          while (!stop_.load(std::memory_order_relaxed)) {
            Move(a, b, a_to_b, largest_from_a_);
            Move(b, a, b_to_a, largest_from_b_);
          }
        }) {}
  ~Forwarder() {
    stop_ = true;
    thread_.join();
  }

  /// Bytes of the largest packet that came from each side.
  uint32_t largest_from_a() const { return largest_from_a_; }
  uint32_t largest_from_b() const { return largest_from_b_; }

 private:
  static void Move(Port& from, Port& to, const Edit& edit, std::atomic<uint32_t>& largest) {
    rte_mbuf* mbufs[32];
    uint16_t kept = 0;
    const uint16_t n = from.RxBurst(0, mbufs, 32);
    for (uint16_t i = 0; i < n; ++i) {
      if (mbufs[i]->pkt_len > largest) largest = mbufs[i]->pkt_len;
      if (edit(*mbufs[i])) {
        mbufs[kept++] = mbufs[i];
      } else {
        rte_pktmbuf_free(mbufs[i]);
      }
    }
    uint16_t sent = 0;
    while (sent < kept) {
      const uint16_t now = to.TxBurst(0, mbufs + sent, static_cast<uint16_t>(kept - sent));
      if (now == 0) break;
      sent = static_cast<uint16_t>(sent + now);
    }
    rte_pktmbuf_free_bulk(mbufs + sent, kept - sent);
  }

  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> largest_from_a_{0}, largest_from_b_{0};
  std::thread thread_;
};

}  // namespace podwire
