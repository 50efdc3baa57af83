#include "control/port_keeper.h"

#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/control/temp_dir.h"
#include "tests/control/test_node.h"

namespace podwire {
namespace {

class PortKeeperTest : public testing::Test {
 protected:
  void AddPort(const PortConfig& config, PortRole role) {
    ASSERT_TRUE(
        node_.controller().AddPort(config, std::make_unique<FakePort>(config, &node_.ports), role).ok());
  }
  AttachSpec On(AttachKind kind, const std::string& container, const std::string& port) {
    AttachSpec spec = node_.Spec(container);
    spec.netns = "/proc/self/ns/net";
    spec.kind = kind;
    spec.port = port;
    return spec;
  }
  const PortSlot* SlotOf(const std::string& name) {
    tables_ = node_.controller().tables();
    for (const PortSlot& slot : tables_->ports) {
      if (slot.name == name) return &slot;
    }
    return nullptr;
  }
  std::string TroubleOf(const std::string& container) {
    return node_.controller().Read([&](const ControlState& s) {
      return s.desired.FindAttachment({container, "eth0"})->trouble;
    });
  }
  std::string PodPort(const std::string& container) {
    return node_.controller().Read([&](const ControlState& s) {
      return s.desired.FindAttachment({container, "eth0"})->record.port;
    });
  }

  TempDir dir_;
  TestNode node_{dir_.path()};
  PortKeeper keeper_{node_.controller(), node_.attacher()};
  std::shared_ptr<const Tables> tables_;
  const PortConfig nic_{.name = "nic", .options = NetdevOptions{.interface = "eth9"}};
  const PortConfig trunk_{.name = "t0", .options = TapOptions{.ifname = "if-t0", .trunk = true}};
};

TEST_F(PortKeeperTest, APortWithoutADeviceLeavesTheTablesAndComesBackWithOne) {
  AddPort(nic_, PortRole::kNone);
  keeper_.Tend();
  ASSERT_NE(SlotOf("nic"), nullptr);
  node_.ports.vanished["nic"] = "its interface was removed";
  node_.fail_port = true;
  keeper_.Tend();
  EXPECT_EQ(SlotOf("nic"), nullptr);
  EXPECT_FALSE(node_.ports.open.contains("nic")) << "closed";
  const auto says = [&] {
    return node_.controller().Read([](const ControlState& s) { return s.FindPort("nic")->port->Vanished(); });
  };
  EXPECT_EQ(says(), "its interface was removed");
  keeper_.Tend();
  EXPECT_EQ(SlotOf("nic"), nullptr);
  EXPECT_EQ(says(), "its device is there again, but: no device") << "why it could not be opened";
  node_.ports.vanished.clear();
  node_.fail_port = false;
  keeper_.Tend();
  EXPECT_NE(SlotOf("nic"), nullptr);
  EXPECT_TRUE(node_.ports.open.contains("nic"));
}

TEST_F(PortKeeperTest, APodOnSuchAPortHasItAgain) {
  AddPort(nic_, PortRole::kNone);
  const auto a = node_.attacher().Attach(On(AttachKind::kPort, "c1", "nic"));
  ASSERT_TRUE(a.ok()) << Message(a.status());
  node_.ports.vanished["nic"] = "its interface was removed";
  node_.fail_port = true;
  keeper_.Tend();
  EXPECT_EQ(node_.attacher().Check({"c1", "eth0"}, "", {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(node_.attacher().Attach(On(AttachKind::kPort, "c2", "nic")).status().code(),
            absl::StatusCode::kFailedPrecondition)
      << "nobody else gets it";
  node_.ports.vanished.clear();
  node_.fail_port = false;
  keeper_.Tend();
  EXPECT_TRUE(node_.attacher().Check({"c1", "eth0"}, "", {}).ok());
  EXPECT_EQ(SlotOf("nic")->endpoint, a->slot);
}

TEST_F(PortKeeperTest, ATapPodsMtuDoesNotChangeWhileTheUnderlayIsAway) {
  TempDir dir;
  TestNode node(dir.path(), kNetwork, "", "nic");
  PortKeeper keeper(node.controller(), node.attacher());
  PortConfig nic = nic_;
  nic.mtu = 9000;
  ASSERT_TRUE(
      node.controller().AddPort(nic, std::make_unique<FakePort>(nic, &node.ports), PortRole::kUnderlay).ok());
  EXPECT_EQ(node.announced, 1);
  const uint16_t mtu = node.controller().tables()->local.pod_mtu;
  EXPECT_GT(mtu, 8900);
  node.ports.vanished["nic"] = "its interface was removed";
  node.fail_port = true;
  keeper.Tend();
  EXPECT_EQ(node.controller().tables()->local.underlay_port, kNoPort);
  EXPECT_EQ(node.controller().tables()->local.pod_mtu, mtu);
  node.ports.vanished.clear();
  node.fail_port = false;
  keeper.Tend();
  EXPECT_EQ(node.controller().tables()->local.pod_mtu, mtu);
  EXPECT_EQ(node.announced, 2) << "the neighbours are told of its MAC again";
}

TEST_F(PortKeeperTest, OneThatIsRemovedMeanwhileStaysRemoved) {
  AddPort(nic_, PortRole::kNone);
  node_.ports.vanished["nic"] = "its interface was removed";
  keeper_.Tend();
  EXPECT_TRUE(node_.controller().RemovePort("nic").ok());
  node_.ports.vanished.clear();
  keeper_.Tend();
  EXPECT_EQ(node_.controller().Read([](const ControlState& s) { return s.FindPort("nic"); }), nullptr);
  EXPECT_EQ(node_.controller().ResumePort("nic", std::make_unique<FakePort>(nic_)).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(node_.controller().SuspendPort("nic", "x").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PortKeeperTest, APodWhoseInterfaceIsNoMoreLeavesTheSwitchAndKeepsItsAddress) {
  const auto a = node_.attacher().Attach(node_.Spec("c1"));
  const auto b = node_.attacher().Attach(node_.Spec("c2"));
  ASSERT_TRUE(a.ok() && b.ok());
  node_.ports.vanished[PodPort("c1")] = "its network namespace is no more";
  keeper_.Tend();
  EXPECT_EQ(TroubleOf("c1"), "gone: its network namespace is no more");
  EXPECT_FALSE(node_.ports.open.contains(PodPort("c1"))) << "or it would keep the namespace alive";
  EXPECT_EQ(node_.controller().tables()->EndpointOf(a->record.addresses[0].address), nullptr);
  EXPECT_EQ(TroubleOf("c2"), "") << "nobody else";
  const auto c = node_.attacher().Attach(node_.Spec("c3"));
  ASSERT_TRUE(c.ok());
  EXPECT_NE(c->record.addresses[0], a->record.addresses[0]) << "until it is detached";
  EXPECT_TRUE(*node_.attacher().Detach({"c1", "eth0"}));
}

TEST_F(PortKeeperTest, ATrunksPodsGoAndComeWithIt) {
  AddPort(trunk_, PortRole::kTrunk);
  ASSERT_TRUE(node_.attacher().Attach(On(AttachKind::kMacvlan, "c1", "t0")).ok());
  ASSERT_TRUE(node_.attacher().Attach(On(AttachKind::kMacvlan, "c2", "t0")).ok());
  ASSERT_NE(SlotOf("t0")->members, nullptr);
  node_.ports.vanished["t0"] = "its interface was removed";
  node_.fail_port = true;
  keeper_.Tend();
  EXPECT_EQ(SlotOf("t0"), nullptr);
  EXPECT_EQ(TroubleOf("c1"), "gone: its trunk t0 is gone: its interface was removed");
  EXPECT_EQ(node_.attacher().Attach(On(AttachKind::kMacvlan, "c3", "t0")).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(*node_.attacher().Detach({"c2", "eth0"}));
  node_.ports.vanished.clear();
  node_.fail_port = false;
  node_.macvlan_parents.clear();
  keeper_.Tend();
  ASSERT_NE(SlotOf("t0"), nullptr);
  EXPECT_NE(SlotOf("t0")->members, nullptr);
  EXPECT_EQ(TroubleOf("c1"), "");
  EXPECT_EQ(node_.macvlan_parents, std::set<std::string>{"if-t0"}) << "its interface is made anew";
  EXPECT_TRUE(node_.attacher().Check({"c1", "eth0"}, "", {}).ok());
}

}  // namespace
}  // namespace podwire
