// What an endpoint's fingerprint hears of, change by change, and what it does not.

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cluster.h"

namespace podwire {
namespace {

class FingerprintTest : public ::testing::Test {
 protected:
  FingerprintTest() {
    c.AddPod("web", "app=web", "10.0.0.1");
    c.AddPod("db", "app=db", "10.0.0.2").ports = {{"http", 80, L4Protocol::kTcp}};
    c.AddPod("cache", "app=cache", "10.0.0.3").ports = {{"http", 80, L4Protocol::kTcp}};
  }
  uint64_t Fingerprint() const { return Compile(c.model, {{kWeb}}).Find(kWeb)->fingerprint; }
  uint64_t FingerprintWith(std::string_view spec) {
    c.model.policies.clear();
    c.AddPolicy(spec);
    return Fingerprint();
  }
  /// With db serving http elsewhere.
  uint64_t FingerprintWithDbAt(uint16_t port) {
    auto& number = c.model.pods.at({"default", "db"}).ports[0].number;
    const uint16_t before = std::exchange(number, port);
    const uint64_t fingerprint = Fingerprint();
    number = before;
    return fingerprint;
  }
  const ObjectKey kWeb{"default", "web"};
  Cluster c;
};

TEST_F(FingerprintTest, BlocksAndTheirHoles) {
  const char* specs[] = {
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]})",
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/9"}}]}]})",
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]})",
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.2.0.0/16"]}}]}]})",
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]})",
      R"({})",
  };
  std::vector<uint64_t> seen;
  for (const char* spec : specs) {
    seen.push_back(FingerprintWith(spec));
    EXPECT_EQ(std::count(seen.begin(), seen.end(), seen.back()), 1) << spec;
  }
}

TEST_F(FingerprintTest, BlocksThatChangeNothingWeighNothing) {
  const uint64_t plain = FingerprintWith(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]})");
  EXPECT_EQ(plain, FingerprintWith(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}},
                                                           {"ipBlock": {"cidr": "10.7.0.0/16"}}]}]})"));
  EXPECT_EQ(plain,
            FingerprintWith(
                R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.7.0.0/16"]}}]},
                                                 {"from": [{"ipBlock": {"cidr": "10.7.0.0/16"}}]}]})"));
}

TEST_F(FingerprintTest, PortsThatAPeerServesUnderAName) {
  const char* specs[] = {
      R"({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": "http"}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.2/31"}}], "ports": [{"port": "http"}]}]})",
  };
  for (const char* spec : specs) {
    const uint64_t before = FingerprintWith(spec);
    EXPECT_NE(before, FingerprintWithDbAt(81)) << spec;
  }
}

TEST_F(FingerprintTest, PortsOfPodsThatTheRulesDoNotMeanAreNotHeard) {
  const char* specs[] = {
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "cache"}}}], "ports": [{"port": "http"}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.2/32"]}}], "ports": [{"port": "http"}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 80}]}]})",
      R"({"ingress": [{"ports": [{"port": "http"}]}]})",
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.3/32"}}], "ports": [{"port": "http"}]}]})",
  };
  for (const char* spec : specs) {
    const uint64_t before = FingerprintWith(spec);
    EXPECT_EQ(before, FingerprintWithDbAt(81)) << spec;
  }
}

TEST_F(FingerprintTest, OwnPortsUnderANameOfAnIngressRule) {
  c.AddPolicy(R"({"ingress": [{"ports": [{"port": "http"}]}]})");
  const uint64_t unserved = Fingerprint();
  c.model.pods.at(kWeb).ports = {{"http", 8080, L4Protocol::kTcp}};
  EXPECT_NE(Fingerprint(), unserved);
}

TEST_F(FingerprintTest, WhoBelongsToAPeerAndWhoDoesNot) {
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  const uint64_t before = Fingerprint();
  c.AddPod("cache2", "app=cache", "10.0.0.4");
  c.AddPod("prod/db", "app=db", "10.0.1.2");
  EXPECT_EQ(Fingerprint(), before);
  c.AddPod("db2", "app=db", "10.0.0.5");
  EXPECT_NE(Fingerprint(), before);
  c.model.pods.erase({"default", "db2"});
  EXPECT_EQ(Fingerprint(), before);
  c.model.pods.at({"default", "db"}).addresses = {*ParseIp("10.0.0.6")};
  EXPECT_NE(Fingerprint(), before);
}

TEST_F(FingerprintTest, NamesOfPoliciesAndOrderOfRulesDoNotMatter) {
  const char* one = R"({"ingress": [{"ports": [{"port": 1}]}]})";
  const char* two = R"({"ingress": [{"ports": [{"port": 2}]}]})";
  c.AddPolicy(one).AddPolicy(two);
  const uint64_t before = Fingerprint();
  c.model.policies.clear();
  c.AddPolicy(two).AddPolicy(one);
  EXPECT_EQ(Fingerprint(), before);
  EXPECT_EQ(FingerprintWith(R"({"ingress": [{"ports": [{"port": 2}]}, {"ports": [{"port": 1}]}]})"), before);
}

TEST_F(FingerprintTest, IsolationItself) {
  const uint64_t open = Fingerprint();
  const uint64_t ingress = FingerprintWith(R"({"policyTypes": ["Ingress"]})");
  const uint64_t egress = FingerprintWith(R"({"policyTypes": ["Egress"]})");
  EXPECT_NE(open, ingress);
  EXPECT_NE(open, egress);
  EXPECT_NE(ingress, egress);
}

class ClusterFingerprintTest : public FingerprintTest {
 protected:
  /// Of web, with one policy for all pods: its rules of egress.
  uint64_t FingerprintWithRules(std::string_view rules, const char* tier = "Admin") {
    c.model.cluster_policies.clear();
    c.AddClusterPolicy(fmt::format(
        R"({{"tier":"{}","priority":1,"subject":{{"namespaces":{{}}}},"egress":[{}]}})", tier, rules));
    return Fingerprint();
  }
  /// {"action": ..., "to": [pods with this app]}
  static std::string To(const char* action, const char* app) {
    return fmt::format(
        R"({{"action":"{}","to":[{{"pods":{{"podSelector":{{"matchLabels":{{"app":"{}"}}}}}}}}]}})", action,
        app);
  }
};

TEST_F(ClusterFingerprintTest, ActionsTiersAndTheOrderOfUnlikeRules) {
  const std::set<uint64_t> all{
      FingerprintWithRules(To("Accept", "db")),
      FingerprintWithRules(To("Deny", "db")),
      FingerprintWithRules(To("Pass", "db")),
      FingerprintWithRules(To("Deny", "cache")),
      FingerprintWithRules(To("Deny", "db"), "Baseline"),
      FingerprintWithRules(To("Deny", "db") + "," + To("Accept", "cache")),
      FingerprintWithRules(To("Accept", "cache") + "," + To("Deny", "db")),
  };
  EXPECT_EQ(all.size(), 7u);
}

TEST_F(ClusterFingerprintTest, TheOrderOfLikeRulesDoesNotMatter) {
  EXPECT_EQ(FingerprintWithRules(To("Deny", "db") + "," + To("Deny", "cache")),
            FingerprintWithRules(To("Deny", "cache") + "," + To("Deny", "db")));
}

TEST_F(ClusterFingerprintTest, WhoBelongsToAPeerAndWhoDoesNot) {
  const uint64_t before = FingerprintWithRules(To("Deny", "db"));
  c.AddPod("cache2", "app=cache", "10.0.0.4");
  EXPECT_EQ(Fingerprint(), before);
  c.AddPod("db2", "app=db", "10.0.0.5");
  EXPECT_NE(Fingerprint(), before);
}

TEST_F(ClusterFingerprintTest, PrioritiesMatterWhereTheyChangeTheOrder) {
  const auto with = [&](int deny, int accept) {
    c.model.cluster_policies.clear();
    const char* spec =
        R"({{"tier":"Admin","priority":{},"subject":{{"namespaces":{{}}}},"egress":[{{"action":"{}","to":[{{"namespaces":{{}}}}]}}]}})";
    c.AddClusterPolicy(fmt::format(fmt::runtime(spec), deny, "Deny"), "deny");
    c.AddClusterPolicy(fmt::format(fmt::runtime(spec), accept, "Accept"), "accept");
    return Fingerprint();
  };
  EXPECT_EQ(with(1, 2), with(5, 900));
  EXPECT_NE(with(1, 2), with(2, 1));
}

TEST_F(ClusterFingerprintTest, PoliciesForOthersAreNotHeard) {
  const uint64_t before = FingerprintWithRules(To("Deny", "db"));
  c.AddClusterPolicy(
      R"({"tier":"Admin","priority":0,"subject":{"pods":{"podSelector":{"matchLabels":{"app":"db"}}}},
      "egress":[{"action":"Deny","to":[{"namespaces":{}},{"networks":["10.0.0.0/8"]}],"protocols":[{"udp":{"destinationPort":{"number":1}}}]}]})");
  EXPECT_EQ(Fingerprint(), before);
}

TEST_F(ClusterFingerprintTest, BaselineIsNotHeardWhereANetworkPolicyIsolates) {
  c.AddPolicy(R"({"policyTypes": ["Egress"]})");
  EXPECT_EQ(FingerprintWithRules(To("Deny", "db"), "Baseline"),
            FingerprintWithRules(To("Accept", "db"), "Baseline"));
}

TEST_F(ClusterFingerprintTest, PortsThatAPeerServesUnderAName) {
  const char* named =
      R"({"action":"Deny","to":[{"namespaces":{}}],"protocols":[{"destinationNamedPort":"http"}]})";
  const char* all = R"({"action":"Accept","to":[{"namespaces":{}}]})";
  FingerprintWithRules(named);
  EXPECT_NE(Fingerprint(), FingerprintWithDbAt(81));
  FingerprintWithRules(fmt::format("{},{}", named, all));
  EXPECT_NE(Fingerprint(), FingerprintWithDbAt(81));
  FingerprintWithRules(fmt::format("{},{}", all, named));  // never reached
  EXPECT_EQ(Fingerprint(), FingerprintWithDbAt(81));
}

TEST_F(ClusterFingerprintTest, NodesAddresses) {
  c.model.nodes["n"] = {{}, {*ParseIp("192.168.0.1")}};
  const uint64_t before = FingerprintWithRules(R"({"action":"Deny","to":[{"nodes":{}}]})");
  c.model.nodes["n"].addresses.push_back(*ParseIp("192.168.0.2"));
  EXPECT_NE(Fingerprint(), before);
}

}  // namespace
}  // namespace podwire
