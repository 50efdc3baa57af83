#include <algorithm>

#include "acl/names.h"
#include "acl/parse.h"
#include "acl/parse_internal.h"
#include "net/status.h"

namespace podwire {
namespace {

// The bounds of the API's schema.
constexpr size_t kMaxItems = 25;
constexpr size_t kMaxRuleName = 100;
constexpr size_t kMaxCidr = 43;
constexpr int64_t kMaxPriority = 1000;

/// A list with at most kMaxItems items.
absl::StatusOr<std::vector<JsonNode>> BoundedItems(const JsonNode& node) {
  ASSIGN_OR_RETURN(auto items, node.Items());
  if (items.size() > kMaxItems)
    return node.Refuse(fmt::format("has {} items, at most {} are allowed", items.size(), kMaxItems));
  return items;
}

/// The same with one at least.
absl::StatusOr<std::vector<JsonNode>> SomeItems(const JsonNode& node) {
  if (node.absent()) return node.WrongType(fmt::format("a list of 1 to {} items", kMaxItems));
  ASSIGN_OR_RETURN(auto items, BoundedItems(node));
  if (items.empty()) return node.Refuse("is empty, expected at least one item");
  return items;
}

/// The one field that `node` has; refuses unknown fields, several and none.
absl::StatusOr<JsonNode> OnlyField(const JsonNode& node, std::initializer_list<const char*> known,
                                   std::string_view expected) {
  RETURN_IF_ERROR(node.CheckFields(known));
  std::optional<JsonNode> found;
  for (const char* name : known) {
    const JsonNode field = node.Field(name);
    if (field.absent()) continue;
    if (found) return node.Refuse(fmt::format("has several fields, expected {}", expected));
    found = field;
  }
  if (!found) return node.Refuse(fmt::format("has no field, expected {}", expected));
  return *found;
}

size_t CharactersOf(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

bool IsField(const JsonNode& node, std::string_view name) { return node.path().ends_with(name); }

/// NamespacedPod.
absl::StatusOr<PolicyPeer> ParsePods(const JsonNode& node) {
  RETURN_IF_ERROR(node.CheckFields({"namespaceSelector", "podSelector"}));
  PolicyPeer peer;
  ASSIGN_OR_RETURN(peer.namespace_selector, ParseSelector(node.Field("namespaceSelector")));
  const JsonNode pods = node.Field("podSelector");
  if (pods.absent()) return pods.WrongType("a label selector ({} selects all pods)");
  ASSIGN_OR_RETURN(peer.pod_selector, ParseSelector(pods));
  return peer;
}

/// The peers and subjects that are pods.
absl::StatusOr<PolicyPeer> ParsePodPeer(const JsonNode& field) {
  if (IsField(field, ".pods")) return ParsePods(field);
  PolicyPeer peer;
  ASSIGN_OR_RETURN(peer.namespace_selector, ParseSelector(field));
  return peer;
}

absl::StatusOr<IpBlock> ParseNetwork(const JsonNode& node) {
  ASSIGN_OR_RETURN(const auto text, node.RequiredString("a CIDR (like 10.0.0.0/24)"));
  if (text.size() > kMaxCidr)
    return node.Refuse(fmt::format("is longer than {} characters, expected a CIDR", kMaxCidr));
  ASSIGN_OR_RETURN(const IpPrefix cidr, ParseCidr(node));
  return IpBlock{.cidr = cidr, .except = {}};
}

absl::StatusOr<PolicyPeer> ParseEgressPeer(const JsonNode& node) {
  ASSIGN_OR_RETURN(const JsonNode field,
                   OnlyField(node, {"namespaces", "pods", "nodes", "networks", "domainNames"},
                             "one of namespaces, pods, nodes, networks"));
  if (IsField(field, ".domainNames")) {
    return field.Refuse("podwire does not know names' addresses: give them as networks");
  }
  PolicyPeer peer;
  if (IsField(field, ".nodes")) {
    ASSIGN_OR_RETURN(peer.node_selector, ParseSelector(field));
    return peer;
  }
  if (!IsField(field, ".networks")) return ParsePodPeer(field);
  ASSIGN_OR_RETURN(const auto items, SomeItems(field));
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(auto network, ParseNetwork(item));
    peer.networks.push_back(std::move(network));
  }
  return peer;
}

absl::StatusOr<PolicyPeer> ParseIngressPeer(const JsonNode& node) {
  ASSIGN_OR_RETURN(const JsonNode field, OnlyField(node, {"namespaces", "pods"}, "one of namespaces, pods"));
  return ParsePodPeer(field);
}

absl::StatusOr<uint16_t> RequiredPort(const JsonNode& node) {
  ASSIGN_OR_RETURN(const auto number, node.PortNumber());
  if (!number) return node.WrongType("an integer 1..65535");
  return *number;
}

/// {destinationPort: {number | range: {start, end}}}
absl::StatusOr<PolicyPort> ParseDestinationPort(const JsonNode& node, L4Protocol protocol) {
  RETURN_IF_ERROR(node.CheckFields({"destinationPort"}));
  const JsonNode port = node.Field("destinationPort");
  if (port.absent()) return port.WrongType("a number or a range");
  ASSIGN_OR_RETURN(const JsonNode field, OnlyField(port, {"number", "range"}, "number or range"));
  PolicyPort out{.protocol = protocol};
  if (IsField(field, ".number")) {
    ASSIGN_OR_RETURN(out.first, RequiredPort(field));
    out.last = out.first;
    return out;
  }
  RETURN_IF_ERROR(field.CheckFields({"start", "end"}));
  ASSIGN_OR_RETURN(out.first, RequiredPort(field.Field("start")));
  ASSIGN_OR_RETURN(out.last, RequiredPort(field.Field("end")));
  if (out.first >= out.last)
    return field.Refuse(fmt::format("start {} is not below end {}", out.first, out.last));
  return out;
}

absl::StatusOr<PolicyPort> ParseProtocolMatch(const JsonNode& node) {
  ASSIGN_OR_RETURN(const JsonNode field, OnlyField(node, {"tcp", "udp", "sctp", "destinationNamedPort"},
                                                   "one of tcp, udp, sctp, destinationNamedPort"));
  if (IsField(field, ".tcp")) return ParseDestinationPort(field, L4Protocol::kTcp);
  if (IsField(field, ".udp")) return ParseDestinationPort(field, L4Protocol::kUdp);
  if (IsField(field, ".sctp")) return ParseDestinationPort(field, L4Protocol::kSctp);
  PolicyPort port{.any_protocol = true};
  ASSIGN_OR_RETURN(port.name, field.RequiredString("a port name"));
  if (auto s = CheckPortName(port.name); !s.ok()) return field.Refuse(s);
  return port;
}

absl::StatusOr<RuleAction> ParseAction(const JsonNode& node) {
  ASSIGN_OR_RETURN(const auto text, node.RequiredString("Accept, Deny or Pass"));
  for (const RuleAction action : {RuleAction::kAccept, RuleAction::kDeny, RuleAction::kPass}) {
    if (text == ToString(action)) return action;
  }
  return node.Refuse(fmt::format("\"{}\" is not an action, expected Accept, Deny or Pass", text));
}

absl::Status ParseProtocols(const JsonNode& node, PolicyRule& rule) {
  if (node.absent()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto items, SomeItems(node));
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(auto port, ParseProtocolMatch(item));
    const bool addressless = std::all_of(rule.peers.begin(), rule.peers.end(), [](const PolicyPeer& p) {
      return p.networks.empty() && !p.node_selector;
    });
    if (port.is_named() && !addressless) {
      return item.Field("destinationNamedPort")
          .Refuse("networks and nodes have no named ports, expected tcp, udp or sctp");
    }
    rule.ports.push_back(std::move(port));
  }
  return absl::OkStatus();
}

absl::StatusOr<PolicyRule> ParseRule(const JsonNode& node, Direction direction) {
  const bool ingress = direction == Direction::kIngress;
  const char* peers_field = ingress ? "from" : "to";
  RETURN_IF_ERROR(node.CheckFields({"name", "action", peers_field, "protocols"}));
  PolicyRule rule;
  const JsonNode name = node.Field("name");
  ASSIGN_OR_RETURN(const auto text, name.String());
  rule.name = text.value_or("");
  if (CharactersOf(rule.name) > kMaxRuleName)
    return name.Refuse(fmt::format("is longer than {} characters", kMaxRuleName));
  ASSIGN_OR_RETURN(rule.action, ParseAction(node.Field("action")));
  ASSIGN_OR_RETURN(const auto peers, SomeItems(node.Field(peers_field)));
  for (const JsonNode& item : peers) {
    ASSIGN_OR_RETURN(auto peer, ingress ? ParseIngressPeer(item) : ParseEgressPeer(item));
    rule.peers.push_back(std::move(peer));
  }
  RETURN_IF_ERROR(ParseProtocols(node.Field("protocols"), rule));
  return rule;
}

absl::StatusOr<std::vector<PolicyRule>> ParseRules(const JsonNode& node, Direction direction) {
  std::vector<PolicyRule> rules;
  ASSIGN_OR_RETURN(const auto items, BoundedItems(node));
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(auto rule, ParseRule(item, direction));
    rules.push_back(std::move(rule));
  }
  return rules;
}

absl::StatusOr<Tier> ParseTier(const JsonNode& node) {
  ASSIGN_OR_RETURN(const auto text, node.RequiredString("Admin or Baseline"));
  if (text == "Admin") return Tier::kAdmin;
  if (text == "Baseline") return Tier::kBaseline;
  return node.Refuse(fmt::format("\"{}\" is not a tier, expected Admin or Baseline", text));
}

absl::StatusOr<uint16_t> ParsePriority(const JsonNode& node) {
  if (node.absent() || !node.json().is_number_integer()) return node.WrongType("an integer 0..1000");
  const bool fits = node.json().is_number_unsigned() ? node.json().get<uint64_t>() <= kMaxPriority
                                                     : node.json().get<int64_t>() >= 0;
  if (!fits || node.json().get<int64_t>() > kMaxPriority)
    return node.Refuse(fmt::format("{} is not a priority, expected 0..1000", node.json().dump()));
  return node.json().get<uint16_t>();
}

}  // namespace

absl::StatusOr<ClusterNetworkPolicy> ParseClusterNetworkPolicy(const nlohmann::json& document) {
  const JsonNode root(&document, "");
  RETURN_IF_ERROR(CheckKind(root, "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"));
  RETURN_IF_ERROR(root.CheckFields({"apiVersion", "kind", "metadata", "spec", "status"}));
  ASSIGN_OR_RETURN(ObjectMeta meta, ParseMetadata(document, ""));
  const JsonNode spec = root.Field("spec");
  if (spec.absent()) return spec.WrongType("an object");
  RETURN_IF_ERROR(spec.CheckFields({"tier", "priority", "subject", "ingress", "egress"}));
  ClusterNetworkPolicy policy{.name = std::move(meta.key.name)};
  ASSIGN_OR_RETURN(policy.tier, ParseTier(spec.Field("tier")));
  ASSIGN_OR_RETURN(policy.priority, ParsePriority(spec.Field("priority")));
  const JsonNode subject = spec.Field("subject");
  if (subject.absent()) return subject.WrongType("namespaces or pods");
  ASSIGN_OR_RETURN(policy.subject, ParseIngressPeer(subject));
  ASSIGN_OR_RETURN(policy.ingress, ParseRules(spec.Field("ingress"), Direction::kIngress));
  ASSIGN_OR_RETURN(policy.egress, ParseRules(spec.Field("egress"), Direction::kEgress));
  return policy;
}

}  // namespace podwire
