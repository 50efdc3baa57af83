#include "acl/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.h"
#include "random_model.h"
#include "tests/checked_build.h"

namespace podwire {
namespace {

using ::testing::HasSubstr;

class ExplainTest : public ::testing::Test {
 protected:
  ExplainTest() {
    c.AddNamespace("default").AddNamespace("prod", "team=b");
    c.AddPod("web", "app=web", "10.0.0.1").ports = {{"http", 8080, L4Protocol::kTcp}};
    c.AddPod("db", "app=db", "10.0.0.2");
    c.AddPod("prod/x", "app=x", "10.0.0.3");
  }
  std::string Text(Direction d, std::string_view peer, std::string_view packet) {
    return c.Explain(d, "web", peer, packet).Text();
  }
  Cluster c;
};

TEST_F(ExplainTest, NoPolicy) {
  const auto e = c.Explain(Direction::kIngress, "web", "db", "tcp/80");
  EXPECT_TRUE(e.isolating.empty());
  EXPECT_FALSE(e.allowed_by.has_value());
  EXPECT_EQ(e.Text(),
            "ingress of pod default/web from 10.0.0.2 (pod default/db), TCP 80: allowed\n"
            "  no NetworkPolicy selects the pod for ingress\n");
}

TEST_F(ExplainTest, AllowedNamesPolicyRuleAndItems) {
  c.AddPolicy(R"({"ingress": []})");
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "z"}}}]},
                              {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": "http"}]}]})");
  const auto e = c.Explain(Direction::kIngress, "web", "db", "tcp/8080");
  ASSERT_TRUE(e.allowed_by.has_value());
  EXPECT_EQ(ToString(*e.allowed_by), "default/p1");
  EXPECT_EQ(e.verdict.rule.rule, 1u);
  EXPECT_EQ(e.Text(),
            "ingress of pod default/web from 10.0.0.2 (pod default/db), TCP 8080: allowed\n"
            "  by NetworkPolicy default/p1, ingress[1]\n"
            "    matched ingress[1].from[0] [pods: app=db; in namespace default]: default/db matches\n"
            "    matched ingress[1].ports[0] [TCP http]: default/web serves http at TCP 8080\n");
}

TEST_F(ExplainTest, DenialSaysWhatEveryRuleWanted) {
  c.AddPolicy(R"({"policyTypes": ["Ingress"]})");
  c.AddPolicy(R"({"ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "db"}}},
                {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}},
                {"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.3/32"]}}, {}]},
      {"ports": [{"port": 80, "endPort": 90}, {"protocol": "UDP"}, {"port": "http"}]}]})");
  const std::string text = Text(Direction::kIngress, "prod/x", "tcp/443");
  for (const char* line : {
           "denied",
           "isolated by NetworkPolicy default/p0, which has no rule that could allow it",
           "unmatched ingress[0].from[0] [pods: app=db; in namespace default]: pod prod/x is not in "
           "namespace default",
           "ingress[0].from[1] [pods: everything; in namespaces: team notin (b)]: namespace prod has label "
           "team=b",
           "ingress[0].from[2] [addresses in 10.0.0.0/24 except 10.0.0.3/32]: 10.0.0.3 is in the except "
           "10.0.0.3/32",
           "ingress[0].from[3] [{}]: an empty peer matches nothing",
           "matched ingress[0].ports [any protocol and port]",
           "ingress[1].ports[0] [TCP 80-90]: the packet is TCP 443",
           "ingress[1].ports[1] [UDP, any port]: the packet is TCP 443",
           "ingress[1].ports[2] [TCP http]: pod default/web serves http at 8080, the packet is TCP 443",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(ExplainTest, HintNamesWhatTheNearestRuleWouldHaveNeeded) {
  const auto hint = [&](std::string_view peer, std::string_view packet) {
    return c.Explain(Direction::kIngress, "web", peer, packet).Hint();
  };
  EXPECT_EQ(hint("db", "tcp/80"), "") << "nobody denies it";
  c.AddPolicy(R"({"policyTypes": ["Ingress"]})");
  EXPECT_EQ(hint("db", "tcp/80"),
            "would pass if a rule of default/p0 or another NetworkPolicy allowed TCP 80 from pod default/db");
  EXPECT_EQ(hint("192.0.2.1", "icmp"),
            "would pass if a rule of default/p0 or another NetworkPolicy allowed ICMP from 192.0.2.1");
  c.AddPolicy(R"({"ingress": [
      {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
      {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": 443}]}]})");
  EXPECT_EQ(hint("db", "tcp/443"),
            "would pass ingress[1] of default/p1 if pod default/db had the label app=api");
  EXPECT_EQ(
      hint("db", "tcp/80"),
      "would pass ingress[1] of default/p1 if pod default/db had the label app=api and it were TCP 443");
  EXPECT_EQ(
      hint("prod/x", "tcp/443"),
      "would pass ingress[1] of default/p1 if pod prod/x were in namespace default and pod prod/x had the "
      "label app=api");
  EXPECT_EQ(hint("198.51.100.1", "tcp/80"),
            "would pass ingress[0] of default/p1 if 198.51.100.1 were in 192.0.2.0/24");
  EXPECT_EQ(hint("192.0.2.1", "tcp/80"), "") << "allowed";
}

TEST_F(ExplainTest, HintsForExpressionsNamespacesAndNamedPorts) {
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}},
      "podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}]}}],
      "ports": [{"port": "http"}]}]})");
  EXPECT_EQ(
      c.Explain(Direction::kIngress, "web", "prod/x", "udp/53").Hint(),
      "would pass ingress[0] of default/p0 if namespace prod had the label team=a and pod prod/x matched "
      "tier in (x,y) and it were TCP http");
}

TEST_F(ExplainTest, SaysWhoThePeerIs) {
  c.AddPod("finished", "", "10.0.0.4").finished = true;
  c.AddPod("host", "", "10.0.0.5").host_network = true;
  c.AddPod("twin", "", "10.0.0.2");
  const auto peer = [&](std::string_view p) { return c.Explain(Direction::kIngress, "web", p, "icmp").peer; };
  EXPECT_EQ(peer("192.0.2.1"), "no known pod");
  EXPECT_EQ(peer("10.0.0.4"), "no live pod (default/finished has finished)");
  EXPECT_THAT(peer("10.0.0.5"), HasSubstr("a node's address (pod default/host"));
  EXPECT_EQ(peer("10.0.0.2"),
            "pods default/db, default/twin all claim it: a selector must match each (to deny: one)");
}

TEST_F(ExplainTest, NamedPortOfAnUnknownDestination) {
  c.AddPolicy(R"({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]})");
  EXPECT_THAT(Text(Direction::kEgress, "192.0.2.1", "tcp/8080"),
              HasSubstr("nothing says which port http is"));
  EXPECT_THAT(Text(Direction::kEgress, "db", "tcp/8080"),
              HasSubstr("pod default/db has no TCP port named http"));
}

TEST_F(ExplainTest, PodThatIsNotLocalIsNotFound) {
  const auto e = ExplainPolicy(Compile(c.model, {}), c.model, {.pod = {"default", "web"}});
  EXPECT_EQ(e.status().code(), absl::StatusCode::kNotFound);
}

/// The words must fit the verdict: some rule is said to match exactly when Check allows.
TEST(RandomPolicies, ExplanationAgreesWithTheVerdict) {
  RandomModel random(TestSeed());
  for (int round = 0; round < 100 / kSlowness; ++round) {
    const Model model = random.Make();
    std::vector<ObjectKey> keys;
    for (const auto& [key, pod] : model.pods) keys.push_back(key);
    const CompiledPolicy compiled = Compile(model, keys);
    for (int i = 0; i < 50; ++i) {
      PolicyQuery q{static_cast<Direction>(random.Below(2)),
                    keys[random.Below(static_cast<uint32_t>(keys.size()))], random.Address(model),
                    random.Protocol(), random.Port()};
      const auto e = ExplainPolicy(compiled, model, q);
      ASSERT_TRUE(e.ok());
      bool allows = e->isolating.empty(), named = e->verdict.rule == kNoRule;
      for (const PolicyTrace& p : e->isolating) {
        for (const RuleTrace& r : p.rules) {
          allows = allows || r.Allows();
          if (e->allowed_by == p.policy && r.rule == e->verdict.rule.rule) named = r.Allows();
        }
      }
      if (e->decided_by) {
        named = e->decided_by->rule.Allows();
        allows = e->decided_by->action != RuleAction::kDeny;
      }
      EXPECT_EQ(e->passed_by.has_value(), e->verdict.passed_by != kNoRule);
      if (e->passed_by) {
        EXPECT_TRUE(e->passed_by->rule.Allows());
        EXPECT_EQ(e->passed_by->action, RuleAction::kPass);
      }
      EXPECT_EQ(allows, e->verdict.allowed) << e->Text();
      EXPECT_EQ(e->Hint().empty(), e->verdict.allowed) << e->Text();
      EXPECT_TRUE(named) << e->Text();
    }
  }
}

}  // namespace
}  // namespace podwire
