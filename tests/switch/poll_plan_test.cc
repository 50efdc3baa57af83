#include "switch/poll_plan.h"

#include <gtest/gtest.h>

namespace podwire {
namespace poll_plan_test {

class QueuesPort : public Port {
 public:
  explicit QueuesPort(uint16_t queues)
      : Port(PortConfig{.name = "q", .options = VdevOptions{}}), queues_(queues) {}
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t rx_queues() const override { return queues_; }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

 private:
  uint16_t queues_;
};

class PollPlanTest : public ::testing::Test {
 protected:
  void Add(Port* port) { tables_.ports.push_back({.port = port, .own_mac = {}, .peer_mac = {}, .name = {}}); }
  static std::vector<uint16_t> Owners(const PollPlan& plan, size_t port) {
    std::vector<uint16_t> owners;
    for (const auto& q : plan.ports[port].queues) owners.push_back(q.worker);
    return owners;
  }
  Tables tables_;
  QueuesPort one_{1}, another_{1}, third_{1}, four_{4};
};

using Owned = std::vector<uint16_t>;

TEST_F(PollPlanTest, PortsAreSpreadAndKeepTheirWorkers) {
  const uint16_t workers[] = {0, 2};
  Add(&one_);
  Add(nullptr);
  Add(&four_);
  const PollPlan plan = PlanFor(tables_, {}, workers);
  EXPECT_EQ(Owners(plan, 0), (Owned{0}));
  EXPECT_EQ(Owners(plan, 1), Owned());
  EXPECT_EQ(Owners(plan, 2), (Owned{2, 0, 2, 0})) << "evenly within the port, then by all queues";
  plan.ports[2].queues[1].counter->Add(7);

  tables_.ports[1].port = &another_;
  tables_.ports[0].port = nullptr;
  const PollPlan next = PlanFor(tables_, plan, workers);
  EXPECT_GT(next.generation, plan.generation);
  EXPECT_EQ(Owners(next, 0), Owned()) << "the port is gone";
  EXPECT_EQ(Owners(next, 1), (Owned{0}));
  EXPECT_EQ(Owners(next, 2), (Owned{2, 0, 2, 0}));
  EXPECT_EQ(next.ports[2].queues[1].counter->packets.load(), 7u) << "counters go on";
  tables_.ports[2].port = &third_;
  EXPECT_EQ(Owners(PlanFor(tables_, next, workers), 2), (Owned{2})) << "another port in the slot";
}

TEST_F(PollPlanTest, ANewWorkerGetsItsShare) {
  const uint16_t alone[] = {0};
  Add(&one_);
  Add(&four_);
  Add(&another_);
  const PollPlan plan = PlanFor(tables_, {}, alone);
  const uint16_t both[] = {0, 1};
  const auto moves = MovesTo(plan, 1, both);
  ASSERT_EQ(moves.size(), 3u);
  for (const QueueMove& m : moves) {
    EXPECT_EQ(m.from, 0);
    EXPECT_EQ(m.to, 1);
  }
  EXPECT_EQ(moves[0].port, PortId{1}) << "first of the port with most queues";
  const PollPlan between = WithMoves(plan, moves, true);
  EXPECT_EQ(between.CountOf(0), 3u);
  EXPECT_EQ(between.CountOf(1), 0u) << "not polled by two: nobody's before it is another's";
  EXPECT_EQ(between.CountOf(kNoWorker), 3u);
  const PollPlan after = WithMoves(between, moves, false);
  EXPECT_EQ(after.CountOf(0), 3u);
  EXPECT_EQ(after.CountOf(1), 3u);
  EXPECT_TRUE(MovesTo(after, 1, both).empty());
}

TEST_F(PollPlanTest, TheOthersTakeOver) {
  const uint16_t workers[] = {0, 1, 2};
  Add(&four_);
  Add(&one_);
  Add(&another_);
  const PollPlan plan = PlanFor(tables_, {}, workers);
  const uint16_t others[] = {0, 2};
  const auto moves = MovesFrom(plan, 1, others);
  EXPECT_EQ(moves.size(), plan.CountOf(1));
  const PollPlan after = WithMoves(WithMoves(plan, moves, true), moves, false);
  EXPECT_EQ(after.CountOf(1), 0u);
  EXPECT_EQ(after.CountOf(kNoWorker), 0u);
  EXPECT_EQ(after.CountOf(0), 3u);
  EXPECT_EQ(after.CountOf(2), 3u);
}

}  // namespace poll_plan_test
}  // namespace podwire
