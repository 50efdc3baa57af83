#include "switch/events.h"

#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace events_test {

constexpr const char* kA = "10.244.1.2";
constexpr const char* kB = "10.244.1.3";
constexpr const char* kDenyIngress =
    R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}}}})";
constexpr const char* kDenyEgress =
    R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"]}})";
constexpr uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10;
constexpr EndpointId kSlotA(0), kSlotB(1);

Frame Ask(uint16_t src_port, uint8_t flags = kSyn) { return FromPod().Ip4(kA, kB).Tcp(src_port, 80, flags); }
Frame Answer(uint16_t port) { return Frame().Eth(kGatewayMac, kPodMacB).Ip4(kB, kA).Tcp(80, port, kSynAck); }

class EventsTest : public PipelineTest {
 protected:
  std::vector<PacketEvent> Events() {
    std::vector<PacketEvent> all(EventRing::kCapacity);
    all.resize(worker->events.Take(all));
    return all;
  }
  void Tick(bool watched = true) { worker->events.Tick(worker->now_ms, watched); }
  /// Both pods' verdicts are logged so.
  void Log(Tables t, PolicyLogLevel a, PolicyLogLevel b) {
    t.endpoints[kSlotA.value()].policy_log = a;
    t.endpoints[kSlotB.value()].policy_log = b;
    t.logs_policy = true;
    Publish(std::move(t));
    Tick();
  }
};

TEST_F(EventsTest, ADropTellsItsReasonTupleAndPod) {
  Publish(WithPolicies({kDenyIngress}));
  Tick();
  Receive(kPodPort, {Ask(40000)});
  const auto events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::kDrop);
  EXPECT_EQ(events[0].reason, DropReason::kPolicyDeniedIngress);
  EXPECT_EQ(events[0].victim, kSlotB);
  EXPECT_EQ(events[0].in_port, kPodPort);
  EXPECT_EQ(events[0].tuple.src, Ip(kA));
  EXPECT_EQ(events[0].tuple.dst, Ip(kB));
  EXPECT_EQ(events[0].tuple.src_port, 40000);
  EXPECT_EQ(events[0].tuple.dst_port, 80);
  EXPECT_EQ(events[0].tuple.proto, 6);
  EXPECT_NE(events[0].tsc, 0u);
}

TEST_F(EventsTest, AFloodIsCountedWholeAndToldOfInPart) {
  Publish(WithPolicies({kDenyEgress}));
  Tick();
  for (uint16_t i = 0; i < 50; ++i) Receive(kPodPort, {Ask(static_cast<uint16_t>(40000 + i))});
  const auto events = Events();
  ASSERT_EQ(events.size(), EventRing::kWatchedDrops);
  EXPECT_EQ(events[0].victim, kSlotA);
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedEgress), 50u);
}

TEST_F(EventsTest, WhatIsNoPacketOfAFlowIsToldOfToo) {
  Tick();
  Receive(kPodPort, {Frame().Eth(kGatewayMac, kPodMacB).Ip4(kA, kB).Udp(1, 2)});
  const auto events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, DropReason::kSpoofedMac);
}

TEST_F(EventsTest, ACutIsToldOfOnceWithoutAnyCredit) {
  Receive(kPodPort, {Ask(40000)});
  Receive(kPodPortB, {Answer(40000)});
  Publish(WithPolicies({kDenyIngress}));
  Receive(kPodPortB, {Answer(40000)});
  Receive(kPodPort, {Ask(40000, kAck)});
  const auto events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::kCut);
  EXPECT_EQ(events[0].reason, DropReason::kPolicyDeniedIngress);
  EXPECT_EQ(events[0].victim, kSlotB);
  EXPECT_EQ(events[0].tuple.src, Ip(kA)) << "the original direction, whichever packet found it";
}

TEST_F(EventsTest, VerdictsAreToldOfOnlyWhereALogIsWanted) {
  Tick(false);
  Receive(kPodPort, {Ask(40000)});
  EXPECT_TRUE(Events().empty());
  Log(WithPolicies({}), PolicyLogLevel::kOff, PolicyLogLevel::kDenied);
  Receive(kPodPort, {Ask(40001)});
  EXPECT_TRUE(Events().empty()) << "it was allowed";
  Log(WithPolicies({}), PolicyLogLevel::kOff, PolicyLogLevel::kAll);
  Receive(kPodPort, {Ask(40002)});
  Receive(kPodPortB, {Answer(40002)});
  Receive(kPodPort, {Ask(40002, kAck)});
  const auto events = Events();
  ASSERT_EQ(events.size(), 1u) << "a connection has one first packet";
  EXPECT_EQ(events[0].kind, EventKind::kVerdict);
  EXPECT_EQ(events[0].reason, DropReason::kNone);
  EXPECT_EQ(events[0].tuple.src_port, 40002);
}

TEST_F(EventsTest, ADeniedConnectionIsLoggedForEitherEnd) {
  const PolicyLogLevel off = PolicyLogLevel::kOff, denied = PolicyLogLevel::kDenied;
  for (const auto& [a, b, want] : {std::tuple{denied, off, 1}, {off, denied, 1}, {off, off, 0}}) {
    Log(WithPolicies({kDenyIngress}), a, b);
    worker->now_ms += 1000;
    Tick();
    const auto port = static_cast<uint16_t>(41000 + worker->now_ms / 1000);
    Receive(kPodPort, {Ask(port)});
    int verdicts = 0;
    for (const PacketEvent& e : Events()) {
      if (e.kind != EventKind::kVerdict) continue;
      ++verdicts;
      EXPECT_EQ(e.reason, DropReason::kPolicyDeniedIngress);
      EXPECT_EQ(e.victim, kSlotB);
    }
    EXPECT_EQ(verdicts, want);
  }
}

TEST_F(EventsTest, DeniedWithoutARouteIsAVerdictNoRouteAloneIsNone) {
  Log(WithPolicies({kDenyEgress}), PolicyLogLevel::kAll, PolicyLogLevel::kAll);
  Receive(kPodPort, {FromPod().Ip4(kA, "203.0.113.9").Tcp(40000, 80, kSyn)});
  auto events = Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, EventKind::kVerdict);
  EXPECT_EQ(events[0].reason, DropReason::kPolicyDeniedEgress);
  EXPECT_EQ(events[1].kind, EventKind::kDrop);
  Log(WithPolicies({}), PolicyLogLevel::kAll, PolicyLogLevel::kAll);
  worker->now_ms += 1000;
  Tick();
  Receive(kPodPort, {FromPod().Ip4(kA, "203.0.113.9").Tcp(40001, 80, kSyn)});
  events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::kDrop);
  EXPECT_EQ(events[0].reason, DropReason::kNoRoute);
}

}  // namespace events_test
}  // namespace podwire::testing
