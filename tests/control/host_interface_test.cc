#include "control/host_interface.h"

#include <gtest/gtest.h>

#include "documents.h"
#include "net/status.h"
#include "temp_dir.h"
#include "test_node.h"

namespace podwire {
namespace {

class HostInterfaceTest : public testing::Test {
 protected:
  /// Of the node's own attachment: "podwire0 10.244.1.2/24 fd44:0:0:1::2/64"; of several one after the other.
  static std::string Reconciled(TestNode& node) {
    HostInterface host(node.controller(), node.attacher());
    const absl::Status status = host.Reconcile();
    if (!status.ok()) return Message(status);
    return node.controller().Read([](const ControlState& s) {
      std::string text;
      for (const auto& [key, a] : s.desired.attachments()) {
        if (!a.record.host) continue;
        text += (text.empty() ? "" : " ") + key.ifname;
        for (const InterfaceAddress& address : a.record.addresses) text += " " + ToString(address);
      }
      return text;
    });
  }
  static void Apply(TestNode& node, const std::string& document) {
    ParsedObjects parsed = ParseObjects(std::vector<std::string>{document}, "default");
    ASSERT_TRUE(node.controller().Apply(parsed, false).ok());
  }
  TempDir dir_;
};

TEST_F(HostInterfaceTest, HasTheNodesAddressesAndRoutesToThePodsNetworkOnly) {
  TestNode node(dir_.path(), kDualNetwork, "podwire0");
  EXPECT_EQ(Reconciled(node), "podwire0 10.244.1.2/24 fd44:0:0:1::2/64");
  EXPECT_EQ(Reconciled(node), "podwire0 10.244.1.2/24 fd44:0:0:1::2/64");
  EXPECT_EQ(node.ports.destroyed.size(), 0u) << "the second time there is nothing to do";
  const auto records = *node.store().LoadAttachments();
  ASSERT_EQ(records.size(), 1u);
  const PodInterface pod = InterfaceOf(records[0]);
  EXPECT_EQ(pod.netns, "") << "podwired's own";
  std::vector<std::string> routes;
  for (const IpPrefix& route : pod.routes) routes.push_back(ToString(route));
  EXPECT_EQ(routes, (std::vector<std::string>{"10.244.0.0/16", "fd44::/48"}));
  EXPECT_TRUE(node.controller().tables()->EndpointOf(*ParseIp("fd44:0:0:1::2"))->is_host);
}

TEST_F(HostInterfaceTest, WithoutTheKeyThereIsNone) {
  TestNode node(dir_.path());
  EXPECT_EQ(Reconciled(node), "");
  EXPECT_EQ(node.attachments(), 0u);
}

TEST_F(HostInterfaceTest, WaitsForTheNetwork) {
  TestNode node(dir_.path(), nullptr, "podwire0");
  EXPECT_EQ(Reconciled(node), "");
  Apply(node, R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kube-flannel-cfg"},
      "data":{"net-conf.json":"{\"Network\":\"10.9.0.0/16\",\"Backend\":{\"Type\":\"host-gw\"}}"}})");
  EXPECT_EQ(Reconciled(node), "podwire0 10.9.1.2/24");
}

TEST_F(HostInterfaceTest, FollowsTheNodesSubnets) {
  TestNode node(dir_.path(), kNetwork, "podwire0");
  EXPECT_EQ(Reconciled(node), "podwire0 10.244.1.2/24") << "planned";
  Apply(
      node,
      R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"node-a"},"spec":{"podCIDR":"10.244.7.0/24"}})");
  EXPECT_EQ(Reconciled(node), "podwire0 10.244.7.2/24");
  EXPECT_EQ(node.controller().tables()->EndpointOf(*ParseIp("10.244.1.2")), nullptr);
}

TEST_F(HostInterfaceTest, OutlivesARestartAndGoesWithTheKey) {
  {
    TestNode node(dir_.path(), kNetwork, "podwire0");
    Reconciled(node);
  }
  {
    TestNode node(dir_.path(), kNetwork, "podwire0");
    ASSERT_TRUE(node.attacher().Recover().ok());
    EXPECT_EQ(Reconciled(node), "podwire0 10.244.1.2/24");
    EXPECT_TRUE(node.ports.destroyed.empty());
  }
  {
    TestNode node(dir_.path(), kNetwork, "podwire1");
    ASSERT_TRUE(node.attacher().Recover().ok());
    EXPECT_EQ(Reconciled(node).substr(0, 8), "podwire1") << "another name, another interface";
  }
  TestNode node(dir_.path());
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_EQ(Reconciled(node), "");
  EXPECT_EQ(node.attachments(), 0u);
}

TEST_F(HostInterfaceTest, GarbageCollectionOfANetworkLeavesIt) {
  TestNode node(dir_.path(), kNetwork, "podwire0");
  Reconciled(node);
  ASSERT_TRUE(node.attacher().Attach(node.Spec("c1")).ok());
  ASSERT_TRUE(node.attacher().Collect("podwire", {}).ok());
  EXPECT_EQ(node.attachments(), 1u);
}

TEST_F(HostInterfaceTest, AFailureIsToldAndTriedAgain) {
  TestNode node(dir_.path(), kNetwork, "podwire0");
  node.fail_set_up = true;
  EXPECT_NE(Reconciled(node).find("no link"), std::string::npos);
  EXPECT_EQ(node.attachments(), 0u);
  node.fail_set_up = false;
  EXPECT_EQ(Reconciled(node).substr(0, 8), "podwire0");
}

TEST_F(HostInterfaceTest, OnlyTheHostMayLeaveTheNamespaceOut) {
  TestNode node(dir_.path());
  AttachSpec spec = node.Spec("c1");
  spec.netns = "";
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace podwire
