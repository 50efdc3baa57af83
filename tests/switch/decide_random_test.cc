#include <cstdio>

#include <gtest/gtest.h>

#include "switch/decide.h"
#include "tests/acl/naive_evaluator.h"
#include "tests/acl/random_model.h"
#include "tests/checked_build.h"

namespace podwire {
namespace decide_random_test {

constexpr PortId kUnderlay{0};

/// A node with the model's pods as endpoints (as far as they can be), an underlay port, and a way out for all
/// the rest.
Tables NodeOf(const Model& model) {
  Tables t;
  t.local.underlay_address = *ParseIp("192.0.2.254");
  t.ports.push_back({.role = PortRole::kUnderlay, .own_mac = {}, .peer_mac = {}, .name = "uplink"});
  t.adjacencies.push_back({.port = kUnderlay});
  for (const char* all : {"0.0.0.0/0", "::/0"})
    t.fib.Set(*ParsePrefix(all), {.next_hop = NextHopId(0), .why = "out"});
  std::vector<ObjectKey> local;
  for (const auto& [key, pod] : model.pods) {
    if (pod.host_network || pod.finished || pod.addresses.empty()) continue;
    bool free = true;
    for (const IpAddress& a : pod.addresses) free = free && !t.endpoint_by_address.contains(a);
    if (!free) continue;
    const EndpointId id(static_cast<uint32_t>(t.endpoints.size()));
    const PortId port(static_cast<uint16_t>(t.ports.size()));
    for (const IpAddress& a : pod.addresses) t.endpoint_by_address[a] = id;
    t.ports.push_back({.role = PortRole::kPod, .endpoint = id, .own_mac = {}, .peer_mac = {}, .name = {}});
    t.adjacencies.push_back({.port = port, .to_endpoint = true, .endpoint = id});
    t.endpoints.push_back({.id = id,
                           .port = port,
                           .mac = {},
                           .addresses = pod.addresses,
                           .adjacency = NextHopId(static_cast<uint32_t>(t.adjacencies.size() - 1)),
                           .policy = {},
                           .pod = key});
    local.push_back(key);
  }
  t.policy = std::make_shared<const CompiledPolicy>(Compile(model, local));
  for (Endpoint& e : t.endpoints) e.policy = *t.policy->Find(e.pod);
  return t;
}

/// What must come out, by the API's words: the policies of both ends, as far as they are here.
DropReason Expected(const Model& model, const Tables& t, const Headers& h) {
  const Endpoint* src = t.EndpointOf(h.src);
  const Endpoint* dst = t.EndpointOf(h.dst);
  if (src != nullptr && src == dst) return DropReason::kNone;
  const auto allows = [&](const Endpoint& e, Direction d, const IpAddress& peer) {
    return NaiveCheck(model, e.pod, d, peer, h.proto, h.dst_port).allowed;
  };
  if (src != nullptr && !allows(*src, Direction::kEgress, h.dst)) return DropReason::kPolicyDeniedEgress;
  if (src == nullptr && dst == nullptr) return DropReason::kNoRoute;  // no transit
  if (dst != nullptr && !allows(*dst, Direction::kIngress, h.src)) return DropReason::kPolicyDeniedIngress;
  return DropReason::kNone;
}

TEST(DecideRandom, AgreesWithTheNaiveEvaluator) {
  const uint64_t seed = TestSeed();
  RandomModel random(seed);
  int cases = 0, passed = 0, denied = 0;
  while (cases < 20000 / kSlowness) {
    const Model model = random.Make();
    const Tables t = NodeOf(model);
    for (int i = 0; i < 50; ++i) {
      Headers h{.src = random.Address(model),
                .dst = random.Address(model),
                .proto = random.Protocol(),
                .dst_port = random.Port()};
      if (h.src.family() != h.dst.family()) continue;
      const Endpoint* src = t.EndpointOf(h.src);
      h.in_port = src == nullptr ? kUnderlay : src->port;
      ++cases;
      const Decision d = Decide(t, h);
      const DropReason want = Expected(model, t, h);
      ASSERT_EQ(InfoOf(d.reason).name, InfoOf(want).name)
          << "seed " << seed << ": " << ToString(h.src) << " to " << ToString(h.dst) << " protocol "
          << int{h.proto} << " port " << h.dst_port;
      const bool to_pod = t.EndpointOf(h.dst) != nullptr;
      ASSERT_EQ(d.action, want != DropReason::kNone ? Action::kDrop
                          : to_pod                  ? Action::kDeliver
                                                    : Action::kForward);
      // explain says what the wire does.
      Trace trace;
      ASSERT_EQ(Decide(t, h, &trace).reason, d.reason);
      ASSERT_EQ(trace.back().outcome, d.action == Action::kDrop ? "drop" : "pass");
      passed += d.action != Action::kDrop;
      denied += want == DropReason::kPolicyDeniedEgress || want == DropReason::kPolicyDeniedIngress;
    }
  }
  std::printf("seed %lu: %d cases, %d passed, %d denied by policy, 0 differences\n",
              static_cast<unsigned long>(seed), cases, passed, denied);
  EXPECT_GT(passed, cases / 20);
  EXPECT_GT(denied, cases / 20);
}

}  // namespace decide_random_test
}  // namespace podwire
