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
