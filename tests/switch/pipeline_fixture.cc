#include "tests/switch/pipeline_fixture.h"

#include "pmd/offload.h"
#include "tests/switch/node_tables.h"

namespace podwire::testing {
uint16_t FakePort::TxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept {
  const auto taken = static_cast<uint16_t>(std::min<size_t>(n, room));
  for (uint16_t i = 0; i < taken; ++i) {
    sent.push_back(BytesOf(*mbufs[i]));
    rte_pktmbuf_free(mbufs[i]);
  }
  return taken;
}

PipelineTest::PipelineTest(uint32_t capacity) {
  shared.pools = &EalEnvironment::Pools();
  shared.hash_seed = 12345;
  shared.connections =
      std::move(ConnTable<FlowKey4>::Create({.capacity = capacity}, shared.qsbr.get()).value());
  shared.connections6 =
      std::move(ConnTable<FlowKey6>::Create({.capacity = capacity}, shared.qsbr.get()).value());
  worker = std::make_unique<WorkerContext>(shared, 0, capacity);
  shared.qsbr.Register(0);
  Publish(NodeTables(&pod_a, &pod_b, &uplink));
}

PipelineTest::~PipelineTest() {
  DropPending(*worker);
  const CounterTotals t = Totals();
  EXPECT_EQ(t.Get(Counter::kReceived) + t.Get(Counter::kGenerated),
            t.Get(Counter::kSent) + t.dropped() + t.Get(Counter::kConsumed) + t.Get(Counter::kQueued))
      << "the books do not balance";
  shared.qsbr.Unregister(0);
}

void PipelineTest::Publish(Tables next) {
  next.generation = static_cast<uint32_t>(tables.size() + 1);
  tables.push_back(std::make_unique<Tables>(std::move(next)));
  worker->tables = tables.back().get();
  worker->tx.Resize(*worker->tables);
  worker->adjacencies.Resize(*worker->tables);
}

Tables PipelineTest::WithPolicies(const std::vector<std::string>& policies) const {
  return testing::WithPolicies(*tables.back(), policies);
}

void PipelineTest::Receive(PortId port, const std::vector<Frame>& frames) {
  std::vector<rte_mbuf*> mbufs;
  for (const Frame& f : frames) {
    mbufs.push_back(f.Mbuf().release());
    OffloadOf(*mbufs.back()) = {};
  }
  const std::vector<PortId> ports(mbufs.size(), port);
  RunBurst(*worker, mbufs.data(), ports.data(), static_cast<uint16_t>(mbufs.size()));
  worker->tx.Flush(*worker->tables, worker->counters);
}

std::vector<Bytes> PipelineTest::Sent(PortId port) {
  FakePort* ports[] = {&pod_a, &pod_b, &uplink};
  return std::exchange(ports[port.value()]->sent, {});
}

void PipelineTest::Pass(uint32_t ms) {
  worker->now_ms += ms;
  FlushPending(*worker);
  worker->tx.Flush(*worker->tables, worker->counters);
}

CounterTotals PipelineTest::Totals() const {
  CounterTotals t;
  worker->counters.AddTo(t);
  return t;
}

void PipelineTest::ResolvePeer() {
  shared.neighbors.Learn(Ip("192.0.2.9"), kPeerMac, worker->now_ms, true);
  shared.neighbors.Learn(Ip6("2001:db8::9"), kPeerMac, worker->now_ms, true);
}

}  // namespace podwire::testing
