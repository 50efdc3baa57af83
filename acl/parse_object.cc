#include <algorithm>

#include "acl/names.h"
#include "acl/parse.h"
#include "acl/parse_internal.h"
#include "net/status.h"

namespace podwire {

absl::Status CheckKind(const JsonNode& document, std::string_view api_version, std::string_view kind) {
  RETURN_IF_ERROR(document.CheckObject());
  const std::pair<std::string_view, std::string_view> wanted[] = {{"apiVersion", api_version},
                                                                  {"kind", kind}};
  for (const auto& [name, value] : wanted) {
    const JsonNode field = document.Field(name);
    ASSIGN_OR_RETURN(const auto text, field.String());
    if (text.value_or(std::string(value)) != value) {
      return field.Refuse(fmt::format("is \"{}\", expected {}", *text, value));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<L4Protocol> ParseProtocol(const JsonNode& node) {
  ASSIGN_OR_RETURN(const auto text, node.String());
  if (!text || *text == "TCP") return L4Protocol::kTcp;
  if (*text == "UDP") return L4Protocol::kUdp;
  if (*text == "SCTP") return L4Protocol::kSctp;
  return node.Refuse(fmt::format("\"{}\" is not a protocol, expected TCP, UDP or SCTP", *text));
}

absl::StatusOr<Labels> ParseLabels(const JsonNode& node) {
  Labels labels;
  RETURN_IF_ERROR(node.CheckObject());
  if (node.absent()) return labels;
  for (const auto& item : node.json().items()) {
    if (auto s = CheckLabelKey(item.key()); !s.ok()) return node.Refuse(s);
    const JsonNode field(&item.value(), fmt::format("{}[\"{}\"]", node.path(), item.key()));
    if (!item.value().is_string()) return field.WrongType("a string (quote it)");
    auto value = item.value().get<std::string>();
    if (auto s = CheckLabelValue(value); !s.ok()) return field.Refuse(s);
    labels.emplace(item.key(), std::move(value));
  }
  return labels;
}

absl::StatusOr<ObjectMeta> ParseMetadata(const nlohmann::json& document, std::string_view default_namespace) {
  const JsonNode root(&document, "");
  RETURN_IF_ERROR(root.CheckObject());
  const JsonNode metadata = root.Field("metadata");
  if (metadata.absent() || !metadata.json().is_object()) return metadata.WrongType("an object");
  const JsonNode name = metadata.Field("name");
  const JsonNode ns = metadata.Field("namespace");
  ObjectMeta meta;
  ASSIGN_OR_RETURN(meta.key.name, name.RequiredString("a DNS name"));
  if (auto s = CheckDnsSubdomain(meta.key.name); !s.ok()) return name.Refuse(s);
  ASSIGN_OR_RETURN(const auto ns_text, ns.String());
  if (!default_namespace.empty()) {
    meta.key.ns = ns_text && !ns_text->empty() ? *ns_text : std::string(default_namespace);
    if (auto s = CheckDnsLabel(meta.key.ns); !s.ok()) return ns.Refuse(s);
  }
  ASSIGN_OR_RETURN(meta.labels, ParseLabels(metadata.Field("labels")));
  return meta;
}

absl::StatusOr<Namespace> ParseNamespace(const nlohmann::json& document) {
  const JsonNode root(&document, "");
  RETURN_IF_ERROR(CheckKind(root, "v1", "Namespace"));
  ASSIGN_OR_RETURN(ObjectMeta meta, ParseMetadata(document, ""));
  if (auto s = CheckDnsLabel(meta.key.name); !s.ok()) return root.Field("metadata").Field("name").Refuse(s);
  Namespace ns{.name = meta.key.name, .labels = std::move(meta.labels)};
  ns.labels.insert_or_assign(std::string(kNamespaceNameLabel), ns.name);
  return ns;
}

namespace {

absl::Status AppendContainerPorts(const JsonNode& container, std::vector<ContainerPort>& ports) {
  ASSIGN_OR_RETURN(const auto items, container.Field("ports").Items());
  for (const JsonNode& item : items) {
    RETURN_IF_ERROR(item.CheckObject());
    ContainerPort port;
    ASSIGN_OR_RETURN(const auto name, item.Field("name").String());
    const JsonNode number = item.Field("containerPort");
    ASSIGN_OR_RETURN(const auto value, number.PortNumber());
    if (!value) return number.WrongType("an integer 1..65535");
    port.name = name.value_or("");
    port.number = *value;
    ASSIGN_OR_RETURN(port.protocol, ParseProtocol(item.Field("protocol")));
    ports.push_back(std::move(port));
  }
  return absl::OkStatus();
}

absl::Status ParsePodSpec(const JsonNode& spec, Pod& pod) {
  RETURN_IF_ERROR(spec.CheckObject());
  ASSIGN_OR_RETURN(const auto node_name, spec.Field("nodeName").String());
  pod.node_name = node_name.value_or("");
  ASSIGN_OR_RETURN(const auto host_network, spec.Field("hostNetwork").Bool());
  pod.host_network = host_network.value_or(false);
  ASSIGN_OR_RETURN(const auto containers, spec.Field("containers").Items());
  for (const JsonNode& container : containers) {
    RETURN_IF_ERROR(container.CheckObject());
    RETURN_IF_ERROR(AppendContainerPorts(container, pod.ports));
  }
  // An init container with restartPolicy Always runs as long as the pod (a sidecar): its ports are served.
  ASSIGN_OR_RETURN(const auto init_containers, spec.Field("initContainers").Items());
  for (const JsonNode& container : init_containers) {
    RETURN_IF_ERROR(container.CheckObject());
    ASSIGN_OR_RETURN(const auto restart, container.Field("restartPolicy").String());
    if (restart.value_or("") == "Always") RETURN_IF_ERROR(AppendContainerPorts(container, pod.ports));
  }
  return absl::OkStatus();
}

/// Kubernetes writes podIP: "" while there is none.
absl::Status AppendAddress(const JsonNode& node, std::vector<IpAddress>& addresses) {
  ASSIGN_OR_RETURN(const auto text, node.String());
  if (!text || text->empty()) return absl::OkStatus();
  const auto address = ParseIp(*text);
  if (!address.ok()) return node.Refuse(address.status());
  if (std::find(addresses.begin(), addresses.end(), *address) == addresses.end())
    addresses.push_back(*address);
  return absl::OkStatus();
}

absl::Status ParsePodStatus(const JsonNode& status, Pod& pod) {
  RETURN_IF_ERROR(status.CheckObject());
  RETURN_IF_ERROR(AppendAddress(status.Field("podIP"), pod.addresses));
  ASSIGN_OR_RETURN(const auto ips, status.Field("podIPs").Items());
  for (const JsonNode& item : ips) {
    RETURN_IF_ERROR(item.CheckObject());
    RETURN_IF_ERROR(AppendAddress(item.Field("ip"), pod.addresses));
  }
  ASSIGN_OR_RETURN(const auto phase, status.Field("phase").String());
  pod.finished = phase.value_or("") == "Succeeded" || phase.value_or("") == "Failed";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Pod> ParsePod(const nlohmann::json& document, std::string_view default_namespace) {
  const JsonNode root(&document, "");
  RETURN_IF_ERROR(CheckKind(root, "v1", "Pod"));
  ASSIGN_OR_RETURN(ObjectMeta meta, ParseMetadata(document, default_namespace));
  Pod pod{.key = std::move(meta.key), .labels = std::move(meta.labels)};
  RETURN_IF_ERROR(ParsePodSpec(root.Field("spec"), pod));
  RETURN_IF_ERROR(ParsePodStatus(root.Field("status"), pod));
  return pod;
}

}  // namespace podwire
