// Established connections that a NIC forwards: what matches such a rule, what it does, and what ends it.
#include <gtest/gtest.h>

#include "tests/switch/offload_fixture.h"

namespace podwire {
namespace offload_forward_test {

using namespace testing;

class OffloadForwardTest : public OffloadTest {
 protected:
  explicit OffloadForwardTest(OffloadOptions options = Options()) : OffloadTest(true, std::move(options)) {}
  /// Both directions of a UDP conversation, fast, until they have had time for rules.
  void Talk(int steps) {
    for (int i = 0; i < steps; ++i) {
      Arrive(kPodPort, FromA(), 50);
      Arrive(kPodPortB, FromB(), 50);
      Step();
    }
  }
};

Frame ToRemote() { return FromPod().Ip4("10.244.1.2", "10.244.2.7").Udp(4000, 53).Payload(30); }
Frame FromRemote() {
  return FromTunnel().Ip4("10.244.2.7", "10.244.1.2", {.ttl = 63}).Udp(53, 4000).Payload(30);
}

TEST_F(OffloadForwardTest, EstablishedConnectionIsForwardedByTheNic) {
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

class LongHold : public OffloadForwardTest {
 protected:
  static OffloadOptions Hour() {
    OffloadOptions o = Options();
    o.hold_ms = 3'600'000;
    return o;
  }
  LongHold() : OffloadForwardTest(Hour()) {}
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

TEST_F(OffloadForwardTest, PolicyThatDeniesEndsForwarding) {
  Talk(3);
  ASSERT_EQ(RulesAt(kPodPort) + RulesAt(kPodPortB), 2u);
  b.sent.clear();
  PublishNode(Node({kIsolateB}));
  EXPECT_EQ(RulesAt(kPodPort) + RulesAt(kPodPortB), 0u);
  Arrive(kPodPort, FromA(), 5);
  EXPECT_EQ(b.sent.size(), 0u);
}

TEST_F(OffloadForwardTest, FinsAndExpiringPacketsAreSoftwares) {
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

TEST_F(OffloadForwardTest, Ipv6FragmentsAndExtensionHeadersAreSoftwares) {
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
TEST_F(OffloadForwardTest, NicThatSeesNoExtensionHeadersForwardsNoIpv6) {
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

TEST_F(OffloadForwardTest, TunnelsAreEnteredAndLeftByTheNic) {
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
TEST_F(OffloadForwardTest, TunnelsOverIpv6AreEnteredBySoftware) {
  shared.neighbors.Learn(Ip6("2001:db8::9"), kPeerMac, worker->now_ms, true);
  a.TakeMtu(1430);  // or packets might be too large for the tunnel
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

// Packets that the NIC forwards make no worker ask: the manager does, before the MAC is in doubt.
TEST_F(OffloadForwardTest, NeighborIsAskedForOnBehalfOfTheNic) {
  for (int i = 0; i < 4; ++i) {
    Arrive(kPodPort, ToRemote(), 50);
    Arrive(kUnderlayPort, FromRemote(), 50);
    Step();
  }
  ASSERT_EQ(RulesAt(kPodPort), 1u);
  // The shared clock stands for the neighbour's age only: a worker's does not follow it here.
  const uint32_t confirmed = worker->now_ms;
  shared.neighbors.Learn(Ip("192.0.2.9"), kPeerMac, confirmed, true);
  const auto arps_at_age = [&](uint32_t age_ms) {
    const auto ahead = static_cast<int32_t>(confirmed + age_ms - shared.NowMs());
    shared.start_tsc -= static_cast<uint64_t>(int64_t{ahead} * static_cast<int64_t>(shared.tsc_per_ms));
    for (int i = 0; i < 4; ++i) Step();
    return Count(Counter::kArpRequests);
  };
  const uint64_t before = Count(Counter::kArpRequests);
  EXPECT_EQ(arps_at_age(15'000), before);
  const uint64_t asked = arps_at_age(21'000);
  EXPECT_GE(asked, before + 1);
  EXPECT_LE(asked, before + 2) << "once a second";
  Arrive(kPodPort, ToRemote(), 50);
  Arrive(kUnderlayPort, FromRemote(), 50);
  EXPECT_GT(arps_at_age(31'000), asked);
  EXPECT_EQ(RulesAt(kPodPort), 1u) << "an answer may be on its way";
  arps_at_age(36'000);
  EXPECT_EQ(RulesAt(kPodPort), 0u);
}

TEST_F(OffloadForwardTest, NeighborInDoubtEndsForwarding) {
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

}  // namespace offload_forward_test
}  // namespace podwire
