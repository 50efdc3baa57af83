// ClusterNetworkPolicy v1alpha2, sentence by sentence of the API. Every verdict is compared with the naive
// one.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.h"

namespace podwire {
namespace {

using ::testing::HasSubstr;

constexpr const char* kExternal = "192.0.2.1";

/// A policy for all pods with one ingress rule; `peer` like {"namespaces":{}}.
std::string OneRule(const char* tier, int priority, const char* action,
                    const char* peer = R"({"namespaces":{}})", const char* protocols = "",
                    const char* direction = "ingress") {
  const bool ingress = std::string_view(direction) == "ingress";
  return fmt::format(
      R"({{"tier":"{}","priority":{},"subject":{{"namespaces":{{}}}},"{}":[{{"name":"r","action":"{}","{}":[{}]{}}}]}})",
      tier, priority, direction, action, ingress ? "from" : "to", peer, protocols);
}

constexpr const char* kPort80 = R"(,"protocols":[{"tcp":{"destinationPort":{"number":80}}}])";
constexpr const char* kAllowDb = R"({"ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"db"}}}]}]})";

class ClusterNetworkPolicySemantics : public ::testing::Test {
 protected:
  ClusterNetworkPolicySemantics() {
    c.AddNamespace("default").AddNamespace("prod", "team=b");
    c.AddPod("web", "app=web", "10.0.0.1");
    c.AddPod("db", "app=db", "10.0.0.2");
    c.AddPod("prod/web", "app=web", "10.0.1.1");
    c.AddPod("prod/db", "app=db", "10.0.1.2");
  }
  std::string Why(std::string_view of, std::string_view peer, std::string_view packet = "tcp/80") {
    return c.Explain(Direction::kIngress, of, peer, packet).Text();
  }
  Cluster c;
};

TEST_F(ClusterNetworkPolicySemantics, AdminDenyBeatsANetworkPolicyThatAllows) {
  c.AddPolicy(kAllowDb).AddClusterPolicy(OneRule("Admin", 5, "Deny"), "no");
  EXPECT_FALSE(c.Ingress("web", "db"));
  EXPECT_THAT(Why("web", "db"),
              HasSubstr("denied by ClusterNetworkPolicy no (Admin, priority 5) rule 'r'\n"));
}

TEST_F(ClusterNetworkPolicySemantics, AdminAcceptBeatsANetworkPolicyThatIsolates) {
  c.AddPolicy("{}").AddClusterPolicy(OneRule("Admin", 5, "Accept"));
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Ingress("web", kExternal));  // no rule matches it: the NetworkPolicy's turn
}

TEST_F(ClusterNetworkPolicySemantics, LowerPriorityComesFirst) {
  c.AddClusterPolicy(OneRule("Admin", 7, "Deny"), "a").AddClusterPolicy(OneRule("Admin", 3, "Accept"), "z");
  EXPECT_TRUE(c.Ingress("web", "db"));
  c.AddClusterPolicy(OneRule("Admin", 0, "Deny"), "zero");
  EXPECT_FALSE(c.Ingress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, EqualPrioritiesGoByName) {
  c.AddClusterPolicy(OneRule("Admin", 3, "Deny"), "b").AddClusterPolicy(OneRule("Admin", 3, "Accept"), "a");
  EXPECT_TRUE(c.Ingress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, RulesGoInTheirOrder) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}},"ingress":[
      {"action":"Accept","from":[{"pods":{"namespaceSelector":{},"podSelector":{"matchLabels":{"app":"db"}}}}]},
      {"action":"Deny","from":[{"namespaces":{}}]},
      {"action":"Accept","from":[{"namespaces":{}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", "prod/web"));
}

TEST_F(ClusterNetworkPolicySemantics, PassSkipsTheRestOfTheAdminTier) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Pass", R"({"namespaces":{"matchLabels":{"team":"b"}}})"), "pass");
  c.AddClusterPolicy(OneRule("Admin", 2, "Deny"), "deny");
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", "db"));
  c.AddPolicy("{}");  // isolates
  EXPECT_FALSE(c.Ingress("web", "prod/db"));
  EXPECT_THAT(Why("web", "prod/db"),
              HasSubstr("passed on by ClusterNetworkPolicy pass (Admin, priority 1) rule 'r'\n"));
  EXPECT_THAT(Why("web", "prod/db"), HasSubstr("isolated by NetworkPolicy default/p0"));
}

TEST_F(ClusterNetworkPolicySemantics, PassGoesOnToBaselineWithoutNetworkPolicies) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Pass")).AddClusterPolicy(OneRule("Baseline", 1, "Deny"), "base");
  EXPECT_FALSE(c.Ingress("web", "db"));
  EXPECT_THAT(Why("web", "db"), HasSubstr("denied by ClusterNetworkPolicy base (Baseline, priority 1)"));
}

TEST_F(ClusterNetworkPolicySemantics, BaselineIsNotAskedWhereANetworkPolicyIsolates) {
  c.AddClusterPolicy(OneRule("Baseline", 0, "Deny"));
  EXPECT_FALSE(c.Ingress("web", "db"));
  c.AddPolicy(kAllowDb);
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Ingress("prod/web", "db"));  // that policy is not for prod
}

TEST_F(ClusterNetworkPolicySemantics, BaselineAcceptDoesNotOpenANetworkPolicy) {
  c.AddPolicy(kAllowDb).AddClusterPolicy(OneRule("Baseline", 0, "Accept"));
  EXPECT_FALSE(c.Ingress("web", "prod/web"));
}

TEST_F(ClusterNetworkPolicySemantics, ANetworkPolicyOfTheOtherDirectionLeavesBaselineItsTurn) {
  c.AddClusterPolicy(OneRule("Baseline", 0, "Deny")).AddPolicy(R"({"policyTypes":["Egress"]})");
  EXPECT_FALSE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Egress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, BaselineRulesGoByPriorityAndPassEndsTheTier) {
  c.AddClusterPolicy(OneRule("Baseline", 1, "Pass", R"({"namespaces":{"matchLabels":{"team":"b"}}})"));
  c.AddClusterPolicy(OneRule("Baseline", 2, "Deny"));
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, WhatNoRuleMatchesIsAllowed) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"namespaces":{"matchLabels":{"team":"b"}}})"));
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_TRUE(c.Ingress("web", kExternal));
  EXPECT_FALSE(c.Isolated("web", Direction::kIngress));
  EXPECT_THAT(Why("web", "db"), HasSubstr("no rule of ClusterNetworkPolicy c0 (Admin, priority 1) matches"));
}

TEST_F(ClusterNetworkPolicySemantics, DirectionsAreIndependent) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"namespaces":{}})", "", "egress"));
  EXPECT_FALSE(c.Egress("web", "db"));
  EXPECT_TRUE(c.Ingress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, SubjectByNamespaces) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,"subject":{"namespaces":{"matchLabels":{"team":"b"}}},
      "ingress":[{"action":"Deny","from":[{"namespaces":{}}]}]})");
  EXPECT_FALSE(c.Ingress("prod/web", "db"));
  EXPECT_TRUE(c.Ingress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, SubjectByPodsIsBothSelectors) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,
      "subject":{"pods":{"namespaceSelector":{"matchLabels":{"team":"b"}},"podSelector":{"matchLabels":{"app":"db"}}}},
      "ingress":[{"action":"Deny","from":[{"namespaces":{}}]}]})");
  EXPECT_FALSE(c.Ingress("prod/db", "web"));
  EXPECT_TRUE(c.Ingress("prod/web", "web"));
  EXPECT_TRUE(c.Ingress("db", "web"));
}

TEST_F(ClusterNetworkPolicySemantics, EmptySelectorsSelectEverything) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,"subject":{"pods":{"podSelector":{}}},
      "ingress":[{"action":"Deny","from":[{"pods":{"namespaceSelector":{},"podSelector":{}}}]}]})");
  for (const char* pod : {"web", "db", "prod/web", "prod/db"}) {
    EXPECT_FALSE(c.Ingress(pod, "db")) << pod;
    EXPECT_TRUE(c.Ingress(pod, kExternal)) << pod;
  }
}

TEST_F(ClusterNetworkPolicySemantics, HostNetworkPodsAreNeitherSubjectsNorPeers) {
  c.AddPod("agent", "app=db", "10.9.0.1").host_network = true;
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny"));
  EXPECT_TRUE(c.Ingress("web", "agent"));
  EXPECT_TRUE(c.Ingress("agent", "web"));
}

TEST_F(ClusterNetworkPolicySemantics, NetworksMatchPodsAndIcmpToo) {
  c.AddClusterPolicy(
      OneRule("Admin", 1, "Deny", R"({"networks":["192.0.2.0/24","10.0.1.0/24"]})", "", "egress"));
  EXPECT_FALSE(c.Egress("web", kExternal));
  EXPECT_FALSE(c.Egress("web", kExternal, "icmp"));
  EXPECT_FALSE(c.Egress("web", "prod/db"));
  EXPECT_TRUE(c.Egress("web", "db"));
  EXPECT_TRUE(c.Egress("web", "192.0.3.1"));
}

TEST_F(ClusterNetworkPolicySemantics, NestedNetworksGoByTheOrderOfRulesNotByLength) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}},"egress":[
      {"action":"Accept","to":[{"networks":["192.0.2.0/25"]}]},
      {"action":"Deny","to":[{"networks":["192.0.2.0/24"]}]},
      {"action":"Accept","to":[{"networks":["192.0.2.200/32"]}]}]})");
  EXPECT_TRUE(c.Egress("web", "192.0.2.1"));
  EXPECT_FALSE(c.Egress("web", "192.0.2.129"));
  EXPECT_FALSE(c.Egress("web", "192.0.2.200"));
}

TEST_F(ClusterNetworkPolicySemantics, ARuleOfPodsAndOneOfNetworksGoByTheirOrder) {
  const char* spec = R"({{"tier":"Admin","priority":1,"subject":{{"namespaces":{{}}}},"egress":[
      {{"action":"{}","to":[{{"networks":["0.0.0.0/0"]}}]}}, {{"action":"{}","to":[{{"namespaces":{{}}}}]}}]}})";
  c.AddClusterPolicy(fmt::format(fmt::runtime(spec), "Deny", "Accept"), "p");
  EXPECT_FALSE(c.Egress("web", "db"));
  c.AddClusterPolicy(fmt::format(fmt::runtime(spec), "Accept", "Deny"), "p");
  EXPECT_TRUE(c.Egress("web", "db"));
}

TEST_F(ClusterNetworkPolicySemantics, NodesMatchTheirAddresses) {
  c.model.nodes["n1"] = {{{"zone", "a"}}, {*ParseIp("192.168.0.1"), *ParseIp("203.0.113.1")}};
  c.model.nodes["n2"] = {{{"zone", "b"}}, {*ParseIp("192.168.0.2")}};
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"nodes":{"matchLabels":{"zone":"a"}}})", "", "egress"),
                     "a");
  EXPECT_FALSE(c.Egress("web", "192.168.0.1"));
  EXPECT_FALSE(c.Egress("web", "203.0.113.1"));
  EXPECT_TRUE(c.Egress("web", "192.168.0.2"));
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"nodes":{}})", "", "egress"), "a");
  EXPECT_FALSE(c.Egress("web", "192.168.0.2"));
  EXPECT_TRUE(c.Egress("web", "192.168.0.3"));
}

TEST_F(ClusterNetworkPolicySemantics, ProtocolsAreNumbersRangesAndTheirProtocol) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"namespaces":{}})",
                             R"(,"protocols":[{"tcp":{"destinationPort":{"number":80}}},
      {"udp":{"destinationPort":{"range":{"start":53,"end":55}}}},{"sctp":{"destinationPort":{"number":9}}}])"));
  for (const char* denied : {"tcp/80", "udp/53", "udp/54", "udp/55", "sctp/9"})
    EXPECT_FALSE(c.Ingress("web", "db", denied)) << denied;
  for (const char* allowed : {"tcp/81", "tcp/53", "udp/80", "udp/52", "udp/56", "sctp/80", "icmp"})
    EXPECT_TRUE(c.Ingress("web", "db", allowed)) << allowed;
}

TEST_F(ClusterNetworkPolicySemantics, WithoutProtocolsEverythingMatches) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny"));
  for (const char* packet : {"tcp/80", "udp/1", "sctp/9", "icmp"})
    EXPECT_FALSE(c.Ingress("web", "db", packet));
}

TEST_F(ClusterNetworkPolicySemantics, NamedPortsAreOfAnyProtocolAndTheDestinations) {
  c.model.pods.at({"default", "web"}).ports = {{"dns", 53, L4Protocol::kUdp}, {"dns", 54, L4Protocol::kTcp}};
  c.model.pods.at({"default", "db"}).ports = {{"dns", 99, L4Protocol::kTcp}};
  const char* named = R"(,"protocols":[{"destinationNamedPort":"dns"}])";
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"namespaces":{}})", named), "in");
  EXPECT_FALSE(c.Ingress("web", "db", "udp/53"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/54"));
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/53"));
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/99"));
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny", R"({"namespaces":{}})", named, "egress"), "in");
  EXPECT_FALSE(c.Egress("web", "db", "tcp/99"));
  EXPECT_TRUE(c.Egress("web", "db", "udp/53"));
  EXPECT_FALSE(c.Egress("db", "web", "udp/53"));
}

TEST_F(ClusterNetworkPolicySemantics, NamedPortBeforeAndAfterARuleOfAllPorts) {
  c.model.pods.at({"default", "db"}).ports = {{"http", 80, L4Protocol::kTcp}};
  const char* spec = R"({{"tier":"Admin","priority":1,"subject":{{"namespaces":{{}}}},"egress":[{}]}})";
  const char* named =
      R"({"action":"Accept","to":[{"namespaces":{}}],"protocols":[{"destinationNamedPort":"http"}]})";
  const char* all = R"({"action":"Deny","to":[{"namespaces":{}}]})";
  c.AddClusterPolicy(fmt::format(fmt::runtime(spec), std::string(named) + "," + all), "p");
  EXPECT_TRUE(c.Egress("web", "db", "tcp/80"));
  EXPECT_FALSE(c.Egress("web", "db", "tcp/81"));
  c.AddClusterPolicy(fmt::format(fmt::runtime(spec), std::string(all) + "," + named), "p");
  EXPECT_FALSE(c.Egress("web", "db", "tcp/80"));
}

TEST_F(ClusterNetworkPolicySemantics, APassRuleOfOnePortPassesThatPortOnly) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Pass", R"({"namespaces":{}})", kPort80));
  c.AddClusterPolicy(OneRule("Admin", 2, "Deny"));
  c.AddPolicy(kAllowDb);
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/80"));
  EXPECT_FALSE(c.Ingress("web", "prod/db", "tcp/80"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/81"));
}

TEST_F(ClusterNetworkPolicySemantics, APolicyWithoutRulesOfADirectionDoesNotAffectIt) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}}})");
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_EQ(Compile(c.model, {{{"default", "web"}}}).Find({"default", "web"})->ingress, kNotIsolated);
}

TEST_F(ClusterNetworkPolicySemantics, APodWithoutManifestIsASubjectOfItsNamespace) {
  c.AddClusterPolicy(OneRule("Admin", 1, "Deny"));
  const ObjectKey fresh{"default", "fresh"};
  const CompiledPolicy compiled = Compile(c.model, {{fresh}});
  EXPECT_FALSE(compiled.Check(Direction::kIngress, compiled.Find(fresh)->ingress, *ParseIp("10.0.0.2"), 6, 80)
                   .allowed);
}

TEST_F(ClusterNetworkPolicySemantics, AReusedAddressNeitherInheritsAcceptNorEscapesDeny) {
  c.AddPod("newcomer", "app=other", "10.0.0.2");  // db's object is still there
  const char* db = R"({"pods":{"podSelector":{"matchLabels":{"app":"db"}}}})";
  const char* other = R"({"pods":{"podSelector":{"matchLabels":{"app":"other"}}}})";
  c.AddClusterPolicy(OneRule("Admin", 1, "Accept", db), "accept").AddPolicy("{}");
  EXPECT_FALSE(c.Ingress("web", "10.0.0.2"));
  c.model.policies.clear();
  c.AddClusterPolicy(OneRule("Admin", 2, "Deny", other), "deny");
  EXPECT_FALSE(c.Ingress("web", "10.0.0.2"));
  EXPECT_THAT(Why("web", "10.0.0.2"), HasSubstr("default/newcomer matches"));
  c.model.pods.erase({"default", "newcomer"});
  EXPECT_TRUE(c.Ingress("web", "10.0.0.2"));
}

TEST_F(ClusterNetworkPolicySemantics, RuleNamesAreWithoutControlCharacters) {
  c.AddClusterPolicy(R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}},
      "ingress":[{"name":"a\u001b[2J","action":"Deny","from":[{"namespaces":{}}]}]})");
  EXPECT_THAT(Why("web", "db"), HasSubstr("rule 'a?[2J'"));
}

}  // namespace
}  // namespace podwire
