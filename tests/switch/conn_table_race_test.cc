// Workers, a sweeper and a lister on one small table at once; what matters is that TSan and ASan have nothing
// to say and that no thread sees another connection than the one it asked for.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "tests/switch/conn_table_fixture.h"

namespace podwire {
namespace conn_table_race_test {

constexpr uint32_t kWorkers = 2;
constexpr uint32_t kKeys = 600;
constexpr uint32_t kPayers = 3;

struct Race {
  // So small that eviction, confirmation and removal meet at the same connections.
  TableAndReaders all{{.capacity = 512,
                       .max_endpoints = 8,
                       .endpoint_quota = 400,
                       .embryonic = 64,
                       .endpoint_embryonic = 48}};
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> now_ms{0};
  std::atomic<uint64_t> found{0}, inserted{0}, full{0}, removed{0};
};

// What Find or Insert said belongs to the key, and does so until the next quiescent state.
void Check(ConnTable4& table, const FlowKey4& key, uint32_t index, uint32_t serial) {
  const ConnTable4::Conn& c = table.At(index);
  ASSERT_EQ(c.key.src.be + c.key.dst.be, key.src.be + key.dst.be);
  ASSERT_EQ(c.translation.flags, c.key.src.be);
  const uint32_t now = c.serial.load(std::memory_order_acquire);
  ASSERT_TRUE(now == serial || now == serial + 1)
      << "reused before the grace period: " << now << " " << serial;
}

void OnePacket(Race& race, std::mt19937& random) {
  ConnTable4& table = *race.all.table;
  FlowKey4 key = TupleOf(random() % kKeys);
  if (random() % 2 == 0) key = key.Reversed();
  const uint32_t hash = HashOf(key), now = race.now_ms.load(std::memory_order_relaxed);
  const auto f = table.Find(key, hash);
  if (f.index != 0) {
    Check(table, key, f.index, f.serial);
    table.At(f.index).last_seen_ms.store(now, std::memory_order_relaxed);
    if (f.reply) {
      table.At(f.index).state.store(ConnState::kReply, std::memory_order_relaxed);
      table.Confirm(f.index);
    }
    if (random() % 8 == 0 && table.Remove(f.index, f.serial)) ++race.removed;
    if (random() % 8 == 0) {
      table.UpdateLocked(f.index, f.serial, [&](ConnTable4::Conn& c) { c.egress_rule.rule = now; });
    }
    Check(table, key, f.index, f.serial);
    ++race.found;
    return;
  }
  const auto i = table.Insert(key, hash, now, [&](ConnTable4::Conn& c) {
    c.state.store(ConnState::kNew, std::memory_order_relaxed);
    c.src_endpoint = EndpointId{c.key.src.be % kPayers};
    c.translation.flags = c.key.src.be;
  });
  if (i.index == 0) {
    ++race.full;
  } else {
    Check(table, key, i.index, i.serial);
    if (!i.existed) ++race.inserted;
  }
}

void Worker(Race& race, uint32_t reader, uint32_t seed) {
  std::mt19937 random(seed);
  rte_rcu_qsbr_thread_online(race.all.qsbr.get(), reader);
  for (uint32_t burst = 0; !race.stop.load(std::memory_order_relaxed); ++burst) {
    for (int i = 0; i < 32; ++i) OnePacket(race, random);
    race.all.Quiescent(reader);
    if (burst % 64 == 0) {  // sleeps as an idle worker does
      rte_rcu_qsbr_thread_offline(race.all.qsbr.get(), reader);
      std::this_thread::yield();
      rte_rcu_qsbr_thread_online(race.all.qsbr.get(), reader);
    }
  }
  rte_rcu_qsbr_thread_offline(race.all.qsbr.get(), reader);
}

void Maintain(Race& race) {
  const Timeouts timeouts{.udp_new = 1, .udp_established = 1};
  while (!race.stop.load(std::memory_order_relaxed)) {
    const uint32_t now = race.now_ms.fetch_add(100, std::memory_order_relaxed);
    race.removed += race.all.table->Sweep(now, timeouts, 100);
    race.all.table->ForEach([](const ConnectionSnapshot<FlowKey4>& c) {
      EXPECT_EQ(c.translation.flags, c.key.src.be);
      EXPECT_EQ(c.src_endpoint, EndpointId{c.key.src.be % kPayers});
      return true;
    });
    // Readers of counts, and a removal as when a pod goes.
    EXPECT_LE(race.all.table->embryonic(), 512u);
    race.removed +=
        race.all.table->RemoveIf([now](const auto& c) { return c.key.src.be % 64 == now / 100 % 64; });
    std::this_thread::yield();
  }
}

// The counts are those of the connections that are there.
void ExpectCounts(const ConnTable4& table) {
  uint32_t all[kPayers] = {}, embryonic[kPayers] = {}, total = 0;
  table.ForEach([&](const ConnectionSnapshot<FlowKey4>& c) {
    ++all[c.src_endpoint.value()];
    embryonic[c.src_endpoint.value()] += c.embryonic ? 1 : 0;
    total += c.embryonic ? 1 : 0;
    return true;
  });
  for (uint32_t p = 0; p < kPayers; ++p) {
    EXPECT_EQ(table.charged(EndpointId{p}), all[p]) << p;
    EXPECT_EQ(table.charged_embryonic(EndpointId{p}), embryonic[p]) << p;
  }
  EXPECT_EQ(table.embryonic(), total);
}

TEST(ConnTableRace, WorkersSweeperAndLister) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Race race;
  rte_rcu_qsbr_thread_offline(race.all.qsbr.get(), 0);
  for (uint32_t w = 1; w <= kWorkers; ++w) rte_rcu_qsbr_thread_register(race.all.qsbr.get(), w);
  std::vector<std::thread> threads;
  for (uint32_t w = 1; w <= kWorkers; ++w) threads.emplace_back(Worker, std::ref(race), w, seed + w);
  threads.emplace_back(Maintain, std::ref(race));
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  race.stop = true;
  for (std::thread& t : threads) t.join();

  ConnTable4& table = *race.all.table;
  EXPECT_GT(race.found, 1000u);
  EXPECT_GT(race.inserted, 1000u);
  EXPECT_EQ(race.inserted - race.removed - table.evicted(), table.size());
  EXPECT_GT(table.evicted(), 0u);
  ExpectCounts(table);
  table.RemoveIf([](const auto&) { return true; });
  EXPECT_EQ(table.size(), 0u);
  ExpectCounts(table);
}

}  // namespace conn_table_race_test
}  // namespace podwire
