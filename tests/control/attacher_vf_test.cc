// Pods on virtual functions: what is recorded, set and given back around their life.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/control/test_node.h"
#include "tests/control/vf_machine.h"

namespace podwire {
namespace attacher_vf_test {

using testing::HasSubstr;

class AttacherVfTest : public testing::Test, public VfMachine {
 protected:
  static AttachSpec OnVf(const TestNode& node, const std::string& container, const std::string& driver = "") {
    AttachSpec spec = node.Spec(container);
    spec.kind = AttachKind::kVf;
    spec.vf.driver = driver;
    return spec;
  }
  static void AddTrunk(TestNode& node) {
    const PortConfig config{
        .name = "nic0", .options = PciOptions{.address = "0000:01:10.0", .trunk = true}, .mtu = 1400};
    ASSERT_TRUE(node.controller().AddPort(config, std::make_unique<FakePort>(config), PortRole::kTrunk).ok());
  }
  TempDir state_;
};

TEST_F(AttacherVfTest, AFunctionIsAPodsUntilItIsDetached) {
  {
    TestNode node(state_.path(), kNetwork, "", "", pool_.get());
    AddTrunk(node);
    const auto a = node.attacher().Attach(OnVf(node, "c1"));
    ASSERT_TRUE(a.ok()) << Message(a.status());
    EXPECT_EQ(a->record.trunk, "nic0");
    EXPECT_EQ(a->record.mtu, 1400) << "no more than the trunk carries";
    EXPECT_EQ(a->record.vf.address, "0000:01:10.1");
    EXPECT_EQ(set_[1], (VfSettings{.mac = a->record.mac, .vlan = 100}));
    EXPECT_TRUE(node.attacher().Check({"c1", "eth0"}, kNetns, {}).ok());
    EXPECT_EQ(node.store().LoadAttachments()->at(0).vf, a->record.vf);
  }
  set_.clear();
  done_.clear();
  TestNode node(state_.path(), kNetwork, "", "", pool_.get());
  AddTrunk(node);
  set_[2] = {.vlan = 101};  // of a pod whose record is lost
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_EQ(set_[1].vlan, 100) << "enforced again";
  EXPECT_EQ(set_[2], VfSettings());
  EXPECT_THAT(done_, testing::Not(testing::Contains(HasSubstr("0000:01:10.1"))))
      << "the pod's interface is not touched";
  const auto next = node.attacher().Attach(OnVf(node, "c2"));
  ASSERT_TRUE(next.ok()) << Message(next.status());
  EXPECT_EQ(next->record.vf.address, "0000:01:10.2");
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_EQ(set_[1], VfSettings());
  EXPECT_TRUE(node.attacher().Collect("podwire", {}).ok());
  EXPECT_EQ(set_[2], VfSettings());
  EXPECT_EQ(node.attachments(), 0u);
}

TEST_F(AttacherVfTest, AFailedAttachGivesItBack) {
  TestNode node(state_.path(), kNetwork, "", "", pool_.get());
  AddTrunk(node);
  node.fail_set_up = true;
  EXPECT_FALSE(node.attacher().Attach(OnVf(node, "c1")).ok());
  EXPECT_EQ(set_[1], VfSettings());
  EXPECT_THAT(done_, testing::Contains(HasSubstr("move podwire pod-c1-eth0 back")));
  EXPECT_TRUE(node.store().LoadAttachments()->empty());
  node.fail_set_up = false;
  EXPECT_EQ(node.attacher().Attach(OnVf(node, "c1"))->record.vf.address, "0000:01:10.1") << "free again";
}

TEST_F(AttacherVfTest, OneThatCannotBeResetYetStaysAttached) {
  TestNode node(state_.path(), kNetwork, "", "", pool_.get());
  AddTrunk(node);
  const auto a = node.attacher().Attach(OnVf(node, "c1", "vfio-pci"));
  ASSERT_TRUE(a.ok()) << Message(a.status());
  Remove("/sys/bus/pci/devices/0000:01:10.1/driver");
  Link("/sys/bus/pci/devices/0000:01:10.1/driver", "../../drivers/vfio-pci");
  open_groups_ = {"21"};
  EXPECT_THAT(Message(node.attacher().Detach({"c1", "eth0"}).status()), HasSubstr("open still"));
  EXPECT_EQ(node.attachments(), 1u);
  open_groups_ = {};
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_EQ(set_[1], VfSettings());
}

TEST_F(AttacherVfTest, RefusalsNameTheReason) {
  TestNode node(state_.path(), kNetwork, "", "", pool_.get());
  EXPECT_THAT(Message(node.attacher().Attach(OnVf(node, "c1")).status()),
              HasSubstr("there is no trunk nic0"));
  AddTrunk(node);
  AttachSpec spec = OnVf(node, "c1");
  spec.netns = "";
  EXPECT_THAT(Message(node.attacher().Attach(spec).status()), HasSubstr("netns"));
  spec = node.Spec("c1");
  spec.vf.resource = "fast";
  EXPECT_THAT(Message(node.attacher().Attach(spec).status()), HasSubstr("with attach \"vf\" only"));
  spec = node.Spec("c1");
  spec.kind = AttachKind::kMacvlan;
  spec.port = "nic0";
  EXPECT_THAT(Message(node.attacher().Attach(spec).status()), HasSubstr("a trunk of virtual functions"));
  TempDir other;
  TestNode without(other.path());
  EXPECT_THAT(Message(without.attacher().Attach(OnVf(without, "c1")).status()), HasSubstr("no sriov pools"));
}

}  // namespace attacher_vf_test
}  // namespace podwire
