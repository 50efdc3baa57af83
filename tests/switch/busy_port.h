#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pmd/offload.h"
#include "pmd/port.h"
#include "tests/switch/packet_builder.h"

namespace podwire::testing {

/// A port from which packets come as fast as its worker asks, these frames round and round, with pauses in
/// which workers fall asleep. It takes most of what is sent.
class BusyPort : public Port {
 public:
  BusyPort(const std::string& name, MbufPools& pools, std::vector<Bytes> frames)
      : Port(PortConfig{.name = name, .options = VdevOptions{}}), pools_(pools), frames_(std::move(frames)) {}

  uint16_t RxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    calls_.fetch_add(1, std::memory_order_relaxed);
    if (quiet_.load(std::memory_order_relaxed) || ++turn_ % 512 > 256) return 0;
    uint16_t made = 0;
    while (made < n && made < 8) {
      rte_mbuf* m = rte_pktmbuf_alloc(&pools_.small());
      if (m == nullptr) break;
      const Bytes& frame = frames_[next_++ % frames_.size()];
      std::memcpy(rte_pktmbuf_append(m, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
      OffloadOf(*m) = {};
      mbufs[made++] = m;
    }
    received_.fetch_add(made, std::memory_order_relaxed);
    return made;
  }

  uint16_t TxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    const uint64_t call = calls_.fetch_add(1, std::memory_order_relaxed);
    const auto taken = static_cast<uint16_t>(call % 16 == 0 ? n / 2 : n);
    for (uint16_t i = 0; i < taken; ++i) rte_pktmbuf_free(mbufs[i]);
    sent_.fetch_add(taken, std::memory_order_relaxed);
    return taken;
  }

  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

  /// Any thread:
  void Quiet() { quiet_.store(true, std::memory_order_relaxed); }  ///< nothing comes any more
  uint64_t received() const { return received_.load(std::memory_order_relaxed); }
  uint64_t sent() const { return sent_.load(std::memory_order_relaxed); }
  uint64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  MbufPools& pools_;
  const std::vector<Bytes> frames_;
  uint32_t turn_ = 0, next_ = 0;  // of the worker that receives
  std::atomic<bool> quiet_{false};
  std::atomic<uint64_t> received_{0}, sent_{0}, calls_{0};
};

}  // namespace podwire::testing
