#include "switch/open_limiter.h"

#include <gtest/gtest.h>

namespace podwire {
namespace {

constexpr uint64_t kTscPerMs = 3'000'000;

// How many of `offered` a millisecond pass in the next `ms`, per millisecond.
uint32_t Passed(OpenLimiter& limiter, uint32_t& now_ms, uint32_t ms, uint32_t offered, bool behind,
                uint64_t& hits, uint64_t hits_per_ms) {
  uint32_t passed = 0;
  for (uint32_t i = 0; i < ms; ++i) {
    ++now_ms;
    for (uint32_t n = 0; n < offered; ++n)
      passed += limiter.Admit(now_ms, behind ? now_ms - 10 : now_ms, hits) ? 1 : 0;
    hits += hits_per_ms;
  }
  return passed / ms;
}

struct OpenLimiterTest : testing::Test {
  void Cost(uint64_t cycles) {
    for (int i = 0; i < 200; ++i) limiter.Learn(cycles);
  }
  OpenLimiter limiter{kTscPerMs};
  uint32_t now_ms = 100;
  uint64_t hits = 0;
};

TEST_F(OpenLimiterTest, HalfOfTheTimeWhileTheWorkerIsBehindWithEstablishedOnes) {
  Cost(3000);  // 1 us: 500 in half a millisecond
  Passed(limiter, now_ms, 1, 1, true, hits, 1000);
  EXPECT_NEAR(Passed(limiter, now_ms, 10, 5000, true, hits, 1000), 500, 20);
  Cost(1500);
  EXPECT_NEAR(Passed(limiter, now_ms, 10, 5000, true, hits, 1000), 1000, 40);
}

TEST_F(OpenLimiterTest, AQuarterMillionASecondAlwaysPass) {
  Cost(30'000);  // 10 us
  EXPECT_EQ(Passed(limiter, now_ms, 100, 250, true, hits, 1000), 250u);
  EXPECT_EQ(Passed(limiter, now_ms, 100, 5000, true, hits, 1000), OpenLimiter::kAlwaysPerMs);
}

TEST_F(OpenLimiterTest, AWorkerThatKeepsUpOrHasNothingElseToDoOpensAll) {
  Cost(30'000);
  EXPECT_EQ(Passed(limiter, now_ms, 10, 5000, false, hits, 1000), 5000u);
  Passed(limiter, now_ms, 1, 1, true, hits, 0);
  EXPECT_EQ(Passed(limiter, now_ms, 10, 5000, true, hits, 0), 5000u);
}

TEST_F(OpenLimiterTest, AnOutlierMovesTheCostByLittle) {
  Cost(1500);
  limiter.Learn(1'000'000'000);
  Passed(limiter, now_ms, 1, 1, true, hits, 1000);
  EXPECT_GT(Passed(limiter, now_ms, 1, 5000, true, hits, 1000), 750u);
}

}  // namespace
}  // namespace podwire
