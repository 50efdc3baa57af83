#include "pmd/macvlan.h"

#include <gtest/gtest.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/pod_interface.h"
#include "tests/pmd/test_netns.h"

namespace podwire {
namespace macvlan_test {

class MacvlanTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    node_.emplace("mvn");
    pod_.emplace("mvp");
    ASSERT_TRUE(node_->Ip("tuntap add trunk mode tap"));
    ASSERT_TRUE(node_->Ip("link set trunk up"));
    options_ = {.parent = "trunk",
                .netns = pod_->path(),
                .ifname = "eth0",
                .port = "pod-a",
                .mac = *ParseMac("02:00:00:00:00:0a"),
                .mtu = 1400};
  }
  /// As podwired does it: in the trunk's namespace.
  absl::Status Make() {
    return RunInNetns(node_->path(), [&] { return MakeMacvlan(options_); });
  }

  std::optional<TestNetns> node_, pod_;
  MacvlanOptions options_;
};

TEST_F(MacvlanTest, IsMadeDownInThePodsNamespaceAndFoundAgain) {
  ASSERT_EQ(Message(Make()), "");
  EXPECT_TRUE(pod_->Exec("sh -c 'ip -d link show eth0 | grep -q \"macvlan mode private\"'"));
  EXPECT_TRUE(pod_->Exec("sh -c 'ip link show eth0 | grep -q \"mtu 1400.*state DOWN\"'"));
  EXPECT_TRUE(pod_->Exec("grep -q 02:00:00:00:00:0a /sys/class/net/eth0/address"));
  EXPECT_EQ(Message(Make()), "") << "again is harmless";
  EXPECT_EQ(Message(RemoveInterface(pod_->path(), "eth0", "pod-b")), "");
  EXPECT_TRUE(*InterfaceExists(pod_->path(), "eth0")) << "another port's: stays";
  EXPECT_EQ(Message(RemoveInterface(pod_->path(), "eth0", "pod-a")), "");
  EXPECT_FALSE(*InterfaceExists(pod_->path(), "eth0"));
}

TEST_F(MacvlanTest, WhatIsInTheWayIsNamed) {
  ASSERT_TRUE(pod_->Ip("link add eth0 type veth peer name eth1"));
  const absl::Status taken = Make();
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(Message(taken).find("is not this port's"), std::string::npos) << Message(taken);
  options_.ifname = "eth2";
  options_.parent = "nothing";
  EXPECT_EQ(Make().code(), absl::StatusCode::kNotFound);
  options_.netns = "/run/netns/pw-there-is-none";
  EXPECT_EQ(Make().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(*InterfaceExists(pod_->path(), "eth2")) << "nothing is left of a failure";
}

TEST_F(MacvlanTest, AnMtuBeyondTheTrunksLeavesNothing) {
  options_.mtu = 9000;
  EXPECT_FALSE(Make().ok());
  EXPECT_FALSE(*InterfaceExists(pod_->path(), "eth0"));
}

}  // namespace macvlan_test
}  // namespace podwire
