#include "switch/balancer.h"

#include <gtest/gtest.h>

namespace podwire {
namespace balancer_test {

QueueLoad Load(uint16_t port, uint16_t worker, double permille) {
  return {.port = PortId{port}, .queue = 0, .worker = worker, .permille = permille};
}

constexpr uint16_t kTwo[] = {0, 1};
constexpr uint16_t kOne[] = {0};

TEST(BalancerTest, MovesWhatEvensOutBest) {
  const QueueLoad queues[] = {Load(0, 0, 600), Load(1, 0, 300), Load(2, 0, 50), Load(3, 1, 100)};
  EXPECT_EQ(BestMove(queues, kTwo), (QueueMove{.port = PortId{1}, .queue = 0, .from = 0, .to = 1}))
      << "650 and 400: the 600 would leave 350 and 700";
}

TEST(BalancerTest, StaysWhenAMoveDoesNotPay) {
  const QueueLoad even[] = {Load(0, 0, 500), Load(1, 1, 350)};
  EXPECT_FALSE(BestMove(even, kTwo)) << "the gap is too small";
  const QueueLoad single[] = {Load(0, 0, 1000), Load(1, 1, 0)};
  EXPECT_FALSE(BestMove(single, kTwo)) << "one heavy queue is as heavy elsewhere";
  const QueueLoad dust[] = {Load(0, 0, 900), Load(1, 0, 40), Load(2, 0, 40)};
  EXPECT_FALSE(BestMove(dust, kTwo)) << "too little gained";
  const QueueLoad alone[] = {Load(0, 0, 500), Load(1, 0, 500)};
  EXPECT_FALSE(BestMove(alone, kOne));
  EXPECT_TRUE(BestMove(alone, kTwo));
}

TEST(BalancerTest, AfterAMoveThereIsNoMoveBack) {
  for (double heavy = 100; heavy <= 1000; heavy += 50) {
    QueueLoad queues[] = {Load(0, 0, heavy), Load(1, 0, 250), Load(2, 0, 120), Load(3, 1, 30)};
    int moves = 0;
    while (const auto m = BestMove(queues, kTwo)) {
      ASSERT_LT(++moves, 4) << heavy;
      queues[m->port.value()].worker = m->to;
    }
  }
}

class RoundTest : public ::testing::Test {
 protected:
  RoundTest() {
    for (uint16_t i = 0; i < 3; ++i) {
      plan_.ports.push_back(
          {.port = nullptr, .queues = {{.worker = 0, .counter = std::make_shared<QueueCounter>()}}});
    }
  }
  std::optional<QueueMove> Round(std::array<uint64_t, 3> packets, double busy0, double busy1) {
    for (size_t i = 0; i < 3; ++i) plan_.ports[i].queues[0].counter->Add(packets[i]);
    const Balancer::WorkerBusy busy[] = {{.worker = 0, .permille = busy0}, {.worker = 1, .permille = busy1}};
    return balancer_.Round(plan_, busy);
  }
  PollPlan plan_;
  Balancer balancer_;
};

TEST_F(RoundTest, LoadIsMeasuredByPacketsAndTime) {
  EXPECT_FALSE(Round({1000, 1000, 1000}, 900, 0)) << "what came before the first round says nothing";
  EXPECT_FALSE(Round({0, 0, 0}, 0, 0));
  std::optional<QueueMove> move;
  for (int i = 0; i < 4 && !move; ++i) move = Round({500, 400, 100}, 1000, 0);
  ASSERT_TRUE(move);
  EXPECT_EQ(move->port, PortId{0}) << "500 and 500 afterwards";
  EXPECT_EQ(move->to, 1);
}

TEST_F(RoundTest, AQueueThatMovedStaysForAWhile) {
  std::optional<QueueMove> move;
  for (int i = 0; i < 6 && !move; ++i) move = Round({500, 400, 100}, 1000, 0);
  ASSERT_TRUE(move);
  plan_.ports[move->port.value()].queues[0].worker = 1;
  // All load is on the moved queue and another one of worker 1 now.
  plan_.ports[1].queues[0].worker = 1;
  for (uint32_t i = 0; i < Balancer::kHoldRounds; ++i) {
    EXPECT_FALSE(Round({500, 400, 0}, 0, 1000)) << i << ": both have just come";
  }
  for (int i = 0; i < 3 && !(move = Round({500, 400, 0}, 0, 1000));) ++i;
  EXPECT_TRUE(move) << "then they may move again";
}

TEST_F(RoundTest, AnotherPortInTheSamePlaceBeginsAnew) {
  constexpr double kQuiet = 150;  // less than a gap that pays
  for (int i = 0; i < 4; ++i) ASSERT_FALSE(Round({500, 500, 100}, kQuiet, 0)) << i;
  // A pod went and another came; even its port's address in memory may be the same.
  plan_.ports[0].queues[0].counter = std::make_shared<QueueCounter>();
  EXPECT_FALSE(Round({10, 2000, 100}, kQuiet, 0)) << "the worker has no more to do than before";
}

}  // namespace balancer_test
}  // namespace podwire
