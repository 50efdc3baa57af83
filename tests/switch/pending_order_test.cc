// Packets of a flow leave in the order in which they came, whether they waited for their next hop's MAC or
// not.
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace pending_order_test {

constexpr const char* kA = "10.244.1.2";
constexpr const char* kRemote = "10.244.3.7";  // by the peer, without a tunnel

class PendingOrderTest : public PipelineTest {
 protected:
  static Frame Numbered(uint16_t id, bool mf = false) {
    return FromPod().Ip4(kA, kRemote, {.id = id, .mf = mf}).Udp(5000, 53, mf ? 1000 : -1).Payload(16);
  }
  /// The IPv4 ids of what has left for the peer.
  std::vector<uint16_t> Left() {
    std::vector<uint16_t> ids;
    for (const Bytes& f : Sent(kUnderlayPort)) {
      if (Be16(f, 12) == 0x0800) ids.push_back(Be16(f, 18));
    }
    return ids;
  }
};

TEST_F(PendingOrderTest, NewPacketsGoBehindThoseThatWaited) {
  Receive(kPodPort,
          {Numbered(1), Numbered(2), FromPod().Ip4(kA, "192.0.2.77", {.id = 9}).Udp(1, 2), Numbered(3)});
  EXPECT_EQ(Count(Counter::kQueued), 4u);
  ResolvePeer();
  Receive(kPodPort, {Numbered(4), Numbered(5)});
  EXPECT_EQ(Left(), (std::vector<uint16_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(Count(Counter::kQueued), 1u) << "the other neighbour's";
  Pass(2000);
  EXPECT_EQ(Drops(DropReason::kNeighborUnresolved), 1u);
}

TEST_F(PendingOrderTest, ThoseOfOldTablesAreDecidedAgainInOrderToo) {
  Receive(kPodPort, {Numbered(1), Numbered(2), Numbered(3)});
  Publish(WithPolicies({}));
  ResolvePeer();
  Receive(kPodPort, {Numbered(4)});
  EXPECT_EQ(Left(), (std::vector<uint16_t>{1, 2, 3, 4}));
}

TEST_F(PendingOrderTest, NoResolvedAdjacencyOutlivesItsNeighbour) {
  ResolvePeer();
  Receive(kPodPort, {Numbered(1)});
  Receive(kUnderlayPort, {FromPeer().Ip4(kRemote, kA).Udp(53, 5000)});
  Pass(NeighborTable::kReachableMs + NeighborTable::kStaleMs - 100);
  Receive(kPodPort, {Numbered(2), Numbered(3)});
  EXPECT_EQ(Left(), (std::vector<uint16_t>{1, 2, 3}));
  Pass(150);
  Receive(kPodPort, {Numbered(4, /*mf=*/true), Numbered(5)});
  EXPECT_EQ(Left(), std::vector<uint16_t>{}) << "the second would go by the worker's cache";
  EXPECT_EQ(Count(Counter::kQueued), 2u);
  ResolvePeer();
  Pass(1);
  EXPECT_EQ(Left(), (std::vector<uint16_t>{4, 5}));
}

}  // namespace pending_order_test
}  // namespace podwire::testing
