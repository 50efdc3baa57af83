// Floods of new connections through the whole packet path.
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace {

constexpr const char* kA = "10.244.1.2";
constexpr const char* kB = "10.244.1.3";
constexpr uint8_t kSyn = 0x02, kAck = 0x10, kSynAck = kSyn | kAck;

Frame FromB() { return Frame().Eth(kGatewayMac, kPodMacB); }

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

TEST_F(FloodTest, NewConnectionsGiveWayToEstablishedOnesUnderOverload) {
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(1, 1)});
  worker->now_ms += 1000;  // and no burst was less than full
  uint64_t established = 0;
  for (uint32_t ms = 0; ms < 5; ++ms, ++worker->now_ms) {
    for (uint32_t i = 0; i < 20'000; ++i) {
      Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(static_cast<uint16_t>(1 + i), 80 + ms, kSyn)});
      if (i % 100 == 0) Receive(kPodPort, {FromPod().Ip4(kA, kB).Udp(1, 1)}), ++established;
      if (i % 32 == 0) shared.qsbr.Quiescent(0);
    }
  }
  EXPECT_GT(Drops(DropReason::kOverload), 40'000u);
  EXPECT_GT(Count(Counter::kConnectionsCreated), 5 * OpenLimiter::kAlwaysPerMs);
  EXPECT_EQ(Count(Counter::kFlowHits), established) << "none was lost, none decided again";
  EXPECT_EQ(Drops(DropReason::kOverload) + Count(Counter::kSent), Count(Counter::kReceived));
  const uint64_t before = Drops(DropReason::kOverload);
  worker->drained_ms = worker->now_ms;
  Receive(kPodPort, {FromPod().Ip4(kA, kB).Tcp(9, 9, kSyn)});
  EXPECT_EQ(Drops(DropReason::kOverload), before);
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

}  // namespace
}  // namespace podwire::testing
