#include "switch/neighbor.h"

#include <poll.h>

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "switch/flow_key.h"
#include "switch/flow_table.h"
#include "switch/neighbor_requests.h"
#include "switch/pending_queue.h"
#include "tests/switch/packet_builder.h"

namespace podwire {
namespace neighbor_test {

using namespace testing;

const IpAddress kPeer = Ip("192.0.2.9");
const MacAddr kMac = Mac("02:00:00:00:01:09");

class NeighborTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  NeighborTable table_;
  uint32_t now_ = GetParam();
};
// Also across the wrap of the millisecond clock.
INSTANTIATE_TEST_SUITE_P(Clock, NeighborTest,
                         ::testing::Values(0u, 1'000'000u, UINT32_MAX - 20'000, UINT32_MAX - 80'000));

TEST_P(NeighborTest, Life) {
  const NeighborId id = table_.SlotFor(kPeer, now_);
  EXPECT_EQ(table_.SlotFor(kPeer, now_), id);
  EXPECT_EQ(table_.Snapshot(now_).at(0).state, NeighborState::kNone);
  NeighborTable::Result r = table_.Use(id, now_);
  EXPECT_FALSE(r.usable);
  EXPECT_TRUE(r.probe);
  EXPECT_FALSE(table_.Use(id, now_ + 999).probe);
  EXPECT_TRUE(table_.Use(id, now_ + 1000).probe);
  EXPECT_EQ(table_.Snapshot(now_ + 1000).at(0).state, NeighborState::kResolving);

  now_ += 1500;
  const uint32_t changes = table_.changes();
  table_.Learn(kPeer, kMac, now_, false);
  EXPECT_NE(table_.changes(), changes);
  for (const uint32_t age : {0u, 29'999u}) {
    r = table_.Use(id, now_ + age);
    EXPECT_TRUE(r.usable);
    EXPECT_FALSE(r.probe);
    EXPECT_EQ(r.mac, kMac);
    EXPECT_EQ(table_.Snapshot(now_ + age).at(0).state, NeighborState::kReachable);
  }
  r = table_.Use(id, now_ + 30'000);  // stale: used, and asked for once a second
  EXPECT_TRUE(r.usable);
  EXPECT_TRUE(r.probe);
  EXPECT_FALSE(table_.Use(id, now_ + 30'500).probe);
  EXPECT_EQ(table_.Snapshot(now_ + 30'500).at(0).state, NeighborState::kStale);
  EXPECT_TRUE(table_.Use(id, now_ + 89'999).usable);
  r = table_.Use(id, now_ + 90'000);  // gone
  EXPECT_FALSE(r.usable);
  EXPECT_FALSE(r.probe);  // asked 1 ms before
  EXPECT_TRUE(table_.Use(id, now_ + 91'000).probe);

  table_.Learn(kPeer, kMac, now_ + 92'000, false);
  EXPECT_TRUE(table_.Use(id, now_ + 92'000).usable);
}

TEST_P(NeighborTest, AnAnswerRefreshesAStaleOne) {
  const NeighborId id = table_.SlotFor(kPeer, now_);
  table_.Learn(kPeer, kMac, now_, false);
  EXPECT_TRUE(table_.Use(id, now_ + 40'000).probe);
  const MacAddr moved = Mac("02:00:00:00:01:08");
  table_.Learn(kPeer, moved, now_ + 40'001, false);
  const NeighborTable::Result r = table_.Use(id, now_ + 60'000);
  EXPECT_EQ(r.mac, moved);
  EXPECT_FALSE(r.probe);
}

TEST_P(NeighborTest, OnlyWhatIsNewIsAChange) {
  table_.SlotFor(kPeer, now_);
  const auto changes = [&](const MacAddr& mac, uint32_t later) {
    const uint32_t before = table_.changes();
    table_.Learn(kPeer, mac, now_ + later, false);
    return table_.changes() - before;
  };
  const MacAddr moved = Mac("02:00:00:00:01:08");
  EXPECT_EQ(changes(kMac, 0), 1u) << "the first answer";
  EXPECT_EQ(changes(kMac, 1), 0u) << "or each ARP packet would void what the workers have resolved";
  EXPECT_EQ(changes(kMac, 90'000), 0u) << "stale, but in use";
  EXPECT_EQ(table_.Snapshot(now_ + 90'000).at(0).state, NeighborState::kReachable);
  EXPECT_EQ(changes(moved, 90'001), 1u);
  EXPECT_EQ(changes(moved, 180'001), 1u) << "it had expired, and packets wait";
}

TEST_P(NeighborTest, AnAnswerByAWorkerWhoseClockIsAheadIsUsable) {
  const NeighborId id = table_.SlotFor(kPeer, now_);
  table_.Learn(kPeer, kMac, now_ + 2, false);
  const NeighborTable::Result r = table_.Use(id, now_);
  EXPECT_TRUE(r.usable);
  EXPECT_FALSE(r.probe);
  EXPECT_EQ(table_.Snapshot(now_).at(0).state, NeighborState::kReachable);
}

TEST_P(NeighborTest, WhatSomebodyElseSaysOfIt) {
  const NeighborId id = table_.SlotFor(kPeer, now_);
  const uint32_t changes = table_.changes();
  table_.Set(Ip("192.0.2.10"), kMac, now_);
  EXPECT_EQ(table_.Snapshot(now_).size(), 1u) << "nobody sends to that one";
  table_.Set(kPeer, {}, now_);
  EXPECT_EQ(table_.changes(), changes) << "it was not known";
  table_.Set(kPeer, kMac, now_);
  EXPECT_EQ(table_.Use(id, now_).mac, kMac);
  EXPECT_NE(table_.changes(), changes);
  const uint32_t known = table_.changes();
  table_.Set(kPeer, {}, now_);
  EXPECT_FALSE(table_.Use(id, now_).usable) << "it is not to be found";
  EXPECT_NE(table_.changes(), known) << "copies of its MAC are out of date";
  const IpAddress fixed = Ip("192.0.2.11");
  ASSERT_TRUE(table_.SetPermanent(fixed, kMac));
  table_.Set(fixed, {}, now_);
  EXPECT_TRUE(table_.Use(table_.SlotFor(fixed, now_), now_).usable) << "what is configured stays";
}

TEST_P(NeighborTest, RequestsAreTakenOnceEach) {
  NeighborRequests requests;
  const auto readable = [&] {
    pollfd fd{.fd = requests.fd(), .events = POLLIN, .revents = 0};
    return poll(&fd, 1, 0) == 1;
  };
  const auto taken = [&] {
    std::vector<IpAddress> addresses;
    requests.Take([&](uint16_t slot) { addresses.push_back(table_.AddressAt(slot)); });
    return addresses;
  };
  EXPECT_FALSE(readable());
  const NeighborId a = table_.SlotFor(kPeer, now_), b = table_.SlotFor(Ip("192.0.2.10"), now_);
  requests.Add(b);
  requests.Add(a);
  requests.Add(b);
  EXPECT_TRUE(readable());
  EXPECT_EQ(taken(), (std::vector<IpAddress>{kPeer, Ip("192.0.2.10")}));
  EXPECT_FALSE(readable());
  EXPECT_TRUE(taken().empty());
  requests.Add(a);
  EXPECT_TRUE(readable()) << "it may be asked for again";
}

TEST_P(NeighborTest, ASlotKnowsItsAddress) {
  const NeighborId id = table_.SlotFor(kPeer, now_);
  EXPECT_EQ(table_.AddressOf(id), kPeer);
  EXPECT_TRUE(table_.AddressOf(kNoNeighbor).empty());
  table_.Sweep(now_ + 300'000);
  EXPECT_TRUE(table_.AddressOf(id).empty());
}

TEST_P(NeighborTest, OnlyAskedForOrAdded) {
  table_.Learn(kPeer, kMac, now_, false);
  EXPECT_TRUE(table_.Snapshot(now_).empty());
  table_.Learn(kPeer, kMac, now_, true);
  const auto all = table_.Snapshot(now_ + 5);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].address, kPeer);
  EXPECT_EQ(all[0].mac, kMac);
  EXPECT_EQ(all[0].age_ms, 5u);
}

TEST_P(NeighborTest, UnusedSlotsAreGivenUpUsedOnesAreNot) {
  const NeighborId unused = table_.SlotFor(kPeer, now_);
  const NeighborId used = table_.SlotFor(Ip("192.0.2.8"), now_);
  table_.Learn(kPeer, kMac, now_, false);
  table_.Use(used, now_ + 200'000);
  table_.Sweep(now_ + 299'999);
  EXPECT_FALSE(table_.Use(used, now_ + 299'999).expired);
  table_.Sweep(now_ + 300'000);
  EXPECT_TRUE(table_.Use(unused, now_ + 300'000).expired);
  EXPECT_FALSE(table_.Use(used, now_ + 300'000).expired);
  EXPECT_EQ(table_.Snapshot(now_ + 300'000).size(), 1u);
}

TEST_P(NeighborTest, AnOldReferenceNeverFindsTheNextOwner) {
  const NeighborId old = table_.SlotFor(kPeer, now_);
  table_.Learn(kPeer, kMac, now_, false);
  now_ += 300'000;
  table_.Sweep(now_);
  const NeighborId next = table_.SlotFor(Ip("192.0.2.7"), now_);
  table_.Learn(Ip("192.0.2.7"), Mac("02:00:00:00:01:07"), now_, false);
  EXPECT_NE(next, old);
  const NeighborTable::Result r = table_.Use(old, now_);
  EXPECT_TRUE(r.expired);
  EXPECT_FALSE(r.usable);
  EXPECT_TRUE(table_.Use(kNoNeighbor, now_).expired);
}

TEST_P(NeighborTest, ASlotHasTooFewOwnersForOneReferenceToComeRoundWhileAFlowKeepsIt) {
  const auto address = [](uint32_t i) { return Offset(Ip("10.0.0.0"), i); };
  // Only one slot can be given to others: each does what it can to use up its owners' numbers.
  for (uint32_t i = 1; i < NeighborTable::kCapacity; ++i) table_.Learn(address(i), kMac, now_, true);
  const NeighborId old = table_.SlotFor(kPeer, now_);
  uint32_t next = 10'000, owners = 0;
  for (uint32_t later = 0; later < FlowTable<FlowKey4>::kLongestIdleMs; later += 50) {
    for (int tries = 0; tries < 17; ++tries) {
      if (table_.SlotFor(address(next), now_ + later) != kNoNeighbor) ++next, ++owners;
    }
    ASSERT_TRUE(owners == 0 || table_.Use(old, now_ + later).expired) << owners << " owners in " << later;
  }
  EXPECT_GE(owners, 10u);
}

TEST_P(NeighborTest, SweepForgetsWhatAWrappedClockWouldRevive) {
  const NeighborId id = table_.SlotFor(kPeer, now_);
  table_.Learn(kPeer, kMac, now_, false);
  uint32_t t = now_;
  for (int i = 0; i < 10; ++i) {  // in use all the time, never answered
    t += 100'000;
    table_.Use(id, t);
    table_.Sweep(t);
  }
  EXPECT_FALSE(table_.Use(id, now_ + 1000).usable);  // 2^32 ms later
}

TEST_P(NeighborTest, PermanentOnesAreNeitherAskedForNorChanged) {
  ASSERT_TRUE(table_.SetPermanent(kPeer, kMac));
  const NeighborId id = table_.SlotFor(kPeer, now_);
  table_.Learn(kPeer, Mac("02:00:00:00:06:66"), now_, true);
  for (const uint32_t later : {0u, 31'000u, 100'000u, 400'000u}) {
    table_.Sweep(now_ + later);
    const NeighborTable::Result r = table_.Use(id, now_ + later);
    EXPECT_TRUE(r.usable) << later;
    EXPECT_FALSE(r.probe) << later;
    EXPECT_EQ(r.mac, kMac) << "who lies in ARP changes nothing";
    EXPECT_EQ(table_.Snapshot(now_ + later).at(0).state, NeighborState::kPermanent);
  }
  EXPECT_EQ(Name(NeighborState::kPermanent), "permanent");
}

TEST_P(NeighborTest, PermanentOnesAreLimitedByTheTable) {
  for (uint32_t i = 0; i < NeighborTable::kCapacity; ++i)
    ASSERT_TRUE(table_.SetPermanent(Offset(Ip("10.0.0.0"), i), kMac));
  EXPECT_FALSE(table_.SetPermanent(Ip("10.9.0.0"), kMac));
  EXPECT_EQ(table_.SlotFor(Ip("10.9.0.0"), now_ + 10'000), kNoNeighbor) << "none of them makes room";
}

TEST_P(NeighborTest, AScanDoesNotPushTheKnownOut) {
  const auto address = [](uint32_t i) { return Offset(Ip("10.0.0.0"), i); };
  const NeighborId known = table_.SlotFor(kPeer, now_);
  table_.Learn(kPeer, kMac, now_, false);
  for (uint32_t i = 1; i < NeighborTable::kCapacity; ++i)
    ASSERT_NE(table_.SlotFor(address(i), now_), kNoNeighbor);
  EXPECT_EQ(table_.SlotFor(address(9999), now_ + 1), kNoNeighbor);  // all asked for just now
  for (uint32_t i = 0; i < 2 * NeighborTable::kCapacity; ++i) {
    now_ += 4;  // slower than the slots' 5 s for an answer
    ASSERT_NE(table_.SlotFor(address(20000 + i), now_ + 5000), kNoNeighbor) << i;
  }
  EXPECT_EQ(table_.Snapshot(now_).size(), NeighborTable::kCapacity);
  EXPECT_EQ(table_.Use(known, now_).mac, kMac);
}

TEST(NeighborTableTest, TwoWorkersAndASweeper) {
  NeighborTable table;
  const MacAddr macs[] = {Mac("02:00:00:00:00:00"), Mac("02:ff:ff:ff:ff:ff")};
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> clock{0}, probes{0};
  std::thread teacher([&] {
    for (int i = 0; !stop; ++i) {
      table.Learn(kPeer, macs[i & 1], clock, true);
      clock += 50'000;
      table.Sweep(clock);
    }
  });
  const auto worker = [&] {
    for (int i = 0; i < 50'000; ++i) {
      const NeighborId id = table.SlotFor(kPeer, clock);
      const NeighborTable::Result r = table.Use(id, clock);
      EXPECT_TRUE(!r.usable || r.mac == macs[0] || r.mac == macs[1]) << ToString(r.mac);
      probes += r.probe;
    }
  };
  std::thread other(worker);
  worker();
  other.join();
  stop = true;
  teacher.join();
  EXPECT_GT(probes, 0u);
}

// --- Packets that wait

Packet& PacketOf(PendingPacket& p) { return std::get<Packet>(p.packet); }

class PendingTest : public ::testing::Test {
 protected:
  DropReason Push(NeighborId neighbor, uint32_t now, uint16_t mark = 0, uint32_t len = 64) {
    MbufPtr m = Frame().Payload(64).Mbuf();
    m->pkt_len = len;  // of segments behind it, which nobody looks at
    Packet p{};
    p.mbuf = m.get();
    p.l3_len = mark;
    const DropReason r = queue_.Push(p, NextHopId(5), 7, neighbor, now);
    if (r == DropReason::kNone) m.release();
    return r;
  }
  void Flush(uint32_t now) {
    queue_.Flush(
        now, table_,
        [&](PendingPacket& p, const MacAddr& mac) {
          EXPECT_EQ(p.next_hop, NextHopId(5));
          EXPECT_EQ(p.generation, 7u);
          sent_.emplace_back(PacketOf(p).l3_len, mac);
          rte_pktmbuf_free(&p.mbuf());
        },
        [&](NeighborId neighbor) { probes_.push_back(neighbor); },
        [&](PendingPacket& p) {
          ++drops_;
          rte_pktmbuf_free(&p.mbuf());
        });
  }
  ~PendingTest() override {
    queue_.Clear([](PendingPacket& p) { rte_pktmbuf_free(&p.mbuf()); });
  }

  NeighborTable table_;
  PendingQueue queue_;
  std::vector<std::pair<uint16_t, MacAddr>> sent_;
  std::vector<NeighborId> probes_;
  int drops_ = 0;
};

TEST_F(PendingTest, GoInOrderWhenTheAnswerComes) {
  const NeighborId a = table_.SlotFor(kPeer, 0), b = table_.SlotFor(Ip("192.0.2.8"), 0);
  for (uint16_t i = 0; i < 6; ++i) EXPECT_EQ(Push(i % 2 == 0 ? a : b, 100, i), DropReason::kNone);
  Flush(101);
  EXPECT_TRUE(sent_.empty());
  table_.Learn(kPeer, kMac, 101, false);
  Flush(101);  // without waiting for the next look at deadlines
  ASSERT_EQ(sent_.size(), 3u);
  for (uint16_t i = 0; i < 3; ++i) EXPECT_EQ(sent_[i], std::pair(static_cast<uint16_t>(2 * i), kMac));
  EXPECT_EQ(queue_.size(), 3);
  EXPECT_EQ(drops_, 0);
}

TEST_F(PendingTest, WaitASecond) {
  const NeighborId a = table_.SlotFor(kPeer, 0);
  Push(a, 100);
  Push(a, 500);
  Flush(1099);
  EXPECT_EQ(drops_, 0);
  Flush(1110);
  EXPECT_EQ(drops_, 1);
  Flush(1510);
  EXPECT_EQ(drops_, 2);
  EXPECT_EQ(queue_.size(), 0);
}

TEST_F(PendingTest, AskAgainWhileTheyWait) {
  const NeighborId a = table_.SlotFor(kPeer, 10'000);
  EXPECT_TRUE(table_.Use(a, 10'000).probe);
  Push(a, 10'500);
  Flush(10'990);
  EXPECT_TRUE(probes_.empty());
  Flush(11'000);
  EXPECT_EQ(probes_, std::vector{a}) << "a probe that is taken is sent";
}

TEST_F(PendingTest, AHundredForANeighborAndAsManyAsFit) {
  const NeighborId a = table_.SlotFor(kPeer, 0);
  for (int i = 0; i < 104; ++i) EXPECT_EQ(Push(a, 0), DropReason::kNone);
  EXPECT_EQ(Push(a, 0), DropReason::kNeighborQueueFull);
  for (uint32_t n = 104; n < PendingQueue::kCapacity; ++n)
    EXPECT_EQ(Push(table_.SlotFor(Offset(Ip("10.0.0.0"), n / 100), 0), 0), DropReason::kNone);
  EXPECT_EQ(queue_.size(), PendingQueue::kCapacity);
  EXPECT_EQ(Push(table_.SlotFor(Ip("10.1.0.0"), 0), 0), DropReason::kNeighborQueueFull);
}

TEST_F(PendingTest, WhatHasGoneMakesRoom) {
  const NeighborId a = table_.SlotFor(kPeer, 0);
  for (int turn = 0; turn < 3; ++turn) {
    for (int i = 0; i < 104; ++i) EXPECT_EQ(Push(a, 0), DropReason::kNone);
    EXPECT_EQ(Push(a, 0), DropReason::kNeighborQueueFull);
    EXPECT_TRUE(queue_.Release(a, [](PendingPacket& p) { rte_pktmbuf_free(&p.mbuf()); }));
  }
}

TEST_F(PendingTest, AFewSuperPacketsForANeighbor) {
  const NeighborId a = table_.SlotFor(kPeer, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Push(a, 0, 0, 65'000), DropReason::kNone);
  EXPECT_EQ(Push(a, 0, 0, 65'000), DropReason::kNeighborQueueFull);
  EXPECT_EQ(Push(a, 0), DropReason::kNone);
}

TEST_F(PendingTest, PacketsOfANeighborThatIsGivenUp) {
  const NeighborId a = table_.SlotFor(kPeer, 0);
  Push(a, 300'000);
  table_.Sweep(300'000);
  Flush(300'010);
  EXPECT_EQ(drops_, 1);
}

TEST_F(PendingTest, WhatIsQueuedWhileFlushingStays) {
  const NeighborId a = table_.SlotFor(kPeer, 0), b = table_.SlotFor(Ip("192.0.2.8"), 0);
  for (uint16_t i = 0; i < 4; ++i) Push(a, 0, i);
  Push(b, 0, 9);
  table_.Learn(kPeer, kMac, 0, false);
  queue_.Flush(
      0, table_,
      [&](PendingPacket& p, const MacAddr&) {
        rte_pktmbuf_free(&p.mbuf());
        Push(b, 0, static_cast<uint16_t>(10 + PacketOf(p).l3_len));
      },
      [](NeighborId) {}, [](PendingPacket&) { FAIL(); });
  EXPECT_EQ(queue_.size(), 5);
  table_.Learn(Ip("192.0.2.8"), kMac, 0, false);
  Flush(0);
  std::vector<uint16_t> order;
  for (const auto& [mark, mac] : sent_) order.push_back(mark);
  EXPECT_EQ(order, (std::vector<uint16_t>{9, 10, 11, 12, 13}));
}

TEST_F(PendingTest, ReleaseIsOfOneNeighbourAndNotWhileOthersAreTakenOut) {
  const NeighborId a = table_.SlotFor(kPeer, 0), b = table_.SlotFor(Ip("192.0.2.8"), 0);
  for (uint16_t i = 0; i < 6; ++i) Push(i % 2 == 0 ? a : b, 0, i);
  std::vector<uint16_t> order;
  const auto emit = [&](PendingPacket& p) {
    order.push_back(PacketOf(p).l3_len);
    rte_pktmbuf_free(&p.mbuf());
  };
  EXPECT_TRUE(queue_.Release(a, [&](PendingPacket& p) {
    emit(p);
    EXPECT_FALSE(queue_.Release(b, emit)) << "it may not say that nothing waits";
  }));
  EXPECT_EQ(order, (std::vector<uint16_t>{0, 2, 4}));
  EXPECT_TRUE(queue_.Release(a, emit)) << "nothing waits";
  EXPECT_TRUE(queue_.Release(b, emit));
  EXPECT_EQ(order, (std::vector<uint16_t>{0, 2, 4, 1, 3, 5}));
  EXPECT_EQ(queue_.size(), 0);
}

TEST_F(PendingTest, ClearGivesEverythingBack) {
  const NeighborId a = table_.SlotFor(kPeer, 0);
  Push(a, 0);
  Push(a, 0);
  queue_.Clear([&](PendingPacket& p) {
    ++drops_;
    rte_pktmbuf_free(&p.mbuf());
  });
  EXPECT_EQ(drops_, 2);
  EXPECT_EQ(queue_.size(), 0);
}

}  // namespace neighbor_test
}  // namespace podwire
