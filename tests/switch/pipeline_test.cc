#include "switch/pipeline.h"

#include <fmt/format.h>

#include "switch/decide.h"
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace pipeline_test {

constexpr const char* kA = "10.244.1.2";
constexpr const char* kB = "10.244.1.3";
constexpr const char* kRemote = "10.244.2.7";
constexpr const char* kDenyIngress =
    R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}}}})";
constexpr const char* kDenyEgress =
    R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"]}})";
constexpr const char* kAllowPort80 =
    R"({"metadata": {"name": "web"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": 80}]}]}})";
constexpr uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10, kRst = 0x04;

Frame FromB() { return Frame().Eth(kGatewayMac, kPodMacB); }
Frame Ask(uint16_t port, uint8_t flags = kSyn) { return FromPod().Ip4(kA, kB).Tcp(40000, port, flags); }
Frame Answer(uint16_t port, uint8_t flags = kSynAck) { return FromB().Ip4(kB, kA).Tcp(port, 40000, flags); }

TEST_F(PipelineTest, PodToPodIsRoutedOnceThroughTheSwitch) {
  Receive(kPodPort, {FromPod().Ip4(kA, kB, {.ttl = 64}).Udp(5000, 53).Payload(100)});
  const auto out = Sent(kPodPortB);
  ASSERT_EQ(out.size(), 1u);
  const Bytes want =
      Frame().Eth(kPodMacB, kGatewayMac).Ip4(kA, kB, {.ttl = 63}).Udp(5000, 53).Payload(100).Build();
  EXPECT_EQ(ToHex(out[0]), ToHex(want));
  EXPECT_TRUE(Sent(kPodPort).empty());
}

TEST_F(PipelineTest, LaterPacketsHitTheFlowTable) {
  for (int i = 0; i < 3; ++i)
    Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(5000, 53), FromPod().Ip4(kA, kB).Udp(5000, 53)});
  EXPECT_EQ(Sent(kPodPortB).size(), 6u);
  EXPECT_EQ(Count(Counter::kFlowMisses), 1u);
  EXPECT_EQ(Count(Counter::kFlowHits), 5u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 1u);
}

TEST_F(PipelineTest, OnlyWhatAPolicyAllowsGetsIn) {
  Publish(WithPolicies({kAllowPort80}));
  Receive(kPodPort, {Ask(80), Ask(81)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 1u);
  DropCounts of_b{};
  worker->counters.AddTo(of_b, EndpointId(1));
  EXPECT_EQ(of_b[static_cast<size_t>(DropReason::kPolicyDeniedIngress)], 1u)
      << "the drop is the isolated pod's";
  // Replies pass, though b may not open anything by itself either way: it is isolated for ingress only.
  Receive(kPodPortB, {Answer(80)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
}

TEST_F(PipelineTest, EgressPolicyHoldsAtTheSource) {
  Publish(WithPolicies({kDenyEgress}));
  Receive(kPodPort, {Ask(80)});
  Receive(kPodPort, {FromPod().Ip4(kA, "10.244.9.9").Udp(1, 2)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedEgress), 2u) << "policy speaks before the route";
  // Others reach it, and its replies leave.
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(40001, 80, kSyn)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(80, 40001, kSynAck)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
}

TEST_F(PipelineTest, AConnectionThatALaterPolicyForbidsIsCutAndComesBack) {
  Receive(kPodPort, {Ask(80)});
  Receive(kPodPortB, {Answer(80)});
  Receive(kPodPort, {Ask(80, kAck)});
  Sent(kPodPort), Sent(kPodPortB);
  Publish(WithPolicies({kDenyIngress}));
  Receive(kPodPort, {Ask(80, kAck)});
  Receive(kPodPortB, {Answer(80, kAck)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_TRUE(Sent(kPodPort).empty()) << "the reply direction is cut too";
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 2u);
  EXPECT_EQ(Count(Counter::kConnectionsCut), 1u);
  Publish(WithPolicies({}));
  Receive(kPodPort, {Ask(80, kAck)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
}

TEST_F(PipelineTest, ClusterPoliciesGoBeforeNetworkPoliciesAndCutLiveConnections) {
  const auto admin = [](const char* action) {
    return fmt::format(
        R"({{"kind":"ClusterNetworkPolicy","metadata":{{"name":"c"}},"spec":{{"tier":"Admin","priority":5,
            "subject":{{"namespaces":{{}}}},"ingress":[{{"name":"all","action":"{}","from":[{{"namespaces":{{}}}}]}}]}}}})",
        action);
  };
  Publish(WithPolicies({kDenyIngress, admin("Accept")}));
  Receive(kPodPort, {Ask(80)});
  Receive(kPodPortB, {Answer(80)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
  Publish(WithPolicies({kAllowPort80, admin("Deny")}));
  Receive(kPodPort, {Ask(80, kAck)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 1u);
  EXPECT_EQ(Count(Counter::kConnectionsCut), 1u);
  Publish(WithPolicies({kAllowPort80, admin("Pass")}));
  Receive(kPodPort, {Ask(80, kAck)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
}

TEST_F(PipelineTest, ExplanationsNameClusterPolicies) {
  const auto text = [&](const std::vector<std::string>& policies) {
    Trace trace;
    Decide(WithPolicies(policies),
           {.src = Ip(kA), .dst = Ip(kB), .proto = 6, .dst_port = 80, .in_port = kPodPort}, &trace);
    return trace.at(3).outcome + ": " + trace.at(3).text;
  };
  const auto admin = [](const char* action) {
    return fmt::format(
        R"({{"kind":"ClusterNetworkPolicy","metadata":{{"name":"c"}},"spec":{{"tier":"Admin","priority":5,
            "subject":{{"namespaces":{{}}}},"ingress":[{{"name":"web","action":"{}","from":[{{"namespaces":{{}}}}],
            "protocols":[{{"tcp":{{"destinationPort":{{"number":80}}}}}}]}}]}}}})",
        action);
  };
  EXPECT_EQ(text({kDenyIngress, admin("Accept")}),
            "allow: ClusterNetworkPolicy c (Admin, priority 5) rule 'web' allows it");
  EXPECT_EQ(text({kAllowPort80, admin("Deny")}),
            "deny: ClusterNetworkPolicy c (Admin, priority 5) rule 'web' denies it");
  EXPECT_EQ(
      text({kAllowPort80, admin("Pass")}),
      "allow: NetworkPolicy default/web ingress[0] allows it; passed on by ClusterNetworkPolicy c (Admin, "
      "priority 5) rule 'web'");
  EXPECT_EQ(
      text({kDenyIngress, admin("Pass")}),
      "deny: no NetworkPolicy that isolates pod default/b (10.244.1.3) for ingress allows it; passed on by "
      "ClusterNetworkPolicy c (Admin, priority 5) rule 'web'");
  EXPECT_EQ(text({}), "allow: no NetworkPolicy isolates pod default/b (10.244.1.3) for ingress");
}

TEST_F(PipelineTest, AnUnrelatedPublicationLosesNothing) {
  Receive(kPodPort, {Ask(80)});
  Receive(kPodPortB, {Answer(80)});
  Publish(WithPolicies({}));
  Receive(kPodPort, {Ask(80, kAck)});
  EXPECT_EQ(Sent(kPodPortB).size(), 2u);
  EXPECT_EQ(Count(Counter::kRevalidated), 1u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 1u);
}

TEST_F(PipelineTest, NobodyInheritsAConnection) {
  Publish(WithPolicies({kAllowPort80}));
  Receive(kPodPort, {Ask(80)});
  // a goes; its address comes back in another slot, under other policies.
  Tables t = WithPolicies({kAllowPort80});
  t.endpoints.push_back(t.endpoints[0]);
  t.endpoints[0] = {};
  t.endpoints[2].id = EndpointId(2);
  t.endpoints[2].policy.egress = RuleSetId(7);  // a rule set that does not exist denies
  t.endpoint_by_address[Ip(kA)] = EndpointId(2);
  t.ports[0].endpoint = EndpointId(2);
  Publish(std::move(t));
  Sent(kPodPortB);
  Receive(kPodPort, {Ask(80, kAck)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedEgress), 1u);
}

TEST_F(PipelineTest, SpoofedSourcesAreDropped) {
  Receive(kPodPort,
          {FromPod().Ip4(kB, kRemote).Udp(1, 2), Frame().Eth(kGatewayMac, kPodMacB).Ip4(kA, kB).Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kSpoofedAddress), 1u);
  EXPECT_EQ(Drops(DropReason::kSpoofedMac), 1u);
  Receive(kUnderlayPort, {FromTunnel().Ip4(kA, kB).Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kSpoofedAddress), 2u) << "a pod of this node does not come in from outside";
}

TEST_F(PipelineTest, ACachedDecisionIsNotForOthersThatForgeTheTuple) {
  Receive(kPodPort, {FromPod().Ip4(kA, kRemote).Udp(5, 6)});
  Receive(kPodPortB, {FromB().Ip4(kA, kRemote).Udp(5, 6)});
  EXPECT_EQ(Drops(DropReason::kSpoofedAddress), 1u);
}

TEST_F(PipelineTest, RemotePodsAreReachedByVxlanOnceTheNeighbourAnswers) {
  Receive(kPodPort, {FromPod().Ip4(kA, kRemote, {.tos = 2}).Udp(5000, 53).Payload(64)});
  auto out = Sent(kUnderlayPort);
  ASSERT_EQ(out.size(), 1u) << "the ARP request";
  EXPECT_EQ(Be16(out[0], 12), 0x0806);
  EXPECT_EQ(Count(Counter::kQueued), 1u);
  Receive(kUnderlayPort,
          {Frame().Eth(kUnderlayMac, kPeerMac).Arp(2, kPeerMac, "192.0.2.9", kUnderlayMac, "192.0.2.1")});
  Pass(1);
  out = Sent(kUnderlayPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(Count(Counter::kQueued), 0u);
  const Bytes& f = out[0];
  EXPECT_EQ(ToHex(std::span(f).first(6)), ToHex(kPeerMac.bytes));
  EXPECT_EQ(f[14 + 1] & 3, 2) << "ECN is copied outwards";
  EXPECT_EQ(Be16(f, 36), 8472);
  EXPECT_EQ(Be16(f, 38), 8 + 8 + 14 + 20 + 8 + 64) << "UDP length: VXLAN header and inner frame included";
  EXPECT_EQ(Sum16(std::span(f).subspan(14, 20)), 0xffff);
  const Bytes inner = Frame()
                          .Eth(kPeerVtepMac, kVtepMac)
                          .Ip4(kA, kRemote, {.tos = 2, .ttl = 63})
                          .Udp(5000, 53)
                          .Payload(64)
                          .Build();
  EXPECT_EQ(ToHex(std::span(f).subspan(50)), ToHex(inner));
}

TEST_F(PipelineTest, AnUnansweredNeighbourLosesPacketsByName) {
  std::vector<Frame> frames(53, FromPod().Ip4(kA, kRemote).Udp(1, 2));
  for (int i = 0; i < 2; ++i) Receive(kPodPort, frames);
  EXPECT_EQ(Drops(DropReason::kNeighborQueueFull), 2u);
  Pass(2000);
  EXPECT_EQ(Drops(DropReason::kNeighborUnresolved), 104u);
  EXPECT_EQ(Sent(kUnderlayPort).size(), 2u) << "one ARP request a second, no packet";
}

TEST_F(PipelineTest, APeerThatComesUpLateIsFoundBySlowTraffic) {
  for (int second = 0; second < 5; ++second) {
    Receive(kPodPort, {FromPod().Ip4(kA, kRemote).Icmp(8, 0, 7, 1)});
    for (int i = 0; i < 100; ++i) Pass(10);
  }
  EXPECT_GE(Count(Counter::kArpRequests), 5u) << "one a second, as long as somebody wants to go there";
  EXPECT_EQ(Drops(DropReason::kNeighborUnresolved), 5u);
  const auto errors = Sent(kPodPort);
  ASSERT_EQ(errors.size(), 5u);
  EXPECT_EQ(Be16(errors[0], 34), 0x0301) << "host unreachable";
  DropCounts of_a{};
  worker->counters.AddTo(of_a, EndpointId(0));
  EXPECT_EQ(of_a[static_cast<size_t>(DropReason::kNeighborUnresolved)], 5u);
}

TEST_F(PipelineTest, TheKernelIsAskedWhereItKeepsTheUnderlay) {
  Tables kept = WithPolicies({});
  kept.local.underlay_is_shared = true;
  Publish(std::move(kept));
  Receive(kPodPort, {FromPod().Ip4(kA, kRemote).Udp(1, 2)});
  EXPECT_TRUE(Sent(kUnderlayPort).empty()) << "no ARP of ours";
  std::vector<IpAddress> asked;
  shared.neighbor_requests.Take([&](uint16_t slot) { asked.push_back(shared.neighbors.AddressAt(slot)); });
  EXPECT_EQ(asked, std::vector<IpAddress>(1, Ip("192.0.2.9")));
  shared.neighbors.Set(Ip("192.0.2.9"), kPeerMac, shared.NowMs());
  Pass(10);
  EXPECT_EQ(Sent(kUnderlayPort).size(), 1u) << "what waited goes";
}

TEST_F(PipelineTest, AnIcmpErrorToTheUnderlayAsksForWhomItGoesTo) {
  Receive(kUnderlayPort, {FromPeer().Ip4("192.0.2.77", kA, {.ttl = 1}).Udp(1, 2)});
  const auto out = Sent(kUnderlayPort);
  ASSERT_EQ(out.size(), 1u);
  ASSERT_EQ(Be16(out[0], 12), 0x0806);
  EXPECT_EQ(Be32(out[0], 38), 0xc000024du) << "192.0.2.77";
}

TEST_F(PipelineTest, TunnelPacketsAreTakenApartAndDelivered) {
  Receive(kUnderlayPort,
          {FromTunnel({.tos = 3}).Ip4(kRemote, kA, {.tos = 1, .ttl = 63}).Udp(7, 8).Payload(9)});
  const auto out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(ToHex(out[0]), ToHex(Frame()
                                     .Eth(kPodMac, kGatewayMac)
                                     .Ip4(kRemote, kA, {.tos = 3, .ttl = 62})
                                     .Udp(7, 8)
                                     .Payload(9)
                                     .Build()));
  EXPECT_EQ(Count(Counter::kDecapsulated), 1u);
}

TEST_F(PipelineTest, NothingIsCarriedFromUnderlayToUnderlay) {
  Receive(kUnderlayPort, {FromPeer().Ip4("192.0.2.50", kRemote).Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kNoRoute), 1u);
  EXPECT_TRUE(Sent(kUnderlayPort).empty());
}

TEST_F(PipelineTest, TheGatewayAnswersPingsAndTraceroutes) {
  Receive(kPodPort, {FromPod().Ip4(kA, "10.244.1.1", {.ttl = 1}).Icmp(8, 0, 7, 1).Payload(56)});
  auto out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(ToHex(out[0]), ToHex(Frame()
                                     .Eth(kPodMac, kGatewayMac)
                                     .Ip4("10.244.1.1", kA, {.ttl = 64})
                                     .Icmp(0, 0, 7, 1)
                                     .Payload(56)
                                     .Build()));
  Receive(kPodPort, {FromPod().Ip4(kA, kB, {.ttl = 1}).Udp(33434, 33434)});
  out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0][14 + 20], 11) << "time exceeded";
  EXPECT_EQ(ToHex(std::span(out[0]).subspan(26, 4)), ToHex(std::vector<uint8_t>{10, 244, 1, 1}))
      << "from the gateway";
  EXPECT_EQ(Drops(DropReason::kTtlExceeded), 1u);
  Receive(kPodPort, {FromPod().Ip4(kA, "10.244.1.1").Udp(33434, 33434)});
  out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(Be16(out[0], 34), 0x0303) << "port unreachable ends the traceroute";
  EXPECT_EQ(Drops(DropReason::kNotOurAddress), 1u);
}

TEST_F(PipelineTest, WhatIsTooBigIsReportedOrFragmented) {
  ResolvePeer();
  Receive(kPodPort, {FromPod().Ip4(kA, kRemote, {.df = true}).Udp(1, 2).Payload(1450)});
  auto out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(Be16(out[0], 34), 0x0304);
  EXPECT_EQ(Be16(out[0], 40), 1450) << "next-hop MTU (RFC 1191)";
  EXPECT_EQ(Drops(DropReason::kTooBig), 1u);
  Receive(kPodPort, {FromPod().Ip4(kA, kRemote, {.id = 9}).Udp(1, 2).Payload(1450)});
  out = Sent(kUnderlayPort);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(Be16(out[0], 50 + 14 + 6), 0x2000) << "more fragments";
  EXPECT_EQ(Be16(out[1], 50 + 14 + 6) & 0xe000, 0);
}

TEST_F(PipelineTest, LaterFragmentsFollowTheirFirst) {
  Publish(
      WithPolicies({R"({"metadata": {"name": "dns"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}},
      "ingress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}})"}));
  const auto first = [](uint16_t port, uint16_t id) {
    return FromPod().Ip4(kA, kB, {.id = id, .mf = true}).Udp(5000, port, 1500).Payload(1400);
  };
  const auto later = [](uint16_t id) {
    return FromPod().Ip4(kA, kB, {.id = id, .fragment_offset = 1408, .proto = 17}).Payload(92);
  };
  Receive(kPodPort, {first(53, 1), later(1)});
  EXPECT_EQ(Sent(kPodPortB).size(), 2u);
  Receive(kPodPort, {first(54, 2), later(2)});
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 2u) << "the later one is denied with its first";
  Receive(kPodPort, {later(3)});
  EXPECT_EQ(Drops(DropReason::kFragmentNoFirst), 1u);
  EXPECT_TRUE(Sent(kPodPortB).empty());
}

TEST_F(PipelineTest, IcmpErrorsBelongToTheirConnection) {
  Publish(WithPolicies(
      {R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})",
       kAllowPort80}));
  Receive(kPodPort, {Ask(80)});
  Sent(kPodPortB);
  const auto error = [](const char* quoted_src, const char* quoted_dst, uint16_t from, uint16_t to) {
    return FromB().Ip4(kB, kA).Icmp(3, 3).Raw(Frame().Ip4(quoted_src, quoted_dst).Tcp(from, to).Build());
  };
  Receive(kPodPortB, {error(kA, kB, 40000, 80)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u) << "a is isolated, but the error is about its own connection";
  Receive(kPodPortB, {error(kA, kB, 40000, 81)});
  EXPECT_TRUE(Sent(kPodPort).empty());
  EXPECT_EQ(Drops(DropReason::kNoConnection), 1u);
}

TEST_F(PipelineTest, IcmpErrorsGoToTheSenderOfWhatTheyQuoteOnly) {
  Receive(kPodPort, {FromPod().Ip4(kA, kRemote).Udp(5, 6)});
  Publish(WithPolicies({kDenyIngress}));
  // a's own connection, quoted to b, which a may not reach.
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Icmp(3, 3).Raw(Frame().Ip4(kA, kRemote).Udp(5, 6).Build())});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_EQ(Drops(DropReason::kNoConnection), 1u);
}

TEST_F(PipelineTest, ADeniedTupleIsAReplyOnceTheOtherSideHasOpened) {
  Publish(WithPolicies({kDenyIngress}));
  const Frame gossip = FromPod().Ip4(kA, kB).Udp(7946, 7946);
  Receive(kPodPort, {gossip, gossip});
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 2u);
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Udp(7946, 7946)});
  Receive(kPodPort, {gossip});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
}

TEST_F(PipelineTest, AWorkerWithOlderTablesDoesNotUndoAVerdict) {
  Receive(kPodPort, {Ask(80)});
  Publish(WithPolicies({kDenyIngress}));
  Receive(kPodPort, {Ask(80)});
  Sent(kPodPortB);
  worker->tables = tables[0].get();  // another worker's, a moment before it takes over
  Receive(kPodPort, {Ask(80)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  shared.connections->ForEach([](const auto& c) {
    EXPECT_EQ(c.denied, DropReason::kPolicyDeniedIngress);
    EXPECT_EQ(c.dst_version, 2u);
    return true;
  });
  worker->tables = tables.back().get();
}

TEST_F(PipelineTest, ItsOwnNodeIsAlwaysInReach) {
  Publish(WithPolicies({kDenyEgress}));
  Receive(kPodPort, {FromPod().Ip4(kA, "10.244.1.1").Icmp(8, 0, 7, 1)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
  const Headers ping{.src = Ip(kA), .dst = Ip("10.244.1.1"), .proto = 1, .in_port = kPodPort};
  EXPECT_EQ(Decide(*worker->tables, ping).action, Action::kLocal) << "explain says what the wire does";
}

TEST_F(PipelineTest, APingIsNoLeaveToPingBack) {
  Publish(WithPolicies(
      {R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"app": "a"}}}})"}));
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Icmp(8, 0, 7, 1)});
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Icmp(8, 0, 7, 1)});
  EXPECT_TRUE(Sent(kPodPort).empty()) << "a request with the identifier of a's own is no answer";
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 1u);
  Receive(kPodPortB, {FromB().Ip4(kB, kA, {.id = 3, .mf = true}).Icmp(0, 0, 7, 1).Payload(1400),
                      FromB().Ip4(kB, kA, {.id = 3, .fragment_offset = 1408, .proto = 1}).Payload(92)});
  EXPECT_EQ(Sent(kPodPort).size(), 2u) << "the answer, in two fragments";
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Icmp(17, 0, 8, 1).Payload(4)});
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Icmp(18, 0, 8, 1).Payload(4)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
}

TEST_F(PipelineTest, RepliesToNothingAreDropped) {
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Icmp(0, 0, 1, 1), FromPod().Ip4(kA, kB).Tcp(1, 2, kSynAck)});
  EXPECT_EQ(Drops(DropReason::kNoConnection), 2u);
  EXPECT_TRUE(Sent(kPodPortB).empty());
}

TEST_F(PipelineTest, APodAlwaysReachesItself) {
  Publish(WithPolicies(
      {R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}})"}));
  Receive(kPodPort, {FromPod().Ip4(kA, kA).Udp(1, 2)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
}

TEST_F(PipelineTest, ArpForTheGatewayAndAnythingElseIsAnsweredWithItsMac) {
  Receive(kPodPort, {Frame().Eth(kBroadcastMac, kPodMac).Arp(1, kPodMac, kA, {}, "10.244.1.1")});
  const auto out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(ToHex(out[0]),
            ToHex(Frame().Eth(kPodMac, kGatewayMac).Arp(2, kGatewayMac, "10.244.1.1", kPodMac, kA).Build()));
}

TEST_F(PipelineTest, APortThatTakesNothingLosesPacketsByName) {
  pod_b.room = 1;
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(1, 2), FromPod().Ip4(kA, kB).Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kTxFull), 1u);
}

TEST_F(PipelineTest, AddressesWithoutARouteAreReportedToPods) {
  Receive(kPodPort, {FromPod().Ip4(kA, "10.244.1.77").Udp(1, 2), FromPod().Ip4(kA, "203.0.113.1").Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kNoRoute), 2u);
  EXPECT_EQ(Count(Counter::kIcmpErrors), 2u);
  Receive(kPodPort, {FromPod().Ip4(kA, "224.0.0.251").Udp(5353, 5353)});
  EXPECT_EQ(Drops(DropReason::kMulticast), 1u);
}

TEST_F(PipelineTest, AClosedConnectionMayBeReopenedFromEitherSide) {
  Receive(kPodPort, {Ask(80)});
  Receive(kPodPortB, {Answer(80, kRst | kAck)});
  Receive(kPodPort, {Ask(80)});
  EXPECT_EQ(Drops(DropReason::kInvalidState), 0u);
  Receive(kPodPortB, {Answer(80, kRst | kAck)});
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(80, 40000, kSyn)});
  EXPECT_EQ(Drops(DropReason::kInvalidState), 0u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 2u);
}

TEST_F(PipelineTest, AFullConnectionTableSaysSo) {
  for (uint16_t i = 1; i < 4000; ++i) Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(i, 80, kAck)});
  EXPECT_GT(Drops(DropReason::kConnectionTableFull) + Drops(DropReason::kConnectionQuota), 1000u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), Count(Counter::kSent));
}

}  // namespace pipeline_test
}  // namespace podwire::testing
