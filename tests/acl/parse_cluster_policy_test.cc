#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "acl/parse.h"
#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;

absl::StatusOr<ClusterNetworkPolicy> Policy(const json& spec) {
  return ParseClusterNetworkPolicy({{"apiVersion", "policy.networking.k8s.io/v1alpha2"},
                                    {"kind", "ClusterNetworkPolicy"},
                                    {"metadata", {{"name", "p"}}},
                                    {"spec", spec}});
}

/// A good spec with something put over it: `patch` as RFC 7396 has it.
json Spec(const char* patch) {
  json spec = json::parse(R"({"tier":"Admin","priority":10,"subject":{"namespaces":{}}})");
  spec.merge_patch(json::parse(patch));
  return spec;
}

TEST(ParseClusterNetworkPolicy, AllFields) {
  const auto policy = Policy(Spec(R"({"tier":"Baseline","priority":1000,
      "subject":{"namespaces":null,"pods":{"namespaceSelector":{"matchLabels":{"a":"b"}},"podSelector":{"matchLabels":{"c":"d"}}}},
      "ingress":[{"name":"in","action":"Pass","from":[{"namespaces":{"matchLabels":{"e":"f"}}}],
                  "protocols":[{"tcp":{"destinationPort":{"number":80}}},{"udp":{"destinationPort":{"range":{"start":1,"end":2}}}},
                               {"sctp":{"destinationPort":{"number":65535}}},{"destinationNamedPort":"http"}]}],
      "egress":[{"action":"Deny","to":[{"networks":["10.0.0.0/8","fd00::/8"]},{"nodes":{}},{"pods":{"podSelector":{}}}]}]})"));
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->name, "p");
  EXPECT_EQ(policy->tier, Tier::kBaseline);
  EXPECT_EQ(policy->priority, 1000);
  EXPECT_EQ(ToString(*policy->subject.namespace_selector), "a=b");
  EXPECT_EQ(ToString(*policy->subject.pod_selector), "c=d");
  ASSERT_EQ(policy->ingress.size(), 1u);
  const PolicyRule& in = policy->ingress[0];
  EXPECT_EQ(in.name, "in");
  EXPECT_EQ(in.action, RuleAction::kPass);
  EXPECT_EQ(ToString(*in.peers.at(0).namespace_selector), "e=f");
  EXPECT_FALSE(in.peers[0].pod_selector.has_value());
  ASSERT_EQ(in.ports.size(), 4u);
  EXPECT_EQ(in.ports[0].first, 80);
  EXPECT_EQ(in.ports[0].last, 80);
  EXPECT_EQ(in.ports[1].protocol, L4Protocol::kUdp);
  EXPECT_EQ(in.ports[1].first, 1);
  EXPECT_EQ(in.ports[1].last, 2);
  EXPECT_EQ(in.ports[2].protocol, L4Protocol::kSctp);
  EXPECT_TRUE(in.ports[3].any_protocol);
  EXPECT_EQ(in.ports[3].name, "http");
  const PolicyRule& out = policy->egress.at(0);
  EXPECT_EQ(out.action, RuleAction::kDeny);
  ASSERT_EQ(out.peers.size(), 3u);
  ASSERT_EQ(out.peers[0].networks.size(), 2u);
  EXPECT_EQ(ToString(out.peers[0].networks[1].cidr), "fd00::/8");
  EXPECT_TRUE(out.peers[1].node_selector->empty());
  EXPECT_TRUE(out.peers[2].pod_selector->empty());
  EXPECT_TRUE(out.peers[2].namespace_selector->empty());
}

TEST(ParseClusterNetworkPolicy, BoundsAreInclusive) {
  json rule = json::parse(R"({"action":"Accept","to":[]})");
  rule["name"] = std::string(98, 'x') + "\u00e4\u00e4";  // 100 characters
  json network = json::parse(R"({"networks":[]})");
  for (int i = 0; i < 25; ++i) network["networks"].push_back("10.0." + std::to_string(i) + ".0/24");
  for (int i = 0; i < 25; ++i) rule["to"].push_back(network);
  for (int i = 0; i < 25; ++i)
    rule["protocols"].push_back(json::parse(R"({"tcp":{"destinationPort":{"number":1}}})"));
  json spec = Spec(R"({"priority":0})");
  for (int i = 0; i < 25; ++i) spec["egress"].push_back(rule);
  const auto policy = Policy(spec);
  EXPECT_TRUE(policy.ok()) << policy.status();
  spec["egress"].push_back(rule);
  EXPECT_EQ(Message(Policy(spec).status()), "spec.egress: has 26 items, at most 25 are allowed");
}

struct Refusal {
  const char* name;
  const char* patch;
  const char* message;
};
void PrintTo(const Refusal& r, std::ostream* os) { *os << r.name; }

class RefusedClusterPolicy : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedClusterPolicy, NamesTheField) {
  const auto policy = Policy(Spec(GetParam().patch));
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(policy.status()), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Policies, RefusedClusterPolicy,
    ::testing::Values(
        Refusal{"NoTier", R"({"tier":null})", "spec.tier: is missing, expected Admin or Baseline"},
        Refusal{"Tier", R"({"tier":"admin"})",
                R"(spec.tier: "admin" is not a tier, expected Admin or Baseline)"},
        Refusal{"NoPriority", R"({"priority":null})",
                "spec.priority: is missing, expected an integer 0..1000"},
        Refusal{"PriorityAbove", R"({"priority":1001})",
                "spec.priority: 1001 is not a priority, expected 0..1000"},
        Refusal{"PriorityBelow", R"({"priority":-1})",
                "spec.priority: -1 is not a priority, expected 0..1000"},
        Refusal{"PriorityHuge", R"({"priority":18446744073709551615})",
                "spec.priority: 18446744073709551615 is not a priority, expected 0..1000"},
        Refusal{"PriorityText", R"({"priority":"5"})",
                "spec.priority: is a string, expected an integer 0..1000"},
        Refusal{"NoSubject", R"({"subject":null})", "spec.subject: is missing, expected namespaces or pods"},
        Refusal{"EmptySubject", R"({"subject":{"namespaces":null}})",
                "spec.subject: has no field, expected one of namespaces, pods"},
        Refusal{"TwoSubjects", R"({"subject":{"pods":{"podSelector":{}}}})",
                "spec.subject: has several fields, expected one of namespaces, pods"},
        Refusal{"SubjectPods", R"({"subject":{"namespaces":null,"pods":{"namespaceSelector":{}}}})",
                "spec.subject.pods.podSelector: is missing, expected a label selector ({} selects all pods)"},
        Refusal{"UnknownInSpec", R"({"rules":[]})",
                "spec.rules: unknown field, expected one of tier, priority, subject, ingress, egress"},
        Refusal{"NoAction", R"({"ingress":[{"from":[{"namespaces":{}}]}]})",
                "spec.ingress[0].action: is missing, expected Accept, Deny or Pass"},
        Refusal{"Action", R"({"ingress":[{"action":"Allow","from":[{"namespaces":{}}]}]})",
                R"(spec.ingress[0].action: "Allow" is not an action, expected Accept, Deny or Pass)"},
        Refusal{"NoFrom", R"({"ingress":[{"action":"Deny"}]})",
                "spec.ingress[0].from: is missing, expected a list of 1 to 25 items"},
        Refusal{"EmptyTo", R"({"egress":[{"action":"Deny","to":[]}]})",
                "spec.egress[0].to: is empty, expected at least one item"},
        Refusal{"EmptyPeer", R"({"egress":[{"action":"Deny","to":[{}]}]})",
                "spec.egress[0].to[0]: has no field, expected one of namespaces, pods, nodes, networks"},
        Refusal{
            "TwoPeers", R"({"egress":[{"action":"Deny","to":[{"nodes":{},"networks":["10.0.0.0/8"]}]}]})",
            "spec.egress[0].to[0]: has several fields, expected one of namespaces, pods, nodes, networks"},
        Refusal{"IngressNetworks", R"({"ingress":[{"action":"Deny","from":[{"networks":["10.0.0.0/8"]}]}]})",
                "spec.ingress[0].from[0].networks: unknown field, expected one of namespaces, pods"},
        Refusal{"DomainNames", R"({"egress":[{"action":"Accept","to":[{"domainNames":["example.com"]}]}]})",
                "spec.egress[0].to[0].domainNames: podwire does not know names' addresses: give them as "
                "networks"},
        Refusal{"NewPeer", R"({"egress":[{"action":"Deny","to":[{"services":{}}]}]})",
                "spec.egress[0].to[0].services: unknown field, expected one of namespaces, pods, nodes, "
                "networks, "
                "domainNames"},
        Refusal{"NoNetworks", R"({"egress":[{"action":"Deny","to":[{"networks":[]}]}]})",
                "spec.egress[0].to[0].networks: is empty, expected at least one item"},
        Refusal{"Cidr", R"({"egress":[{"action":"Deny","to":[{"networks":["10.0.0.0/8","10.0.0.0"]}]}]})",
                R"(spec.egress[0].to[0].networks[1]: "10.0.0.0" is not a CIDR (like 10.0.0.0/24))"},
        Refusal{"NoProtocols", R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[]}]})",
                "spec.ingress[0].protocols: is empty, expected at least one item"},
        Refusal{"EmptyProtocol",
                R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{}]}]})",
                "spec.ingress[0].protocols[0]: has no field, expected one of tcp, udp, sctp, "
                "destinationNamedPort"},
        Refusal{"EmptyTcp",
                R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"tcp":{}}]}]})",
                "spec.ingress[0].protocols[0].tcp.destinationPort: is missing, expected a number or a range"},
        Refusal{
            "PortAndRange",
            R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"number":1,"range":{"start":1,"end":2}}}}]}]})",
            "spec.ingress[0].protocols[0].tcp.destinationPort: has several fields, expected number or range"},
        Refusal{
            "PortZero",
            R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"udp":{"destinationPort":{"number":0}}}]}]})",
            "spec.ingress[0].protocols[0].udp.destinationPort.number: 0 is not a port, expected 1..65535"},
        Refusal{
            "RangeEmpty",
            R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"sctp":{"destinationPort":{"range":{"start":2,"end":2}}}}]}]})",
            "spec.ingress[0].protocols[0].sctp.destinationPort.range: start 2 is not below end 2"},
        Refusal{
            "RangeHalf",
            R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"range":{"start":2}}}}]}]})",
            "spec.ingress[0].protocols[0].tcp.destinationPort.range.end: is missing, expected an integer "
            "1..65535"},
        Refusal{
            "SourcePort",
            R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"tcp":{"sourcePort":{"number":2}}}]}]})",
            "spec.ingress[0].protocols[0].tcp.sourcePort: unknown field, expected one of destinationPort"},
        Refusal{
            "PortName",
            R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"protocols":[{"destinationNamedPort":"80"}]}]})",
            R"(spec.ingress[0].protocols[0].destinationNamedPort: "80" is not a port name (at most 15 lower-case letters, digits and '-', a letter among them))"},
        Refusal{
            "NamedPortOfNetworks",
            R"({"egress":[{"action":"Deny","to":[{"namespaces":{}},{"networks":["10.0.0.0/8"]}],"protocols":[{"destinationNamedPort":"http"}]}]})",
            "spec.egress[0].protocols[0].destinationNamedPort: networks and nodes have no named ports, "
            "expected tcp, "
            "udp or sctp"},
        Refusal{
            "RuleNameTooLong",
            R"({"ingress":[{"name":"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x","action":"Deny","from":[{"namespaces":{}}]}]})",
            "spec.ingress[0].name: is longer than 100 characters"},
        Refusal{"PortsField", R"({"ingress":[{"action":"Deny","from":[{"namespaces":{}}],"ports":[]}]})",
                "spec.ingress[0].ports: unknown field, expected one of name, action, from, protocols"},
        Refusal{
            "Selector", R"({"subject":{"namespaces":{"labels":{}}}})",
            "spec.subject.namespaces.labels: unknown field, expected one of matchLabels, matchExpressions"}),
    [](const auto& refusal) { return refusal.param.name; });

TEST(ParseClusterNetworkPolicy, RefusesOtherKindsVersionsAndNoSpec) {
  json document{{"metadata", {{"name", "p"}}}};
  EXPECT_EQ(Message(ParseClusterNetworkPolicy(document).status()), "spec: is missing, expected an object");
  document["apiVersion"] = "policy.networking.k8s.io/v1alpha1";
  EXPECT_EQ(
      Message(ParseClusterNetworkPolicy(document).status()),
      "apiVersion: is \"policy.networking.k8s.io/v1alpha1\", expected policy.networking.k8s.io/v1alpha2");
}

}  // namespace
}  // namespace podwire
