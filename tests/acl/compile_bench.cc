// Time to compile a large cluster's policies, and of a verdict, against the number of policies.
// Prints a line for each cluster: namespaces, pods, policies, local pods, then what was measured (medians of
// five).

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

#include <fmt/format.h>

#include "acl/compiled_policy.h"

namespace podwire {
namespace {

/// CPU time: other work on the machine does not count.
double CpuMs() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

struct Shape {
  uint32_t namespaces, pods_each, policies_each, local_each, local_namespaces;
};

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

Model MakeModel(const Shape& shape) {
  Model model;
  uint32_t address = 0;
  for (uint32_t ns = 0; ns < shape.namespaces; ++ns) {
    const std::string name = fmt::format("ns-{:05}", ns);
    model.namespaces[name] = {name, {{"team", fmt::format("team-{}", ns % 20)}}};
    for (uint32_t i = 0; i < shape.pods_each; ++i) {
      const ObjectKey key{name, fmt::format("pod-{:05}", i)};
      Pod pod{
          .key = key,
          .labels = {{"app", fmt::format("app-{}", i % 10)}, {"pod-template-hash", key.name}, {"tier", "x"}}};
      pod.addresses = {Offset(*ParseIp("10.0.0.0"), ++address)};
      pod.ports = {{"http", static_cast<uint16_t>(8000 + i % 4), L4Protocol::kTcp}};
      model.pods.emplace(key, pod);
    }
    for (uint32_t i = 0; i < shape.policies_each; ++i) {
      NetworkPolicy policy{.key = {name, fmt::format("policy-{:05}", i)}};
      if (i % 3 != 0) policy.pod_selector = AppIs(i % 10);
      policy.isolates_egress = i % 2 == 0;
      policy.ingress.push_back(RuleOf(ns, i));
      policy.egress.push_back(RuleOf(ns, i + 1));
      model.policies.emplace(policy.key, policy);
    }
  }
  return model;
}

template <class Fn>
double MedianMs(Fn&& fn) {
  std::vector<double> ms;
  for (int i = 0; i < 5; ++i) {
    const double start = CpuMs();
    fn();
    ms.push_back(CpuMs() - start);
  }
  std::sort(ms.begin(), ms.end());
  return ms[2];
}

void Measure(const Shape& shape) {
  const Model model = MakeModel(shape);
  std::vector<ObjectKey> local;
  for (uint32_t ns = 0; ns < shape.local_namespaces; ++ns) {
    for (uint32_t i = 0; i < shape.local_each; ++i)
      local.push_back({fmt::format("ns-{:05}", ns), fmt::format("pod-{:05}", i)});
  }
  CompiledPolicy compiled;
  const double compile_ms = MedianMs([&] { compiled = Compile(model, local); });

  constexpr int kChecks = 1 << 18;
  std::mt19937 rng(1);
  std::vector<std::pair<EndpointPolicy, IpAddress>> queries;
  const auto pods = shape.namespaces * shape.pods_each;
  for (int i = 0; i < kChecks; ++i) {
    const auto peer = i % 4 == 0 ? Offset(*ParseIp("172.16.0.0"), rng() % (1 << 20))
                                 : Offset(*ParseIp("10.0.0.1"), rng() % pods);
    queries.emplace_back(*compiled.Find(local[rng() % local.size()]), peer);
  }
  size_t allowed = 0;
  const double check_ms = MedianMs([&] {
    for (const auto& [endpoint, peer] : queries) {
      allowed += compiled.Check(Direction::kIngress, endpoint.ingress, peer, 6, 80).allowed;
      allowed += compiled.Check(Direction::kEgress, endpoint.egress, peer, 6, 8001).allowed;
    }
  });
  const auto size = compiled.size();
  std::printf(
      "%5u namespaces %6u pods %5u policies %3zu local: compile %7.1f ms, verdict %5.0f ns (%2.0f%% "
      "allowed); "
      "%zu policies apply, %zu rule sets, %zu addresses, %zu entries, %zu port sets\n",
      shape.namespaces, pods, shape.namespaces * shape.policies_each, local.size(), compile_ms,
      check_ms * 1e6 / kChecks / 2, 100.0 * static_cast<double>(allowed) / kChecks / 2 / 5, size.policies,
      size.rule_sets, size.addresses, size.entries, size.port_sets);
}

}  // namespace
}  // namespace podwire

int main() {
  using podwire::Measure;
  Measure({1, 100, 10, 100, 1});        // small
  Measure({1, 100000, 10, 500, 1});     // many peers, few policies
  Measure({100, 100, 10, 5, 100});      // 10,000 pods
  Measure({1000, 100, 10, 1, 500});     // every local pod in a namespace of its own
  Measure({1000, 100, 10, 100, 5});     // five namespaces have all local pods
  Measure({10, 10000, 1000, 50, 10});   // large namespaces: 1,000 policies each
  Measure({1, 100000, 10000, 500, 1});  // everything in one namespace
  return 0;
}
