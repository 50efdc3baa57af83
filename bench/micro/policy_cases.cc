// Policies: a verdict, a whole decision, and (timed only) compiling them.
#include <algorithm>
#include <random>

#include <fmt/format.h>

#include "acl/compiled_policy.h"
#include "bench/micro/case.h"
#include "bench/micro/policy_model.h"
#include "switch/decide.h"
#include "tests/switch/test_tables.h"

namespace podwire::bench {
namespace {

constexpr ClusterShape kClusters[] = {kNoPolicy, kTenPolicies, kTenThousandPolicies};
constexpr size_t kQueries = 4096;

/// Three quarters pods of the cluster, the others from outside.
IpAddress AnyPeer(const ClusterShape& shape, std::mt19937& random) {
  if (random() % 4 == 0) return Offset(*ParseIp("172.16.0.0"), random() % (1 << 20));
  return Offset(*ParseIp("10.0.0.1"), random() % (shape.namespaces * shape.pods_each));
}

/// Both directions' verdicts count as one operation each.
class Check : public Case {
 public:
  explicit Check(const ClusterShape& shape) {
    const std::vector<ObjectKey> local = LocalPods(shape);
    policy_ = Compile(MakeModel(shape), local);
    std::mt19937 random(1);
    for (size_t i = 0; i < kQueries; ++i)
      queries_.emplace_back(*policy_.Find(local[random() % local.size()]), AnyPeer(shape, random));
  }
  void Run() override {
    for (size_t i = at_; i < at_ + kBurst; ++i) {
      const auto& [endpoint, peer] = queries_[i];
      Use(policy_.Check(Direction::kIngress, endpoint.ingress, peer, 6, 80).allowed);
      Use(policy_.Check(Direction::kEgress, endpoint.egress, peer, 6, 8001).allowed);
    }
    at_ = (at_ + kBurst) % kQueries;
  }

 private:
  CompiledPolicy policy_;
  std::vector<std::pair<EndpointPolicy, IpAddress>> queries_;
  size_t at_ = 0;
};

/// A node with the cluster's local pods; the others are behind one VXLAN next hop.
Tables TablesOf(const ClusterShape& shape) {
  Tables t = testing::TestTables();
  t.endpoints.clear();
  t.endpoint_by_address.clear();
  t.ports.resize(testing::kUnderlayPort.value() + 1);
  const std::vector<ObjectKey> local = LocalPods(shape);
  const Model model = MakeModel(shape);
  t.policy = std::make_shared<const CompiledPolicy>(Compile(model, local));
  for (const ObjectKey& key : local) {
    Endpoint e{.id = EndpointId(static_cast<uint16_t>(t.endpoints.size())), .version = 1};
    e.port = PortId(static_cast<uint16_t>(t.ports.size()));
    e.addresses = {model.pods.at(key).addresses[0]};
    e.adjacency = NextHopId(0);
    e.policy = *t.policy->Find(key);
    t.endpoint_by_address[e.addresses[0]] = e.id;
    t.ports.push_back({.role = PortRole::kPod, .endpoint = e.id, .own_mac = {}, .peer_mac = {}, .name = {}});
    t.endpoints.push_back(e);
  }
  t.adjacencies.resize(2);
  t.adjacencies[1].hop.neighbor = testing::Ip("192.0.2.9");
  for (uint32_t i = 0; i < 256; ++i) {  // a node's worth of routes
    t.fib.Set(*ParsePrefix(fmt::format("10.{}.0.0/16", i)), {.next_hop = NextHopId(1), .why = {}});
  }
  t.fib.Set(*ParsePrefix("172.16.0.0/12"), {.next_hop = NextHopId(1), .why = {}});
  return t;
}

/// First packets of connections of local pods, half of them to and half from elsewhere.
class DecideCase : public Case {
 public:
  explicit DecideCase(const ClusterShape& shape) : tables_(TablesOf(shape)) {
    std::mt19937 random(1);
    for (size_t i = 0; i < kQueries; ++i) {
      const Endpoint& pod = tables_.endpoints[random() % tables_.endpoints.size()];
      Headers h{.proto = 6, .src_port = 40000, .dst_port = static_cast<uint16_t>(i % 3 == 0 ? 80 : 1500)};
      const IpAddress peer = AnyPeer(shape, random);
      const bool out = i % 2 == 0 || tables_.EndpointOf(peer) != nullptr;
      h.src = out ? pod.addresses[0] : peer;
      h.dst = out ? peer : pod.addresses[0];
      h.in_port = out ? pod.port : testing::kUnderlayPort;
      h.tunnelled = !out;
      if (!out) h.tunnel_src = testing::Ip("192.0.2.9");
      queries_.push_back(h);
    }
  }
  void Run() override {
    for (size_t i = at_; i < at_ + kBurst; ++i) Use(Decide(tables_, queries_[i]).action);
    at_ = (at_ + kBurst) % kQueries;
  }

 private:
  const Tables tables_;
  std::vector<Headers> queries_;
  size_t at_ = 0;
};

class CompileCase : public Case {
 public:
  explicit CompileCase(const ClusterShape& shape) : model_(MakeModel(shape)), local_(LocalPods(shape)) {}
  void Run() override { compiled_ = Compile(model_, local_); }
  std::vector<std::pair<std::string, double>> Facts() const override {
    const CompiledPolicy::Size size = compiled_.size();
    return {{"policies", size.policies},
            {"rule_sets", size.rule_sets},
            {"addresses", size.addresses},
            {"entries", size.entries},
            {"port_sets", size.port_sets}};
  }

 private:
  const Model model_;
  const std::vector<ObjectKey> local_;
  CompiledPolicy compiled_;
};

constexpr ClusterShape kCompiled[] = {
    {"small", 1, 100, 10, 100, 1},
    {"many_peers", 1, 100000, 10, 500, 1},
    {"10k_pods", 100, 100, 10, 5, 100},
    {"local_pods_spread", 1000, 100, 10, 1, 500},
    {"local_pods_together", 1000, 100, 10, 100, 5},
    {"large_namespaces", 10, 10000, 1000, 50, 10},
    {"one_namespace", 1, 100000, 10000, 500, 1},
};

template <class T>
void Add(Cases& cases, const char* name, const ClusterShape& shape, uint32_t items, bool gated) {
  cases.push_back(
      {.name = fmt::format("{}/{}", name, shape.name), .items = items, .gated = gated, .make = [shape] {
         return std::make_unique<T>(shape);
       }});
}

}  // namespace

void AddPolicyCases(Cases& cases) {
  for (const ClusterShape& shape : kClusters) Add<Check>(cases, "policy_check", shape, 2 * kBurst, true);
  for (const ClusterShape& shape : kClusters) Add<DecideCase>(cases, "decide", shape, kBurst, true);
  for (const ClusterShape& shape : kCompiled) Add<CompileCase>(cases, "policy_compile", shape, 1, false);
  for (const ClusterShape& shape : kCompiled)
    Add<Check>(cases, "policy_check_cluster", shape, 2 * kBurst, false);
}

}  // namespace podwire::bench
