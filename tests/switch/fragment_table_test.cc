#include "switch/fragment_table.h"

#include <gtest/gtest.h>

namespace podwire {
namespace fragment_table_test {

FragmentKey<Ipv4> Key(uint32_t id) {
  return {.src = {0x0100000a}, .dst = {0x0200000a}, .id_be = id, .in_port = PortId{3}, .proto = 17};
}

TEST(FragmentTable, FindsThePortsOfTheSameDatagramOnly) {
  FragmentTable table(7);
  table.Learn(Key(1), {0x1111, 0x2222}, 0);
  const auto found = table.Find(Key(1), 10);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->src_be, 0x1111);
  EXPECT_EQ(found->dst_be, 0x2222);
  EXPECT_FALSE(table.Find(Key(2), 10).has_value());
  FragmentKey<Ipv4> other = Key(1);
  other.proto = 6;
  EXPECT_FALSE(table.Find(other, 10).has_value());
  other = Key(1);
  other.in_port = PortId{4};  // another pod that forges the addresses
  EXPECT_FALSE(table.Find(other, 10).has_value());
  other = Key(1);
  std::swap(other.src, other.dst);
  EXPECT_FALSE(table.Find(other, 10).has_value());
}

TEST(FragmentTable, EmptyFindsNothingNotEvenZeros) {
  const FragmentTable table(7);
  EXPECT_FALSE(table.Find({}, 0).has_value());
}

TEST(FragmentTable, ForgetsAfterItsLifetimeAlsoAcrossTheWrap) {
  FragmentTable table(7);
  const uint32_t then = UINT32_MAX - 100;
  table.Learn(Key(1), {1, 2}, then);
  EXPECT_TRUE(table.Find(Key(1), then + FragmentTable::kLifetimeMs).has_value());
  EXPECT_FALSE(table.Find(Key(1), then + FragmentTable::kLifetimeMs + 1).has_value());
}

TEST(FragmentTable, ReusedIdentificationTakesTheNewPorts) {
  FragmentTable table(7);
  table.Learn(Key(1), {1, 2}, 0);
  table.Learn(Key(1), {3, 4}, 20'000);
  const auto found = table.Find(Key(1), 40'000);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->src_be, 3);
}

TEST(FragmentTable, FullGivesUpTheOldest) {
  FragmentTable table(7);
  constexpr uint32_t kCount = FragmentTable::kSets * FragmentTable::kWays * 4;
  for (uint32_t i = 0; i < kCount; ++i) table.Learn(Key(i), {static_cast<uint16_t>(i), 0}, i / 100);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    const auto found = table.Find(Key(i), kCount / 100);
    if (!found.has_value()) continue;
    ++kept;
    EXPECT_EQ(found->src_be, static_cast<uint16_t>(i));
  }
  EXPECT_EQ(kept, FragmentTable::kSets * FragmentTable::kWays);
  for (uint32_t i = kCount - 1000; i < kCount; ++i)
    EXPECT_TRUE(table.Find(Key(i), kCount / 100).has_value()) << i;
}

}  // namespace fragment_table_test
}  // namespace podwire
