#include "acl/names.h"
#include "acl/parse.h"
#include "acl/parse_internal.h"
#include "net/status.h"

namespace podwire {
namespace {

absl::StatusOr<IpBlock> ParseIpBlock(const JsonNode& node) {
  RETURN_IF_ERROR(node.CheckFields({"cidr", "except"}));
  IpBlock block;
  ASSIGN_OR_RETURN(block.cidr, ParseCidr(node.Field("cidr")));
  ASSIGN_OR_RETURN(const auto items, node.Field("except").Items());
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(const IpPrefix except, ParseCidr(item));
    if (!block.cidr.Contains(except) || except == block.cidr) {
      return item.Refuse(
          fmt::format("{} is not inside cidr {} (and smaller)", ToString(except), ToString(block.cidr)));
    }
    block.except.push_back(except);
  }
  return block;
}

absl::StatusOr<PolicyPeer> ParsePeer(const JsonNode& node) {
  RETURN_IF_ERROR(node.CheckFields({"podSelector", "namespaceSelector", "ipBlock"}));
  PolicyPeer peer;
  ASSIGN_OR_RETURN(peer.pod_selector, ParseOptionalSelector(node.Field("podSelector")));
  ASSIGN_OR_RETURN(peer.namespace_selector, ParseOptionalSelector(node.Field("namespaceSelector")));
  const JsonNode block = node.Field("ipBlock");
  if (block.absent()) return peer;
  if (peer.pod_selector || peer.namespace_selector) {
    return node.Refuse(
        "ipBlock and selectors in one peer, expected one or the other (two items mean either)");
  }
  ASSIGN_OR_RETURN(peer.ip_block, ParseIpBlock(block));
  return peer;
}

absl::StatusOr<PolicyPort> ParsePort(const JsonNode& node) {
  RETURN_IF_ERROR(node.CheckFields({"protocol", "port", "endPort"}));
  PolicyPort port;
  ASSIGN_OR_RETURN(port.protocol, ParseProtocol(node.Field("protocol")));
  const JsonNode first = node.Field("port");
  const JsonNode last = node.Field("endPort");
  if (!first.absent() && first.json().is_string()) {
    port.name = first.json().get<std::string>();
    if (auto s = CheckPortName(port.name); !s.ok()) return first.Refuse(s);
  } else if (!first.absent()) {
    if (!first.json().is_number_integer()) return first.WrongType("a port number or a port name");
    ASSIGN_OR_RETURN(const auto number, first.PortNumber());
    port.first = port.last = *number;
  }
  if (last.absent()) return port;
  if (port.first == 0) return last.Refuse("needs a numeric port beside it");
  ASSIGN_OR_RETURN(const auto number, last.PortNumber());
  if (*number < port.first) return last.Refuse(fmt::format("{} is below port {}", *number, port.first));
  port.last = *number;
  return port;
}

absl::StatusOr<PolicyRule> ParseRule(const JsonNode& node, const char* peers_field) {
  RETURN_IF_ERROR(node.CheckFields({peers_field, "ports"}));
  PolicyRule rule;
  ASSIGN_OR_RETURN(const auto peers, node.Field(peers_field).Items());
  for (const JsonNode& item : peers) {
    ASSIGN_OR_RETURN(auto peer, ParsePeer(item));
    rule.peers.push_back(std::move(peer));
  }
  ASSIGN_OR_RETURN(const auto ports, node.Field("ports").Items());
  for (const JsonNode& item : ports) {
    ASSIGN_OR_RETURN(auto port, ParsePort(item));
    rule.ports.push_back(std::move(port));
  }
  return rule;
}

absl::StatusOr<std::vector<PolicyRule>> ParseRules(const JsonNode& node, const char* peers_field) {
  std::vector<PolicyRule> rules;
  ASSIGN_OR_RETURN(const auto items, node.Items());
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(auto rule, ParseRule(item, peers_field));
    rules.push_back(std::move(rule));
  }
  return rules;
}

/// Absent or empty: Ingress always, Egress when there is an egress rule.
absl::Status ParsePolicyTypes(const JsonNode& node, NetworkPolicy& policy) {
  ASSIGN_OR_RETURN(const auto items, node.Items());
  policy.isolates_ingress = items.empty();
  policy.isolates_egress = items.empty() && !policy.egress.empty();
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(const auto type, item.RequiredString("Ingress or Egress"));
    if (type == "Ingress") {
      policy.isolates_ingress = true;
    } else if (type == "Egress") {
      policy.isolates_egress = true;
    } else {
      return item.Refuse(fmt::format("\"{}\" is not a policy type, expected Ingress or Egress", type));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NetworkPolicy> ParseNetworkPolicy(const nlohmann::json& document,
                                                 std::string_view default_namespace) {
  const JsonNode root(&document, "");
  RETURN_IF_ERROR(CheckKind(root, "networking.k8s.io/v1", "NetworkPolicy"));
  RETURN_IF_ERROR(root.CheckFields({"apiVersion", "kind", "metadata", "spec", "status"}));
  ASSIGN_OR_RETURN(ObjectMeta meta, ParseMetadata(document, default_namespace));
  const JsonNode spec = root.Field("spec");
  RETURN_IF_ERROR(spec.CheckFields({"podSelector", "policyTypes", "ingress", "egress"}));
  NetworkPolicy policy{.key = std::move(meta.key)};
  ASSIGN_OR_RETURN(policy.pod_selector, ParseSelector(spec.Field("podSelector")));
  ASSIGN_OR_RETURN(policy.ingress, ParseRules(spec.Field("ingress"), "from"));
  ASSIGN_OR_RETURN(policy.egress, ParseRules(spec.Field("egress"), "to"));
  RETURN_IF_ERROR(ParsePolicyTypes(spec.Field("policyTypes"), policy));
  return policy;
}

}  // namespace podwire
