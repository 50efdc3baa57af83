#include "switch/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "switch/packet.h"

namespace podwire {
namespace flow_table_test {

constexpr uint64_t kSeed = 0x1234567890abcdef;
using Table = FlowTable<FlowKey4>;
using Entry = FlowEntry<FlowKey4>;

FlowKey4 KeyOf(uint32_t n) {
  return {.src = {0x0a000000 + n},
          .dst = {0x0b000000},
          .src_port_be = 1,
          .dst_port_be = 2,
          .in_port = PortId{1},
          .proto = 6};
}

Packet PacketOf(const FlowKey4& key, uint64_t seed = kSeed) {
  Packet p{};
  p.key = key;
  p.hash = FlowHash(key, seed);
  p.kind = PacketKind::kFlow;
  return p;
}

Entry* Put(Table& t, uint32_t n, uint32_t now_ms) {
  return t.Insert(KeyOf(n), FlowHash(KeyOf(n), t.seed()), now_ms);
}
Entry* Get(const Table& t, uint32_t n) { return t.Find(KeyOf(n), FlowHash(KeyOf(n), t.seed())); }
bool Drop(Table& t, uint32_t n) { return t.Erase(KeyOf(n), FlowHash(KeyOf(n), t.seed())); }

// All look-up ways at once, against what should be there.
void ExpectContent(const Table& t, const std::unordered_map<uint32_t, uint32_t>& expected, uint32_t keys) {
  ASSERT_EQ(t.size(), expected.size());
  std::vector<Packet> burst;
  for (uint32_t first = 0; first < keys; first += Table::kMaxBulk) {
    burst.clear();
    for (uint32_t n = first; n < std::min<uint32_t>(keys, first + Table::kMaxBulk); ++n)
      burst.push_back(PacketOf(KeyOf(n), t.seed()));
    Entry* out[Table::kMaxBulk];
    t.LookupBulk(burst.data(), burst.size(), out);
    for (size_t i = 0; i < burst.size(); ++i) {
      const auto it = expected.find(first + static_cast<uint32_t>(i));
      ASSERT_EQ(out[i] != nullptr, it != expected.end()) << "key " << first + i;
      ASSERT_EQ(out[i], Get(t, first + static_cast<uint32_t>(i)));
      if (out[i] != nullptr) {
        ASSERT_EQ(out[i]->key, burst[i].key);
        ASSERT_EQ(out[i]->conn, it->second);
      }
    }
  }
}

TEST(FlowTable, RandomOperationsAgreeWithAMap) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  Table t(100'000, random());
  std::unordered_map<uint32_t, uint32_t> expected;
  constexpr uint32_t kKeys = 30'000;
  for (uint32_t round = 0; round < 10; ++round) {
    for (uint32_t i = 0; i < 20'000; ++i) {
      const auto n = static_cast<uint32_t>(random() % kKeys);
      if (random() % (round % 2 == 0 ? 4 : 2) == 0) {
        ASSERT_EQ(Drop(t, n), expected.erase(n) == 1);
      } else {
        const auto value = static_cast<uint32_t>(random());
        Put(t, n, round)->conn = value;
        expected[n] = value;
      }
    }
    ExpectContent(t, expected, kKeys);
  }
  EXPECT_EQ(t.evicted(), 0u);
}

// With the same hash for all, everything is one chain of buckets with equal tags.
TEST(FlowTable, EqualHashesAreToldApartByKey) {
  for (const uint32_t hash : {0u, 7u, 0xffff0000u, 0xffffffffu}) {
    Table t(1000, kSeed);
    std::vector<Packet> burst;
    for (uint32_t n = 0; n < 60; ++n) {
      t.Insert(KeyOf(n), hash, 0)->conn = n;
      burst.push_back(PacketOf(KeyOf(n)));
      burst.back().hash = hash;
    }
    Entry* out[Table::kMaxBulk];
    t.LookupBulk(burst.data(), burst.size(), out);
    for (uint32_t n = 0; n < 60; ++n) {
      ASSERT_NE(out[n], nullptr) << n;
      EXPECT_EQ(out[n]->conn, n);
    }
    for (uint32_t n = 0; n < 60; n += 2) EXPECT_TRUE(t.Erase(KeyOf(n), hash));
    t.LookupBulk(burst.data(), burst.size(), out);
    for (uint32_t n = 0; n < 60; ++n) EXPECT_EQ(out[n] != nullptr, n % 2 == 1) << n;
  }
}

TEST(FlowTable, BulkIgnoresPacketsThatAreNoFlows) {
  Table t(1000, kSeed);
  Put(t, 1, 0);
  std::vector<Packet> burst(3, PacketOf(KeyOf(1)));
  burst[1].kind = PacketKind::kIcmpError;
  Entry* out[3];
  t.LookupBulk(burst.data(), burst.size(), out);
  EXPECT_NE(out[0], nullptr);
  EXPECT_EQ(out[1], nullptr);
  EXPECT_EQ(out[2], out[0]);
}

TEST(FlowTable, EmptyFindsNothing) {
  const Table t(1000, kSeed);
  Packet none = PacketOf(FlowKey4{});
  Entry* out = reinterpret_cast<Entry*>(1);
  t.LookupBulk(&none, 1, &out);
  EXPECT_EQ(out, nullptr);
  std::memset(static_cast<void*>(&none.key), 0xff, sizeof none.key);
  t.LookupBulk(&none, 1, &out);
  EXPECT_EQ(out == nullptr || !out->in_use, true);
}

TEST(FlowTable, InPortIsPartOfTheKey) {
  Table t(1000, kSeed);
  Put(t, 1, 0);
  FlowKey4 forged = KeyOf(1);
  forged.in_port = PortId{2};
  EXPECT_EQ(t.Find(forged, FlowHash(forged, kSeed)), nullptr);
}

TEST(FlowTable, InsertAgainResetsTheEntry) {
  Table t(1000, kSeed);
  Entry* e = Put(t, 1, 5);
  e->packets = 7;
  e->reason = DropReason::kNoRoute;
  EXPECT_EQ(Put(t, 1, 9), e);
  EXPECT_EQ(e->packets, 0u);
  EXPECT_EQ(e->reason, DropReason::kNone);
  EXPECT_EQ(e->last_seen_ms, 9u);
  EXPECT_EQ(t.size(), 1u);
}

TEST(FlowTable, FullGivesUpOldOnesAndKeepsItsSize) {
  for (const uint32_t capacity : {1u, 10u, 3000u}) {
    Table t(capacity, kSeed);
    for (uint32_t n = 0; n < 4 * capacity; ++n) {
      Put(t, n, n);
      ASSERT_LE(t.size(), capacity);
      ASSERT_NE(Get(t, n), nullptr) << "the newest stays";
    }
    EXPECT_EQ(t.size(), capacity);
    EXPECT_EQ(t.evicted(), 3 * capacity);
    uint32_t newer = 0;
    for (uint32_t n = 2 * capacity; n < 4 * capacity; ++n) newer += Get(t, n) != nullptr ? 1 : 0;
    EXPECT_GE(newer, capacity * 3 / 4) << "of those kept, most are of the newer half";
  }
}

TEST(FlowTable, WhatWasTakenOutKeepsItsContentForABurst) {
  Table t(100, kSeed);
  for (uint32_t n = 0; n < 100; ++n) Put(t, n, 0)->conn = n;
  const Entry* e = Get(t, 50);
  for (uint32_t n = 100; n < 100 + Table::kQuarantine; ++n) Put(t, n, 1);
  EXPECT_EQ(Get(t, 50), nullptr);
  EXPECT_EQ(e->key, KeyOf(50));
  EXPECT_EQ(e->conn, 50u);
}

TEST(FlowTable, AgeErasesTheIdleInBoundedSteps) {
  Table t(10'000, kSeed);
  for (uint32_t n = 0; n < 1000; ++n) Put(t, n, n < 500 ? 0 : 50'000);
  EXPECT_EQ(t.Age(Table::kIdleMs, 10'000), 0u) << "idle for just the limit";
  EXPECT_LE(t.Age(Table::kIdleMs + 1, 100), 100u);
  size_t left = 10;
  while (left-- > 0) t.Age(Table::kIdleMs + 1, 100);
  EXPECT_EQ(t.size(), 500u);
  EXPECT_EQ(Get(t, 499), nullptr);
  EXPECT_NE(Get(t, 500), nullptr);
}

// Bursts wait for each step: what a pause or a large table leaves to do is spread over many.
TEST(FlowTable, AgeInPaceDoesAFewAtATimeAndCatchesUp) {
  constexpr uint32_t kFlows = 200'000;
  Table t(kFlows, kSeed);
  t.AgeInPace(0);
  for (uint32_t n = 0; n < kFlows; ++n) Put(t, n, 0);
  const uint32_t now_ms = Table::kIdleMs + 1;  // all idle, and nobody has looked for a minute
  uint32_t calls = 0;
  bool more = true;
  while (more) {
    const size_t before = t.size();
    more = t.AgeInPace(now_ms);
    ASSERT_LE(before - t.size(), Table::kAgeStep);
    ASSERT_LE(++calls, kFlows / Table::kAgeStep + 1);
  }
  EXPECT_EQ(t.size(), 0u);
  EXPECT_FALSE(t.AgeInPace(now_ms)) << "the same millisecond again";
}

TEST(FlowTable, AgeInPaceTakesARoundForTheTable) {
  constexpr uint32_t kFlows = 100'000;
  Table t(kFlows, kSeed);
  t.AgeInPace(0);
  for (uint32_t n = 0; n < kFlows; ++n) Put(t, n, 0);
  const uint32_t begin_ms = Table::kLongestIdleMs;
  while (t.AgeInPace(1)) continue;  // its own pace from here on
  ASSERT_EQ(t.size(), kFlows);
  while (t.AgeInPace(begin_ms)) continue;
  for (uint32_t n = 0; n < kFlows; ++n) Put(t, n, begin_ms - Table::kIdleMs);
  uint32_t now_ms = begin_ms;
  for (; now_ms < begin_ms + Table::kAgeRoundMs / 2; ++now_ms) {
    while (t.AgeInPace(now_ms)) continue;
  }
  EXPECT_NEAR(static_cast<double>(t.size()), kFlows / 2, kFlows / 10)
      << "half of the round, half of the places";
  for (; now_ms <= begin_ms + Table::kAgeRoundMs; ++now_ms) {
    while (t.AgeInPace(now_ms)) continue;
  }
  EXPECT_EQ(t.size(), 0u);
}

TEST(FlowTable, ChunksShowEachEntryOnce) {
  Table t(10'000, kSeed);
  for (uint32_t n = 0; n < 1000; ++n) Put(t, n, 0)->conn = n;
  for (uint32_t n = 0; n < 1000; n += 3) Drop(t, n);
  std::multiset<uint32_t> seen;
  uint32_t cursor = 0;
  size_t calls = 0, largest = 0;
  bool more = true;
  while (more) {
    const size_t before = seen.size();
    more = t.ForEachChunk(cursor, 64, [&](const Entry& e) { seen.insert(e.conn); });
    largest = std::max(largest, seen.size() - before);
    ++calls;
    if (calls == 3) Put(t, 5000, 0)->conn = 5000;  // growth between chunks
  }
  EXPECT_LE(largest, 64u);
  for (uint32_t n = 0; n < 1000; ++n) EXPECT_EQ(seen.count(n), n % 3 == 0 ? 0u : 1u) << n;
  uint32_t nothing = 0;
  EXPECT_FALSE(Table(10, kSeed).ForEachChunk(nothing, 10, [](const Entry&) { FAIL(); }));
}

}  // namespace flow_table_test
}  // namespace podwire
