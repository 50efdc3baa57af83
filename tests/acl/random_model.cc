#include "random_model.h"

#include <cstdio>
#include <cstdlib>

namespace podwire {
namespace {
constexpr const char* kKeys[] = {"app", "tier", "env"};
constexpr const char* kValues[] = {"x", "y", ""};
constexpr const char* kPortNames[] = {"http", "dns"};
constexpr uint16_t kPorts[] = {0, 1, 53, 79, 80, 81, 90, 65535};
constexpr L4Protocol kProtocols[] = {L4Protocol::kTcp, L4Protocol::kUdp, L4Protocol::kSctp};
}  // namespace

uint64_t TestSeed() {
  const char* text = std::getenv("PODWIRE_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 0) : std::random_device{}();
  std::printf("PODWIRE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

Labels RandomModel::SomeLabels() {
  Labels labels;
  for (const char* key : kKeys) {
    if (Chance(60)) labels[key] = kValues[Below(3)];
  }
  return labels;
}

LabelSelector RandomModel::Selector() {
  LabelSelector s;
  if (Chance(30)) return s;
  if (Chance(60)) s.match_labels[kKeys[Below(3)]] = kValues[Below(3)];
  const uint32_t expressions = Below(3);
  for (uint32_t i = 0; i < expressions; ++i) {
    LabelRequirement r{.key = kKeys[Below(3)], .op = static_cast<LabelRequirement::Operator>(Below(4))};
    const bool wants_values =
        r.op == LabelRequirement::Operator::kIn || r.op == LabelRequirement::Operator::kNotIn;
    for (uint32_t n = wants_values ? 1 + Below(2) : 0; n > 0; --n) r.values.emplace_back(kValues[Below(3)]);
    s.expressions.push_back(r);
  }
  return s;
}

IpAddress RandomModel::AnyAddress() {
  if (Chance(65)) return Offset(*ParseIp("10.0.0.0"), Below(64) + 256 * Below(2));
  return Offset(*ParseIp("fd00::"), Below(64) + 65536 * Below(2));
}

IpAddress RandomModel::Address(const Model& model) {
  if (Chance(20) || model.pods.empty()) return AnyAddress();
  auto it = model.pods.begin();
  std::advance(it, Below(static_cast<uint32_t>(model.pods.size())));
  const auto& addresses = it->second.addresses;
  return addresses.empty() ? AnyAddress() : addresses[Below(static_cast<uint32_t>(addresses.size()))];
}

uint8_t RandomModel::Protocol() {
  return Chance(20) ? uint8_t{1} : static_cast<uint8_t>(kProtocols[Below(3)]);
}

uint16_t RandomModel::Port() { return kPorts[Below(8)]; }

Pod RandomModel::MakePod(const ObjectKey& key) {
  Pod pod{.key = key, .labels = SomeLabels()};
  const uint32_t addresses = Chance(5) ? 0 : 1 + Below(2);
  for (uint32_t i = 0; i < addresses; ++i) pod.addresses.push_back(AnyAddress());
  for (uint32_t i = Below(4); i > 0; --i) {
    ContainerPort port{.number = static_cast<uint16_t>(79 + Below(3)), .protocol = kProtocols[Below(3)]};
    if (Chance(80)) port.name = kPortNames[Below(2)];
    pod.ports.push_back(port);
  }
  pod.host_network = Chance(10);
  pod.finished = Chance(10);
  return pod;
}

IpPrefix RandomModel::Prefix(const IpAddress& near, uint8_t min_length) {
  const uint8_t bits = near.bits();
  const auto low = std::max<uint8_t>(min_length, static_cast<uint8_t>(bits - 9));
  return IpPrefix::Make(near, static_cast<uint8_t>(low + Below(bits - low + 1u)));
}

PolicyPeer RandomModel::Peer() {
  PolicyPeer peer;
  if (Chance(3)) return peer;
  if (Chance(35)) {
    IpBlock block;
    const IpAddress near = AnyAddress();
    block.cidr = Chance(20) ? IpPrefix::Make(near, 0) : Prefix(near, 0);
    for (uint32_t i = block.cidr.length < near.bits() ? Below(3) : 0; i > 0; --i) {
      const IpAddress inside = Offset(block.cidr.address, Below(64));
      const auto longer = static_cast<uint8_t>(block.cidr.length + 1);
      const IpPrefix hole = Prefix(block.cidr.Contains(inside) ? inside : block.cidr.address, longer);
      block.except.push_back(hole);
    }
    peer.ip_block = block;
    return peer;
  }
  const uint32_t which = Below(3);
  if (which != 1) peer.pod_selector = Selector();
  if (which != 0) peer.namespace_selector = Selector();
  return peer;
}

PolicyPort RandomModel::MakePort() {
  PolicyPort port{.protocol = kProtocols[Below(3)]};
  if (Chance(20)) return port;
  if (Chance(35)) {
    port.name = kPortNames[Below(2)];
    return port;
  }
  port.first = port.last = kPorts[1 + Below(7)];
  if (Chance(40)) port.last = std::max(port.first, kPorts[1 + Below(7)]);
  return port;
}

PolicyRule RandomModel::Rule() {
  PolicyRule rule;
  for (uint32_t i = Below(5); i > 0; --i) rule.peers.push_back(Peer());
  for (uint32_t i = Below(4); i > 0; --i) rule.ports.push_back(MakePort());
  return rule;
}

NetworkPolicy RandomModel::MakePolicy(const ObjectKey& key) {
  NetworkPolicy policy{.key = key, .pod_selector = Selector()};
  policy.isolates_ingress = Chance(70);
  policy.isolates_egress = Chance(60);
  for (uint32_t i = Below(4); i > 0; --i) policy.ingress.push_back(Rule());
  for (uint32_t i = Below(4); i > 0; --i) policy.egress.push_back(Rule());
  return policy;
}

PolicyPeer RandomModel::ClusterPeer(bool egress) {
  PolicyPeer peer;
  if (egress && Chance(40)) {
    for (uint32_t i = 1 + Below(3); i > 0; --i) peer.networks.push_back({Prefix(AnyAddress(), 0), {}});
    return peer;
  }
  if (egress && Chance(20)) {
    peer.node_selector = Selector();
    return peer;
  }
  peer.namespace_selector = Selector();
  if (Chance(60)) peer.pod_selector = Selector();
  return peer;
}

PolicyRule RandomModel::ClusterRule(bool egress) {
  PolicyRule rule{.action = static_cast<RuleAction>(Below(3))};
  for (uint32_t i = 1 + Below(3); i > 0; --i) rule.peers.push_back(ClusterPeer(egress));
  for (uint32_t i = Below(4); i > 0; --i) {
    rule.ports.push_back(MakePort());
    rule.ports.back().any_protocol = rule.ports.back().is_named();
  }
  return rule;
}

ClusterNetworkPolicy RandomModel::MakeClusterPolicy(const std::string& name) {
  ClusterNetworkPolicy policy{.name = name,
                              .tier = Chance(60) ? Tier::kAdmin : Tier::kBaseline,
                              .priority = static_cast<uint16_t>(Below(4)),
                              .subject = ClusterPeer(false)};
  for (uint32_t i = Below(4); i > 0; --i) policy.ingress.push_back(ClusterRule(false));
  for (uint32_t i = Below(4); i > 0; --i) policy.egress.push_back(ClusterRule(true));
  return policy;
}

ClusterNode RandomModel::MakeNode() { return {SomeLabels(), {AnyAddress(), AnyAddress()}}; }

Model RandomModel::Make() {
  Model model;
  for (uint32_t i = Below(5); i > 0; --i) {
    const std::string name = NamespaceName();
    model.namespaces[name] = {name, SomeLabels()};
  }
  for (uint32_t i = 4 + Below(12); i > 0; --i) {
    const ObjectKey key{NamespaceName(), PodName()};
    model.pods[key] = MakePod(key);
  }
  for (uint32_t i = 2 + Below(8); i > 0; --i) {
    const ObjectKey key{NamespaceName(), fmt::format("n{}", Below(6))};
    model.policies[key] = MakePolicy(key);
  }
  for (uint32_t i = Chance(30) ? 0 : 1 + Below(6); i > 0; --i) {
    const std::string name = fmt::format("c{}", Below(6));
    model.cluster_policies[name] = MakeClusterPolicy(name);
  }
  for (uint32_t i = Below(3); i > 0; --i) model.nodes[fmt::format("m{}", Below(3))] = MakeNode();
  return model;
}

std::string RandomModel::Change(Model& model) {
  const ObjectKey pod{NamespaceName(), PodName()};
  const ObjectKey policy{NamespaceName(), fmt::format("n{}", Below(6))};
  switch (Below(10)) {
    case 0:
      model.pods[pod] = MakePod(pod);
      return "new pod " + ToString(pod);
    case 1:
      model.pods.erase(pod);
      return "no pod " + ToString(pod);
    case 2:
      if (const auto it = model.pods.find(pod); it != model.pods.end()) it->second.labels = SomeLabels();
      return "labels of " + ToString(pod);
    case 3:
      if (const auto it = model.pods.find(pod); it != model.pods.end()) it->second.ports = MakePod(pod).ports;
      return "ports of " + ToString(pod);
    case 4:
      model.namespaces[pod.ns] = {pod.ns, SomeLabels()};
      return "labels of namespace " + pod.ns;
    case 5:
      model.policies[policy] = MakePolicy(policy);
      return "new policy " + ToString(policy);
    case 6:
      model.policies.erase(policy);
      return "no policy " + ToString(policy);
    case 7:
      model.cluster_policies[policy.name] = MakeClusterPolicy(policy.name);
      return "new cluster policy " + policy.name;
    case 8:
      if (model.cluster_policies.empty()) return "nothing";
      model.cluster_policies.erase(model.cluster_policies.begin());
      return "no cluster policy";
    default:
      model.nodes["m0"] = MakeNode();
      return "node m0";
  }
}

}  // namespace podwire
