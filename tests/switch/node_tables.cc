#include "tests/switch/node_tables.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "acl/compiled_policy.h"
#include "acl/parse.h"

namespace podwire::testing {
namespace {

Pod PodOf(const char* name, const char* address, const char* address6) {
  Pod pod;
  pod.key = {"default", name};
  pod.labels = {{"app", name}};
  pod.addresses = {Ip(address), Ip6(address6)};
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
  if (*neighbor != 0) a.hop.neighbor = *ParseIp(neighbor);
  if (kind == NextHop::Kind::kVxlan) a.hop.remote = a.hop.neighbor;
  const bool over_v6 = a.hop.remote.is_v6();
  BuildHeader(a.hop, {.src_mac = kUnderlayMac,
                      .src = *ParseIp(over_v6 ? "2001:db8::1" : "192.0.2.1"),
                      .dst = *ParseIp(over_v6 ? "2001:db8::9" : "192.0.2.9"),
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
    t.endpoints[i].pod = {"default", i == 0 ? "a" : "b"};
    t.adjacencies.push_back(ToPod(PortId(i), EndpointId(i), t.endpoints[i].mac));
  }
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kVxlan, "192.0.2.9", 1450));
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kDirect, "", 1500));
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kDirect, "192.0.2.9", 1500));
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kVxlan, "2001:db8::9", 1430));
  t.adjacencies.push_back(ToUnderlay(NextHop::Kind::kDirect, "2001:db8::9", 1500));
  t.fib.Set(*ParsePrefix("2001:db8:1::/64"), {.kind = RouteKind::kSubnetLocal, .why = "this node"});
  t.fib.Set(*ParsePrefix("2001:db8:2::/64"), {.next_hop = NextHopId(5), .why = "node b by vxlan"});
  t.fib.Set(*ParsePrefix("2001:db8:3::/64"), {.next_hop = NextHopId(6), .why = "node b by host-gw"});
  t.fib.Set(*ParsePrefix("2001:db8:4::/64"), {.next_hop = NextHopId(2), .why = "node b by vxlan"});
  t.fib.Set(*ParsePrefix("2001:db8::/64"), {.next_hop = NextHopId(3), .why = "underlay subnet"});
  t.fib.Set(*ParsePrefix("10.244.1.0/24"), {.kind = RouteKind::kSubnetLocal, .why = "this node"});
  t.fib.Set(*ParsePrefix("10.244.2.0/24"), {.next_hop = NextHopId(2), .why = "node b by vxlan"});
  t.fib.Set(*ParsePrefix("10.244.3.0/24"), {.next_hop = NextHopId(4), .why = "node b by host-gw"});
  t.fib.Set(*ParsePrefix("192.0.2.0/24"), {.next_hop = NextHopId(3), .why = "underlay subnet"});
  t.policy = std::make_shared<const CompiledPolicy>(Compile(Model{}, {}));
  return t;
}

Tables WithPolicies(Tables t, const std::vector<std::string>& policies) {
  Model model;
  for (const auto& [name, address, address6] : {std::tuple("a", "10.244.1.2", "2001:db8:1::2"),
                                                {"b", "10.244.1.3", "2001:db8:1::3"},
                                                {"remote", "10.244.2.7", "2001:db8:2::7"}}) {
    model.pods[{"default", name}] = PodOf(name, address, address6);
  }
  for (const std::string& text : policies) {
    const auto document = nlohmann::json::parse(text);
    if (document.value("kind", "") == "ClusterNetworkPolicy") {
      auto policy = ParseClusterNetworkPolicy(document);
      EXPECT_TRUE(policy.ok()) << policy.status();
      model.cluster_policies[policy->name] = *policy;
      continue;
    }
    auto policy = ParseNetworkPolicy(document, "default");
    EXPECT_TRUE(policy.ok()) << policy.status();
    model.policies[policy->key] = *policy;
  }
  const std::vector<ObjectKey> local{{"default", "a"}, {"default", "b"}};
  t.policy = std::make_shared<const CompiledPolicy>(Compile(model, local));
  for (Endpoint& e : t.endpoints) {
    const EndpointPolicy policy = *t.policy->Find(e.pod);
    if (policy.fingerprint != e.policy.fingerprint) ++e.version;
    e.policy = policy;
  }
  return t;
}

}  // namespace podwire::testing
