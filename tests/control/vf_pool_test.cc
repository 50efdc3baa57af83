// Virtual functions of machines made of files: which one a pod gets, and that each is given back as it was.

#include "control/vf_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/control/vf_machine.h"

namespace podwire {
namespace vf_pool_test {

using testing::ElementsAre;
using testing::HasSubstr;

const MacAddr kMac = *ParseMac("02:00:00:00:00:07");

class VfPoolTest : public testing::Test, public VfMachine {
 protected:
  std::string Refusal(const VfRequest& request = {}) {
    const auto vf = pool_->Choose(request, taken_);
    return vf.ok() ? "none: " + vf->address : Message(vf.status());
  }
  VfAttachment Take(const VfRequest& request = {}) {
    const auto vf = pool_->Choose(request, taken_);
    EXPECT_TRUE(vf.ok()) << vf.status();
    if (vf.ok()) taken_.push_back(*vf);
    return vf.value_or(VfAttachment());
  }

  std::vector<VfAttachment> taken_;
};

TEST_F(VfPoolTest, EachPodGetsAFunctionAndAVlanOfItsOwn) {
  const VfAttachment first = Take();
  EXPECT_EQ(first.address, "0000:01:10.1") << "0000:01:10.0 is the switch's";
  EXPECT_EQ(first.number, 1u);
  EXPECT_EQ(first.vlan, 100);
  EXPECT_EQ(first.pf, "eth0");
  EXPECT_EQ(first.former_driver, "igbvf");
  EXPECT_EQ(first.former_name, "vf1");
  EXPECT_EQ(pool_->TrunkOf(first), "nic0");
  EXPECT_EQ(Take().vlan, 101);
  const VfAttachment third = Take();
  EXPECT_EQ(third.address, "0000:01:10.3");
  EXPECT_FALSE(third.vfio) << "the pod has not asked for it";
  EXPECT_THAT(Refusal(), HasSubstr("vlans: 100 to 102 are all in use"));
  taken_.erase(taken_.begin());
  EXPECT_EQ(Take().vlan, 100) << "free again";
}

TEST_F(VfPoolTest, SaysWhyEachIsNotFree) {
  Take();
  addresses_ = {{"vf2", *ParseIp("192.0.2.9")}};
  open_groups_ = {"23"};
  Remove("/sys/bus/pci/devices/0000:01:10.4");
  Remove("/sys/bus/pci/devices/0000:01:00.0/virtfn4");
  EXPECT_EQ(Refusal(),
            "pool fast: no virtual function of 0000:01:00.0 is free: 0000:01:10.0 is port nic0; 0000:01:10.1 "
            "is a pod's; "
            "0000:01:10.2 is the host's: vf2 has address 192.0.2.9; 0000:01:10.3 is in use by a process that "
            "has its IOMMU group open");
  addresses_ = {{"vf2", *ParseIp("fe80::1")}};
  EXPECT_EQ(Take().address, "0000:01:10.2") << "a link-local address came by itself";
  taken_.pop_back();
  Remove("/sys/bus/pci/devices/0000:01:10.2/net/vf2");
  EXPECT_THAT(Refusal(), HasSubstr("0000:01:10.2 is driven by igbvf without an interface here"));
}

TEST_F(VfPoolTest, ADevicePluginsChoiceIsTaken) {
  EXPECT_EQ(Take({.address = "0000:01:10.2"}).address, "0000:01:10.2");
  EXPECT_THAT(Refusal({.address = "0000:01:10.2"}), HasSubstr("0000:01:10.2 is a pod's"));
  EXPECT_THAT(Refusal({.address = "0000:01:10.5"}),
              HasSubstr("device_id: 0000:01:10.5 is no virtual function of any pool: fast"));
  EXPECT_THAT(Refusal({.address = "0000:01:00.0"}), HasSubstr("device_id"));
  const VfAttachment vfio = Take({.address = "0000:01:10.3"});
  EXPECT_TRUE(vfio.vfio) << "it is bound to vfio-pci for that";
  EXPECT_THAT(vfio.device_files, ElementsAre("/dev/vfio/vfio", "/dev/vfio/23"));
}

TEST_F(VfPoolTest, RefusesWhatCouldNotBeEnforced) {
  EXPECT_THAT(Refusal({.resource = "slow"}), HasSubstr("there is no pool \"slow\": expected one of fast"));
  EXPECT_THAT(Refusal({.driver = "uio"}), HasSubstr("vf_driver"));
  Write("/sys/class/net/eth0/phys_switch_id", "01");
  EXPECT_THAT(Refusal(), HasSubstr("switchdev mode"));
  Remove("/sys/class/net/eth0");
  Remove("/sys/bus/pci/devices/0000:01:10.0/physfn");
  EXPECT_THAT(Refusal(), HasSubstr("trunk: port nic0 (0000:01:10.0) is no virtual function of 0000:01:00.0"));
  Write("/sys/bus/pci/devices/0000:01:00.0/sriov_numvfs", "0");
  EXPECT_THAT(Refusal(), HasSubstr("has no virtual functions: echo 7 >"));
  Remove("/sys/bus/pci/devices/0000:01:00.0");
  EXPECT_THAT(Refusal(), HasSubstr("there is no PCI network function eth0"));
  EXPECT_FALSE(pool_->Start(kMac).ok());
}

TEST_F(VfPoolTest, AFunctionIsIsolatedBeforeItIsGivenAndResetAfterwards) {
  const VfAttachment vf = Take();
  ASSERT_TRUE(pool_->Prepare(vf, kMac).ok());
  EXPECT_EQ(set_[1], (VfSettings{.mac = kMac, .vlan = 100, .spoof_check = true, .trust = false}));
  ASSERT_TRUE(pool_->Give(vf, "/run/netns/x", "eth0", "podwire p").ok());
  ASSERT_TRUE(pool_->Release(vf, "/run/netns/x", "podwire p").ok());
  EXPECT_EQ(set_[1], VfSettings());
  EXPECT_THAT(done_,
              ElementsAre("bind 0000:01:10.1 \"igbvf\" anew", "move vf1 to /run/netns/x as eth0 (podwire p)",
                          "move podwire p back from /run/netns/x as vf1", "bind 0000:01:10.1 \"igbvf\""));
  fail_set_ = true;
  done_.clear();
  EXPECT_FALSE(pool_->Prepare(vf, kMac).ok());
  EXPECT_TRUE(done_.empty()) << "nothing is given that the NIC does not isolate";
}

TEST_F(VfPoolTest, APodsOwnDriverHasItUntilItLetsGo) {
  const VfAttachment vf = Take({.driver = "vfio-pci"});
  EXPECT_THAT(vf.device_files, ElementsAre("/dev/vfio/vfio", "/dev/vfio/21"));
  ASSERT_TRUE(pool_->Prepare(vf, kMac).ok());
  Remove("/sys/bus/pci/devices/0000:01:10.1/driver");
  Link("/sys/bus/pci/devices/0000:01:10.1/driver", "../../drivers/vfio-pci");
  open_groups_ = {"21"};
  EXPECT_THAT(Message(pool_->Release(vf, "/run/netns/x", "a")), HasSubstr("a process has it open still"));
  EXPECT_EQ(set_[1].vlan, 100) << "isolated as long";
  open_groups_ = {};
  ASSERT_TRUE(pool_->Release(vf, "/run/netns/x", "a").ok());
  EXPECT_THAT(done_, ElementsAre("bind 0000:01:10.1 \"vfio-pci\"", "bind 0000:01:10.1 \"igbvf\""))
      << "no interface was moved";
  EXPECT_EQ(set_[1], VfSettings());
}

TEST_F(VfPoolTest, OneThatIsGoneNeedsNoReset) {
  const VfAttachment vf = Take();
  Remove("/sys/bus/pci/devices/0000:01:10.1");
  EXPECT_TRUE(pool_->Release(vf, "/run/netns/x", "a").ok());
  EXPECT_TRUE(done_.empty());
}

TEST_F(VfPoolTest, StartSetsTheTrunkAndResetsWhatNobodyHas) {
  ASSERT_TRUE(pool_->Start(kMac).ok());
  EXPECT_EQ(set_[0], VfSettings{.mac = kMac});
  const VfAttachment kept = Take();
  set_[1] = {.mac = kMac, .vlan = 100};
  set_[2] = {.mac = kMac, .vlan = 101};  // lost
  set_[3] = {.mac = kMac, .vlan = 102};  // lost, but some process drives it
  set_[4] = {.mac = kMac, .vlan = 7};    // the host's own VLAN
  open_groups_ = {"23"};
  pool_->Reconcile(taken_);
  EXPECT_EQ(set_[1].vlan, 100);
  EXPECT_EQ(set_[2], VfSettings());
  EXPECT_EQ(set_[3].vlan, 102);
  EXPECT_EQ(set_[4].vlan, 7);
}

std::string ConfigError(const std::string& pool) {
  const auto config =
      ParseConfig(R"({"node": "a", "ports": [{"name": "nic0", "kind": "pci", "address": "0000:01:10.0"},
      {"name": "up", "kind": "netdev", "interface": "eth9"}, {"name": "pci1", "kind": "pci", "address": "0000:01:10.1"}],
      "underlay": {"port": "pci1", "address": "192.0.2.1/24"}, "sriov": [)" +
                  pool + "]}");
  return config.ok() ? "ok" : Message(config.status());
}

TEST(SriovConfig, BadPoolsNameTheKey) {
  const std::string rest = R"(, "trunk": "nic0", "vlans": "100-199"})";
  EXPECT_EQ(ConfigError(R"({"resourceName": "a", "pfName": "eth0")" + rest), "ok");
  EXPECT_EQ(ConfigError(R"({"resourceName": "a", "rootDevice": "0000:01:00.0#0-3,5")" + rest), "ok");
  EXPECT_THAT(ConfigError(R"({"pfName": "eth0")" + rest), HasSubstr("sriov[0].resourceName"));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a/b", "pfName": "eth0")" + rest),
              HasSubstr("sriov[0].resourceName: \"a/b\""));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a")" + rest), HasSubstr("sriov[0].pfName: expected either"));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a", "pfName": "eth0", "rootDevice": "0000:01:00.0")" + rest),
              HasSubstr("sriov[0].pfName: expected either"));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a", "pfName": "eth0#3-1")" + rest),
              HasSubstr("sriov[0].pfName: expected numbers"));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a", "pfName": "eth0#")" + rest),
              HasSubstr("sriov[0].pfName: expected numbers"));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a", "rootDevice": "01:00.0")" + rest),
              HasSubstr("sriov[0].rootDevice"));
  const std::string begin = R"({"resourceName": "a", "pfName": "eth0", )";
  EXPECT_THAT(ConfigError(begin + R"("vlans": "2-3"})"), HasSubstr("sriov[0].trunk"));
  EXPECT_THAT(ConfigError(begin + R"("vlans": "2-3", "trunk": "none"})"),
              HasSubstr("no port in ports is called \"none\""));
  EXPECT_THAT(ConfigError(begin + R"("vlans": "2-3", "trunk": "up"})"), HasSubstr("is of kind netdev"));
  EXPECT_THAT(ConfigError(begin + R"("vlans": "2-3", "trunk": "pci1"})"), HasSubstr("is the underlay's"));
  for (const char* vlans : {"1-9", "9-2", "5000", "2-3,4", "", "x"}) {
    EXPECT_THAT(ConfigError(begin + R"("trunk": "nic0", "vlans": ")" + vlans + "\"}"),
                HasSubstr("sriov[0].vlans: expected"))
        << vlans;
  }
  EXPECT_THAT(ConfigError(begin + R"("trunk": "nic0", "vlans": "2", "x": 1})"), HasSubstr("sriov[0].x"));
  EXPECT_THAT(ConfigError(R"({"resourceName": "a", "pfName": "eth0")" + rest +
                          R"(,{"resourceName": "b", "pfName": "eth1")" + rest),
              HasSubstr("sriov[1].vlans: pool a has some of them"));
}

}  // namespace vf_pool_test
}  // namespace podwire
