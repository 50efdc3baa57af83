#include "pmd/interface_move.h"

#include <optional>

#include <gtest/gtest.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/pod_interface.h"
#include "tests/pmd/test_netns.h"

namespace podwire {
namespace interface_move_test {

class InterfaceMoveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    node_.emplace("imn");
    pod_.emplace("imp");
    ASSERT_TRUE(node_->Ip("link add vf3 type veth peer name wire"));
    ASSERT_TRUE(node_->Ip("link set vf3 up"));
  }
  absl::Status To(const std::string& netns, const std::string& name) {
    return RunInNetns(node_->path(), [&] { return MoveInterfaceTo(netns, "vf3", name, "podwire p"); });
  }
  absl::Status Back(const std::string& netns) {
    return RunInNetns(node_->path(), [&] { return MoveInterfaceBack(netns, "podwire p", "vf3", 0); });
  }
  std::optional<TestNetns> node_, pod_;
};

TEST_F(InterfaceMoveTest, ComesBackUnderItsNameWhateverThePodCalledIt) {
  ASSERT_EQ(Message(To(pod_->path(), "eth0")), "");
  EXPECT_FALSE(*InterfaceExists(node_->path(), "vf3"));
  EXPECT_TRUE(pod_->Exec("grep -q 'podwire p' /sys/class/net/eth0/ifalias"));
  ASSERT_TRUE(pod_->Ip("link set eth0 name other"));
  ASSERT_TRUE(pod_->Ip("link set other up"));
  ASSERT_EQ(Message(Back(pod_->path())), "");
  EXPECT_TRUE(node_->Exec("sh -c 'test -z \"$(cat /sys/class/net/vf3/ifalias)\"'"));
  EXPECT_TRUE(node_->Exec("sh -c 'ip link show vf3 | grep -q \"state DOWN\"'"));
  EXPECT_EQ(Message(Back(pod_->path())), "") << "again is harmless";
  EXPECT_TRUE(*InterfaceExists(node_->path(), "vf3"));
}

TEST_F(InterfaceMoveTest, WhatIsInTheWayIsNamed) {
  ASSERT_TRUE(pod_->Ip("link add eth0 type veth peer name eth1"));
  const absl::Status taken = To(pod_->path(), "eth0");
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists) << taken;
  EXPECT_TRUE(*InterfaceExists(node_->path(), "vf3"));
  ASSERT_EQ(Message(Back(pod_->path())), "") << "one that never went";
  EXPECT_EQ(To("/run/netns/pw-there-is-none", "eth0").code(), absl::StatusCode::kNotFound);
}

TEST_F(InterfaceMoveTest, ItsFormerNameMayBeTaken) {
  ASSERT_EQ(Message(To(pod_->path(), "eth0")), "");
  ASSERT_TRUE(node_->Ip("link add vf3 type veth peer name wire3"));
  ASSERT_EQ(Message(Back(pod_->path())), "");
  EXPECT_FALSE(*InterfaceExists(pod_->path(), "eth0"));
}

}  // namespace interface_move_test
}  // namespace podwire
