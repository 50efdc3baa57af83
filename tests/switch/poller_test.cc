#include "switch/poller.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include <gtest/gtest.h>

namespace podwire {
namespace {

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

}  // namespace
}  // namespace podwire
