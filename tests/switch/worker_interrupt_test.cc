// A worker that sleeps on receive interrupts. EAL comes with worker_set_test.cc.
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "pmd/fd.h"
#include "switch/switch.h"
#include "tests/switch/node_tables.h"
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace worker_interrupt_test {

using Clock = std::chrono::steady_clock;

/// Gives interrupts and no packets; knows when it was last looked at.
class InterruptingPort : public Port {
 public:
  InterruptingPort() : Port(PortConfig{.name = "vm", .options = VdevOptions{}}) {}
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override {
    waiting_.store(false, std::memory_order_relaxed);
    looks_.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  uint16_t TxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  int rx_interrupt_fd(uint16_t) const override { return interrupt_.get(); }
  bool ArmRx(uint16_t) noexcept override {
    armed_.store(true, std::memory_order_relaxed);
    return true;
  }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

  uint64_t looks() const { return looks_.load(std::memory_order_relaxed); }
  /// How long a frame waits that comes now.
  Clock::duration Interrupt() {
    const auto begin = Clock::now();
    waiting_.store(true, std::memory_order_relaxed);
    if (armed_.load(std::memory_order_relaxed)) eventfd_write(interrupt_.get(), 1);
    while (waiting_.load(std::memory_order_relaxed)) std::this_thread::yield();
    return Clock::now() - begin;
  }

 private:
  Fd interrupt_{eventfd(0, EFD_CLOEXEC)};
  std::atomic<bool> waiting_{false}, armed_{false};
  std::atomic<uint64_t> looks_{0};
};

TEST(WorkerInterruptTest, AnIdleWorkerSleepsUntilOneComes) {
  InterruptingPort port;
  auto sw =
      Switch::Create({.workers = {{.cpu = 0}}, .max_connections = 1024, .pools = &EalEnvironment::Pools()});
  ASSERT_TRUE(sw.ok()) << sw.status();
  (*sw)->Publish(std::make_unique<Tables>(NodeTables(&port, nullptr, nullptr)));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const uint64_t before = port.looks();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LE(port.looks() - before, 50u) << "in half a second";
  std::vector<Clock::duration> waits;
  for (int i = 0; i < 11; ++i) {
    waits.push_back(port.Interrupt());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::ranges::sort(waits);
  EXPECT_LT(waits[5], std::chrono::milliseconds(20)) << "a sleep lasts 100 ms";
  (*sw)->Publish(std::make_unique<Tables>(NodeTables(nullptr, nullptr, nullptr)));
}

}  // namespace worker_interrupt_test
}  // namespace podwire::testing
