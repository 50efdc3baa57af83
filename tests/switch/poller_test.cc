#include "switch/poller.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <gtest/gtest.h>

namespace podwire {
namespace poller_test {

/// A port that never runs dry; with a descriptor if `watched`.
class BusyPort : public Port {
 public:
  BusyPort(const char* name, bool watched)
      : Port(PortConfig{.name = name, .options = VdevOptions{}}),
        fd_(watched ? eventfd(1, EFD_CLOEXEC) : -1) {}
  ~BusyPort() override {
    if (fd_ >= 0) close(fd_);
  }
  uint16_t RxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    std::fill_n(mbufs, n, nullptr);
    return n;
  }
  uint16_t TxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  int rx_fd() const override { return fd_; }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

 private:
  int fd_;
};

/// Keeps frames that it has read already, as netdev ports do: nothing waits at its descriptor.
class ReadAheadPort : public BusyPort {
 public:
  explicit ReadAheadPort(uint16_t frames) : BusyPort("uplink", true), frames_(frames) {
    eventfd_t count;
    eventfd_read(rx_fd(), &count);
  }
  uint16_t RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    const uint16_t given = std::min(n, frames_);
    frames_ = static_cast<uint16_t>(frames_ - given);
    return BusyPort::RxBurst(queue, mbufs, given);
  }

 private:
  uint16_t frames_;
};

TEST(PollerTest, WhatAPortHasReadAheadDoesNotWaitForTheNextFrame) {
  ReadAheadPort port(40);
  Tables tables;
  tables.ports.push_back({.port = &port, .own_mac = {}, .peer_mac = {}, .name = {}});
  const uint16_t workers[] = {0};
  const PollPlan plan = PlanFor(tables, {}, workers);
  const QueueMove move{.port = PortId{0}, .queue = 0, .from = 0, .to = 1};
  const PollPlan nobodys = WithMoves(plan, {&move, 1}, true), moved = WithMoves(plan, {&move, 1}, false);
  Poller before(0), after(1);
  rte_mbuf* mbufs[64];
  PortId in_ports[64];
  before.Rebuild(tables, plan);
  after.Rebuild(tables, plan);
  EXPECT_EQ(before.Receive(mbufs, in_ports, 10), 10);
  before.Rebuild(tables, nobodys);
  after.Rebuild(tables, nobodys);
  EXPECT_EQ(before.Receive(mbufs, in_ports, 64), 0) << "not its own any more";
  after.Rebuild(tables, moved);
  after.Wait(1'000'000);  // returns at once
  EXPECT_EQ(after.Receive(mbufs, in_ports, 64), 30);
  EXPECT_EQ(in_ports[0], PortId{0});
  EXPECT_EQ(after.Receive(mbufs, in_ports, 64), 0) << "from now on by the descriptor";
}

/// Polled, with interrupts: Deliver gives one if the queue is armed.
class InterruptPort : public BusyPort {
 public:
  InterruptPort() : BusyPort("vm", false), interrupt_(eventfd(0, EFD_CLOEXEC)) {}
  ~InterruptPort() override { close(interrupt_); }
  uint16_t RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    const uint16_t given = std::min(n, frames_);
    frames_ = static_cast<uint16_t>(frames_ - given);
    if (std::exchange(late_, false)) Deliver();
    return BusyPort::RxBurst(queue, mbufs, given);
  }
  int rx_interrupt_fd(uint16_t) const override { return interrupt_; }
  bool ArmRx(uint16_t) noexcept override {
    ++arms_;
    return armed_ = can_arm_;
  }
  void DisarmRx(uint16_t) noexcept override { armed_ = false; }
  void Deliver() {
    ++frames_;
    if (armed_) eventfd_write(interrupt_, 1);
  }

  bool can_arm_ = true, armed_ = false;
  bool late_ = false;  ///< a frame comes right after the next look
  int arms_ = 0;

 private:
  int interrupt_;
  uint16_t frames_ = 0;
};

class PollerInterruptTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kShortUs = 1000, kLongUs = 5'000'000;
  void Begin(std::initializer_list<Port*> ports) {
    for (Port* port : ports)
      tables_.ports.push_back({.port = port, .own_mac = {}, .peer_mac = {}, .name = {}});
    const uint16_t workers[] = {0};
    plan_ = PlanFor(tables_, {}, workers);
    poller_.Rebuild(tables_, plan_);
  }
  uint16_t Receive() {
    rte_mbuf* mbufs[64];
    PortId in_ports[64];
    return poller_.Receive(mbufs, in_ports, 64);
  }
  bool WaitedShort(uint32_t timeout_us) {
    const auto begin = std::chrono::steady_clock::now();
    poller_.Wait(timeout_us);
    return std::chrono::steady_clock::now() - begin < std::chrono::microseconds(kLongUs / 2);
  }

  InterruptPort port_;
  Tables tables_;
  PollPlan plan_;
  Poller poller_{0};
};

TEST_F(PollerInterruptTest, AnArmedQueueEndsTheWaitEachTime) {
  Begin({&port_});
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(poller_.Arm());
    EXPECT_FALSE(poller_.must_poll());
    EXPECT_EQ(Receive(), 0);
    EXPECT_FALSE(poller_.Arm()) << "armed already";
    port_.Deliver();
    EXPECT_TRUE(WaitedShort(kLongUs));
    EXPECT_EQ(Receive(), 1);
    poller_.Disarm();
    EXPECT_FALSE(port_.armed_);
    port_.Deliver();
    EXPECT_EQ(Receive(), 1) << "polled again";
  }
}

// A frame after the last look at the queue, the interrupt of which Receive's own look at epoll takes.
TEST_F(PollerInterruptTest, AnInterruptThatReceiveHasSeenIsNotLost) {
  ReadAheadPort watched(0);
  Begin({&port_, &watched});
  EXPECT_TRUE(poller_.Arm());
  for (int round = 0; round < 4; ++round) {  // in either order of the two kinds
    port_.late_ = true;
    EXPECT_EQ(Receive(), 0);
    EXPECT_TRUE(WaitedShort(kLongUs));
    EXPECT_EQ(Receive() + Receive(), 1);
    if (round == 1) Receive();
  }
}

TEST_F(PollerInterruptTest, ArmsAgainAfterAWaitForNothing) {
  Begin({&port_});
  EXPECT_TRUE(poller_.Arm());
  poller_.Wait(kShortUs);
  EXPECT_TRUE(poller_.Arm()) << "the device may be another one";
  EXPECT_EQ(port_.arms_, 2);
}

TEST_F(PollerInterruptTest, APortThatCannotBeArmedMustBePolled) {
  Begin({&port_});
  port_.can_arm_ = false;
  EXPECT_FALSE(poller_.Arm());
  EXPECT_TRUE(poller_.must_poll());
}

TEST_F(PollerInterruptTest, OneWithoutInterruptsMakesUsPollAll) {
  BusyPort other("uplink", false);
  Begin({&port_, &other});
  EXPECT_TRUE(poller_.must_poll());
  EXPECT_TRUE(poller_.Arm());
  EXPECT_TRUE(poller_.must_poll());
}

TEST_F(PollerInterruptTest, AQueueThatGoesIsDisarmedAndWakesNobody) {
  Begin({&port_});
  EXPECT_TRUE(poller_.Arm());
  const QueueMove move{.port = PortId{0}, .queue = 0, .from = 0, .to = 1};
  poller_.Rebuild(tables_, WithMoves(plan_, {&move, 1}, true));
  EXPECT_FALSE(port_.armed_);
  EXPECT_FALSE(poller_.must_poll());
  port_.armed_ = true;  // by its next worker
  port_.Deliver();
  EXPECT_FALSE(poller_.Arm());
  const auto begin = std::chrono::steady_clock::now();
  poller_.Wait(20 * kShortUs);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::microseconds(20 * kShortUs));
}

TEST(PollerTest, BusyPortsShareTheBursts) {
  BusyPort ports[] = {{"tap1", true}, {"tap2", true}, {"tap3", true}, {"uplink", false}, {"vm", false}};
  Tables tables;
  for (BusyPort& port : ports)
    tables.ports.push_back({.port = &port, .own_mac = {}, .peer_mac = {}, .name = {}});
  Poller poller(0);
  const uint16_t workers[] = {0};
  const PollPlan plan = PlanFor(tables, {}, workers);
  poller.Rebuild(tables, plan);
  std::array<int, std::size(ports)> received{};
  rte_mbuf* mbufs[64];
  PortId in_ports[64];
  constexpr int kBursts = 300;
  for (int i = 0; i < kBursts; ++i) {
    const uint16_t n = poller.Receive(mbufs, in_ports, 64);
    ASSERT_EQ(n, 64);
    for (uint16_t k = 0; k < n; ++k) ++received.at(in_ports[k].value());
  }
  for (const int n : received) EXPECT_GT(n, kBursts * 64 / 10) << "half of an even share at least";
}

}  // namespace poller_test
}  // namespace podwire
