#include "switch/conn_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <unordered_map>

#include "tests/switch/conn_table_fixture.h"

namespace podwire {
namespace conn_table_test {

struct ConnTableTest : ::testing::Test {
  void Make(const ConnTableOptions& options) { readers = std::make_unique<TableAndReaders>(options); }
  ConnTable4& table() { return *readers->table; }

  ConnTable4::Inserted Add(uint32_t n, uint32_t now_ms = 0, ConnState state = ConnState::kReply,
                           EndpointId src = kNoEndpoint, EndpointId dst = kNoEndpoint) {
    return table().Insert(TupleOf(n), HashOf(TupleOf(n)), now_ms, [&](ConnTable4::Conn& c) {
      c.state = state;
      c.embryonic = IsUnanswered(state);
      c.src_endpoint = src;
      c.dst_endpoint = dst;
    });
  }
  static bool IsUnanswered(ConnState s) {
    return s == ConnState::kSynSent || s == ConnState::kSynRecv || s == ConnState::kNew;
  }
  ConnTable4::Found Get(uint32_t n) { return table().Find(TupleOf(n), HashOf(TupleOf(n))); }
  bool Has(uint32_t n) { return Get(n).index != 0; }
  // Two, for a grace period that begins when the one before it is over.
  void PassGracePeriods() {
    readers->Quiescent();
    readers->Quiescent();
  }

  std::unique_ptr<TableAndReaders> readers;
};

TEST_F(ConnTableTest, FindsEitherDirectionOnAnyPort) {
  Make({.capacity = 100});
  const auto added = Add(1);
  ASSERT_NE(added.index, 0u);
  EXPECT_FALSE(added.existed);
  FlowKey4 key = TupleOf(1);
  key.in_port = PortId{9};
  auto found = table().Find(key, HashOf(key));
  EXPECT_EQ(found.index, added.index);
  EXPECT_EQ(found.serial, added.serial);
  EXPECT_FALSE(found.reply);
  key = key.Reversed();
  found = table().Find(key, HashOf(key));
  EXPECT_EQ(found.index, added.index);
  EXPECT_TRUE(found.reply);
  key.proto = 6;
  EXPECT_EQ(table().Find(key, HashOf(key)).index, 0u);
  EXPECT_EQ(Get(2).index, 0u);
}

TEST_F(ConnTableTest, InsertOfWhatIsThereFillsNothing) {
  Make({.capacity = 100});
  const auto added = Add(1);
  const FlowKey4 reply = TupleOf(1).Reversed();
  const auto again = table().Insert(reply, HashOf(reply), 5,
                                    [](ConnTable4::Conn&) { FAIL() << "must not be filled again"; });
  EXPECT_TRUE(again.existed);
  EXPECT_TRUE(again.reply);
  EXPECT_EQ(again.index, added.index);
  EXPECT_EQ(again.serial, added.serial);
  EXPECT_EQ(table().size(), 1u);
}

TEST_F(ConnTableTest, RefusesImpossibleCapacities) {
  EXPECT_EQ(ConnTable4::Create({.capacity = 0}, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ConnTable4::Create({.capacity = UINT32_MAX}, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ConnTableTest, RandomOperationsAgreeWithAMap) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  Make({.capacity = 20'000});
  std::unordered_map<uint32_t, ConnTable4::Inserted> expected;
  constexpr uint32_t kKeys = 15'000;
  for (uint32_t i = 0; i < 300'000; ++i) {
    const auto n = static_cast<uint32_t>(random() % kKeys);
    const auto it = expected.find(n);
    if (random() % 3 == 0) {
      if (it != expected.end()) {
        ASSERT_TRUE(table().Remove(it->second.index, it->second.serial));
        ASSERT_FALSE(table().Remove(it->second.index, it->second.serial)) << "twice";
        expected.erase(it);
      }
      ASSERT_FALSE(Has(n));
    } else {
      const auto added = Add(n);
      ASSERT_NE(added.index, 0u);
      ASSERT_EQ(added.existed, it != expected.end());
      if (it == expected.end()) expected[n] = added;
    }
    if (i % 32 == 0) readers->Quiescent();
  }
  ASSERT_EQ(table().size(), expected.size());
  EXPECT_EQ(table().evicted(), 0u);
  for (uint32_t n = 0; n < kKeys; ++n) {
    const auto it = expected.find(n);
    const auto found = Get(n);
    ASSERT_EQ(found.index, it == expected.end() ? 0 : it->second.index);
    if (it != expected.end()) {
      ASSERT_EQ(found.serial, it->second.serial);
      ASSERT_EQ(table().At(found.index).key.src, TupleOf(n).src);
    }
  }
}

TEST_F(ConnTableTest, EqualHashesAreToldApartByKey) {
  Make({.capacity = 100});
  std::map<uint32_t, ConnTable4::Inserted> added;
  for (uint32_t n = 0; n < 50; ++n)
    added[n] = table().Insert(TupleOf(n), 42, 0, [](ConnTable4::Conn& c) { c.embryonic = false; });
  for (uint32_t n = 0; n < 50; n += 2) table().Remove(added[n].index, added[n].serial);
  for (uint32_t n = 0; n < 50; ++n) {
    EXPECT_EQ(table().Find(TupleOf(n), 42).index, n % 2 == 0 ? 0 : added[n].index) << n;
  }
}

TEST_F(ConnTableTest, AnEntryIsReusedAfterAGracePeriodOnlyAndWithAnotherSerial) {
  Make({.capacity = 1});
  const auto first = Add(1);
  ASSERT_TRUE(table().Remove(first.index, first.serial));
  EXPECT_EQ(table().At(first.index).key.src, TupleOf(1).src) << "readers may still stand on it";
  EXPECT_EQ(Add(2).reason, DropReason::kConnectionTableFull);
  EXPECT_EQ(Add(2).reason, DropReason::kConnectionTableFull);
  PassGracePeriods();
  const auto second = Add(2);
  ASSERT_EQ(second.index, first.index);
  EXPECT_NE(second.serial, first.serial);
  EXPECT_FALSE(table().UpdateLocked(first.index, first.serial, [](ConnTable4::Conn&) { FAIL(); }));
  EXPECT_FALSE(table().Remove(first.index, first.serial));
  EXPECT_TRUE(Has(2));
  EXPECT_FALSE(Has(1));
}

TEST_F(ConnTableTest, AReusedEntryHasNothingOfTheOneBefore) {
  Make({.capacity = 1});
  auto added = Add(1, 0, ConnState::kEstablished, EndpointId{3}, EndpointId{4});
  table().UpdateLocked(added.index, added.serial, [](ConnTable4::Conn& c) {
    c.denied = DropReason::kPolicyDeniedEgress;
    c.src_version = 7;
    c.egress_rule = {1, 2};
  });
  table().Remove(added.index, added.serial);
  Add(2);
  PassGracePeriods();
  added = table().Insert(TupleOf(2), HashOf(TupleOf(2)), 99, [](ConnTable4::Conn& c) {
    EXPECT_EQ(c.state, ConnState::kNone);
    EXPECT_EQ(c.denied, DropReason::kNone);
    EXPECT_EQ(c.src_version, 0u);
    EXPECT_EQ(c.src_endpoint, kNoEndpoint);
    EXPECT_EQ(c.egress_rule, RuleRef{});
  });
  ASSERT_NE(added.index, 0u);
  EXPECT_EQ(table().At(added.index).last_seen_ms, 99u);
  EXPECT_EQ(table().charged(EndpointId{3}), 0u);
}

TEST_F(ConnTableTest, FullOfEstablishedRefusesAndEvictsNone) {
  Make({.capacity = 500});
  for (uint32_t n = 0; n < 500; ++n) ASSERT_NE(Add(n, 0, ConnState::kEstablished).index, 0u) << n;
  for (uint32_t n = 500; n < 600; ++n) {
    EXPECT_EQ(Add(n, 1'000'000).reason, DropReason::kConnectionTableFull);
    PassGracePeriods();
  }
  EXPECT_EQ(table().size(), 500u);
  EXPECT_EQ(table().evicted(), 0u);
  for (uint32_t n = 0; n < 500; ++n) EXPECT_TRUE(Has(n));
}

TEST_F(ConnTableTest, AFloodOfEmbryonicOnesLeavesTheEstablishedAndLetsNewOnesIn) {
  Make({.capacity = 2000, .endpoint_quota = 2000});
  for (uint32_t n = 0; n < 1000; ++n) Add(n, 0, ConnState::kEstablished);
  for (uint32_t n = 1000; n < 50'000; ++n) {
    ASSERT_NE(Add(n, n, ConnState::kSynSent).index, 0u) << n;
    ASSERT_TRUE(Has(n));
    if (n % 32 == 0) readers->Quiescent();
  }
  for (uint32_t n = 0; n < 1000; ++n) ASSERT_TRUE(Has(n)) << n;
  EXPECT_GT(table().evicted(), 45'000u);
  EXPECT_LE(table().size(), 2000u);
  uint32_t recent = 0;
  for (uint32_t n = 49'900; n < 50'000; ++n) recent += Has(n) ? 1 : 0;
  EXPECT_GE(recent, 90u) << "the oldest go first";
}

TEST_F(ConnTableTest, EmbryonicOnesKeepToTheirBudgetUntilTheyAreConfirmed) {
  Make({.capacity = 1000, .embryonic = 100});
  EXPECT_EQ(table().embryonic_budget(), 100u);
  for (uint32_t n = 0; n < 100; ++n) ASSERT_NE(Add(n, n, ConnState::kSynSent).index, 0u);
  EXPECT_EQ(table().embryonic(), 100u);
  for (uint32_t n = 0; n < 50; ++n) {
    table().Confirm(Get(n).index);
    table().Confirm(Get(n).index);  // twice is once
  }
  EXPECT_EQ(table().embryonic(), 50u);
  for (uint32_t n = 100; n < 5000; ++n) {
    ASSERT_NE(Add(n, n, ConnState::kSynSent).index, 0u) << n;
    ASSERT_LE(table().embryonic(), 100u);
    readers->Quiescent();
  }
  EXPECT_EQ(table().evicted(), 4850u);
  EXPECT_EQ(table().size(), 150u);
  for (uint32_t n = 0; n < 50; ++n) EXPECT_TRUE(Has(n)) << "a confirmed one stays: " << n;
  for (uint32_t n = 50; n < 4800; ++n) EXPECT_FALSE(Has(n)) << "the longest idle go first: " << n;
}

TEST_F(ConnTableTest, WhatIsAddedAsAnsweredIsNotEmbryonic) {
  Make({.capacity = 1000, .embryonic = 10});
  for (uint32_t n = 0; n < 500; ++n) ASSERT_NE(Add(n, n, ConnState::kReply).index, 0u);
  EXPECT_EQ(table().embryonic(), 0u);
  EXPECT_EQ(table().evicted(), 0u);
}

TEST_F(ConnTableTest, RemovalAndExpiryGiveTheEmbryonicBudgetBack) {
  Make({.capacity = 1000, .embryonic = 100});
  for (uint32_t n = 0; n < 60; ++n) Add(n, 0, ConnState::kNew, EndpointId{1});
  EXPECT_EQ(table().charged_embryonic(EndpointId{1}), 25u) << "a quarter of the budget an endpoint";
  EXPECT_EQ(table().embryonic(), 25u);
  table().Sweep(60'000, Timeouts{}, table().places());
  EXPECT_EQ(table().embryonic(), 0u);
  EXPECT_EQ(table().charged_embryonic(EndpointId{1}), 0u);
  const auto added = Add(1, 0, ConnState::kNew, EndpointId{1});
  EXPECT_EQ(table().embryonic(), 1u);
  table().Remove(added.index, added.serial);
  EXPECT_EQ(table().embryonic(), 0u);
}

TEST_F(ConnTableTest, APodThatFloodsDisplacesItselfOnly) {
  constexpr EndpointId kFlooder{1}, kOther{2};
  Make({.capacity = 4000, .max_endpoints = 8});
  for (uint32_t n = 0; n < 100; ++n) Add(n, n, ConnState::kSynSent, kOther);
  for (uint32_t n = 1000; n < 50'000; ++n) {
    ASSERT_NE(Add(n, n, ConnState::kSynSent, kFlooder).index, 0u) << "its newest get in: " << n;
    if (n % 500 == 0) {
      ASSERT_NE(Add(n + 100'000, n, ConnState::kNew, kOther).index, 0u) << n;
    }
    if (n % 8 == 0) PassGracePeriods();
  }
  for (uint32_t n = 0; n < 100; ++n) EXPECT_TRUE(Has(n)) << n;
  EXPECT_LE(table().charged_embryonic(kFlooder), 250u);
  EXPECT_GE(table().charged_embryonic(kFlooder), 200u);
}

TEST_F(ConnTableTest, FloodsOfManyPodsLeaveAPodWithFewItsConnections) {
  Make({.capacity = 4000, .max_endpoints = 16});  // 8 times 250 are more than the budget
  for (uint32_t n = 0; n < 50; ++n) Add(n, 0, ConnState::kSynSent, EndpointId{9});
  for (uint32_t n = 1000; n < 50'000; ++n) {
    ASSERT_NE(Add(n, n, ConnState::kSynSent, EndpointId{n % 8}).index, 0u) << n;
    if (n % 8 == 0) PassGracePeriods();
  }
  EXPECT_LE(table().embryonic(), table().embryonic_budget() + 16);
  for (uint32_t n = 0; n < 50; ++n) EXPECT_TRUE(Has(n)) << n;
}

TEST_F(ConnTableTest, AtItsQuotaAPodsClosingConnectionsGiveWay) {
  Make({.capacity = 1000, .max_endpoints = 8, .endpoint_quota = 200});
  for (uint32_t n = 0; n < 100; ++n) Add(n, 0, ConnState::kEstablished, EndpointId{1});
  for (uint32_t n = 100; n < 200; ++n) Add(n, 0, ConnState::kTimeWait, EndpointId{1});
  for (uint32_t n = 200; n < 300; ++n) Add(n, 0, ConnState::kTimeWait, EndpointId{2});
  for (uint32_t n = 300; n < 350; ++n) {
    ASSERT_NE(Add(n, 1, ConnState::kEstablished, EndpointId{1}).index, 0u);
    PassGracePeriods();
  }
  EXPECT_EQ(table().charged(EndpointId{1}), 200u);
  EXPECT_EQ(table().charged(EndpointId{2}), 100u) << "another pod's stay";
  for (uint32_t n = 0; n < 100; ++n) EXPECT_TRUE(Has(n)) << n;
}

TEST_F(ConnTableTest, SweepRemovesTheExpiredByProtocolAndState) {
  Make({.capacity = 10'000});
  for (uint32_t n = 0; n < 1000; ++n) Add(n, 0, n % 2 == 0 ? ConnState::kNew : ConnState::kReply);
  const Timeouts timeouts;
  EXPECT_EQ(table().Sweep(30'000, timeouts, table().places()), 0u);
  EXPECT_EQ(table().Sweep(30'001, timeouts, table().places()), 500u);
  for (uint32_t n = 0; n < 1000; ++n) ASSERT_EQ(Has(n), n % 2 == 1);
  table().At(Get(1).index).last_seen_ms = 100'000;
  table().At(Get(3).index).last_seen_ms = 200'000;  // another worker's clock is ahead
  EXPECT_EQ(table().Sweep(120'001, timeouts, table().places()), 498u);
  EXPECT_TRUE(Has(1));
  EXPECT_TRUE(Has(3));
}

TEST_F(ConnTableTest, SweepGoesOnWhereItStopped) {
  Make({.capacity = 10'000});
  for (uint32_t n = 0; n < 1000; ++n) Add(n, 0, ConnState::kNew);
  size_t removed = 0, calls = 0;
  while (removed < 1000 && calls < 1000) {
    const size_t now = table().Sweep(60'000, Timeouts{}, 50);
    EXPECT_LE(now, 50u);
    removed += now;
    ++calls;
  }
  EXPECT_EQ(removed, 1000u);
  EXPECT_LE(calls, table().places() / 50 + 1);
  EXPECT_EQ(table().size(), 0u);
}

TEST_F(ConnTableTest, SweepWaitsForNobody) {
  Make({.capacity = 1000});  // one shard
  const auto first = Add(1, 0, ConnState::kNew);
  Add(2, 0, ConnState::kNew);
  EXPECT_TRUE(table().UpdateLocked(first.index, first.serial, [&](auto&) {
    EXPECT_EQ(table().Sweep(60'000, Timeouts{}, table().places()), 0u) << "somebody has the lock";
  }));
  EXPECT_EQ(table().Sweep(60'000, Timeouts{}, table().places()), 2u);
}

TEST_F(ConnTableTest, QuotaHoldsAndNeverLeaks) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  Make({.capacity = 4000, .max_endpoints = 8, .endpoint_quota = 200});
  std::map<uint32_t, std::pair<ConnTable4::Inserted, EndpointId>> live;
  std::map<uint32_t, uint32_t> expected;
  uint32_t refused = 0;
  for (uint32_t i = 0; i < 100'000; ++i) {
    const auto n = static_cast<uint32_t>(random() % 5000);
    if (random() % 3 == 0 && !live.empty()) {
      const auto it = live.lower_bound(n) == live.end() ? live.begin() : live.lower_bound(n);
      // A re-decision may change the endpoints; what was charged stays charged to who it was.
      table().UpdateLocked(it->second.first.index, it->second.first.serial,
                           [](ConnTable4::Conn& c) { c.src_endpoint = EndpointId{7}; });
      ASSERT_TRUE(table().Remove(it->second.first.index, it->second.first.serial));
      --expected[it->second.second.value()];
      live.erase(it);
    } else {
      const EndpointId src =
          random() % 2 == 0 ? kNoEndpoint : EndpointId{static_cast<uint32_t>(random() % 10)};
      const EndpointId dst =
          random() % 4 == 0 ? kNoEndpoint : EndpointId{static_cast<uint32_t>(random() % 10)};
      const EndpointId payer = src != kNoEndpoint ? src : dst;
      const bool is_full = payer.value() < 8 && expected[payer.value()] == 200;
      const auto added = Add(n, 0, ConnState::kReply, src, dst);
      if (added.existed) continue;
      ASSERT_EQ(added.index == 0, is_full);
      if (is_full) {
        ASSERT_EQ(added.reason, DropReason::kConnectionQuota);
        ++refused;
        continue;
      }
      live[n] = {added, payer};
      ++expected[payer.value()];
    }
    if (i % 32 == 0) readers->Quiescent();
  }
  EXPECT_GT(refused, 0u);
  for (uint32_t e = 0; e < 8; ++e) EXPECT_EQ(table().charged(EndpointId{e}), expected[e]) << e;
  table().Sweep(1'000'000, Timeouts{}, table().places());
  EXPECT_EQ(table().size(), 0u);
  for (uint32_t e = 0; e < 8; ++e) EXPECT_EQ(table().charged(EndpointId{e}), 0u) << e;
}

TEST_F(ConnTableTest, EvictionGivesTheQuotaBack) {
  Make({.capacity = 100, .endpoint_quota = 1000});
  for (uint32_t n = 0; n < 1000; ++n) {
    Add(n, n, ConnState::kNew, EndpointId{1});
    PassGracePeriods();
  }
  EXPECT_GT(table().evicted(), 0u);
  EXPECT_EQ(table().charged(EndpointId{1}), table().size());
}

TEST_F(ConnTableTest, ForEachShowsEachOnceAndStops) {
  Make({.capacity = 100'000});
  for (uint32_t n = 0; n < 5000; ++n) Add(n, n, ConnState::kReply, EndpointId{n % 7}, EndpointId{n % 5});
  std::set<uint32_t> seen;
  table().ForEach([&](const ConnectionSnapshot<FlowKey4>& c) {
    const uint32_t n = c.last_seen_ms;
    EXPECT_TRUE(seen.insert(n).second);
    EXPECT_EQ(c.key.src, TupleOf(n).src);
    EXPECT_EQ(c.src_endpoint, EndpointId{n % 7});
    EXPECT_EQ(c.index, Get(n).index);
    return true;
  });
  EXPECT_EQ(seen.size(), 5000u);
  int calls = 0;
  table().ForEach([&](const auto&) { return ++calls < 10; });
  EXPECT_EQ(calls, 10);
  EXPECT_EQ(table().RemoveIf([](const auto& c) { return c.dst_endpoint == EndpointId{2}; }), 1000u);
  EXPECT_EQ(table().size(), 4000u);
  for (uint32_t n = 0; n < 5000; ++n) ASSERT_EQ(Has(n), n % 5 != 2);
}

TEST_F(ConnTableTest, TheCapacityFitsInManyShards) {
  constexpr uint32_t kCapacity = 200'000;
  Make({.capacity = kCapacity});
  EXPECT_GE(table().capacity(), kCapacity);
  for (uint32_t n = 0; n < kCapacity; ++n) ASSERT_NE(Add(n).index, 0u) << n;
}

}  // namespace conn_table_test
}  // namespace podwire
