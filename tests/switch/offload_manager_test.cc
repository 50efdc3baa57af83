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
  /// Both directions of a UDP conversation, fast, until they have had time for rules.
  void Talk(int steps) {
    for (int i = 0; i < steps; ++i) {
      Arrive(kPodPort, FromA(), 50);
      Arrive(kPodPortB, FromB(), 50);
      Step();
    }
  }
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

TEST_F(OffloadManagerTest, EstablishedConnectionIsForwardedByTheNic) {
  Talk(3);
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  ASSERT_EQ(RulesAt(kPodPortB), 1u);
  EXPECT_TRUE(a.engine.Texts()[0].starts_with("transfer pattern represented_port ethdev_port_id is 10 / "))
      << a.engine.Texts()[0];
  const std::vector<Bytes> by_software = std::exchange(b.sent, {});
  const uint64_t hits = Count(Counter::kFlowHits);
  Arrive(kPodPort, FromA(), 3);
  EXPECT_EQ(Count(Counter::kFlowHits), hits);
  ASSERT_EQ(b.sent.size(), 3u);
  EXPECT_EQ(ToHex(b.sent[0]), ToHex(by_software.back()));
  // The connection lives by the NIC's count.
  for (int i = 0; i < 800; ++i) Flood(kPodPort, FromA(), 1);
  EXPECT_EQ(shared.connections->size(), 1u);
  shared.connections->Sweep(worker->now_ms, shared.timeouts, 4096);
  EXPECT_EQ(shared.connections->size(), 1u);
}

class LongHold : public OffloadManagerTest {
 protected:
  static OffloadOptions Hour() {
    OffloadOptions o = Options();
    o.hold_ms = 3'600'000;
    return o;
  }
  LongHold() : OffloadManagerTest(Hour()) {}
};

// The rule stays for a while, but matches no packet any more: it must not make the flow look cared for.
TEST_F(LongHold, ConnectionWhosePacketsPassTheRuleByLives) {
  Talk(3);
  ASSERT_EQ(RulesAt(kPodPort) + RulesAt(kPodPortB), 2u);
  for (int i = 0; i < 4 * 400; ++i) {  // 400 s, longer than a UDP connection may be idle
    Arrive(kPodPort, FromPod().Ip4("10.244.1.2", "10.244.1.3", {.ttl = 128}).Udp(4000, 5000).Payload(20), 1);
    Step();
  }
  EXPECT_EQ(RulesAt(kPodPort), 1u);
  shared.connections->Sweep(worker->now_ms, shared.timeouts, 4096);
  EXPECT_EQ(shared.connections->size(), 1u);
}

TEST_F(OffloadManagerTest, PolicyThatDeniesEndsForwarding) {
  Talk(3);
  ASSERT_EQ(RulesAt(kPodPort) + RulesAt(kPodPortB), 2u);
  b.sent.clear();
  PublishNode(Node({kIsolateB}));
  EXPECT_EQ(RulesAt(kPodPort) + RulesAt(kPodPortB), 0u);
  Arrive(kPodPort, FromA(), 5);
  EXPECT_EQ(b.sent.size(), 0u);
}

TEST_F(OffloadManagerTest, FinsAndExpiringPacketsAreSoftwares) {
  const Frame there = FromPod().Ip4("10.244.1.2", "10.244.1.3").Tcp(4000, 80, 0x10).Payload(10);
  const Frame here =
      Frame().Eth(kGatewayMac, kPodMacB).Ip4("10.244.1.3", "10.244.1.2").Tcp(80, 4000, 0x10).Payload(10);
  for (int i = 0; i < 4; ++i) {
    Arrive(kPodPort, there, 50);
    Arrive(kPodPortB, here, 50);
    Step();
  }
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  const auto ToSoftware = [&](const Frame& f) { return a.engine.Filter({f}).size() == 1; };
  EXPECT_FALSE(ToSoftware(there));
  EXPECT_TRUE(ToSoftware(FromPod().Ip4("10.244.1.2", "10.244.1.3").Tcp(4000, 80, 0x11)));
  EXPECT_TRUE(ToSoftware(FromPod().Ip4("10.244.1.2", "10.244.1.3").Tcp(4000, 80, 0x14)));
  EXPECT_TRUE(ToSoftware(FromPod().Ip4("10.244.1.2", "10.244.1.3", {.ttl = 1}).Tcp(4000, 80, 0x10)));
  EXPECT_TRUE(ToSoftware(FromPod().Ip4("10.244.1.2", "10.244.1.3", {.mf = true}).Tcp(4000, 80, 0x10)));
  EXPECT_TRUE(ToSoftware(
      FromPod().Ip4("10.244.1.2", "10.244.1.3", {.options = Hex("01010101")}).Tcp(4000, 80, 0x10)));
  EXPECT_TRUE(
      ToSoftware(Frame().Eth(kGatewayMac, kPodMacB).Ip4("10.244.1.2", "10.244.1.3").Tcp(4000, 80, 0x10)))
      << "another's MAC";
  EXPECT_TRUE(ToSoftware(Frame()
                             .Eth(kGatewayMac, kPodMac, 0x8100)
                             .Raw(Hex("0005 0800"))
                             .Ip4("10.244.1.2", "10.244.1.3")
                             .Tcp(4000, 80, 0x10)))
      << "a VLAN tag";
  Arrive(kPodPort, FromPod().Ip4("10.244.1.2", "10.244.1.3").Tcp(4000, 80, 0x11), 1);
  Step();
  EXPECT_EQ(RulesAt(kPodPort), 0u) << "the connection has begun to end";
}

TEST_F(OffloadManagerTest, Ipv6FragmentsAndExtensionHeadersAreSoftwares) {
  const auto there = [] { return FromPod().Ip6("2001:db8:1::2", "2001:db8:1::3"); };
  const Frame here =
      Frame().Eth(kGatewayMac, kPodMacB).Ip6("2001:db8:1::3", "2001:db8:1::2").Udp(5000, 4000).Payload(9);
  for (int i = 0; i < 3; ++i) {
    Arrive(kPodPort, there().Udp(4000, 5000).Payload(9), 50);
    Arrive(kPodPortB, here, 50);
    Step();
  }
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  const auto ToSoftware = [&](const Frame& f) { return a.engine.Filter({f}).size() == 1; };
  EXPECT_FALSE(ToSoftware(there().Udp(4000, 5000).Payload(9)));
  EXPECT_TRUE(ToSoftware(there().Fragment6(0, true, 7).Udp(4000, 5000).Payload(16)));
  for (const uint8_t type : {0, 60})
    EXPECT_TRUE(ToSoftware(there().Ext6(type, {0, 1, 4, 0, 0, 0, 0}).Udp(4000, 5000).Payload(16))) << type;
  EXPECT_TRUE(ToSoftware(Frame()
                             .Eth(kGatewayMac, kPodMac, 0x8100)
                             .Raw(Hex("0005 86dd"))
                             .Ip6("2001:db8:1::2", "2001:db8:1::3")
                             .Udp(4000, 5000)
                             .Payload(9)));
}

// A NIC whose driver cannot keep extension headers out, as mlx5 of DPDK 22.11.
TEST_F(OffloadManagerTest, NicThatSeesNoExtensionHeadersForwardsNoIpv6) {
  const auto refuse = [](const FlowRule& r) {
    for (const rte_flow_item* i = r.pattern(); i->type != RTE_FLOW_ITEM_TYPE_END; ++i) {
      if (i->type == RTE_FLOW_ITEM_TYPE_IPV6 &&
          static_cast<const rte_flow_item_ipv6*>(i->mask)->has_hop_ext != 0)
        return absl::UnimplementedError("mask enables non supported bits");
    }
    return absl::OkStatus();
  };
  a.engine.refuse = b.engine.refuse = refuse;
  EXPECT_FALSE(ProbeCapabilities(a.engine).contains(FlowCapability::kForwardV6));
  EXPECT_TRUE(ProbeCapabilities(a.engine).contains(FlowCapability::kDropV6));
  EXPECT_TRUE(ProbeCapabilities(a.engine).contains(FlowCapability::kForward));
}

Frame ToRemote() { return FromPod().Ip4("10.244.1.2", "10.244.2.7").Udp(4000, 53).Payload(30); }
Frame FromRemote() {
  return FromTunnel().Ip4("10.244.2.7", "10.244.1.2", {.ttl = 63}).Udp(53, 4000).Payload(30);
}

TEST_F(OffloadManagerTest, TunnelsAreEnteredAndLeftByTheNic) {
  for (int i = 0; i < 4; ++i) {
    Arrive(kPodPort, ToRemote(), 50);
    Arrive(kUnderlayPort, FromRemote(), 50);
    Step();
  }
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  ASSERT_EQ(RulesAt(kUnderlayPort), 1u);
  const std::vector<Bytes> out = std::exchange(up.sent, {}), in = std::exchange(a.sent, {});
  const uint64_t hits = Count(Counter::kFlowHits);
  Arrive(kPodPort, ToRemote(), 1);
  Arrive(kUnderlayPort, FromRemote(), 1);
  EXPECT_EQ(Count(Counter::kFlowHits), hits);
  ASSERT_EQ(up.sent.size(), 1u);
  ASSERT_EQ(a.sent.size(), 1u);
  EXPECT_EQ(ToHex(a.sent[0]), ToHex(in.back()));
  // The outer id, and with it the checksum, is the sender's own.
  Bytes mine = up.sent[0], software = out.front();
  for (Bytes* bytes : {&mine, &software}) std::fill(bytes->begin() + 18, bytes->begin() + 20, uint8_t{0});
  for (Bytes* bytes : {&mine, &software}) std::fill(bytes->begin() + 24, bytes->begin() + 26, uint8_t{0});
  EXPECT_EQ(ToHex(mine), ToHex(software));
  EXPECT_EQ(up.engine
                .Filter({FromTunnel({.mf = true})
                             .Ip4("10.244.2.7", "10.244.1.2", {.ttl = 63})
                             .Udp(53, 4000)
                             .Payload(30)})
                .size(),
            1u)
      << "a tunnel packet's fragment";
  EXPECT_EQ(up.engine
                .Filter({FromTunnel({.tos = 3})
                             .Ip4("10.244.2.7", "10.244.1.2", {.tos = 1, .ttl = 63})
                             .Udp(53, 4000)
                             .Payload(30)})
                .size(),
            1u)
      << "congestion marks are software's";
}

// The outer UDP checksum would be zero.
TEST_F(OffloadManagerTest, TunnelsOverIpv6AreEnteredBySoftware) {
  shared.neighbors.Learn(Ip6("2001:db8::9"), kPeerMac, worker->now_ms, true);
  const Frame there = FromPod().Ip6("2001:db8:1::2", "2001:db8:2::7").Udp(4000, 53).Payload(30);
  const Frame here =
      FromTunnel6().Ip6("2001:db8:2::7", "2001:db8:1::2", {.hop_limit = 63}).Udp(53, 4000).Payload(30);
  for (int i = 0; i < 4; ++i) {
    Arrive(kPodPort, there, 50);
    Arrive(kUnderlayPort, here, 50);
    Step();
  }
  EXPECT_EQ(RulesAt(kUnderlayPort), 1u) << "left it may be";
  EXPECT_EQ(RulesAt(kPodPort), 0u);
}

TEST_F(OffloadManagerTest, NeighborInDoubtEndsForwarding) {
  for (int i = 0; i < 4; ++i) {
    Arrive(kPodPort, ToRemote(), 50);
    Arrive(kUnderlayPort, FromRemote(), 50);
    Step();
  }
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  // The manager sees the shared clock, which has not moved: another MAC is told of.
  shared.neighbors.Learn(Ip("192.0.2.9"), Mac("02:00:00:00:01:77"), worker->now_ms, true);
  Step();
  EXPECT_EQ(RulesAt(kPodPort), 0u);
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
