#include <gtest/gtest.h>

#include "acl/compiled_policy.h"
#include "naive_evaluator.h"
#include "random_model.h"
#include "tests/checked_build.h"

namespace podwire {
namespace {

std::vector<ObjectKey> AllPods(const Model& model) {
  std::vector<ObjectKey> keys;
  for (const auto& [key, pod] : model.pods) keys.push_back(key);
  return keys;
}

constexpr Direction kDirections[] = {Direction::kIngress, Direction::kEgress};

/// Every address that could tell two verdicts apart: those of pods and what lies around them.
std::vector<IpAddress> Universe() {
  std::vector<IpAddress> all;
  for (const char* base : {"10.0.0.0", "10.0.1.0", "fd00::", "fd00::1:0"}) {
    for (uint32_t i = 0; i < 64; ++i) all.push_back(Offset(*ParseIp(base), i));
  }
  for (const char* far : {"192.0.2.1", "10.0.0.200", "10.0.2.1", "2001:db8::1", "fd00::ffff"})
    all.push_back(*ParseIp(far));
  return all;
}

TEST(RandomPolicies, CompiledEqualsNaive) {
  const uint64_t seed = TestSeed();
  RandomModel random(seed);
  int cases = 0, isolated = 0, allowed = 0, differences = 0, accepted = 0, denied = 0;
  while (cases < 50000 / kSlowness) {
    const Model model = random.Make();
    const auto keys = AllPods(model);
    const CompiledPolicy compiled = Compile(model, keys);
    for (int i = 0; i < 50; ++i, ++cases) {
      const ObjectKey& key = keys[random.Below(static_cast<uint32_t>(keys.size()))];
      const Direction d = kDirections[random.Below(2)];
      const IpAddress peer = random.Address(model);
      const uint8_t proto = random.Protocol();
      const uint16_t port = random.Port();
      const auto verdict = compiled.Check(d, compiled.Find(key)->Of(d), peer, proto, port);
      const auto naive = NaiveCheck(model, key, d, peer, proto, port);
      isolated += naive.isolated;
      allowed += naive.isolated && naive.allowed;
      if (verdict.allowed != naive.allowed || verdict.isolated != naive.isolated) {
        ++differences;
        ADD_FAILURE() << "case " << cases << ": " << ToString(d) << " of " << ToString(key) << ", peer "
                      << ToString(peer) << " protocol " << int{proto} << " port " << port << ": compiled "
                      << verdict.allowed << ", naive " << naive.allowed;
      }
      if (verdict.isolated) {
        EXPECT_EQ(verdict.rule != kNoRule, verdict.allowed);
      } else {
        EXPECT_TRUE(verdict.allowed || verdict.rule != kNoRule);
        if (verdict.rule != kNoRule) (verdict.allowed ? accepted : denied) += 1;
      }
      ASSERT_LT(differences, 5);
    }
  }
  std::printf(
      "%d cases, %d isolated, %d of them allowed; by ClusterNetworkPolicies %d accepted, %d denied; "
      "%d differences\n",
      cases, isolated, allowed, accepted, denied, differences);
  EXPECT_GT(accepted, cases / 100);
  EXPECT_GT(denied, cases / 100);
  EXPECT_GT(allowed, cases / 20);  // the universe is not one-sided
  EXPECT_GT(isolated - allowed, cases / 20);
}

/// All verdicts of an endpoint, as one text.
std::string Behaviour(const CompiledPolicy& compiled, const EndpointPolicy& endpoint,
                      const std::vector<IpAddress>& peers) {
  constexpr uint16_t kProbedPorts[] = {0, 1, 2, 53, 54, 79, 80, 81, 82, 90, 91, 65534, 65535};
  std::string all;
  for (const Direction d : kDirections) {
    if (endpoint.Of(d) == kNotIsolated) {
      all += "open";
      continue;
    }
    for (const IpAddress& peer : peers) {
      for (const uint8_t proto : {6, 17, 132}) {
        for (const uint16_t port : kProbedPorts)
          all += compiled.Check(d, endpoint.Of(d), peer, proto, port).allowed ? '1' : '0';
      }
      all += compiled.Check(d, endpoint.Of(d), peer, 1, 0).allowed ? '1' : '0';
    }
  }
  return all;
}

TEST(RandomPolicies, FingerprintFollowsEveryChangeOfAVerdict) {
  RandomModel random(TestSeed());
  const auto peers = Universe();
  int same = 0, changed = 0, spurious = 0;
  for (int round = 0; round < 60 / kSlowness; ++round) {
    Model model = random.Make();
    const auto keys = AllPods(model);
    CompiledPolicy before = Compile(model, keys);
    for (int step = 0; step < 5; ++step) {
      const std::string what = random.Change(model);
      CompiledPolicy after = Compile(model, keys);
      for (const ObjectKey& key : keys) {
        if (!model.pods.contains(key)) continue;
        const EndpointPolicy& was = *before.Find(key);
        const EndpointPolicy& is = *after.Find(key);
        const bool differs = Behaviour(before, was, peers) != Behaviour(after, is, peers);
        if (differs) {
          EXPECT_NE(was.fingerprint, is.fingerprint) << what << " changes " << ToString(key);
        }
        (differs ? changed : was.fingerprint == is.fingerprint ? same : spurious) += 1;
      }
      before = std::move(after);
    }
  }
  std::printf("%d changed, %d kept, %d re-decided for nothing\n", changed, same, spurious);
  EXPECT_GT(changed, 50 / kSlowness);
  EXPECT_GT(same, changed);
  EXPECT_LT(spurious, same / 2);
}

/// A model to which a namespace of its own is added, with pods, selectors, blocks and port names that split
/// the classes of everybody else.
TEST(RandomPolicies, UnrelatedPoliciesDoNotTouchFingerprints) {
  RandomModel random(TestSeed());
  for (int round = 0; round < 200 / kSlowness; ++round) {
    const Model model = random.Make();
    const auto keys = AllPods(model);
    const CompiledPolicy before = Compile(model, keys);

    Model larger = model;
    const Model other = random.Make();
    const ObjectKey alien{"alien", "pod"};
    larger.pods[alien] = Pod{.key = alien};
    for (const auto& [key, policy] : other.policies) {
      NetworkPolicy moved = policy;
      moved.key.ns = "alien";
      moved.pod_selector = {};
      larger.policies[moved.key] = moved;
    }
    for (const auto& [name, policy] : other.cluster_policies) {
      ClusterNetworkPolicy moved = policy;
      moved.name = "alien-" + name;
      moved.subject = {.namespace_selector =
                           LabelSelector{{{std::string(kNamespaceNameLabel), "alien"}}, {}}};
      larger.cluster_policies[moved.name] = moved;
    }
    auto more = keys;
    more.insert(more.begin(), alien);
    const CompiledPolicy after = Compile(larger, more);
    for (const ObjectKey& key : keys) {
      EXPECT_EQ(before.Find(key)->fingerprint, after.Find(key)->fingerprint)
          << "round " << round << " " << ToString(key);
    }
    EXPECT_EQ(Compile(model, keys).Find(keys[0])->fingerprint, before.Find(keys[0])->fingerprint);
  }
}

}  // namespace
}  // namespace podwire
