#include "pmd/pod_interface.h"

#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/pmd/test_netns.h"

namespace podwire {
namespace pod_interface_test {

IpAddress Ip(const char* text) { return *ParseIp(text); }
MacAddr Mac(const char* text) { return *ParseMac(text); }

class PodInterfaceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    ns_.emplace("pif");
    ASSERT_TRUE(ns_->Ip("link add eth0 type veth peer name peer"));
    ASSERT_TRUE(ns_->Ip("link set peer up"));
    pod_ = {.netns = ns_->path(),
            .ifname = "eth0",
            .mac = Mac("02:00:00:00:00:05"),
            .mtu = 1450,
            .addresses = {{Ip("10.244.1.5"), 32}},
            .gateways = {{Ip("10.244.1.1"), Mac("02:00:00:00:00:01")}},
            .routes = {}};
  }
  void AddIpv6() {
    pod_.addresses.push_back({Ip("fd00:1::5"), 128});
    pod_.gateways.push_back({Ip("fd00:1::1"), Mac("02:00:00:00:00:01")});
  }
  /// What CheckPodInterface says is different; empty: nothing.
  std::string Differences() {
    const absl::Status status = CheckPodInterface(pod_);
    EXPECT_TRUE(status.ok() || absl::IsFailedPrecondition(status)) << Message(status);
    return Message(status);
  }

  std::optional<TestNetns> ns_;
  PodInterface pod_;
};

TEST_F(PodInterfaceTest, SetUpMakesWhatCheckAsksForAndMayBeRepeated) {
  EXPECT_EQ(Differences().rfind("interface eth0: is down; MAC is ", 0), 0u) << Differences();
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  EXPECT_EQ(Differences(), "");
  EXPECT_TRUE(ns_->Exec("ping -c 1 -W 1 10.244.1.5")) << "lo is up";
  EXPECT_TRUE(ns_->Exec("sh -c 'ip route get 8.8.8.8 | grep \"via 10.244.1.1 dev eth0 src 10.244.1.5\"'"));
  EXPECT_TRUE(ns_->Exec("sh -c '! ip -6 addr show dev eth0 | grep inet6'")) << "no IPv6 in an IPv4 pod";
  EXPECT_EQ(Message(SetUpPodInterface(pod_)), "");
  EXPECT_EQ(Differences(), "");
}

TEST_F(PodInterfaceTest, BothFamilies) {
  AddIpv6();
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  EXPECT_EQ(Differences(), "");
  EXPECT_TRUE(
      ns_->Exec("sh -c 'ip -6 route get 2001:db8::1 | grep \"via fd00:1::1 dev eth0 .*src fd00:1::5\"'"));
  EXPECT_TRUE(ns_->Exec("sh -c '! ip -6 addr show dev eth0 | grep tentative'"));
  EXPECT_TRUE(ns_->Exec("sh -c 'test $(cat /proc/sys/net/ipv6/conf/eth0/accept_ra) = 0'"));
}

TEST_F(PodInterfaceTest, OwnRoutesReplaceTheDefaultRoute) {
  pod_.routes = {*ParsePrefix("10.0.0.0/8")};
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  EXPECT_EQ(Differences(), "");
  EXPECT_TRUE(ns_->Exec("sh -c '! ip route | grep default'"));
}

TEST_F(PodInterfaceTest, CheckNamesEachDrift) {
  AddIpv6();
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  const struct {
    const char *break_it, *says;
  } cases[] = {
      {"link set eth0 mtu 1400", "MTU is 1400, not 1450"},
      {"link set eth0 address 02:00:00:00:00:06", "MAC is 02:00:00:00:00:06, not 02:00:00:00:00:05"},
      {"route del default", "route 0.0.0.0/0 via 10.244.1.1 missing"},
      {"route replace default via 10.244.1.7 dev eth0 onlink", "route 0.0.0.0/0 via 10.244.1.1 missing"},
      {"route del 10.244.1.1", "link route to gateway 10.244.1.1 missing"},
      {"-6 route del default", "route ::/0 via fd00:1::1 missing"},
      {"neigh replace 10.244.1.1 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
       "permanent neighbour 10.244.1.1 at 02:00:00:00:00:01 missing"},
      {"neigh replace 10.244.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud reachable",
       "permanent neighbour 10.244.1.1 at 02:00:00:00:00:01 missing"},
      {"neigh del fd00:1::1 dev eth0", "permanent neighbour fd00:1::1 at 02:00:00:00:00:01 missing"},
      {"addr del fd00:1::5/128 dev eth0", "address fd00:1::5/128 missing"},
      {"addr del 10.244.1.5/32 dev eth0", "address 10.244.1.5/32 missing"},
      {"link set eth0 down", "is down"},
  };
  for (const auto& c : cases) {
    ASSERT_TRUE(ns_->Ip(c.break_it)) << c.break_it;
    EXPECT_NE(Differences().find(c.says), std::string::npos) << c.break_it << ": " << Differences();
    ASSERT_EQ(Message(SetUpPodInterface(pod_)), "") << c.break_it;
    EXPECT_EQ(Differences(), "") << c.break_it;
  }
  ASSERT_TRUE(ns_->Ip("link del eth0"));
  EXPECT_EQ(Differences(), "interface eth0 missing");
  ns_->Remove();
  EXPECT_NE(Differences().find("open network namespace " + pod_.netns), std::string::npos);
}

TEST_F(PodInterfaceTest, FailureTakesBackWhatWasDone) {
  pod_.routes = {*ParsePrefix("10.0.0.0/8"), *ParsePrefix("fd00::/8")};  // no IPv6 gateway: fails last
  const absl::Status status = SetUpPodInterface(pod_);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(Message(status), "route fd00::/8: no gateway");
  EXPECT_TRUE(ns_->Exec("sh -c '! ip addr show dev eth0 | grep -w inet'"));
  EXPECT_TRUE(ns_->Exec("sh -c 'test -z \"$(ip route)\" && test -z \"$(ip neigh show nud permanent)\"'"));
  EXPECT_TRUE(ns_->Exec("sh -c 'ip link show dev eth0 | grep \"mtu 1500\" | grep -v UP,'"));
  EXPECT_TRUE(ns_->Exec("sh -c '! ip link show dev eth0 | grep 02:00:00:00:00:05'"));
}

TEST_F(PodInterfaceTest, BadInput) {
  PodInterface bad = pod_;
  bad.ifname = "nothere";
  EXPECT_TRUE(absl::IsNotFound(SetUpPodInterface(bad)));
  for (const char* name : {"", "a/b", "sixteen-bytes-xx", ".", "..", "a b", "a:1", "eth%d"}) {
    bad.ifname = name;
    EXPECT_TRUE(absl::IsInvalidArgument(SetUpPodInterface(bad))) << name;
  }
  bad = pod_;
  bad.netns = "/etc/hostname";
  EXPECT_EQ(Message(SetUpPodInterface(bad)), "/etc/hostname is not a network namespace");
  bad.netns = "/proc/self/ns/mnt";
  EXPECT_TRUE(absl::IsInvalidArgument(SetUpPodInterface(bad)));
  bad.netns = "/run/netns/pw-no-such";
  EXPECT_TRUE(absl::IsNotFound(SetUpPodInterface(bad)));
  bad = pod_;
  bad.mac = Mac("01:00:00:00:00:05");
  EXPECT_TRUE(absl::IsInvalidArgument(SetUpPodInterface(bad)));
}

TEST_F(PodInterfaceTest, RemoveLeavesWhatHasTheNameNow) {
  EXPECT_EQ(Message(RemoveInterface(pod_.netns, "eth0", "mine")), "");
  EXPECT_TRUE(*InterfaceExists(pod_.netns, "eth0")) << "not podwire's";
  ASSERT_TRUE(ns_->Ip("link set eth0 alias 'podwire other'"));
  EXPECT_EQ(Message(RemoveInterface(pod_.netns, "eth0", "mine")), "");
  EXPECT_TRUE(*InterfaceExists(pod_.netns, "eth0")) << "another pod's";
}

TEST_F(PodInterfaceTest, SecondInterfaceLeavesTheRoutesOfTheFirst) {
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  ASSERT_TRUE(ns_->Ip("link add net1 type veth peer name peer1"));
  PodInterface second = pod_;
  second.ifname = "net1";
  second.mac = Mac("02:00:00:00:00:06");
  second.addresses = {{Ip("10.244.1.6"), 32}};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Message(SetUpPodInterface(second)), "");
    EXPECT_EQ(Message(CheckPodInterface(second)), "");
    EXPECT_EQ(Differences(), "");
    EXPECT_TRUE(ns_->Exec("sh -c 'ip route get 8.8.8.8 | grep \"dev eth0 src 10.244.1.5\"'"));
  }
  ASSERT_TRUE(ns_->Ip("link del net1"));
  EXPECT_EQ(Differences(), "");
}

TEST_F(PodInterfaceTest, RemoveIsIdempotent) {
  ASSERT_TRUE(ns_->Ip("link set eth0 alias 'podwire mine'"));
  EXPECT_EQ(Message(RemoveInterface(pod_.netns, "eth0", "mine")), "");
  EXPECT_FALSE(*InterfaceExists(pod_.netns, "eth0"));
  EXPECT_EQ(Message(RemoveInterface(pod_.netns, "eth0", "mine")), "");
  ns_->Remove();
  EXPECT_EQ(Message(RemoveInterface(pod_.netns, "eth0", "mine")), "");
  EXPECT_TRUE(absl::IsNotFound(InterfaceExists(pod_.netns, "eth0").status()));
}

}  // namespace pod_interface_test
}  // namespace podwire
