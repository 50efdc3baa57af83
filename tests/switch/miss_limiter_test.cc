#include "switch/miss_limiter.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace podwire {
namespace miss_limiter_test {

constexpr uint64_t kTscPerMs = 3'000'000;
constexpr uint32_t kBurst = 32;

/// A source that offers so many misses a millisecond, and how many of them were admitted.
struct Load {
  uint32_t source, offered;
  bool fruitless = false;
  uint64_t admitted = 0;
};

class MissLimiterTest : public ::testing::Test {
 protected:
  /// A millisecond in bursts of one source each, in turns; returns the cycles spent.
  uint64_t Millisecond(std::vector<Load>& loads) {
    ++now_ms;
    hits += hits_per_ms;
    uint64_t spent = 0;
    std::vector<uint32_t> left;
    for (const Load& l : loads) left.push_back(l.offered);
    for (bool more = true; more;) {
      more = false;
      for (size_t i = 0; i < loads.size(); ++i) {
        const uint32_t n = std::min(kBurst, left[i]);
        left[i] -= n;
        more |= left[i] != 0;
        if (n != 0) spent += Burst(loads[i], n);
      }
    }
    return spent;
  }
  uint64_t Burst(Load& load, uint32_t n) {
    const bool limiting = limiter.Begin(now_ms, hits);
    uint32_t admitted = 0;
    for (uint32_t k = 0; k < n; ++k) admitted += !limiting || limiter.Admit(load.source) ? 1 : 0;
    for (uint32_t k = 0; limiting && k < admitted; ++k) limiter.Account(load.source, load.fruitless);
    if (limiting && admitted != 0) limiter.End(uint64_t{admitted} * cost, admitted);
    limiter.Ran(uint64_t{admitted} * cost + kTscPerMs / 100, behind);
    load.admitted += admitted;
    return uint64_t{admitted} * cost;
  }
  /// Mean of so many milliseconds.
  double Spent(std::vector<Load>& loads, uint32_t ms) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < ms; ++i) sum += Millisecond(loads);
    return static_cast<double>(sum) / ms;
  }

  MissLimiter limiter{kTscPerMs};
  bool behind = true;
  uint32_t now_ms = 100;
  uint64_t cost = 1000, hits = 0, hits_per_ms = 1000;
};

constexpr double kUseful = static_cast<double>(kTscPerMs) / MissLimiter::kUsefulShare;
constexpr double kFruitless = static_cast<double>(kTscPerMs) / MissLimiter::kFruitlessShare;

TEST_F(MissLimiterTest, WhatOpensConnectionsGetsAQuarterOfTheTime) {
  std::vector<Load> loads{{.source = 1, .offered = 20'000}};
  Spent(loads, 60);
  EXPECT_NEAR(Spent(loads, 200), kUseful, kUseful / 5);
  cost = 3000;
  Spent(loads, 10);
  EXPECT_NEAR(Spent(loads, 200), kUseful, kUseful / 5);
}

TEST_F(MissLimiterTest, WhatIsFruitlessGetsA64th) {
  std::vector<Load> loads{{.source = 1, .offered = 20'000, .fruitless = true}};
  Spent(loads, 20);
  EXPECT_NEAR(Spent(loads, 200), kFruitless, kFruitless / 3);
}

TEST_F(MissLimiterTest, AFloodGetsTheCreditOnce) {
  std::vector<Load> loads{{.source = 1, .offered = 3000, .fruitless = true}};  // the whole time
  EXPECT_LT(100 * Spent(loads, 100), kTscPerMs * (MissLimiter::kFruitlessCreditMs + 3) + 100 * kFruitless);
  EXPECT_LT(Spent(loads, 1), 2 * kFruitless);
}

TEST_F(MissLimiterTest, InTheLongRunAFloodWithPausesGetsNoMoreThanOneWithout) {
  double spent = 0;
  for (int i = 0; i < 100; ++i) {
    std::vector<Load> loads{{.source = 1, .offered = 3000}};
    spent += 10 * Spent(loads, 10);
    now_ms += 10;
    hits += 10 * hits_per_ms;
  }
  EXPECT_LT(spent / 2000, kUseful * 1.2);
}

TEST_F(MissLimiterTest, AStormOfConnectionsIsNoFlood) {
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<Load> pods;
    for (uint32_t i = 0; i < 128; ++i) pods.push_back({.source = i, .offered = 8});  // 1,000 pods, one each
    Spent(pods, 20);
    for (const Load& l : pods) EXPECT_EQ(l.admitted, 20u * l.offered);
    now_ms += 200;
    hits += 200 * hits_per_ms;
  }
}

TEST_F(MissLimiterTest, ManyThatAreDeniedForAMomentAreNoFlood) {
  std::vector<Load> pods;
  for (uint32_t i = 0; i < 128; ++i) pods.push_back({.source = i, .offered = 4, .fruitless = true});
  Spent(pods, 10);
  for (const Load& l : pods) EXPECT_EQ(l.admitted, 10u * l.offered);
}

TEST_F(MissLimiterTest, AfterAFloodTheNextStormPasses) {
  std::vector<Load> flood{{.source = 1, .offered = 20'000},
                          {.source = 2, .offered = 20'000, .fruitless = true}};
  Spent(flood, 300);
  now_ms += 200;
  hits += 200 * hits_per_ms;
  std::vector<Load> storm{{.source = 3, .offered = 2000}, {.source = 4, .offered = 100, .fruitless = true}};
  Spent(storm, 5);
  EXPECT_EQ(storm[0].admitted, 5u * 2000);
  EXPECT_EQ(storm[1].admitted, 5u * 100);
}

TEST_F(MissLimiterTest, AWorkerThatWasHeldUpIsNotBehind) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(limiter.Begin(now_ms += 20, hits += 1000));
    limiter.Ran(20 * kTscPerMs, true);
  }
  limiter.Ran(1000, false);
  for (int i = 0; i < 100; ++i) limiter.Ran(kTscPerMs / 100, true);
  EXPECT_FALSE(limiter.Begin(++now_ms, hits += 1000));
  for (int i = 0; i < 100; ++i) limiter.Ran(kTscPerMs / 100 + 1, true);
  EXPECT_TRUE(limiter.Begin(++now_ms, hits += 1000));
  limiter.Ran(1000, false);
  EXPECT_FALSE(limiter.Begin(++now_ms, hits += 1000));
}

TEST_F(MissLimiterTest, OneEstablishedPacketInAWhileIsNoneToProtect) {
  for (int i = 0; i < 20; ++i) limiter.Ran(kTscPerMs, true);
  EXPECT_TRUE(limiter.Begin(++now_ms, hits += 1000));
  EXPECT_FALSE(limiter.Begin(now_ms += 10, hits += 9));
  EXPECT_TRUE(limiter.Begin(now_ms += 10, hits += 10));
}

TEST_F(MissLimiterTest, WhoFloodsTakesNothingFromOthers) {
  std::vector<Load> loads{{.source = 1, .offered = 10'000, .fruitless = true},
                          {.source = 2, .offered = 10'000},
                          {.source = 3, .offered = 20},
                          {.source = 4, .offered = 2, .fruitless = true}};
  Spent(loads, 100);
  loads[2].admitted = loads[3].admitted = 0;
  Spent(loads, 100);
  EXPECT_EQ(loads[2].admitted, 100u * 20);
  EXPECT_EQ(loads[3].admitted, 100u * 2);
}

TEST_F(MissLimiterTest, ManyWhoFloodShareAlike) {
  std::vector<Load> loads;
  for (uint32_t i = 0; i < 10; ++i) loads.push_back({.source = i, .offered = 1000});
  Spent(loads, 60);
  for (Load& l : loads) l.admitted = 0;
  EXPECT_NEAR(Spent(loads, 200), kUseful, kUseful / 5);
  for (const Load& l : loads) EXPECT_NEAR(static_cast<double>(l.admitted) / 200, kUseful / 1000 / 10, 20);
}

TEST_F(MissLimiterTest, EachSourceAlwaysGetsOne) {
  cost = 300'000;
  std::vector<Load> loads;
  for (uint32_t i = 0; i < 100; ++i) loads.push_back({.source = i, .offered = 10});
  Spent(loads, 50);
  for (Load& l : loads) l.admitted = 0;
  Spent(loads, 10);
  for (const Load& l : loads) EXPECT_GE(l.admitted, 10u);
}

TEST_F(MissLimiterTest, AWorkerThatKeepsUpOrHasNothingElseToDoTakesAll) {
  std::vector<Load> loads{{.source = 1, .offered = 20'000}};
  Spent(loads, 50);
  behind = false;
  loads[0].admitted = 0;
  Spent(loads, 10);
  EXPECT_EQ(loads[0].admitted, 10u * 20'000);
  behind = true;
  hits_per_ms = 0;
  Spent(loads, 1);
  loads[0].admitted = 0;
  Spent(loads, 10);
  EXPECT_EQ(loads[0].admitted, 10u * 20'000);
}

TEST_F(MissLimiterTest, AnInterruptCostsAFewMilliseconds) {
  std::vector<Load> loads{{.source = 1, .offered = 20'000}};
  Spent(loads, 100);
  limiter.Begin(now_ms, hits);
  limiter.Admit(2);
  limiter.Account(2, false);
  limiter.End(1'000'000'000, 1);
  EXPECT_GT(Spent(loads, 1), kUseful / 2);
  Spent(loads, 10);
  EXPECT_GT(Spent(loads, 1), kUseful / 2);
}

TEST_F(MissLimiterTest, WhenTheFloodIsOverEverybodyGetsMoreAgain) {
  cost = 100'000;
  std::vector<Load> flood;
  for (uint32_t i = 0; i < 50; ++i) flood.push_back({.source = i, .offered = 100});
  Spent(flood, 100);
  cost = 1000;
  std::vector<Load> one{{.source = 60, .offered = 500}};
  Spent(one, 40);
  one[0].admitted = 0;
  Spent(one, 10);
  EXPECT_EQ(one[0].admitted, 10u * 500);
}

}  // namespace miss_limiter_test
}  // namespace podwire
