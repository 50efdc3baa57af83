#include "acl/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::StartsWith;

absl::StatusOr<NetworkPolicy> Policy(std::string_view spec) {
  return ParseNetworkPolicy({{"metadata", {{"name", "p"}}}, {"spec", json::parse(spec)}}, "dev");
}

struct Refusal {
  const char* name;
  const char* spec;
  const char* message;
};
void PrintTo(const Refusal& r, std::ostream* os) { *os << r.name; }

class RefusedPolicy : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedPolicy, NamesTheField) {
  const auto policy = Policy(GetParam().spec);
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(policy.status()), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Policies, RefusedPolicy,
    ::testing::Values(
        Refusal{"Cidr", R"({"ingress":[{"from":[{},{"ipBlock":{"cidr":"10.0.0.0/99"}}]}]})",
                R"(spec.ingress[0].from[1].ipBlock.cidr: "10.0.0.0/99" is not a CIDR (like 10.0.0.0/24))"},
        Refusal{"CidrMissing", R"({"ingress":[{"from":[{"ipBlock":{}}]}]})",
                "spec.ingress[0].from[0].ipBlock.cidr: is missing, expected a CIDR (like 10.0.0.0/24)"},
        Refusal{"CidrLeadingZero", R"({"egress":[{"to":[{"ipBlock":{"cidr":"010.0.0.0/8"}}]}]})",
                R"(spec.egress[0].to[0].ipBlock.cidr: "010.0.0.0/8" is not a CIDR (like 10.0.0.0/24))"},
        Refusal{"ExceptOutside",
                R"({"egress":[{"to":[{"ipBlock":{"cidr":"10.0.0.0/16","except":["10.1.0.0/24"]}}]}]})",
                "spec.egress[0].to[0].ipBlock.except[0]: 10.1.0.0/24 is not inside cidr 10.0.0.0/16 (and "
                "smaller)"},
        Refusal{"ExceptIsAll",
                R"({"egress":[{"to":[{"ipBlock":{"cidr":"10.0.0.0/16","except":["10.0.0.0/16"]}}]}]})",
                "spec.egress[0].to[0].ipBlock.except[0]: 10.0.0.0/16 is not inside cidr 10.0.0.0/16 (and "
                "smaller)"},
        Refusal{
            "ExceptOtherFamily",
            R"({"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0","except":["fd00::/8"]}}]}]})",
            "spec.egress[0].to[0].ipBlock.except[0]: fd00::/8 is not inside cidr 0.0.0.0/0 (and smaller)"},
        Refusal{"BlockAndSelector",
                R"({"ingress":[{"from":[{"podSelector":{},"ipBlock":{"cidr":"10.0.0.0/8"}}]}]})",
                "spec.ingress[0].from[0]: ipBlock and selectors in one peer, expected one or the other (two "
                "items mean either)"},
        Refusal{"PortZero", R"({"ingress":[{"ports":[{"port":0}]}]})",
                "spec.ingress[0].ports[0].port: 0 is not a port, expected 1..65535"},
        Refusal{"PortNegative", R"({"ingress":[{"ports":[{"port":-1}]}]})",
                "spec.ingress[0].ports[0].port: -1 is not a port, expected 1..65535"},
        Refusal{"PortTooBig", R"({"ingress":[{"ports":[{"port":80},{"port":65536}]}]})",
                "spec.ingress[0].ports[1].port: 65536 is not a port, expected 1..65535"},
        Refusal{"PortHuge", R"({"ingress":[{"ports":[{"port":18446744073709551615}]}]})",
                "spec.ingress[0].ports[0].port: 18446744073709551615 is not a port, expected 1..65535"},
        Refusal{"PortFraction", R"({"ingress":[{"ports":[{"port":80.5}]}]})",
                "spec.ingress[0].ports[0].port: is a number, expected a port number or a port name"},
        Refusal{"PortBool", R"({"ingress":[{"ports":[{"port":true}]}]})",
                "spec.ingress[0].ports[0].port: is a boolean, expected a port number or a port name"},
        Refusal{
            "PortNumberAsText", R"({"ingress":[{"ports":[{"port":"80"}]}]})",
            R"(spec.ingress[0].ports[0].port: "80" is not a port name (at most 15 lower-case letters, digits and '-', a letter among them))"},
        Refusal{"EndPortAlone", R"({"ingress":[{"ports":[{"endPort":90}]}]})",
                "spec.ingress[0].ports[0].endPort: needs a numeric port beside it"},
        Refusal{"EndPortWithName", R"({"ingress":[{"ports":[{"port":"http","endPort":90}]}]})",
                "spec.ingress[0].ports[0].endPort: needs a numeric port beside it"},
        Refusal{"EndPortBelow", R"({"ingress":[{"ports":[{"port":90,"endPort":80}]}]})",
                "spec.ingress[0].ports[0].endPort: 80 is below port 90"},
        Refusal{"Protocol", R"({"ingress":[{"ports":[{"protocol":"ICMP"}]}]})",
                R"(spec.ingress[0].ports[0].protocol: "ICMP" is not a protocol, expected TCP, UDP or SCTP)"},
        Refusal{"ProtocolCase", R"({"ingress":[{"ports":[{"protocol":"tcp"}]}]})",
                R"(spec.ingress[0].ports[0].protocol: "tcp" is not a protocol, expected TCP, UDP or SCTP)"},
        Refusal{
            "Operator",
            R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"Equals","values":["x"]}]}})",
            R"(spec.podSelector.matchExpressions[0].operator: "Equals" is not an operator, expected In, NotIn, Exists or DoesNotExist)"},
        Refusal{"OperatorMissing", R"({"podSelector":{"matchExpressions":[{"key":"a"}]}})",
                "spec.podSelector.matchExpressions[0].operator: is missing, expected In, NotIn, Exists or "
                "DoesNotExist"},
        Refusal{"InWithoutValues",
                R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[]}]}})",
                "spec.podSelector.matchExpressions[0].values: In needs at least one value"},
        Refusal{"NotInWithoutValues",
                R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"NotIn"}]}})",
                "spec.podSelector.matchExpressions[0].values: NotIn needs at least one value"},
        Refusal{"ExistsWithValues",
                R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"Exists","values":["x"]}]}})",
                "spec.podSelector.matchExpressions[0].values: Exists takes no values"},
        Refusal{"ExpressionKey", R"({"podSelector":{"matchExpressions":[{"operator":"Exists"}]}})",
                "spec.podSelector.matchExpressions[0].key: is missing, expected a label key"},
        Refusal{"LabelValueType", R"({"podSelector":{"matchLabels":{"app":1}}})",
                R"(spec.podSelector.matchLabels["app"]: is a number, expected a string (quote it))"},
        Refusal{"LabelKeySyntax", R"({"podSelector":{"matchLabels":{"-app":"x"}}})",
                R"(spec.podSelector.matchLabels: "-app" is not a label key (like app or example.com/app))"},
        Refusal{
            "LabelValueSyntax", R"({"podSelector":{"matchLabels":{"app":"a b"}}})",
            R"(spec.podSelector.matchLabels["app"]: "a b" is not a label value (letters, digits, '-', '_' and '.', at most 63))"},
        Refusal{"PolicyType", R"({"policyTypes":["ingress"]})",
                R"(spec.policyTypes[0]: "ingress" is not a policy type, expected Ingress or Egress)"},
        Refusal{"UnknownInSpec", R"({"podSelecter":{}})",
                "spec.podSelecter: unknown field, expected one of podSelector, policyTypes, ingress, egress"},
        Refusal{"UnknownInRule", R"({"ingress":[{"to":[]}]})",
                "spec.ingress[0].to: unknown field, expected one of from, ports"},
        Refusal{"UnknownInPeer", R"({"ingress":[{"from":[{"ipblock":{}}]}]})",
                "spec.ingress[0].from[0].ipblock: unknown field, expected one of podSelector, "
                "namespaceSelector, ipBlock"},
        Refusal{"UnknownInPort", R"({"ingress":[{"ports":[{"ports":80}]}]})",
                "spec.ingress[0].ports[0].ports: unknown field, expected one of protocol, port, endPort"},
        Refusal{"UnknownInSelector", R"({"podSelector":{"app":"x"}})",
                "spec.podSelector.app: unknown field, expected one of matchLabels, matchExpressions"},
        Refusal{"UnknownInBlock", R"({"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","excepts":[]}}]}]})",
                "spec.ingress[0].from[0].ipBlock.excepts: unknown field, expected one of cidr, except"},
        Refusal{"NullRule", R"({"ingress":[null]})", "spec.ingress[0]: is null, expected a value"},
        Refusal{"NullPeer", R"({"ingress":[{"from":[null]}]})",
                "spec.ingress[0].from[0]: is null, expected a value"},
        Refusal{"RulesNoList", R"({"ingress":{}})", "spec.ingress: is an object, expected a list"},
        Refusal{"PeersNoList", R"({"egress":[{"to":{"podSelector":{}}}]})",
                "spec.egress[0].to: is an object, expected a list"},
        Refusal{"SelectorNoObject", R"({"podSelector":"app=web"})",
                "spec.podSelector: is a string, expected an object"},
        Refusal{"SpecNoObject", "[]", "spec: is a list, expected an object"}),
    [](const auto& param) { return param.param.name; });

TEST(ParseNetworkPolicy, ReadsEverything) {
  const auto p = Policy(R"({
    "podSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["x", ""]}]},
    "policyTypes": ["Egress", "Ingress"],
    "ingress": [{"from": [{"ipBlock": {"cidr": "10.1.2.3/16", "except": ["10.1.9.0/24"]}},
                          {"podSelector": {}, "namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "Exists"}]}}],
                 "ports": [{"protocol": "SCTP"}, {"port": 80, "endPort": 90}, {"protocol": "UDP", "port": "dns"}, {}]}],
    "egress": [{}]})");
  ASSERT_TRUE(p.ok()) << p.status();
  EXPECT_EQ(ToString(p->key), "dev/p");
  EXPECT_EQ(ToString(p->pod_selector), "app=web,t notin (x,)");
  EXPECT_TRUE(p->isolates_ingress && p->isolates_egress);
  const PolicyRule& rule = p->ingress.at(0);
  EXPECT_EQ(ToString(rule.peers.at(0).ip_block->cidr), "10.1.0.0/16");  // host bits are masked off
  EXPECT_EQ(ToString(rule.peers[0].ip_block->except.at(0)), "10.1.9.0/24");
  EXPECT_TRUE(rule.peers.at(1).pod_selector->empty());
  EXPECT_EQ(ToString(*rule.peers[1].namespace_selector), "k");
  ASSERT_EQ(rule.ports.size(), 4u);
  EXPECT_TRUE(rule.ports[0].is_whole_protocol() && rule.ports[0].protocol == L4Protocol::kSctp);
  EXPECT_EQ(rule.ports[1].first, 80);
  EXPECT_EQ(rule.ports[1].last, 90);
  EXPECT_EQ(rule.ports[2].name, "dns");
  EXPECT_EQ(rule.ports[2].protocol, L4Protocol::kUdp);
  EXPECT_TRUE(rule.ports[3].is_whole_protocol() && rule.ports[3].protocol == L4Protocol::kTcp);
  EXPECT_TRUE(p->egress.at(0).peers.empty() && p->egress[0].ports.empty());
}

TEST(ParseNetworkPolicy, NullEqualsAbsent) {
  const auto p = Policy(R"({"podSelector": null, "policyTypes": null, "egress": null,
    "ingress": [{"from": null, "ports": [{"port": null, "protocol": null, "endPort": null}]},
                {"from": [{"podSelector": null, "namespaceSelector": null, "ipBlock": null}]}]})");
  ASSERT_TRUE(p.ok()) << p.status();
  EXPECT_TRUE(p->isolates_ingress);
  EXPECT_FALSE(p->isolates_egress);
  EXPECT_TRUE(p->ingress.at(0).peers.empty());
  EXPECT_TRUE(p->ingress[0].ports.at(0).is_whole_protocol());
  EXPECT_EQ(p->ingress.at(1).peers.size(), 1u);  // an empty peer, which matches nothing
}

TEST(ParseNetworkPolicy, DocumentAround) {
  const auto parse = [](std::string_view text) { return ParseNetworkPolicy(json::parse(text), "dev"); };
  const auto refusal = [&](std::string_view text) { return Message(parse(text).status()); };
  EXPECT_EQ(ToString(parse(R"({"metadata":{"name":"a.b","namespace":"prod","uid":"1"}})")->key), "prod/a.b");
  EXPECT_EQ(ToString(parse(R"({"metadata":{"name":"p","namespace":""}})")->key), "dev/p");
  EXPECT_EQ(refusal("[]"), "is a list, expected an object");
  EXPECT_EQ(refusal("{}"), "metadata: is missing, expected an object");
  EXPECT_EQ(refusal(R"({"metadata":{"generateName":"x"}})"),
            "metadata.name: is missing, expected a DNS name");
  EXPECT_THAT(refusal(R"({"metadata":{"name":"A"}})"), StartsWith("metadata.name: \"A\" is not a DNS name"));
  EXPECT_THAT(refusal(R"({"metadata":{"name":"a","namespace":"a.b"}})"),
              StartsWith("metadata.namespace: \"a.b\" is not a DNS label"));
  EXPECT_EQ(refusal(R"({"kind":"Pod","metadata":{"name":"a"}})"), "kind: is \"Pod\", expected NetworkPolicy");
  EXPECT_EQ(refusal(R"({"apiVersion":"extensions/v1beta1","metadata":{"name":"a"}})"),
            "apiVersion: is \"extensions/v1beta1\", expected networking.k8s.io/v1");
  EXPECT_THAT(refusal(R"({"metadata":{"name":"a"},"podSelector":{}})"),
              StartsWith("podSelector: unknown field"));
  EXPECT_EQ(refusal(R"({"metadata":{"name":"a","labels":{"x":null}}})"),
            "metadata.labels[\"x\"]: is null, expected a string (quote it)");
}

TEST(ParsePod, ReadsWhatPoliciesNeed) {
  const auto pod = ParsePod(json::parse(R"({"apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "web-0", "labels": {"app": "web", "empty": ""}, "annotations": {"x": "y"}},
    "spec": {"nodeName": "n1", "volumes": [{}],
      "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}, {"name": "d"}],
      "initContainers": [{"name": "once", "ports": [{"containerPort": 1}]},
                         {"name": "sidecar", "restartPolicy": "Always", "ports": [{"name": "m", "containerPort": 9}]}]},
    "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})"),
                            "dev");
  ASSERT_TRUE(pod.ok()) << pod.status();
  EXPECT_EQ(ToString(pod->key), "dev/web-0");
  EXPECT_THAT(pod->labels, ElementsAre(Pair("app", "web"), Pair("empty", "")));
  EXPECT_EQ(pod->node_name, "n1");
  EXPECT_FALSE(pod->host_network || pod->finished);
  EXPECT_THAT(pod->addresses, ElementsAre(*ParseIp("10.0.0.1"), *ParseIp("fd00::1")));
  ASSERT_EQ(pod->ports.size(), 3u);
  EXPECT_EQ(pod->ports[0].name, "http");
  EXPECT_EQ(pod->ports[0].number, 80);
  EXPECT_EQ(pod->ports[1].protocol, L4Protocol::kUdp);
  EXPECT_EQ(pod->ports[2].name, "m");
}

TEST(ParsePod, HostNetworkFinishedAndNoAddressYet) {
  const auto parse = [](std::string_view spec, std::string_view status) {
    return *ParsePod(
        {{"metadata", {{"name", "p"}}}, {"spec", json::parse(spec)}, {"status", json::parse(status)}}, "dev");
  };
  EXPECT_TRUE(parse(R"({"hostNetwork": true})", "{}").host_network);
  EXPECT_TRUE(parse("{}", R"({"phase": "Succeeded"})").finished);
  EXPECT_TRUE(parse("{}", R"({"phase": "Failed"})").finished);
  EXPECT_FALSE(parse("{}", R"({"phase": "Pending"})").finished);
  EXPECT_TRUE(parse("{}", R"({"podIP": "", "podIPs": null})").addresses.empty());
}

TEST(ParsePod, RefusesWrongTypesOfWhatItReads) {
  const auto refusal = [](std::string_view text) {
    auto document = json::parse(text);
    document["metadata"]["name"] = "p";
    return Message(ParsePod(document, "dev").status());
  };
  EXPECT_EQ(refusal(R"({"spec":{"hostNetwork":"yes"}})"),
            "spec.hostNetwork: is a string, expected true or false");
  EXPECT_EQ(refusal(R"({"spec":{"nodeName":5}})"), "spec.nodeName: is a number, expected a string");
  EXPECT_EQ(refusal(R"({"spec":{"containers":[{"ports":[{"name":"x"}]}]}})"),
            "spec.containers[0].ports[0].containerPort: is missing, expected an integer 1..65535");
  EXPECT_EQ(refusal(R"({"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}})"),
            "spec.containers[0].ports[0].containerPort: is a string, expected an integer 1..65535");
  EXPECT_EQ(refusal(R"({"spec":{"containers":[7]}})"), "spec.containers[0]: is a number, expected an object");
  EXPECT_EQ(refusal(R"({"status":{"podIP":"10.0.0.256"}})"),
            "status.podIP: \"10.0.0.256\" is not an IP address");
  EXPECT_EQ(refusal(R"({"status":{"podIPs":[{"ip":"::g"}]}})"),
            "status.podIPs[0].ip: \"::g\" is not an IP address");
  EXPECT_EQ(refusal(R"({"status":[]})"), "status: is a list, expected an object");
  EXPECT_EQ(refusal(R"({"metadata":{"labels":[]}})"), "metadata.labels: is a list, expected an object");
}

TEST(ParseNamespace, AlwaysHasItsNameLabel) {
  const auto ns = ParseNamespace(json::parse(
      R"({"kind":"Namespace","metadata":{"name":"dev","labels":{"team":"a","kubernetes.io/metadata.name":"liar"}}})"));
  ASSERT_TRUE(ns.ok()) << ns.status();
  EXPECT_EQ(ns->name, "dev");
  EXPECT_THAT(ns->labels, ElementsAre(Pair("kubernetes.io/metadata.name", "dev"), Pair("team", "a")));
  EXPECT_THAT(Message(ParseNamespace(json::parse(R"({"metadata":{"name":"a.b"}})")).status()),
              StartsWith("metadata.name: \"a.b\" is not a DNS label"));
}

}  // namespace
}  // namespace podwire
