// Compiling again and again, change by change, beside compiling from nothing.

#include "acl/policy_compiler.h"

#include <optional>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cluster.h"
#include "naive_evaluator.h"
#include "random_model.h"
#include "tests/checked_build.h"

namespace podwire {
namespace {

/// Calls fn(key, before, after) for each object that differs; nullptr: there is none.
template <class Map, class Fn>
void ForEachDifference(const Map& before, const Map& after, Fn fn) {
  const auto find = [](const Map& map, const auto& key) {
    const auto it = map.find(key);
    return it == map.end() ? nullptr : &it->second;
  };
  for (const auto& [key, was] : before) {
    const auto* is = find(after, key);
    if (is == nullptr || !(*is == was)) fn(key, &was, is);
  }
  for (const auto& [key, is] : after) {
    if (find(before, key) == nullptr) fn(key, find(before, key), &is);
  }
}

/// Tells the compiler of what differs, and of nothing else.
void Tell(PolicyCompiler& compiler, const Model& before, const Model& after) {
  ForEachDifference(before.pods, after.pods,
                    [&](const auto&, const Pod* was, const Pod* is) { compiler.ChangePod(was, is); });
  ForEachDifference(before.namespaces, after.namespaces,
                    [&](const auto& name, auto, auto) { compiler.ChangeNamespace(name); });
  ForEachDifference(before.policies, after.policies,
                    [&](const auto& key, auto, auto) { compiler.ChangePolicy(key); });
  ForEachDifference(before.cluster_policies, after.cluster_policies,
                    [&](const auto& name, auto, auto) { compiler.ChangeClusterPolicy(name); });
  if (before.nodes != after.nodes) compiler.ChangeNodes();
}

struct Query {
  ObjectKey pod;
  Direction direction;
  IpAddress peer;
  uint8_t proto;
  uint16_t port;
};

/// Verdict and who gave it, in words, for the numbers of policies differ.
std::string Say(const CompiledPolicy& compiled, const Query& q) {
  const EndpointPolicy* endpoint = compiled.Find(q.pod);
  if (endpoint == nullptr) return "not local";
  const auto v = compiled.Check(q.direction, endpoint->Of(q.direction), q.peer, q.proto, q.port);
  const auto name = [&](const RuleRef& rule) {
    return rule == kNoRule ? "nobody" : compiled.NameOf(q.direction, rule);
  };
  return fmt::format("{}{}, by {}, passed by {}", v.allowed ? "allowed" : "denied",
                     v.isolated ? ", isolated" : "", name(v.rule), name(v.passed_by));
}

std::string ToString(const Query& q) {
  return fmt::format("{} of {}, peer {} protocol {} port {}", ToString(q.direction), ToString(q.pod),
                     ToString(q.peer), q.proto, q.port);
}

class Rounds {
 public:
  explicit Rounds(uint64_t seed) : random_(seed) {}

  void Run(int rounds, int steps) {
    for (int round = 0; round < rounds; ++round) {
      PolicyCompiler compiler;
      Model known, model = random_.Make();
      std::optional<CompiledPolicy> before;
      std::vector<std::pair<Query, std::string>> said;
      for (int step = 0; step < steps; ++step) {
        Tell(compiler, known, model);
        known = model;
        const std::vector<ObjectKey> local = SomePods(model);
        CompiledPolicy compiled = compiler.Compile(model, local);
        Compare(compiled, model, local, fmt::format("round {} step {} ({})", round, step, what_));
        if (::testing::Test::HasFailure()) return;
        // The compilation before it, which workers may still use, is what it was.
        for (const auto& [query, answer] : said) EXPECT_EQ(Say(*before, query), answer) << ToString(query);
        said.clear();
        for (int i = 0; i < 10; ++i) {
          const Query query = AQuery(model, local);
          said.emplace_back(query, Say(compiled, query));
        }
        before = std::move(compiled);
        what_.clear();
        for (uint32_t n = 1 + random_.Below(3); n > 0; --n) what_ += random_.Change(model) + "; ";
      }
    }
  }
  int cases() const { return cases_; }
  int allowed() const { return allowed_; }

 private:
  /// Most of the model's pods, and sometimes one that it does not know.
  std::vector<ObjectKey> SomePods(const Model& model) {
    std::vector<ObjectKey> local;
    for (const auto& [key, pod] : model.pods) {
      if (random_.Below(8) != 0) local.push_back(key);
    }
    if (local.empty() || random_.Below(4) == 0) local.push_back({"default", "fresh"});
    return local;
  }

  Query AQuery(const Model& model, const std::vector<ObjectKey>& local) {
    return {local[random_.Below(static_cast<uint32_t>(local.size()))],
            random_.Below(2) == 0 ? Direction::kIngress : Direction::kEgress, random_.Address(model),
            random_.Protocol(), random_.Port()};
  }

  void Compare(const CompiledPolicy& compiled, const Model& model, const std::vector<ObjectKey>& local,
               const std::string& where) {
    const CompiledPolicy anew = podwire::Compile(model, local);
    for (const ObjectKey& key : local)
      EXPECT_EQ(compiled.Find(key)->fingerprint, anew.Find(key)->fingerprint) << where << ToString(key);
    EXPECT_EQ(compiled.size().policies, anew.size().policies) << where;
    EXPECT_EQ(compiled.size().addresses, anew.size().addresses) << where;
    EXPECT_EQ(compiled.size().rule_sets, anew.size().rule_sets) << where;
    for (int i = 0; i < 40; ++i, ++cases_) {
      const Query q = AQuery(model, local);
      const std::string answer = Say(compiled, q);
      EXPECT_EQ(answer, Say(anew, q)) << where << ToString(q);
      if (!model.pods.contains(q.pod)) continue;
      const auto naive = NaiveCheck(model, q.pod, q.direction, q.peer, q.proto, q.port);
      EXPECT_EQ(answer.starts_with("allowed"), naive.allowed) << where << ToString(q);
      allowed_ += naive.allowed;
    }
  }

  RandomModel random_;
  std::string what_;
  int cases_ = 0, allowed_ = 0;
};

TEST(PolicyCompilerTest, EveryStepEqualsCompilingFromNothing) {
  Rounds rounds(TestSeed());
  rounds.Run(60 / kSlowness, 25);
  std::printf("%d cases, %d allowed\n", rounds.cases(), rounds.allowed());
  EXPECT_GT(rounds.cases(), 30000 / kSlowness);
  EXPECT_GT(rounds.allowed(), rounds.cases() / 20);
  EXPECT_LT(rounds.allowed(), rounds.cases() * 19 / 20);
}

class PolicyCompilerCostTest : public ::testing::Test {
 protected:
  PolicyCompilerCostTest() {
    for (int ns = 0; ns < 10; ++ns) {
      const std::string name = fmt::format("n{}", ns);
      c_.AddNamespace(name, fmt::format("team=t{}", ns % 2));
      for (int pod = 0; pod < 10; ++pod) {
        local_.push_back({name, fmt::format("p{}", pod)});
        c_.AddPod(fmt::format("{}/p{}", name, pod), fmt::format("app=a{}", pod % 2),
                  fmt::format("10.0.{}.{}", ns, pod + 1));
      }
      for (const char* app : {"a0", "a1"}) {
        c_.AddPolicy(
            fmt::format(
                R"({{"podSelector":{{"matchLabels":{{"app":"{}"}}}},"ingress":[{{"from":[{{"podSelector":{{"matchLabels":{{"app":"a0"}}}}}}]}}]}})",
                app),
            name);
      }
    }
    Tell(compiler_, {}, c_.model);
    compiled_ = compiler_.Compile(c_.model, local_);
  }
  /// Rule sets built after an edit of the model.
  template <class Edit>
  size_t BuiltAfter(Edit edit) {
    const Model before = c_.model;
    edit(c_.model);
    Tell(compiler_, before, c_.model);
    compiled_ = compiler_.Compile(c_.model, local_);
    return compiler_.built();
  }
  NetworkPolicy& APolicyOf(Model& model, const std::string& ns) {
    return model.policies.lower_bound({ns, ""})->second;
  }

  Cluster c_;
  std::vector<ObjectKey> local_;
  PolicyCompiler compiler_;
  CompiledPolicy compiled_;
};

TEST_F(PolicyCompilerCostTest, PodsThatTheSamePoliciesSelectShareRuleSets) {
  EXPECT_EQ(compiled_.size().policies, 20u);
  EXPECT_EQ(compiled_.size().rule_sets, 20u);
  EXPECT_EQ(compiled_.size().port_sets, 1u) << "all of them allow all ports";
}

TEST_F(PolicyCompilerCostTest, AChangeBuildsTheRuleSetsThatItTouches) {
  EXPECT_EQ(BuiltAfter([](Model&) {}), 0u);
  EXPECT_EQ(BuiltAfter([&](Model& m) { APolicyOf(m, "n3").ingress[0].ports = {{.first = 80, .last = 80}}; }),
            1u);
  EXPECT_EQ(BuiltAfter([&](Model& m) { m.policies.erase(APolicyOf(m, "n3").key); }), 0u);
  EXPECT_EQ(BuiltAfter([&](Model& m) {
              const NetworkPolicy& other = APolicyOf(m, "n4");
              NetworkPolicy copy = other;
              copy.key.name = "another";
              m.policies[copy.key] = copy;
            }),
            1u);
  EXPECT_EQ(BuiltAfter([](Model& m) {
              m.pods.at({"n5", "p0"}).labels["app"] = "a7";
            }),
            2u)
      << "of its namespace's two";
  EXPECT_EQ(BuiltAfter([](Model& m) {
              m.pods.at({"n5", "p1"}).labels["other"] = "x";
            }),
            0u)
      << "no peer asks for the label";
}

TEST_F(PolicyCompilerCostTest, NodesConcernPoliciesThatNameThem) {
  EXPECT_EQ(BuiltAfter([](Model& m) { m.nodes["n"] = {{}, {*ParseIp("192.0.2.1")}}; }), 0u);
  EXPECT_EQ(
      BuiltAfter([&](Model&) {
        c_.AddClusterPolicy(
            R"({"tier":"Admin","priority":1,"subject":{"namespaces":{"matchLabels":{"team":"t0"}}},"egress":[{"action":"Deny","to":[{"nodes":{}}]}]})");
      }),
      1u);
  EXPECT_EQ(BuiltAfter([](Model& m) { m.nodes["n"].addresses.push_back(*ParseIp("192.0.2.2")); }), 1u);
}

TEST_F(PolicyCompilerCostTest, WhatNobodyAsksForAnyMoreGoes) {
  size_t most = 0;
  for (int i = 0; i < 70000; ++i) {
    PolicyPeer& peer = APolicyOf(c_.model, "n3").ingress[0].peers[0];
    peer.pod_selector->match_labels["app"] = fmt::format("b{}", i);
    compiler_.ChangePolicy(APolicyOf(c_.model, "n3").key);
    compiler_.Compile(c_.model, {local_.data(), 40});
    most = std::max(most, compiler_.entries());
  }
  EXPECT_LT(most, 40000u);
  const CompiledPolicy now = compiler_.Compile(c_.model, local_), anew = Compile(c_.model, local_);
  for (const ObjectKey& key : local_) EXPECT_EQ(now.Find(key)->fingerprint, anew.Find(key)->fingerprint);
}

}  // namespace
}  // namespace podwire
