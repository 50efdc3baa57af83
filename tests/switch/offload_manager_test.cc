// Rules of a NIC as a cache of decisions: when they come, what they carry, and what ends them.
#include "switch/offload_manager.h"

#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/switch/offload_fixture.h"

namespace podwire {
namespace offload_manager_test {

using namespace testing;

const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new EalEnvironment);

class OffloadManagerTest : public OffloadTest {
 protected:
  explicit OffloadManagerTest(OffloadOptions options = Options()) : OffloadTest(true, std::move(options)) {}
  uint64_t Denied() const { return Drops(DropReason::kPolicyDeniedIngress); }
};

TEST_F(OffloadManagerTest, DeniedFloodIsDroppedByTheNic) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 2);
  EXPECT_EQ(
      a.engine.Texts(),
      std::vector<std::string>{"ingress pattern eth / ipv4 src is 10.244.1.2 dst is 10.244.1.3 / udp src is "
                               "4000 dst is 5000 / end actions count / drop / end"});
  const uint64_t hits = Count(Counter::kFlowHits);
  Arrive(kPodPort, FromA(), 40);
  EXPECT_EQ(Count(Counter::kFlowHits), hits) << "the switch saw packets that the NIC drops";
  // Another flow is none of the rule's.
  Arrive(kPodPort, FromA(4001), 1);
  EXPECT_EQ(Denied(), 2 * 50 + 1u);
  EXPECT_EQ(b.sent.size(), 0u);
}

TEST_F(OffloadManagerTest, WhatTheNicDropsIsInTheBooks) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 2);
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  Arrive(kPodPort, FromA(), 40);
  Step();
  EXPECT_EQ(Denied(), 2 * 50 + 40u);
  EXPECT_EQ(Count(Counter::kReceived), 2 * 50 + 40u);
  EXPECT_EQ(Count(Counter::kOffloaded), 40u);
  DropCounts of_b{};
  worker->counters.AddTo(of_b, EndpointId{1});
  EXPECT_EQ(of_b[static_cast<size_t>(DropReason::kPolicyDeniedIngress)], 2 * 50 + 40u);
  uint64_t entry_packets = 0, entry_bytes = 0;
  uint32_t cursor = 0;
  worker->flows.ForEachChunk(cursor, 100, [&](const auto& e) {
    entry_packets += e.packets;
    entry_bytes += e.bytes;
  });
  EXPECT_EQ(entry_packets, 2 * 50 + 40u);
  EXPECT_EQ(entry_bytes, (2 * 50 + 40u) * (20 + 8 + 20)) << "L3 bytes, whoever counts";
}

TEST_F(OffloadManagerTest, SlowFlowsAndIcmpGetNoRule) {
  PublishNode(Node({kIsolateB}));
  for (int i = 0; i < 8; ++i) {
    Arrive(kPodPort, FromA(), 12);  // 48 a second
    Arrive(kPodPort, FromPod().Ip4("10.244.1.2", "10.244.1.3").Icmp(8, 0, 7, 1).Payload(8), 50);
    Step();
  }
  EXPECT_EQ(a.engine.installs, 0);
}

TEST_F(OffloadManagerTest, RuleStaysWhileTheFloodDoesAndGoesAfterIt) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 400);  // 100 s: longer than an idle flow entry lives
  EXPECT_EQ(RulesAt(kPodPort), 1u);
  EXPECT_EQ(a.engine.installs, 1);
  for (int i = 0; i < 4; ++i) Step();
  EXPECT_EQ(RulesAt(kPodPort), 1u) << "hysteresis: a second";
  for (int i = 0; i < 2; ++i) Step();
  EXPECT_EQ(RulesAt(kPodPort), 0u);
  EXPECT_EQ(manager->totals().removed, 1u);
}

TEST_F(OffloadManagerTest, PolicyThatAllowsEndsTheRuleBeforeThePublicationReturns) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 3);
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  PublishNode(Node({}));  // no step in between
  EXPECT_EQ(RulesAt(kPodPort), 0u);
  EXPECT_EQ(manager->totals().invalidated, 1u);
  Arrive(kPodPort, FromA(), 5);
  EXPECT_EQ(b.sent.size(), 5u);
  Step();
  EXPECT_EQ(Denied(), 3 * 50u) << "what was dropped until then is counted";
}

TEST_F(OffloadManagerTest, PublicationThatChangesNothingKeepsRules) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 3);
  PublishNode(Node({kIsolateB}));
  EXPECT_EQ(RulesAt(kPodPort), 1u);
  EXPECT_EQ(manager->totals().invalidated, 0u);
}

TEST_F(OffloadManagerTest, PortThatLeavesTakesItsRulesAlong) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 3);
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  Tables t = Node({kIsolateB});
  t.ports[0] = {};
  t.endpoints[0].port = kNoPort;
  PublishNode(std::move(t));
  EXPECT_EQ(RulesAt(kPodPort), 0u);
  EXPECT_TRUE(manager->CapabilitiesOf(kPodPort).empty());
}

// b may open the connection that a may not: then a's packets are answers.
TEST_F(OffloadManagerTest, ConnectionOpenedByTheOtherSideEndsTheDropRule) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 3);
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  Arrive(kPodPortB, FromB(), 1);
  EXPECT_EQ(a.sent.size(), 1u);
  manager->CheckConnections();
  EXPECT_EQ(RulesAt(kPodPort), 0u);
  Arrive(kPodPort, FromA(), 5);
  EXPECT_EQ(b.sent.size(), 5u);
  Flood(kPodPort, FromA(), 3);
  for (const std::string& text : a.engine.Texts()) EXPECT_EQ(text.find("drop"), std::string::npos) << text;
}

TEST_F(OffloadManagerTest, RefusedShapeIsNotTriedAgain) {
  a.engine.refuse_install = [](const FlowRule& r) {
    return r.Shape() == "drop ipv4 udp count" ? absl::UnimplementedError("not in this mode")
                                              : absl::OkStatus();
  };
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 6);
  Flood(kPodPort, FromA(4001), 6);
  EXPECT_EQ(a.engine.installs, 1);
  EXPECT_EQ(manager->RefusedBy(kPodPort).at("drop ipv4 udp count"), "not in this mode");
  EXPECT_EQ(manager->totals().refused, 1u);
  EXPECT_EQ(Denied(), 600u);
  // Another shape is another question.
  Flood(kPodPort, FromPod().Ip4("10.244.1.2", "10.244.1.3").Tcp(1, 2, 0x02), 3);
  EXPECT_EQ(RulesAt(kPodPort), 1u);
}

TEST_F(OffloadManagerTest, FullNicIsAskedAgainLater) {
  a.engine.refuse_install = [](const FlowRule&) { return absl::ResourceExhaustedError("table full"); };
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 12);
  EXPECT_EQ(a.engine.installs, 1);
  EXPECT_TRUE(manager->RefusedBy(kPodPort).empty());
  a.engine.refuse_install = nullptr;
  Flood(kPodPort, FromA(), 44);
  EXPECT_EQ(RulesAt(kPodPort), 1u);
}

// A reset, for example.
TEST_F(OffloadManagerTest, TransientErrorIsNoRefusalForGood) {
  a.engine.refuse_install = [](const FlowRule&) { return absl::UnavailableError("I/O error"); };
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 4);
  EXPECT_TRUE(manager->RefusedBy(kPodPort).empty());
  a.engine.refuse_install = nullptr;
  Flood(kPodPort, FromA(), 44);
  EXPECT_EQ(RulesAt(kPodPort), 1u);
}

TEST_F(OffloadManagerTest, NicThatKeepsARuleLosesAllAndGetsNoMore) {
  PublishNode(Node({kIsolateB}));
  for (int i = 0; i < 3; ++i) {
    Arrive(kPodPort, FromA(1), 50);
    Arrive(kPodPort, FromA(2), 50);
    Step();
  }
  ASSERT_EQ(RulesAt(kPodPort), 2u);
  a.engine.refuse_remove = absl::UnavailableError("firmware");
  PublishNode(Node({}));
  EXPECT_EQ(RulesAt(kPodPort), 0u);
  EXPECT_TRUE(manager->Offloaded().empty());
  EXPECT_EQ(manager->totals().removed, 2u);
  a.engine.refuse_remove = absl::OkStatus();
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(1), 8);
  EXPECT_EQ(RulesAt(kPodPort), 0u);
  EXPECT_TRUE(manager->CapabilitiesOf(kPodPort).empty());
}

TEST_F(OffloadManagerTest, LastCountsAreInTheBooksWhenThePublicationReturns) {
  PublishNode(Node({kIsolateB}));
  Flood(kPodPort, FromA(), 3);
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  Arrive(kPodPort, FromA(), 40);
  const uint64_t before = Denied();
  PublishNode(Node({}));  // the slot may be another pod's from now on
  EXPECT_EQ(Denied(), before + 40);
}

// Whose rules would not be taken, or make none, leave the places to others.
TEST_F(OffloadManagerTest, FlowsThatMakeNoRuleDoNotCrowdOutOthers) {
  std::vector<Frame> crowd;
  for (uint16_t port = 1; port <= 100; ++port) crowd.push_back(FromA(port));  // allowed, never answered
  PublishNode(Node({R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"only"},
      "spec":{"podSelector":{"matchLabels":{"app":"b"}},"policyTypes":["Ingress"],
      "ingress":[{"ports":[{"port":5000,"protocol":"UDP"}]}]}})"}));
  for (int i = 0; i < 4; ++i) {
    for (int n = 0; n < 60; ++n) Arrive(kPodPort, crowd);
    Arrive(kPodPort, FromA(4000, 6000), 50);
    Step();
  }
  EXPECT_EQ(RulesAt(kPodPort), 1u);
}

TEST_F(OffloadManagerTest, OldTunnelPortIsGivenUp) {
  Tables t = Node({});
  t.local.tunnel_enabled = false;
  PublishNode(std::move(t));
  Step();
  EXPECT_EQ(a.engine.vxlan_port, 0);
}

TEST_F(OffloadManagerTest, CapabilitiesAreWhatTheNicValidates) {
  EXPECT_EQ(manager->CapabilitiesOf(kPodPort),
            (std::vector<std::string>{"drop", "drop-ipv6", "drop-inner", "count", "forward", "forward-ipv6",
                                      "vxlan-encap", "vxlan-decap"}));
  EXPECT_EQ(a.engine.vxlan_port, 8472);
  EXPECT_EQ(a.engine.installs, 0) << "asking installs nothing";
}

// As net_tap and i40e: nothing but drops, uncounted.
class PlainNic : public OffloadManagerTest {
 protected:
  PlainNic() {
    a.engine.refuse = [](const FlowRule& r) {
      const bool plain = r.Shape().find("count") == std::string::npos && r.Shape().starts_with("drop ipv");
      return plain ? absl::OkStatus() : absl::UnimplementedError("no");
    };
    Tables gone = Node({});
    gone.ports[0] = {};
    PublishNode(std::move(gone));
    Tables back = NodeTables(&a, &b, &up);
    PublishNode(testing::WithPolicies(std::move(back), {kIsolateB}));
    Step();
  }
};

TEST_F(PlainNic, UncountedRuleIsTakenOutForALookLessAndLessOften) {
  EXPECT_EQ(manager->CapabilitiesOf(kPodPort), (std::vector<std::string>{"drop", "drop-ipv6", "drop-inner"}));
  int steps_with_rule = 0;
  for (int i = 0; i < 200; ++i) {
    Flood(kPodPort, FromA(), 1);
    steps_with_rule += RulesAt(kPodPort) == 1 ? 1 : 0;
  }
  EXPECT_GT(steps_with_rule, 170);
  EXPECT_GE(a.engine.installs, 4);
  EXPECT_LE(a.engine.installs, 8) << "1 s, 2, 4, 8...";
  EXPECT_EQ(a.engine.Texts().at(0).find("count"), std::string::npos);
  EXPECT_EQ(Count(Counter::kOffloaded), 0u) << "nobody knows how many";
  for (int i = 0; i < 300; ++i) Step();
  EXPECT_EQ(RulesAt(kPodPort), 0u);
}

class SmallBudget : public OffloadManagerTest {
 protected:
  static OffloadOptions Two() {
    OffloadOptions o = Options();
    o.max_rules = 2;
    return o;
  }
  SmallBudget() : OffloadManagerTest(Two()) {}
};

TEST_F(SmallBudget, MuchFasterFlowTakesTheSlowestOnesPlace) {
  PublishNode(Node({kIsolateB}));
  const auto floods = [&](size_t third, int steps) {
    for (int i = 0; i < steps; ++i) {
      Arrive(kPodPort, FromA(1), 50);
      Arrive(kPodPort, FromA(2), 60);
      Arrive(kPodPort, FromA(3), third);
      Step();
    }
  };
  floods(0, 3);
  floods(70, 4);
  EXPECT_EQ(RulesAt(kPodPort), 2u);
  EXPECT_EQ(manager->totals().evicted, 0u) << "not fast enough for a change";
  floods(150, 4);
  EXPECT_EQ(RulesAt(kPodPort), 2u);
  EXPECT_EQ(manager->totals().evicted, 1u);
  const std::set<FlowId> flows = manager->Offloaded();
  std::set<uint16_t> ports;
  for (const FlowId& f : flows) ports.insert(f.src_port);
  EXPECT_EQ(ports, (std::set<uint16_t>{2, 3}));
}

Frame FromRemote() {
  return FromTunnel().Ip4("10.244.2.7", "10.244.1.2", {.ttl = 63}).Udp(53, 4000).Payload(30);
}

TEST_F(OffloadManagerTest, FloodFromBehindATunnelIsDroppedByItsInnerTuple) {
  PublishNode(
      Node({R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"isolate-a"},
      "spec":{"podSelector":{"matchLabels":{"app":"a"}},"policyTypes":["Ingress"]}})"}));
  Flood(kUnderlayPort, FromRemote(), 3);
  ASSERT_EQ(RulesAt(kUnderlayPort), 1u);
  EXPECT_NE(up.engine.Texts()[0].find("vxlan vni is 1 / eth / ipv4 src is 10.244.2.7"), std::string::npos);
  Arrive(kUnderlayPort, FromRemote(), 10);
  Step();
  EXPECT_EQ(Denied(), 3 * 50 + 10u);
}

}  // namespace offload_manager_test
}  // namespace podwire
