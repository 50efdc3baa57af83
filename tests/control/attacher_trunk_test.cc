// Pods on a trunk: macvlans that one port of the switch carries.
#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/control/temp_dir.h"
#include "tests/control/test_node.h"

namespace podwire {
namespace {

class AttacherTrunkTest : public testing::Test {
 protected:
  TempDir dir_;
};

/// A tap that carries pods' macvlans.
void AddTrunk(TestNode& node, const std::string& name, uint16_t mtu = 1500) {
  const PortConfig config{
      .name = name, .options = TapOptions{.ifname = "if-" + name, .trunk = true}, .mtu = mtu};
  ASSERT_TRUE(node.controller().AddPort(config, std::make_unique<FakePort>(config), PortRole::kTrunk).ok());
}

AttachSpec OnTrunk(const TestNode& node, const std::string& container, const std::string& trunk = "") {
  AttachSpec spec = node.Spec(container);
  spec.netns = "/proc/self/ns/net";
  spec.kind = AttachKind::kMacvlan;
  spec.port = trunk;
  return spec;
}

const TrunkMembers* MembersOf(TestNode& node, const std::string& trunk) {
  const auto tables = node.controller().tables();
  for (const PortSlot& slot : tables->ports) {
    if (slot.name == trunk) return slot.members.get();
  }
  return nullptr;
}

TEST_F(AttacherTrunkTest, PodsOfATrunkAreItsMembersUntilTheyGo) {
  {
    TestNode node(dir_.path());
    AddTrunk(node, "t0", 1400);
    EXPECT_EQ(MembersOf(node, "t0"), nullptr);
    const auto a = node.attacher().Attach(OnTrunk(node, "c1"));
    ASSERT_TRUE(a.ok()) << Message(a.status());
    EXPECT_EQ(a->record.trunk, "t0") << "the only one";
    EXPECT_EQ(a->record.mtu, 1400) << "no more than the trunk carries";
    EXPECT_TRUE(node.attacher().Attach(OnTrunk(node, "c2", "t0")).ok());
    EXPECT_EQ(node.macvlan_parents, std::set<std::string>{"if-t0"});
    EXPECT_NE(MembersOf(node, "t0"), nullptr);
    EXPECT_TRUE(node.attacher().Check({"c1", "eth0"}, "/proc/self/ns/net", {}).ok());
  }
  TestNode node(dir_.path());
  AddTrunk(node, "t0", 1400);
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_EQ(node.macvlan_parents, std::set<std::string>{"if-t0"}) << "made again if it is not there";
  ASSERT_NE(MembersOf(node, "t0"), nullptr);
  EXPECT_NE(node.controller().tables()->EndpointOf(*ParseIp("10.244.1.2")), nullptr);
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_NE(MembersOf(node, "t0"), nullptr);
  EXPECT_TRUE(*node.attacher().Detach({"c2", "eth0"}));
  EXPECT_EQ(MembersOf(node, "t0"), nullptr);
  EXPECT_EQ(node.removed, 2);
}

TEST_F(AttacherTrunkTest, ATrunkThatCannotCarryThePodIsNamed) {
  TestNode node(dir_.path());
  const auto attach = [&](const AttachSpec& spec) { return node.attacher().Attach(spec).status(); };
  EXPECT_EQ(attach(OnTrunk(node, "c1")).code(), absl::StatusCode::kNotFound) << "there is none";
  const PortConfig nic{.name = "nic", .options = TapOptions{}};
  ASSERT_TRUE(node.controller().AddPort(nic, std::make_unique<FakePort>(nic), PortRole::kNone).ok());
  EXPECT_EQ(attach(OnTrunk(node, "c1", "nic")).code(), absl::StatusCode::kFailedPrecondition) << "no trunk";
  AddTrunk(node, "t0");
  EXPECT_EQ(attach(OnTrunk(node, "c1", "t9")).code(), absl::StatusCode::kNotFound);
  AddTrunk(node, "t1");
  EXPECT_EQ(attach(OnTrunk(node, "c1")).code(), absl::StatusCode::kFailedPrecondition) << "which?";
  AttachSpec jumbo = OnTrunk(node, "c1", "t0");
  jumbo.mtu = 1501;
  EXPECT_EQ(attach(jumbo).code(), absl::StatusCode::kInvalidArgument);
  AttachSpec first = OnTrunk(node, "c1", "t0"), twin = OnTrunk(node, "c2", "t0"),
             apart = OnTrunk(node, "c3", "t1");
  first.mac = twin.mac = apart.mac = *ParseMac("02:00:00:00:00:07");
  EXPECT_TRUE(attach(first).ok());
  EXPECT_EQ(attach(twin).code(), absl::StatusCode::kAlreadyExists) << "the MAC tells them apart";
  EXPECT_TRUE(attach(apart).ok()) << "another trunk";
  AttachSpec on_port = OnTrunk(node, "c4", "t0");
  on_port.kind = AttachKind::kPort;
  EXPECT_EQ(attach(on_port).code(), absl::StatusCode::kFailedPrecondition) << "a trunk is no one pod's port";
  EXPECT_EQ(node.controller().RemovePort("t0").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(AttacherTrunkTest, WithoutItsTrunkAPodIsGoneUntilItIsDetached) {
  {
    TestNode node(dir_.path());
    AddTrunk(node, "t0");
    ASSERT_TRUE(node.attacher().Attach(OnTrunk(node, "c1")).ok());
  }
  TestNode node(dir_.path());
  ASSERT_TRUE(node.attacher().Recover().ok());
  const std::string trouble = node.controller().Read([](const ControlState& s) {
    return s.desired.FindAttachment({"c1", "eth0"})->trouble;
  });
  EXPECT_TRUE(trouble.starts_with("gone: there is no trunk t0")) << trouble;
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
}

}  // namespace
}  // namespace podwire
