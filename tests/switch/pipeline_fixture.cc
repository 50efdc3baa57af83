#include "tests/switch/pipeline_fixture.h"

#include <nlohmann/json.hpp>

#include "acl/parse.h"
#include "pmd/offload.h"

namespace podwire::testing {
namespace {

Pod PodOf(const char* name, const char* address) {
  Pod pod;
  pod.key = {"default", name};
  pod.labels = {{"app", name}};
  pod.addresses = {Ip(address)};
  return pod;
}

Adjacency ToPod(PortId port, EndpointId endpoint, const MacAddr& mac) {
  Adjacency a{.port = port, .to_endpoint = true, .endpoint = endpoint};
  a.hop.mtu = 1450;
  BuildHeader(a.hop, {.src_mac = kGatewayMac, .dst_mac = mac});
  return a;
}

Adjacency ToUnderlay(NextHop::Kind kind, const char* neighbor, uint16_t mtu) {
  Adjacency a{.port = kUnderlayPort};
  a.hop.kind = kind;
  a.hop.mtu = mtu;
  if (*neighbor != 0) a.hop.neighbor = Ip(neighbor);
  BuildHeader(a.hop, {.src_mac = kUnderlayMac,
                      .src = Ip("192.0.2.1"),
                      .dst = Ip("192.0.2.9"),
                      .udp_port = 8472,
                      .inner_src_mac = kVtepMac,
                      .inner_dst_mac = kPeerVtepMac});
  return a;
}

}  // namespace

Tables NodeTables(Port* a, Port* b, Port* uplink) {
  Tables t = TestTables();
  t.ports[0].port = a;
  t.ports[1].port = b;
  t.ports[2].port = uplink;
  for (uint16_t i = 0; i < 2; ++i) {
    t.endpoints[i].adjacency = NextHopId(i);
    t.endpoints[i].ns = "default";
    t.endpoints[i].name = i == 0 ? "a" : "b";
    t.adjacencies.push_back(ToPod(PortId(i), EndpointId(i), t.endpoints[i].mac));
  }
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kVxlan, "192.0.2.9", 1450));
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kDirect, "", 1500));
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kDirect, "192.0.2.9", 1500));
  t.fib.Set(*ParsePrefix("10.244.1.0/24"), {.kind = RouteKind::kSubnetLocal, .why = "this node"});
  t.fib.Set(*ParsePrefix("10.244.2.0/24"), {.next_hop = NextHopId(2), .why = "node b by vxlan"});
  t.fib.Set(*ParsePrefix("10.244.3.0/24"), {.next_hop = NextHopId(4), .why = "node b by host-gw"});
  t.fib.Set(*ParsePrefix("192.0.2.0/24"), {.next_hop = NextHopId(3), .why = "underlay subnet"});
  t.policy = std::make_shared<const CompiledPolicy>(Compile(Model{}, {}));
  return t;
}

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
  shared.connections = std::move(ConnTable<FlowKey4>::Create({.capacity = capacity}, shared.qsbr.get()).value());
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
  Model model;
  for (const auto& [name, address] :
       {std::pair("a", "10.244.1.2"), {"b", "10.244.1.3"}, {"remote", "10.244.2.7"}}) {
    model.pods[{"default", name}] = PodOf(name, address);
  }
  for (const std::string& text : policies) {
    auto policy = ParseNetworkPolicy(nlohmann::json::parse(text), "default");
    EXPECT_TRUE(policy.ok()) << policy.status();
    model.policies[policy->key] = *policy;
  }
  Tables t = *tables.back();
  const std::vector<ObjectKey> local{{"default", "a"}, {"default", "b"}};
  t.policy = std::make_shared<const CompiledPolicy>(Compile(model, local));
  for (Endpoint& e : t.endpoints) {
    const EndpointPolicy policy = *t.policy->Find({"default", e.name});
    if (policy.fingerprint != e.policy.fingerprint) ++e.version;
    e.policy = policy;
  }
  return t;
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

void PipelineTest::ResolvePeer() { shared.neighbors.Learn(Ip("192.0.2.9"), kPeerMac, worker->now_ms, true); }

}  // namespace podwire::testing
