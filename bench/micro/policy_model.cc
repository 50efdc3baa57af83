#include "bench/micro/policy_model.h"

#include <fmt/format.h>

namespace podwire::bench {
namespace {

LabelSelector AppIs(uint32_t n) { return {.match_labels = {{"app", fmt::format("app-{}", n)}}}; }

PolicyRule RuleOf(uint32_t ns, uint32_t n) {
  PolicyRule rule;
  rule.peers.push_back({.pod_selector = AppIs(n + 1)});
  rule.peers.push_back(
      {.namespace_selector = LabelSelector{{{"team", fmt::format("team-{}", (ns + n) % 20)}}, {}}});
  rule.peers.push_back({.pod_selector = AppIs(n), .namespace_selector = LabelSelector{}});
  IpBlock block{*ParsePrefix("0.0.0.0/0"), {*ParsePrefix("10.0.0.0/8")}};
  if (n % 2 == 0) block = {*ParsePrefix(fmt::format("172.{}.{}.0/24", 16 + n % 16, ns % 256)), {}};
  rule.peers.push_back({.ip_block = block});
  rule.ports.push_back({.first = 80, .last = 80});
  rule.ports.push_back({.first = static_cast<uint16_t>(1000 + n), .last = static_cast<uint16_t>(2000 + n)});
  rule.ports.push_back({.name = "http"});
  return rule;
}

ObjectKey PodKey(uint32_t ns, uint32_t n) {
  return {fmt::format("ns-{:05}", ns), fmt::format("pod-{:05}", n)};
}

Pod MakePod(const ObjectKey& key, uint32_t n, uint32_t address) {
  Pod pod{.key = key,
          .labels = {{"app", fmt::format("app-{}", n % 10)}, {"pod-template-hash", key.name}, {"tier", "x"}}};
  pod.addresses = {Offset(*ParseIp("10.0.0.0"), address)};
  pod.ports = {{"http", static_cast<uint16_t>(8000 + n % 4), L4Protocol::kTcp}};
  return pod;
}

NetworkPolicy MakePolicy(const std::string& ns_name, uint32_t ns, uint32_t n) {
  NetworkPolicy policy{.key = {ns_name, fmt::format("policy-{:05}", n)}};
  if (n % 3 != 0) policy.pod_selector = AppIs(n % 10);
  policy.isolates_egress = n % 2 == 0;
  policy.ingress.push_back(RuleOf(ns, n));
  policy.egress.push_back(RuleOf(ns, n + 1));
  return policy;
}

}  // namespace

Model MakeModel(const ClusterShape& shape) {
  Model model;
  uint32_t address = 0;
  for (uint32_t ns = 0; ns < shape.namespaces; ++ns) {
    const std::string name = fmt::format("ns-{:05}", ns);
    model.namespaces[name] = {name, {{"team", fmt::format("team-{}", ns % 20)}}};
    for (uint32_t i = 0; i < shape.pods_each; ++i) {
      const ObjectKey key = PodKey(ns, i);
      model.pods.emplace(key, MakePod(key, i, ++address));
    }
    for (uint32_t i = 0; i < shape.policies_each; ++i) {
      NetworkPolicy policy = MakePolicy(name, ns, i);
      model.policies.emplace(policy.key, std::move(policy));
    }
  }
  return model;
}

std::vector<ObjectKey> LocalPods(const ClusterShape& shape) {
  std::vector<ObjectKey> local;
  for (uint32_t ns = 0; ns < shape.local_namespaces; ++ns) {
    for (uint32_t i = 0; i < shape.local_each; ++i) local.push_back(PodKey(ns, i));
  }
  return local;
}

}  // namespace podwire::bench
