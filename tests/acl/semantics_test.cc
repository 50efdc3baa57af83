// The lines of what implementers of NetworkPolicy get wrong, one test each.

#include <algorithm>
#include <iterator>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cluster.h"

namespace podwire {
namespace {

class NetworkPolicySemantics : public ::testing::Test {
 protected:
  NetworkPolicySemantics() {
    c.AddNamespace("default", "team=a").AddNamespace("prod", "team=b");
    c.AddPod("web", "app=web", "10.0.0.1");
    c.AddPod("db", "app=db", "10.0.0.2");
    c.AddPod("prod/web", "app=web", "10.0.1.1");
    c.AddPod("prod/db", "app=db", "10.0.1.2");
  }
  static constexpr const char* kExternal = "192.0.2.1";
  Cluster c;
};

TEST_F(NetworkPolicySemantics, IsolationIsPerDirectionAndOnlyForSelectedPods) {
  c.AddPolicy(R"({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]})");
  EXPECT_FALSE(c.Ingress("web", "db"));
  EXPECT_TRUE(c.Egress("web", "db"));
  EXPECT_TRUE(c.Ingress("db", "web"));
  EXPECT_TRUE(c.Ingress("prod/web", "db"));
  c.AddPolicy(R"({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]})");
  EXPECT_FALSE(c.Egress("db", "web"));
  EXPECT_TRUE(c.Ingress("db", "web"));
}

TEST_F(NetworkPolicySemantics, PoliciesAndRulesAddUpInAnyOrder) {
  const char* policies[] = {R"({"ingress": []})",
                            R"({"ingress": [{"ports": [{"port": 1}]}, {"ports": [{"port": 2}]}]})",
                            R"({"ingress": [{"ports": [{"port": 3}]}]})"};
  int order[] = {0, 1, 2};
  do {
    c.model.policies.clear();
    for (const int i : order) c.AddPolicy(policies[i]);
    for (const char* allowed : {"tcp/1", "tcp/2", "tcp/3"}) EXPECT_TRUE(c.Ingress("web", "db", allowed));
    EXPECT_FALSE(c.Ingress("web", "db", "tcp/4"));
  } while (std::next_permutation(std::begin(order), std::end(order)));
}

TEST_F(NetworkPolicySemantics, PolicyTypesDefault) {
  c.AddPolicy(R"({})");
  EXPECT_TRUE(c.Isolated("web", Direction::kIngress));
  EXPECT_FALSE(c.Isolated("web", Direction::kEgress));
  c.AddPolicy(R"({"egress": [], "policyTypes": []})");
  EXPECT_FALSE(c.Isolated("web", Direction::kEgress));
  c.AddPolicy(R"({"egress": [{}]})");
  EXPECT_TRUE(c.Isolated("web", Direction::kEgress));
  EXPECT_TRUE(c.Egress("web", kExternal));
}

TEST_F(NetworkPolicySemantics, RulesOfAMissingPolicyTypeAreIgnored) {
  c.AddPolicy(R"({"policyTypes": ["Egress"], "ingress": [{"ports": [{"port": 1}]}]})");
  EXPECT_FALSE(c.Isolated("web", Direction::kIngress));
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/2"));
  EXPECT_FALSE(c.Egress("web", "db", "tcp/1"));
  c.AddPolicy(R"({"policyTypes": ["Ingress"], "egress": [{}]})");
  EXPECT_FALSE(c.Egress("web", "db"));
}

TEST_F(NetworkPolicySemantics, IngressEmptyOrAbsentAllowsNothingAndOneEmptyRuleEverything) {
  c.AddPolicy(R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": []})");
  c.AddPolicy(R"({"podSelector": {"matchLabels": {"app": "db"}}})");
  for (const char* packet : {"tcp/80", "udp/53", "icmp"}) {
    EXPECT_FALSE(c.Ingress("web", "db", packet));
    EXPECT_FALSE(c.Ingress("db", kExternal, packet));
  }
  c.AddPolicy(R"({"ingress": [{}]})");
  for (const char* packet : {"tcp/80", "udp/53", "icmp"}) {
    EXPECT_TRUE(c.Ingress("web", "db", packet));
    EXPECT_TRUE(c.Ingress("db", kExternal, packet));
  }
}

TEST_F(NetworkPolicySemantics, FromEmptyOrAbsentIsEverySource) {
  c.AddPolicy(R"({"ingress": [{"from": [], "ports": [{"port": 80}]}]})");
  c.AddPolicy(R"({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 80}]}]})");
  for (const char* peer : {"db", "prod/db", kExternal, "2001:db8::1"}) {
    EXPECT_TRUE(c.Ingress("web", peer, "tcp/80"));
    EXPECT_FALSE(c.Ingress("web", peer, "tcp/81"));
    EXPECT_TRUE(c.Egress("web", peer, "tcp/80"));
    EXPECT_FALSE(c.Egress("web", peer, "tcp/81"));
  }
}

TEST_F(NetworkPolicySemantics, EmptyPeerMatchesNothing) {
  c.AddPolicy(R"({"ingress": [{"from": [{}]}]})");
  EXPECT_FALSE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Ingress("web", kExternal));
}

TEST_F(NetworkPolicySemantics, PortsEmptyOrAbsentAreAllProtocols) {
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {}}], "ports": []}]})");
  for (const char* packet : {"tcp/80", "udp/1", "sctp/9", "icmp"})
    EXPECT_TRUE(c.Ingress("web", "db", packet));
}

TEST_F(NetworkPolicySemantics, EmptyPortItemIsAllOfTcp) {
  c.AddPolicy(R"({"ingress": [{"ports": [{}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/1"));
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/65535"));
  for (const char* packet : {"udp/1", "sctp/1", "icmp"}) EXPECT_FALSE(c.Ingress("web", "db", packet));
}

TEST_F(NetworkPolicySemantics, ProtocolDefaultsToTcpAndPortToAll) {
  c.AddPolicy(R"({"ingress": [{"ports": [{"port": 80}, {"protocol": "UDP"}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/80"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/81"));
  EXPECT_TRUE(c.Ingress("web", "db", "udp/81"));
  EXPECT_FALSE(c.Ingress("web", "db", "sctp/80"));
}

TEST_F(NetworkPolicySemantics, RulesAreNotMergedIntoOneCrossProduct) {
  c.AddPolicy(R"({"ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": 1}]},
      {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 2}]},
      {"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}], "ports": [{"port": 3}]}]})");
  c.AddPolicy(
      R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 4}]}]})");
  const std::pair<const char*, const char*> allowed[] = {
      {"db", "tcp/1"}, {kExternal, "tcp/2"}, {"prod/db", "tcp/3"}, {"web", "tcp/4"}};
  for (const auto& [peer, own] : allowed) {
    for (const char* packet : {"tcp/1", "tcp/2", "tcp/3", "tcp/4"}) {
      EXPECT_EQ(c.Ingress("web", peer, packet), std::string_view(own) == packet) << peer << " " << packet;
    }
  }
}

TEST_F(NetworkPolicySemantics, PodSelectorEmptyOrAbsentIsTheOwnNamespaceOnly) {
  c.AddPolicy(R"({"podSelector": {}})");
  EXPECT_TRUE(c.Isolated("web", Direction::kIngress));
  EXPECT_TRUE(c.Isolated("db", Direction::kIngress));
  EXPECT_FALSE(c.Isolated("prod/web", Direction::kIngress));
  c.AddPolicy(R"({})", "prod");
  EXPECT_TRUE(c.Isolated("prod/web", Direction::kIngress));
}

TEST_F(NetworkPolicySemantics, PeerPodSelectorAloneIsThePolicysNamespace) {
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("db", "web"));
}

TEST_F(NetworkPolicySemantics, PeerEmptyPodSelectorIsAllPodsOfThePolicysNamespace) {
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", kExternal));
}

TEST_F(NetworkPolicySemantics, PeerNamespaceSelectorAloneIsAllPodsThere) {
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "prod/web"));
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", "db"));
}

TEST_F(NetworkPolicySemantics, TwoSelectorsInOneItemAreAnd) {
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}},
                                         "podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", "prod/web"));
  EXPECT_FALSE(c.Ingress("web", "db"));
}

TEST_F(NetworkPolicySemantics, TwoItemsAreOr) {
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}},
                                        {"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_TRUE(c.Ingress("web", "prod/web"));
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_FALSE(c.Ingress("db", "web"));
}

TEST_F(NetworkPolicySemantics, EmptyNamespaceSelectorIsAllPodsButNoOtherAddress) {
  c.AddPod("host", "app=db", "10.9.0.1").host_network = true;
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", kExternal));
  EXPECT_FALSE(c.Ingress("web", "host"));
}

TEST_F(NetworkPolicySemantics, MatchLabelsAndExpressionsAreAnd) {
  c.AddPod("both", "app=db,tier=x", "10.0.0.3");
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"},
      "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}, {"key": "tier", "operator": "NotIn", "values": ["y"]}]}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "both"));
  EXPECT_FALSE(c.Ingress("web", "db"));
}

TEST_F(NetworkPolicySemantics, NotInAndDoesNotExistMatchAnAbsentKey) {
  c.AddPod("plain", "", "10.0.0.3");
  c.AddPolicy(R"({"ingress": [
      {"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}}], "ports": [{"port": 1}]},
      {"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}], "ports": [{"port": 2}]}]})");
  EXPECT_TRUE(c.Ingress("web", "plain", "tcp/1"));
  EXPECT_TRUE(c.Ingress("web", "plain", "tcp/2"));
  EXPECT_TRUE(c.Ingress("db", "web", "tcp/1"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/1"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/2"));
}

TEST_F(NetworkPolicySemantics, AnEmptyValueIsNotAnAbsentKey) {
  c.AddPod("empty", "app=", "10.0.0.3");
  c.AddPod("plain", "", "10.0.0.4");
  const auto from = [](std::string_view expression, int port) {
    return fmt::format(
        R"({{"ingress": [{{"from": [{{"podSelector": {{"matchExpressions": [{}]}}}}], "ports": [{{"port": {}}}]}}]}})",
        expression, port);
  };
  c.AddPolicy(from(R"({"key": "app", "operator": "Exists"})", 1));
  c.AddPolicy(from(R"({"key": "app", "operator": "In", "values": [""]})", 2));
  c.AddPolicy(from(R"({"key": "app", "operator": "DoesNotExist"})", 3));
  c.AddPolicy(from(R"({"key": "app", "operator": "NotIn", "values": [""]})", 4));
  for (const auto& [packet, empty] :
       {std::pair("tcp/1", true), {"tcp/2", true}, {"tcp/3", false}, {"tcp/4", false}}) {
    EXPECT_EQ(c.Ingress("web", "empty", packet), empty) << packet;
    EXPECT_EQ(c.Ingress("web", "plain", packet), !empty) << packet;
  }
}

TEST_F(NetworkPolicySemantics, EveryNamespaceHasItsNameLabel) {
  c.AddPod("unheard/db", "", "10.0.2.1");  // of a namespace that no object describes
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchExpressions": [
      {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["prod", "unheard"]}]}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_TRUE(c.Ingress("web", "unheard/db"));
  EXPECT_FALSE(c.Ingress("web", "db"));
}

TEST_F(NetworkPolicySemantics, ANamespaceLabelChangeTakesEffectOnAllItsPods) {
  c.AddPolicy(R"({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]})");
  const ObjectKey web{"default", "web"};
  const uint64_t before = Compile(c.model, {{web}}).Find(web)->fingerprint;
  c.AddNamespace("prod", "team=c");
  EXPECT_FALSE(c.Ingress("web", "prod/db"));
  EXPECT_NE(Compile(c.model, {{web}}).Find(web)->fingerprint, before);
  c.AddNamespace("prod", "team=b");
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_EQ(Compile(c.model, {{web}}).Find(web)->fingerprint, before);
}

TEST_F(NetworkPolicySemantics, ExceptIsAHoleInItsOwnBlockOnly) {
  c.AddPolicy(
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/28", "192.0.2.128/25"]}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "192.0.2.16"));
  EXPECT_TRUE(c.Ingress("web", "192.0.2.127"));
  for (const char* hole : {"192.0.2.0", "192.0.2.15", "192.0.2.128", "192.0.2.255"})
    EXPECT_FALSE(c.Ingress("web", hole));
  EXPECT_FALSE(c.Ingress("web", "192.0.3.0"));
  c.AddPolicy(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.8/30"}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "192.0.2.8"));  // inside the other's hole
  EXPECT_FALSE(c.Ingress("web", "192.0.2.7"));
}

TEST_F(NetworkPolicySemantics, HostBitsOfACidrAreMasked) {
  c.AddPolicy(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.77/24"}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "192.0.2.1"));
  EXPECT_FALSE(c.Ingress("web", "192.0.3.77"));
}

TEST_F(NetworkPolicySemantics, AV4BlockNeverCoversV6) {
  c.AddPolicy(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]})");
  EXPECT_TRUE(c.Ingress("web", kExternal));
  EXPECT_FALSE(c.Ingress("web", "2001:db8::1"));
  EXPECT_FALSE(c.Ingress("web", "::"));
  c.AddPolicy(
      R"({"ingress": [{"from": [{"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8::/64"]}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "2001:db8:0:1::1"));
  EXPECT_FALSE(c.Ingress("web", "2001:db8::1"));
}

TEST_F(NetworkPolicySemantics, IpBlockMatchesPodsToo) {
  c.AddPolicy(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.1.1/32"]}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db"));
  EXPECT_TRUE(c.Ingress("web", "prod/db"));
  EXPECT_FALSE(c.Ingress("web", "prod/web"));
}

TEST_F(NetworkPolicySemantics, HostNetworkPodsAreNodeAddresses) {
  c.AddPod("agent", "app=db", "10.9.0.1").host_network = true;
  c.AddPod("tenant", "app=db", "10.9.0.2");
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  EXPECT_FALSE(c.Ingress("web", "agent"));
  EXPECT_TRUE(c.Ingress("web", "tenant"));
  EXPECT_FALSE(c.Isolated("agent", Direction::kIngress));  // the node is not policed
  c.AddPolicy(R"({"ingress": [{"from": [{"ipBlock": {"cidr": "10.9.0.1/32"}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "agent"));
}

TEST_F(NetworkPolicySemantics, AHostNetworkPodDoesNotTakeTheNodesAddressFromItsOthers) {
  c.AddPod("agent", "app=other", "10.0.0.2").host_network = true;  // db's address
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db"));
}

TEST_F(NetworkPolicySemantics, NamedPortsOfIngressAreTheSelectedPods) {
  c.model.pods.at({"default", "web"}).ports = {{"http", 8080, L4Protocol::kTcp}};
  c.model.pods.at({"default", "db"}).ports = {{"http", 9090, L4Protocol::kTcp}};
  c.AddPolicy(R"({"ingress": [{"ports": [{"port": "http"}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db", "tcp/8080"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/9090"));
  EXPECT_TRUE(c.Ingress("db", kExternal, "tcp/9090"));
  EXPECT_FALSE(c.Ingress("db", kExternal, "tcp/8080"));
}

TEST_F(NetworkPolicySemantics, NamedPortsOfEgressAreThePeersAndNeverExternal) {
  c.model.pods.at({"default", "web"}).ports = {{"http", 8080, L4Protocol::kTcp}};
  c.model.pods.at({"default", "db"}).ports = {{"http", 9090, L4Protocol::kTcp}};
  c.AddPolicy(R"({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]})");
  EXPECT_TRUE(c.Egress("web", "db", "tcp/9090"));
  EXPECT_FALSE(c.Egress("web", "db", "tcp/8080"));
  EXPECT_FALSE(c.Egress("web", kExternal, "tcp/8080"));
  EXPECT_FALSE(c.Egress("web", kExternal, "tcp/9090"));
  c.AddPolicy(
      R"({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": "http"}]}]})");
  EXPECT_FALSE(c.Egress("web", kExternal, "tcp/9090"));
}

TEST_F(NetworkPolicySemantics, NameWithTheWrongProtocolOrNotServedStillIsolates) {
  c.model.pods.at({"default", "web"}).ports = {{"dns", 53, L4Protocol::kUdp}};
  c.AddPolicy(
      R"({"ingress": [{"ports": [{"port": "dns", "protocol": "TCP"}, {"port": "other", "protocol": "UDP"}]}]})");
  EXPECT_TRUE(c.Isolated("web", Direction::kIngress));
  EXPECT_FALSE(c.Ingress("web", "db", "udp/53"));
  EXPECT_FALSE(c.Ingress("web", "db", "tcp/53"));
}

TEST_F(NetworkPolicySemantics, EndPortIsInclusive) {
  c.AddPolicy(
      R"({"ingress": [{"ports": [{"port": 80, "endPort": 90}, {"port": 65535, "endPort": 65535}]}]})");
  for (const char* in : {"tcp/80", "tcp/85", "tcp/90", "tcp/65535"})
    EXPECT_TRUE(c.Ingress("web", "db", in)) << in;
  for (const char* out : {"tcp/79", "tcp/91", "tcp/65534", "udp/80", "udp/0"})
    EXPECT_FALSE(c.Ingress("web", "db", out)) << out;
}

TEST_F(NetworkPolicySemantics, SctpOnlyIsolatesForTcpAndUdp) {
  c.AddPolicy(R"({"ingress": [{"ports": [{"protocol": "SCTP", "port": 80}]}]})");
  EXPECT_TRUE(c.Ingress("web", "db", "sctp/80"));
  for (const char* packet : {"tcp/80", "udp/80", "sctp/81", "icmp"})
    EXPECT_FALSE(c.Ingress("web", "db", packet));
}

TEST_F(NetworkPolicySemantics, IcmpOnlyFromPeersAllowedOnAllPorts) {
  c.AddPolicy(
      R"({"ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}]},
                              {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]})");
  EXPECT_FALSE(c.Ingress("web", "db", "icmp"));
  EXPECT_TRUE(c.Ingress("web", kExternal, "icmp"));
}

TEST_F(NetworkPolicySemantics, AnUnknownLocalPodIsIsolatedByPoliciesThatSelectEverything) {
  c.AddPolicy(R"({})");
  c.AddPolicy(R"({"podSelector": {"matchLabels": {"app": "x"}}, "ingress": [{}]})");
  const ObjectKey fresh{"default", "fresh"};
  const CompiledPolicy compiled = Compile(c.model, {{fresh}});
  const auto verdict =
      compiled.Check(Direction::kIngress, compiled.Find(fresh)->ingress, *ParseIp("10.0.0.2"), 6, 80);
  EXPECT_TRUE(verdict.isolated);
  EXPECT_FALSE(verdict.allowed);
}

TEST_F(NetworkPolicySemantics, AReusedAddressDoesNotInherit) {
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]},
                              {"from": [{"podSelector": {}}], "ports": [{"port": 1}]}]})");
  EXPECT_TRUE(c.Ingress("web", "10.0.0.2"));
  c.AddPod("newcomer", "app=other", "10.0.0.2");  // db's object is still there
  EXPECT_FALSE(c.Ingress("web", "10.0.0.2"));
  EXPECT_TRUE(c.Ingress("web", "10.0.0.2", "tcp/1"));
  c.model.pods.erase({"default", "db"});
  EXPECT_FALSE(c.Ingress("web", "10.0.0.2"));
}

TEST_F(NetworkPolicySemantics, FinishedPodsAreNotPeers) {
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  c.model.pods.at({"default", "db"}).finished = true;
  EXPECT_FALSE(c.Ingress("web", "10.0.0.2"));
  c.AddPod("newcomer", "app=db", "10.0.0.2");
  EXPECT_TRUE(c.Ingress("web", "10.0.0.2"));
}

TEST_F(NetworkPolicySemantics, BothFamiliesOfADualStackPodAreThePod) {
  c.model.pods.at({"default", "db"}).addresses.push_back(*ParseIp("fd00::2"));
  c.AddPolicy(R"({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]})");
  EXPECT_TRUE(c.Ingress("web", "10.0.0.2"));
  EXPECT_TRUE(c.Ingress("web", "fd00::2"));
  EXPECT_FALSE(c.Ingress("web", "fd00::3"));
}

TEST_F(NetworkPolicySemantics, ARuleSetThatDoesNotExistDenies) {
  const CompiledPolicy compiled;
  EXPECT_FALSE(compiled.Check(Direction::kIngress, RuleSetId(0), *ParseIp("10.0.0.1"), 6, 80).allowed);
  EXPECT_TRUE(compiled.Check(Direction::kIngress, kNotIsolated, *ParseIp("10.0.0.1"), 6, 80).allowed);
  EXPECT_EQ(compiled.Find({"default", "web"}), nullptr);
}

}  // namespace
}  // namespace podwire
