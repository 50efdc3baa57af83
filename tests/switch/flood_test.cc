// Floods of new connections through the whole packet path.
#include <functional>

#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace flood_test {

constexpr const char* kA = "10.244.1.2";
constexpr const char* kB = "10.244.1.3";
constexpr uint8_t kSyn = 0x02, kAck = 0x10, kSynAck = kSyn | kAck;

Frame FromB() { return Frame().Eth(kGatewayMac, kPodMacB); }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kChecked = true;
#elif defined(__clang__)
constexpr bool kChecked = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kChecked = false;
#endif
// Packets a millisecond of a flood, and what share of them is refused at least. In a build with checks each
// takes many times as long, and fewer are more than the worker's time allows.
constexpr uint32_t kPerMs = kChecked ? 2'000 : 20'000;
constexpr double kMostRefused = kChecked ? 0.3 : 0.95;

using FloodTest = PipelineTest;

TEST_F(FloodTest, AConnectionIsEmbryonicUntilBothSidesTakePart) {
  const ConnTable<FlowKey4>& t = *shared.connections;
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(40000, 80, kSyn)});
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(80, 40000, kSynAck)});
  EXPECT_EQ(t.embryonic(), 1u);
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(40000, 80, kAck)});
  EXPECT_EQ(t.embryonic(), 0u);
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(41000, 80, kAck)});  // picked up in the middle
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(5, 6)});
  EXPECT_EQ(t.embryonic(), 2u);
  EXPECT_EQ(t.charged_embryonic(EndpointId{0}), 2u);
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(80, 41000, kAck), FromB().Ip4(kB, kA).Udp(6, 5)});
  EXPECT_EQ(t.embryonic(), 0u);
  EXPECT_EQ(t.size(), 3u);
}

TEST_F(FloodTest, AFloodFromOnePodLeavesConnectionsAndNewOnesOfOthers) {
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Udp(7, 7)});
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(7, 7)});
  for (uint32_t i = 0; i < 20'000; ++i) {
    const auto port = static_cast<uint16_t>(1 + i % 60'000);
    // SYNs, and random segments that look like those of a conversation
    Receive(kPodPort, {FromPod().Ip4(kA, "10.244.2.7").Tcp(port, 80, i % 2 == 0 ? kSyn : kAck)});
    shared.qsbr.Quiescent(0);
  }
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 20'001u);
  EXPECT_LE(shared.connections->charged_embryonic(EndpointId{0}), 64u);
  Sent(kPodPort);
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Udp(7, 7), FromB().Ip4(kB, kA).Udp(8, 8)});
  EXPECT_EQ(Sent(kPodPort).size(), 2u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 20'002u) << "7 to 7 was still there";
}

/// A worker that falls behind, with one established flow (UDP 1 to 1 from pod a) and a flood beside it.
class OverloadTest : public FloodTest {
 protected:
  OverloadTest() {
    Establish(1);
    worker->now_ms += 1000;
    FallBehind();
  }
  /// No burst was less than full for a while.
  void FallBehind() {
    for (uint32_t i = 0; i < 100; ++i) worker->misses.Ran(shared.tsc_per_ms, true);
  }
  void CatchUp() { worker->misses.Ran(0, false); }
  void Establish(uint16_t port) {
    Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(port, port)});
    Receive(kPodPortB, {FromB().Ip4(kB, kA).Udp(port, port)});
  }
  using Packet = std::function<Frame(uint16_t port, uint16_t other)>;
  static Frame Syn(uint16_t port, uint16_t other) { return FromPod().Ip4(kA, kB).Tcp(port, other, kSyn); }

  /// kPerMs packets a millisecond, each with other ports, and an established one for every hundred.
  void Flood(const Packet& packet, uint32_t ms) {
    for (; ms > 0; --ms) {
      ++worker->now_ms;
      ++turn;
      for (uint32_t i = 0; i < kPerMs; ++i) {
        Receive(kPodPort, {packet(static_cast<uint16_t>(1000 + i), turn)});
        if (i % 100 == 0) Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(1, 1)});
        if (i % 32 == 0) shared.qsbr.Quiescent(0);
      }
    }
  }
  /// Until the limiter knows it: a test's millisecond is many real ones.
  void BeginFlood(const Packet& packet = Syn) { Flood(packet, 8); }
  /// What share of another five milliseconds of it is refused.
  double RefusedShare(const Packet& packet) {
    BeginFlood(packet);
    const uint64_t before = Refused();
    Flood(packet, 5);
    return static_cast<double>(Refused() - before) / (5 * kPerMs);
  }
  /// The flow entry of the packet, from pod a, is evicted; false if it had none.
  bool Forget(const Frame& frame) {
    const MbufPtr m = frame.Mbuf();
    const podwire::Packet p = ParseOne(*worker->tables, m, kPodPort);
    return worker->flows.Erase(p.key, FlowHash(p.key, shared.hash_seed));
  }
  uint64_t Refused() const { return Drops(DropReason::kOverload); }

  uint16_t turn = 1000;
};

TEST_F(OverloadTest, EstablishedPacketsPassAndSynsAreRefused) {
  const double share = RefusedShare(Syn);
  EXPECT_GT(share, kMostRefused);
  EXPECT_LT(share, 1) << "a few always pass";
  EXPECT_EQ(Count(Counter::kFlowHits), 13u * kPerMs / 100) << "none was lost, none decided again";
  EXPECT_EQ(Refused() + Count(Counter::kSent), Count(Counter::kReceived));
}

TEST_F(OverloadTest, AfterTheFloodNewConnectionsPassAtOnce) {
  BeginFlood();
  const uint64_t before = Refused(), sent = Count(Counter::kSent);
  CatchUp();
  ++worker->now_ms;
  for (uint16_t port = 1; port <= 1000; ++port) {
    Receive(kPodPort, {Syn(port, 9)});
    if (port % 32 == 0) shared.qsbr.Quiescent(0);
  }
  EXPECT_EQ(Refused(), before);
  EXPECT_EQ(Count(Counter::kSent), sent + 1000);
}

TEST_F(OverloadTest, AStormOfNewConnectionsPasses) {
  for (uint16_t port = 1; port <= 250; ++port) {
    if (port % 50 == 0) ++worker->now_ms;
    Receive(kPodPort, {Syn(port, 9), FromPod().Ip4(kA, kB).Udp(1, 1)});
    if (port % 32 == 0) shared.qsbr.Quiescent(0);
  }
  EXPECT_EQ(Refused(), 0u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 1u + 250);
}

TEST_F(OverloadTest, AnotherPodsNewConnectionsPass) {
  BeginFlood();
  for (uint16_t port = 1; port <= 20; ++port) {
    Flood(Syn, 1);
    const uint64_t before = Refused(), created = Count(Counter::kConnectionsCreated);
    Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(port, 80, kSyn)});
    EXPECT_EQ(Refused(), before);
    EXPECT_EQ(Count(Counter::kConnectionsCreated), created + 1);
  }
}

TEST_F(OverloadTest, AConnectionWhoseFlowEntryIsGoneIsFound) {
  for (uint16_t port = 500; port < 520; ++port) Establish(port);
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(400, 80, kSyn)});
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(80, 400, kSynAck)});
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(400, 80, kAck)});
  BeginFlood();
  for (uint16_t port = 500; port < 520; ++port) ASSERT_TRUE(Forget(FromPod().Ip4(kA, kB).Udp(port, port)));
  ASSERT_TRUE(Forget(FromPod().Ip4(kA, kB).Tcp(400, 80, kAck)));
  const uint64_t refused = Refused(), sent = Count(Counter::kSent), misses = Count(Counter::kFlowMisses);
  for (uint16_t port = 500; port < 520; ++port) Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(port, port)});
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(400, 80, kAck)});
  EXPECT_EQ(Count(Counter::kFlowMisses), misses + 21);
  EXPECT_EQ(Refused(), refused);
  EXPECT_EQ(Count(Counter::kSent), sent + 21);
}

TEST_F(OverloadTest, WhoFloodsMayStillAnswer) {
  BeginFlood();
  Receive(kPodPortB, {FromB().Ip4(kB, kA).Tcp(400, 80, kSyn)});
  const uint64_t refused = Refused(), sent = Count(Counter::kSent);
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(80, 400, kSynAck)});
  EXPECT_EQ(Refused(), refused);
  EXPECT_EQ(Count(Counter::kSent), sent + 1);
}

TEST_F(OverloadTest, ARefusedSynIsNotEvenLookedFor) {
  BeginFlood();
  CatchUp();
  Receive(kPodPort, {Syn(400, 80)});
  ASSERT_FALSE(Forget(Syn(400, 80))) << "the flow table is crowded: it was not entered";
  FallBehind();
  const uint64_t refused = Refused();
  Receive(kPodPort, {Syn(400, 80)});
  EXPECT_EQ(Refused(), refused + 1) << "though its connection is there";
}

TEST_F(OverloadTest, DatagramsSegmentsPingsAndErrorsAreRefusedToo) {
  EXPECT_GT(
      RefusedShare([](uint16_t port, uint16_t other) { return FromPod().Ip4(kA, kB).Udp(port, other); }),
      kMostRefused);
  EXPECT_GT(RefusedShare(
                [](uint16_t port, uint16_t other) { return FromPod().Ip4(kA, kB).Tcp(port, other, kAck); }),
            kMostRefused);
  EXPECT_GT(RefusedShare([](uint16_t port, uint16_t other) {
              return FromPod().Ip4(kA, "10.244.1.1").Icmp(8, 0, port, other);
            }),
            kMostRefused);
  EXPECT_GT(RefusedShare([](uint16_t port, uint16_t other) {
              return FromPod().Ip4(kA, kB).Icmp(3, 3).Raw(Frame().Ip4(kB, kA).Udp(other, port).Build());
            }),
            kMostRefused);
  EXPECT_EQ(Count(Counter::kFlowHits), 4u * 13 * kPerMs / 100);
}

TEST_F(OverloadTest, WhatIsDeniedIsRefused) {
  Publish(WithPolicies({R"({"metadata":{"name":"one"},"spec":{"podSelector":{"matchLabels":{"app":"b"}},
           "ingress":[{"ports":[{"protocol":"UDP","port":1}]}]}})"}));
  const double share =
      RefusedShare([](uint16_t port, uint16_t other) { return FromPod().Ip4(kA, kB).Udp(port, other); });
  EXPECT_GT(share, kMostRefused);
  EXPECT_LT(share, 1);
  EXPECT_GT(Drops(DropReason::kPolicyDeniedIngress), 0u);
  EXPECT_EQ(Count(Counter::kSent), 2u + 13 * kPerMs / 100);
}

TEST_F(FloodTest, InACrowdedFlowTableFlowsOfOnePacketPutOutNobody) {
  const uint64_t capacity = worker->flows.capacity();
  for (uint32_t i = 0; i < 5 * capacity; ++i) {
    Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(static_cast<uint16_t>(1 + i), 80, kSyn)});
    if (i % 32 == 0) shared.qsbr.Quiescent(0);
  }
  EXPECT_EQ(worker->flows.evicted(), 0u);
  EXPECT_LE(worker->flows.size(), capacity / 4 * 3 + 1);
  const uint64_t hits = Count(Counter::kFlowHits);
  for (int i = 0; i < 3; ++i) Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(1, 1)});
  EXPECT_EQ(Count(Counter::kFlowHits), hits + 1) << "the second packet is entered, the third finds it";
}

TEST_F(FloodTest, InACrowdedFlowTableADeniedFlowIsEnteredInTheEnd) {
  Publish(
      WithPolicies({R"({"metadata":{"name":"closed"},"spec":{"podSelector":{"matchLabels":{"app":"b"}}}})"}));
  for (uint32_t i = 0; i < 5000; ++i)
    Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(static_cast<uint16_t>(1 + i), 80)});
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 5000u);
  const uint64_t hits = Count(Counter::kFlowHits);
  for (int i = 0; i < 20; ++i) Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(9, 9)});
  EXPECT_GE(Count(Counter::kFlowHits), hits + 12);
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 5020u);
}

}  // namespace flood_test
}  // namespace podwire::testing
