// A whole switch with two workers under traffic, while control publishes tables, moves ports and reads
// everything: for TSan and ASan, and for what Publish promises.
#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "switch/switch.h"
#include "tests/switch/busy_port.h"
#include "tests/switch/node_tables.h"
#include "tests/switch/visible_mempool.h"

namespace podwire {
namespace switch_race_test {

using namespace testing;
using std::chrono::milliseconds;

constexpr uint16_t kFlows = 40;
constexpr int kRounds = 60;
constexpr EndpointId kEndpointB{1};
constexpr const char* kIsolateB = R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"isolate"},"spec":{"podSelector":{"matchLabels":{"app":"b"}},
    "policyTypes":["Ingress","Egress"]}})";

class Environment : public EalEnvironment {
 public:
  Environment() : EalEnvironment(2, UseVisibleMempools) {}
};
const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new Environment);

std::vector<Bytes> FramesFrom(const MacAddr& mac, const char* source, const char* peer, bool client) {
  std::vector<Bytes> frames;
  for (uint16_t i = 0; i < kFlows; ++i) {
    const auto port = static_cast<uint16_t>(2000 + i);
    const uint16_t ports[] = {client ? port : uint16_t{80}, client ? uint16_t{80} : port};
    const Frame ip = Frame().Eth(kGatewayMac, mac).Ip4(source, peer);
    frames.push_back(Frame(ip).Udp(ports[0], ports[1]).Payload(20).Build());
    frames.push_back(Frame(ip).Tcp(ports[0], ports[1], client ? 0x02 : 0x12).Build());
    frames.push_back(Frame(ip).Tcp(ports[0], ports[1], i % 4 == 0 ? 0x11 : 0x10).Payload(9).Build());
    frames.push_back(
        Frame().Eth(kGatewayMac, mac).Ip4(source, "10.244.2.7").Udp(port, 53).Payload(5).Build());
  }
  // Only one of them pings the gateway, whose answers no policy stops.
  if (client) {
    frames.push_back(
        Frame().Eth(kGatewayMac, mac).Ip4(source, "10.244.1.1").Icmp(8, 0, 7, 1).Payload(8).Build());
  }
  return frames;
}

// The peer node answers for its MAC, and a pod there talks to pod a.
std::vector<Bytes> FramesFromPeer() {
  std::vector<Bytes> frames;
  frames.push_back(FromPeer().Arp(2, kPeerMac, "192.0.2.9", kUnderlayMac, "192.0.2.1").Build());
  for (uint16_t i = 0; i < kFlows; ++i) {
    frames.push_back(FromTunnel()
                         .Ip4("10.244.2.7", "10.244.1.2")
                         .Udp(53, static_cast<uint16_t>(2000 + i))
                         .Payload(30)
                         .Build());
  }
  return frames;
}

class SwitchRaceTest : public ::testing::Test {
 protected:
  SwitchRaceTest() {
    auto made = Switch::Create(
        {.workers = {{.cpu = 0}, {.cpu = 1}}, .max_connections = 1024, .pools = &EalEnvironment::Pools()});
    EXPECT_TRUE(made.ok()) << made.status();
    sw_ = *std::move(made);
  }

  // Pod b behind `port`; nullptr: not attached.
  Tables With(Port* port) {
    Tables t = NodeTables(&a_, port, &uplink_);
    if (port == nullptr) {
      t.ports[kPodPortB.value()] = {};
      t.endpoints[kEndpointB.value()].port = kNoPort;
    }
    return t;
  }

  std::unique_ptr<BusyPort> NewB() {
    return std::make_unique<BusyPort>("b", EalEnvironment::Pools(),
                                      FramesFrom(kPodMacB, "10.244.1.3", "10.244.1.2", false));
  }

  // Publishes with versions that differ from those of the tables in force.
  void Publish(Tables t) {
    for (Endpoint& e : t.endpoints) e.version += 2 * ++versions_;
    published_ = sw_->Publish(std::make_unique<Tables>(std::move(t)));
    EXPECT_EQ(sw_->tables(), published_);
  }

  // What an API server reads at any time.
  void ReadAll() {
    const CounterTotals totals = sw_->ReadCounters();
    EXPECT_GE(totals.Get(Counter::kReceived), last_received_);
    last_received_ = totals.Get(Counter::kReceived);
    EXPECT_EQ(sw_->ReadWorkers().size(), 2u);
    for (const NeighborRecord& n : sw_->ReadNeighbors()) {
      EXPECT_TRUE(n.mac == MacAddr() || n.mac == kPeerMac) << ToString(n.mac);
    }
    sw_->ForEachFlow([&](const FlowRecord& f) { return ++flows_seen_, f.worker < 2; });
    sw_->ForEachConnection([&](const ConnectionRecord& c) {
      EXPECT_TRUE(c.tuple.proto == IPPROTO_UDP || c.tuple.proto == IPPROTO_TCP ||
                  c.tuple.proto == IPPROTO_ICMP);
      ++connections_seen_;
      return true;
    });
    sw_->ReadEndpointDrops(kEndpointB);
    for (const auto& table : sw_->ReadConnectionTables()) EXPECT_LE(table.connections, table.capacity);
  }

  static bool Balanced(const CounterTotals& t) {
    return t.Get(Counter::kReceived) + t.Get(Counter::kGenerated) ==
           t.Get(Counter::kSent) + t.dropped() + t.Get(Counter::kConsumed) + t.Get(Counter::kQueued);
  }

  BusyPort a_{"a", EalEnvironment::Pools(), FramesFrom(kPodMac, "10.244.1.2", "10.244.1.3", true)};
  BusyPort uplink_{"uplink", EalEnvironment::Pools(), FramesFromPeer()};
  std::unique_ptr<Switch> sw_;
  std::shared_ptr<const Tables> published_;
  uint32_t versions_ = 0;
  uint64_t last_received_ = 0, flows_seen_ = 0, connections_seen_ = 0;  // of the reading thread
};

TEST_F(SwitchRaceTest, TablesPortsAndViewsChangeUnderTraffic) {
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop.load(std::memory_order_relaxed)) ReadAll();
  });
  uint64_t of_ports_gone = 0, delivered = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::unique_ptr<BusyPort> b = NewB();
    Publish(With(b.get()));
    for (int i = 0; i < 500 && b->sent() == 0; ++i) std::this_thread::sleep_for(milliseconds(1));
    delivered += b->sent();

    Publish(WithPolicies(With(b.get()), {kIsolateB}));
    const uint64_t before = b->sent();
    std::this_thread::sleep_for(milliseconds(2));
    EXPECT_EQ(b->sent(), before) << "round " << round << ": delivered after the policy was in force";

    Publish(With(nullptr));
    const uint64_t calls = b->calls();
    std::this_thread::sleep_for(milliseconds(1));
    EXPECT_EQ(b->calls(), calls) << "round " << round << ": used after it had left the tables";
    of_ports_gone += b->received();
    b.reset();
    sw_->ForgetEndpoint(kEndpointB);
  }
  stop = true;
  reader.join();
  EXPECT_GT(delivered, 0u);
  EXPECT_GT(flows_seen_, 0u);
  EXPECT_GT(connections_seen_, 0u);

  a_.Quiet();
  uplink_.Quiet();
  // Nothing is lost on the way: every packet that a port gave is in the books.
  CounterTotals totals;
  uint64_t given = 0;
  for (int i = 0; i < 1000 && (given == 0 || given != totals.Get(Counter::kReceived) || !Balanced(totals));
       ++i) {
    std::this_thread::sleep_for(milliseconds(5));
    totals = sw_->ReadCounters();
    given = a_.received() + uplink_.received() + of_ports_gone;
  }
  EXPECT_TRUE(Balanced(totals)) << "the books do not balance";
  EXPECT_EQ(totals.Get(Counter::kReceived), given);
  EXPECT_GT(totals.drops[static_cast<size_t>(DropReason::kPolicyDeniedIngress)], 0u);
  EXPECT_GT(totals.drops[static_cast<size_t>(DropReason::kPolicyDeniedEgress)], 0u);
  EXPECT_GT(totals.Get(Counter::kEncapsulated), 0u);
  EXPECT_GT(totals.Get(Counter::kDecapsulated), 0u);
}

}  // namespace switch_race_test
}  // namespace podwire
