// Neighbours and routes of a real kernel: two network namespaces joined by a veth.

#include "control/kernel_underlay.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/kernel_table.h"
#include "net/status.h"
#include "pmd/netns.h"
#include "tests/pmd/test_netns.h"

namespace podwire {
namespace kernel_underlay_test {

const IpAddress kPeer = *ParseIp("172.31.0.2"), kNobody = *ParseIp("172.31.0.9"),
                kPeer6 = *ParseIp("fd31::2");

/// The switch's part.
class FakeSwitch {
 public:
  FakeSwitch() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  KernelUnderlayClient client() {
    return {.request_fd = fd_.get(),
            .take_requests =
                [this](const auto& fn) {
                  uint64_t count;
                  [[maybe_unused]] const ssize_t n = read(fd_.get(), &count, sizeof count);
                  std::set<IpAddress> taken;
                  {
                    const std::lock_guard lock(mutex_);
                    taken.swap(wanted_);
                  }
                  for (const IpAddress& a : taken) fn(a);
                },
            .set_neighbor =
                [this](const IpAddress& a, const MacAddr& mac) {
                  const std::lock_guard lock(mutex_);
                  neighbors_[a] = mac;
                  if (mac.empty()) withdrawn_.insert(a);
                  changed_.notify_all();
                },
            .neighbors =
                [this] {
                  const std::lock_guard lock(mutex_);
                  std::vector<IpAddress> all;
                  for (const auto& [address, mac] : neighbors_) all.push_back(address);
                  return all;
                },
            .set_routes =
                [this](std::vector<UnderlayRoute> routes) {
                  const std::lock_guard lock(mutex_);
                  routes_ = std::move(routes);
                  changed_.notify_all();
                }};
  }

  void Want(const IpAddress& a) {
    {
      const std::lock_guard lock(mutex_);
      wanted_.insert(a);
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(fd_.get(), &one, sizeof one);
  }
  /// Within 10 s: the kernel gives up after three.
  bool Becomes(const IpAddress& a, const MacAddr& mac) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] {
      const auto it = neighbors_.find(a);
      return it != neighbors_.end() && it->second == mac;
    });
  }
  bool RoutesBecome(const std::vector<UnderlayRoute>& routes) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return routes_ == routes; });
  }
  bool WasWithdrawn(const IpAddress& a) {
    const std::lock_guard lock(mutex_);
    return withdrawn_.contains(a);
  }
  bool Knows(const IpAddress& a) {
    const std::lock_guard lock(mutex_);
    const auto it = neighbors_.find(a);
    return it != neighbors_.end() && !it->second.empty();
  }

 private:
  const Fd fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<IpAddress> wanted_, withdrawn_;
  std::map<IpAddress, MacAddr> neighbors_;
  std::vector<UnderlayRoute> routes_;
};

class KernelUnderlayTest : public testing::Test {
 protected:
  static constexpr const char* kPeerMac = "02:00:00:00:31:02";

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    node_.emplace("ku-n");
    peer_.emplace("ku-p");
    ASSERT_TRUE(node_->Ip(
        fmt::format("link add u0 type veth peer name k0 address {} netns {}", kPeerMac, peer_->name())));
    ASSERT_TRUE(node_->Ip("addr add 172.31.0.1/24 dev u0") && node_->Ip("addr add fd31::1/64 dev u0 nodad"));
    ASSERT_TRUE(node_->Ip("link set u0 up"));
    ASSERT_TRUE(peer_->Ip("addr add 172.31.0.2/24 dev k0") && peer_->Ip("addr add fd31::2/64 dev k0 nodad"));
    ASSERT_TRUE(peer_->Ip("link set k0 up"));
  }

  template <class Fn>
  auto There(Fn fn) {
    std::optional<decltype(fn())> result;
    RunInNetns(node_->path(), [&] {
      result = fn();
      return absl::OkStatus();
    }).IgnoreError();
    return *std::move(result);
  }
  void Start() {
    auto started = There([&] { return KernelUnderlay::Start("u0", switch_.client()); });
    ASSERT_EQ(Message(started.status()), "");
    underlay_ = *std::move(started);
  }
  bool Shows(const IpAddress& a, const char* what) {
    return node_->Exec(fmt::format("sh -c \"ip neigh show {} | grep -q '{}'\"", ToString(a), what));
  }

  std::optional<TestNetns> node_, peer_;
  FakeSwitch switch_;
  std::unique_ptr<KernelUnderlay> underlay_;
};

TEST_F(KernelUnderlayTest, TheKernelResolvesWhatTheSwitchWants) {
  Start();
  EXPECT_FALSE(switch_.Knows(kPeer));
  for (const IpAddress& peer : {kPeer, kPeer6}) {
    switch_.Want(peer);
    EXPECT_TRUE(switch_.Becomes(peer, *ParseMac(kPeerMac))) << ToString(peer);
    EXPECT_TRUE(Shows(peer, kPeerMac));
  }
  switch_.Want(kNobody);
  EXPECT_TRUE(switch_.Becomes(kNobody, {})) << "nobody answers";
}

TEST_F(KernelUnderlayTest, ItsTableIsFollowed) {
  ASSERT_TRUE(node_->Ip("neigh add 172.31.0.2 lladdr 02:00:00:00:31:77 dev u0 nud permanent"));
  Start();
  switch_.Want(kPeer);
  EXPECT_TRUE(switch_.Becomes(kPeer, *ParseMac("02:00:00:00:31:77")));
  EXPECT_TRUE(Shows(kPeer, "PERMANENT")) << "to use it must not make it less";
  ASSERT_TRUE(node_->Ip("neigh replace 172.31.0.2 lladdr 02:00:00:00:31:78 dev u0 nud permanent"));
  EXPECT_TRUE(switch_.Becomes(kPeer, *ParseMac("02:00:00:00:31:78")));
  ASSERT_TRUE(node_->Ip("neigh del 172.31.0.2 dev u0"));
  EXPECT_TRUE(switch_.Becomes(kPeer, {}));
  switch_.Want(kPeer);
  EXPECT_TRUE(switch_.Becomes(kPeer, *ParseMac(kPeerMac)));
}

TEST_F(KernelUnderlayTest, AStaleNeighborIsUsedAndConfirmed) {
  ASSERT_TRUE(node_->Exec("sysctl -qw net.ipv4.neigh.u0.delay_first_probe_time=1"));
  ASSERT_TRUE(node_->Ip(fmt::format("neigh add 172.31.0.2 lladdr {} dev u0 nud stale", kPeerMac)));
  Start();
  switch_.Want(kPeer);
  EXPECT_TRUE(switch_.Becomes(kPeer, *ParseMac(kPeerMac)));
  for (int i = 0; i < 200 && !Shows(kPeer, "REACHABLE"); ++i) usleep(50000);
  EXPECT_TRUE(Shows(kPeer, "REACHABLE")) << "the kernel has asked";
}

TEST_F(KernelUnderlayTest, WhatTheKernelForgetsIsKeptUntilItHasLooked) {
  Start();
  switch_.Want(kPeer);
  ASSERT_TRUE(switch_.Becomes(kPeer, *ParseMac(kPeerMac)));
  const auto forget = [&](const char* mac) { return node_->Ip(fmt::format("link set u0 address {}", mac)); };
  ASSERT_TRUE(forget("02:00:00:00:31:71")) << "with its MAC an interface's neighbours go";
  for (int i = 0; i < 200 && !Shows(kPeer, kPeerMac); ++i) usleep(20000);
  EXPECT_TRUE(Shows(kPeer, kPeerMac)) << "asked for, unwanted by a worker";
  EXPECT_TRUE(switch_.Knows(kPeer));
  EXPECT_FALSE(switch_.WasWithdrawn(kPeer));
  ASSERT_TRUE(peer_->Ip("link set k0 arp off"));
  ASSERT_TRUE(forget("02:00:00:00:31:72"));
  EXPECT_TRUE(switch_.Becomes(kPeer, {})) << "it does not answer any more";
}

TEST_F(KernelUnderlayTest, AScanDoesNotFillTheHostsTable) {
  Start();
  for (int i = 5; i < 250; ++i) switch_.Want(*ParseIp(fmt::format("172.31.0.{}", i)));
  usleep(700000);
  EXPECT_TRUE(node_->Exec("sh -c 'test $(ip -4 neigh show dev u0 | wc -l) -le 128'"));
  EXPECT_TRUE(node_->Exec("sh -c 'test $(ip -4 neigh show dev u0 | wc -l) -ge 100'"));
  EXPECT_TRUE(switch_.Becomes(*ParseIp("172.31.0.5"), {})) << "given up";
  usleep(500000);
  switch_.Want(kPeer);
  EXPECT_TRUE(switch_.Becomes(kPeer, *ParseMac(kPeerMac))) << "then there is room again";
}

TEST_F(KernelUnderlayTest, RoutesThroughGatewaysOnTheInterface) {
  ASSERT_TRUE(node_->Ip("route add default via 172.31.0.254 metric 100"));
  ASSERT_TRUE(node_->Ip("route add default via 172.31.0.253 metric 50"));
  ASSERT_TRUE(node_->Ip("-6 route add default via fe80::1 dev u0"));
  ASSERT_TRUE(node_->Ip("route add 10.9.0.0/16 dev u0"));                     // no gateway
  ASSERT_TRUE(node_->Ip("route add 10.8.0.0/16 via 172.31.0.254 table 77"));  // another table
  Start();
  const UnderlayRoute v4{*ParsePrefix("0.0.0.0/0"), *ParseIp("172.31.0.253")};
  const UnderlayRoute v6{*ParsePrefix("::/0"), *ParseIp("fe80::1")};
  const UnderlayRoute more{*ParsePrefix("198.51.100.0/24"), *ParseIp("172.31.0.2")};
  EXPECT_TRUE(switch_.RoutesBecome({v4, v6}));
  ASSERT_TRUE(node_->Ip("route add 198.51.100.0/24 via 172.31.0.2"));
  EXPECT_TRUE(switch_.RoutesBecome({v4, more, v6}));
  ASSERT_TRUE(node_->Ip("route del 198.51.100.0/24"));
  ASSERT_TRUE(node_->Ip("-6 route del default"));
  EXPECT_TRUE(switch_.RoutesBecome({v4}));
}

TEST_F(KernelUnderlayTest, AddressesOfTheInterface) {
  ASSERT_TRUE(node_->Ip("addr add 172.31.1.1/24 dev u0 scope link"));
  const auto addresses = There([] { return ReadKernelAddresses("u0"); });
  ASSERT_EQ(Message(addresses.status()), "");
  std::map<std::string, bool> seen;
  for (const InterfaceAddressState& a : *addresses) {
    if (!IsLinkLocal(a.address.address)) seen[ToString(a.address)] = a.lasting;
  }
  EXPECT_EQ(seen, (std::map<std::string, bool>{
                      {"172.31.0.1/24", true}, {"172.31.1.1/24", false}, {"fd31::1/64", true}}));
  EXPECT_TRUE(absl::IsNotFound(There([] { return ReadKernelAddresses("nothere"); }).status()));
}

}  // namespace kernel_underlay_test
}  // namespace podwire
