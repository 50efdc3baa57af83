#include "switch/event_ring.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace podwire {
namespace event_ring_test {

constexpr DropReason kDenied = DropReason::kPolicyDeniedIngress;

std::vector<PacketEvent> TakeAll(EventRing& ring) {
  std::vector<PacketEvent> all(EventRing::kCapacity);
  all.resize(ring.Take(all));
  return all;
}

TEST(EventRingTest, GivesBackWhatWasPutInInOrder) {
  EventRing ring;
  for (uint16_t i = 0; i < 100; ++i)
    ring.Put({.tsc = i,
              .tuple = {.src = Ipv4{7}, .dst_port = i, .proto = 6},
              .victim = EndpointId(3),
              .reason = kDenied});
  const auto events = TakeAll(ring);
  ASSERT_EQ(events.size(), 100u);
  for (uint16_t i = 0; i < 100; ++i) {
    EXPECT_EQ(events[i].tsc, i);
    EXPECT_EQ(events[i].tuple.src, IpAddress(Ipv4{7}));
    EXPECT_EQ(events[i].tuple.dst_port, i);
    EXPECT_EQ(events[i].victim, EndpointId(3));
    EXPECT_EQ(events[i].reason, kDenied);
  }
  EXPECT_TRUE(TakeAll(ring).empty());
}

TEST(EventRingTest, AFullRingLosesTheNewestAndCountsVerdicts) {
  EventRing ring;
  for (uint32_t i = 0; i < EventRing::kCapacity + 10; ++i) ring.Put({.tsc = i, .kind = EventKind::kVerdict});
  EXPECT_EQ(ring.verdicts_left_out(), 10u);
  const auto events = TakeAll(ring);
  ASSERT_EQ(events.size(), EventRing::kCapacity);
  EXPECT_EQ(events.back().tsc, EventRing::kCapacity - 1);
}

TEST(EventRingTest, NoCreditBeforeTheFirstTick) {
  EventRing ring;
  EXPECT_FALSE(ring.WantsDrop(EndpointId(1), kDenied));
}

TEST(EventRingTest, UnwatchedDropsAreTakenOnceASecond) {
  EventRing ring;
  uint32_t wanted = 0;
  for (uint32_t ms = 5; ms < 3005; ++ms) {
    ring.Tick(ms, false);
    for (int i = 0; i < 10; ++i) wanted += ring.WantsDrop(EndpointId(1), kDenied);
  }
  EXPECT_EQ(wanted, 3u);
}

TEST(EventRingTest, WatchedDropsAreTakenAtTheirRateFromTheNextTickOn) {
  EventRing ring;
  ring.Tick(1, false);
  ring.WantsDrop(EndpointId(1), kDenied);
  ring.Tick(1 + EventRing::kWatchedPeriodMs, true);
  uint32_t wanted = 0;
  for (uint32_t ms = 0; ms < 1000; ++ms) {
    ring.Tick(11 + ms, true);
    for (int i = 0; i < 10; ++i) wanted += ring.WantsDrop(EndpointId(1), kDenied);
  }
  EXPECT_EQ(wanted, 1000u / EventRing::kWatchedPeriodMs * EventRing::kWatchedDrops);
}

TEST(EventRingTest, AFloodOfOnePodLeavesTheOthersTheirCredit) {
  EventRing ring;
  ring.Tick(1, true);
  for (int i = 0; i < 1000; ++i) ring.WantsDrop(EndpointId(1), kDenied);
  EXPECT_FALSE(ring.WantsDrop(EndpointId(1), kDenied));
  EXPECT_TRUE(ring.WantsDrop(EndpointId(1), DropReason::kNoRoute));
  EXPECT_TRUE(ring.WantsDrop(EndpointId(2), kDenied));
  EXPECT_TRUE(ring.WantsDrop(kNoEndpoint, DropReason::kMalformed));
}

TEST(EventRingTest, TimeWrapsAround) {
  EventRing ring;
  ring.Tick(UINT32_MAX - 3, true);
  while (ring.WantsDrop(EndpointId(1), kDenied)) {
  }
  ring.Tick(EventRing::kWatchedPeriodMs, true);
  EXPECT_TRUE(ring.WantsDrop(EndpointId(1), kDenied));
}

TEST(EventRingTest, VerdictsBeyondTheCreditAreCounted) {
  EventRing ring;
  ring.Tick(1, false);
  uint32_t wanted = 0;
  for (int i = 0; i < 50; ++i) wanted += ring.WantsVerdict(EndpointId(1), DropReason::kNone);
  EXPECT_EQ(wanted, EventRing::kVerdicts);
  EXPECT_EQ(ring.verdicts_left_out(), 50u - EventRing::kVerdicts);
  ring.Tick(1 + EventRing::kWatchedPeriodMs, false);
  EXPECT_TRUE(ring.WantsVerdict(EndpointId(1), DropReason::kNone)) << "whoever watches drops or not";
}

// For TSan: the two sides of the ring.
TEST(EventRingTest, OneThreadPutsWhileAnotherTakes) {
  EventRing ring;
  constexpr uint64_t kEvents = 200'000;
  std::atomic<uint64_t> put{0};
  std::thread worker([&] {
    for (uint64_t i = 0; i < kEvents; ++i) {
      ring.Put({.tsc = i, .victim = EndpointId(static_cast<uint32_t>(i))});
      put.store(i + 1, std::memory_order_relaxed);
    }
  });
  uint64_t last = 0, taken = 0;
  while (put.load(std::memory_order_relaxed) < kEvents || taken == 0) {
    for (const PacketEvent& e : TakeAll(ring)) {
      ASSERT_EQ(e.victim.value(), static_cast<uint32_t>(e.tsc));
      ASSERT_TRUE(taken == 0 || e.tsc > last);
      last = e.tsc;
      ++taken;
    }
  }
  worker.join();
  EXPECT_GT(taken, 0u);
}

}  // namespace event_ring_test
}  // namespace podwire
