#include "switch/latency.h"

#include <gtest/gtest.h>

namespace podwire {
namespace latency_test {

TEST(LatencyTest, BucketsAreSeamlessAndASixteenthWide) {
  uint64_t begin = 0;
  for (uint32_t bucket = 0; bucket < LatencyHistogram::kBuckets; ++bucket) {
    const uint64_t end = LatencyHistogram::HighestOf(bucket);
    ASSERT_GE(end, begin) << bucket;
    ASSERT_EQ(LatencyHistogram::BucketOf(begin), bucket);
    ASSERT_EQ(LatencyHistogram::BucketOf(end), bucket);
    ASSERT_LE(end - begin, begin / 16) << bucket;
    begin = end + 1;
  }
  EXPECT_EQ(begin, uint64_t{1} << LatencyHistogram::kMaxBits);
  EXPECT_EQ(LatencyHistogram::BucketOf(UINT64_MAX), LatencyHistogram::kBuckets - 1);
}

TEST(LatencyTest, NothingRecordedIsAllZero) {
  const LatencyHistogram h;
  const auto s = h.Summarize();
  EXPECT_EQ(s.samples, 0u);
  EXPECT_EQ(s.p50, 0u);
  EXPECT_EQ(s.max, 0u);
}

TEST(LatencyTest, PercentilesAreWithinASixteenthAbove) {
  LatencyHistogram h;
  for (uint64_t v = 1; v <= 100'000; ++v) h.Record(v, 1);
  const auto s = h.Summarize();
  EXPECT_EQ(s.samples, 100'000u);
  EXPECT_EQ(s.max, 100'000u);
  const std::pair<uint64_t, uint64_t> expected[] = {{s.p50, 50'000}, {s.p99, 99'000}, {s.p999, 99'900}};
  for (const auto& [seen, exact] : expected) {
    EXPECT_GE(seen, exact);
    EXPECT_LE(seen, exact + exact / 16);
  }
}

TEST(LatencyTest, ABurstCountsByItsPackets) {
  LatencyHistogram h;
  h.Record(10, 97);
  h.Record(5000, 2);
  h.Record(uint64_t{1} << 60, 1);
  const auto s = h.Summarize();
  EXPECT_EQ(s.samples, 100u);
  EXPECT_EQ(s.p50, 10u);
  EXPECT_GE(s.p99, 5000u);
  EXPECT_LT(s.p99, 5400u);
  EXPECT_GE(s.p999, uint64_t{1} << 39) << "in the last bucket";
  EXPECT_EQ(s.max, uint64_t{1} << 60) << "exact whatever the bucket";
}

}  // namespace latency_test
}  // namespace podwire
