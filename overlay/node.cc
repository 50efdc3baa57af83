#include "overlay/node.h"

#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "net/status.h"

namespace podwire {
namespace {

using Json = nlohmann::json;

/// object[key] if that is an object; else nullptr, with an error if it is something else.
absl::StatusOr<const Json*> ObjectAt(const Json& object, const char* key, std::string_view path) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return nullptr;
  if (!it->is_object()) return InvalidArgument("{}: expected an object, not {}", path, it->type_name());
  return &*it;
}

absl::StatusOr<std::string> StringAt(const Json& object, const char* key, std::string_view path) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "";
  if (!it->is_string()) return InvalidArgument("{}: expected a string, not {}", path, it->type_name());
  return it->get<std::string>();
}

absl::Status AddCidr(const std::string& text, const std::string& path, Node& node) {
  const auto cidr = ParsePrefix(text);
  if (!cidr.ok()) return Annotate(cidr.status(), path);
  node.pod_cidrs.push_back(*cidr);
  return absl::OkStatus();
}

absl::Status ReadSpec(const Json& spec, Node& node) {
  const auto cidrs = spec.find("podCIDRs");
  if (cidrs != spec.end() && !cidrs->is_null()) {
    if (!cidrs->is_array())
      return InvalidArgument("spec.podCIDRs: expected a list, not {}", cidrs->type_name());
    for (size_t i = 0; i < cidrs->size(); ++i) {
      const std::string path = fmt::format("spec.podCIDRs[{}]", i);
      if (!(*cidrs)[i].is_string()) return InvalidArgument("{}: expected a string", path);
      RETURN_IF_ERROR(AddCidr((*cidrs)[i].get<std::string>(), path, node));
    }
  }
  ASSIGN_OR_RETURN(const std::string cidr, StringAt(spec, "podCIDR", "spec.podCIDR"));
  if (!node.pod_cidrs.empty() || cidr.empty()) return absl::OkStatus();
  return AddCidr(cidr, "spec.podCIDR", node);
}

absl::Status ReadBackendData(const std::string& text, const std::string& path, MacAddr& vtep_mac,
                             std::optional<Vni>& node_vni) {
  if (text.empty()) return absl::OkStatus();
  const Json data = Json::parse(text, nullptr, false);
  if (data.is_null()) return absl::OkStatus();  // host-gw has the string "null"
  if (!data.is_object()) return InvalidArgument("{}: expected a JSON object or null, not {}", path, text);
  ASSIGN_OR_RETURN(const std::string mac, StringAt(data, "VtepMAC", path + ".VtepMAC"));
  if (!mac.empty()) {
    const auto parsed = ParseMac(mac);
    if (!parsed.ok()) return Annotate(parsed.status(), path + ".VtepMAC");
    vtep_mac = *parsed;
  }
  const auto vni = data.find("VNI");
  if (vni == data.end() || vni->is_null()) return absl::OkStatus();  // old writers leave it out
  if (!vni->is_number_unsigned() || vni->get<uint64_t>() > 0xffffff) {
    return InvalidArgument("{}.VNI: expected a number from 0 to 16777215, not {}", path, vni->dump());
  }
  node_vni = Vni{vni->get<uint32_t>()};
  return absl::OkStatus();
}

/// Takes the address unless there is one of its family already.
absl::Status AddPublicIp(const std::string& text, const std::string& path, Node& node) {
  if (text.empty()) return absl::OkStatus();
  const auto ip = ParseIp(text);
  if (!ip.ok()) return Annotate(ip.status(), path);
  IpAddress& own = ip->is_v6() ? node.public_ip6 : node.public_ip;
  if (own.empty()) own = *ip;
  return absl::OkStatus();
}

absl::Status ReadAnnotations(const Json& annotations, Node& node) {
  const auto path = [](const char* name) {
    return fmt::format("metadata.annotations[{}{}]", kFlannelAnnotation, name);
  };
  const auto get = [&](const char* name) {
    return StringAt(annotations, (std::string(kFlannelAnnotation) + name).c_str(), path(name));
  };
  ASSIGN_OR_RETURN(node.backend_type, get("backend-type"));
  for (const auto& [name, vtep_mac] :
       {std::pair{"backend-data", &node.vtep_mac}, std::pair{"backend-v6-data", &node.vtep_mac6}}) {
    ASSIGN_OR_RETURN(const std::string data, get(name));
    RETURN_IF_ERROR(ReadBackendData(data, path(name), *vtep_mac, node.vni));
  }
  for (const char* name : {"public-ip-overwrite", "public-ip", "public-ipv6-overwrite", "public-ipv6"}) {
    ASSIGN_OR_RETURN(const std::string text, get(name));
    RETURN_IF_ERROR(AddPublicIp(text, path(name), node));
  }
  return absl::OkStatus();
}

absl::Status ReadLabels(const Json& labels, Node& node) {
  for (const auto& item : labels.items()) {
    if (!item.value().is_string())
      return InvalidArgument("metadata.labels[\"{}\"]: expected a string", item.key());
    node.labels.emplace(item.key(), item.value().get<std::string>());
  }
  return absl::OkStatus();
}

/// The first InternalIP of a family stands in for a public-ip annotation.
absl::Status ReadAddresses(const Json& status, Node& node) {
  const auto addresses = status.find("addresses");
  if (addresses == status.end() || !addresses->is_array()) return absl::OkStatus();
  for (size_t i = 0; i < addresses->size(); ++i) {
    const Json& a = (*addresses)[i];
    if (!a.is_object()) continue;
    const bool internal = a.value("type", Json()) == "InternalIP";
    if (!internal && a.value("type", Json()) != "ExternalIP") continue;
    const std::string path = fmt::format("status.addresses[{}].address", i);
    ASSIGN_OR_RETURN(const std::string text, StringAt(a, "address", path));
    if (text.empty()) continue;
    const auto ip = ParseIp(text);
    if (!ip.ok()) return Annotate(ip.status(), path);
    node.addresses.push_back(*ip);
    if (internal) RETURN_IF_ERROR(AddPublicIp(text, path, node));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Node> ParseNode(const Json& object) {
  Node node;
  if (!object.is_object()) return InvalidArgument("expected an object, not {}", object.type_name());
  ASSIGN_OR_RETURN(const Json* metadata, ObjectAt(object, "metadata", "metadata"));
  if (metadata != nullptr) {
    ASSIGN_OR_RETURN(node.name, StringAt(*metadata, "name", "metadata.name"));
    ASSIGN_OR_RETURN(const Json* annotations, ObjectAt(*metadata, "annotations", "metadata.annotations"));
    if (annotations != nullptr) RETURN_IF_ERROR(ReadAnnotations(*annotations, node));
    ASSIGN_OR_RETURN(const Json* labels, ObjectAt(*metadata, "labels", "metadata.labels"));
    if (labels != nullptr) RETURN_IF_ERROR(ReadLabels(*labels, node));
  }
  if (node.name.empty()) return InvalidArgument("metadata.name: missing");
  ASSIGN_OR_RETURN(const Json* spec, ObjectAt(object, "spec", "spec"));
  if (spec != nullptr) RETURN_IF_ERROR(ReadSpec(*spec, node));
  ASSIGN_OR_RETURN(const Json* status, ObjectAt(object, "status", "status"));
  if (status != nullptr) RETURN_IF_ERROR(ReadAddresses(*status, node));
  return node;
}

std::map<std::string, std::string> OwnAnnotations(const NetConf& conf, const PublicIps& ips,
                                                  const MacAddr& vtep_mac) {
  const std::string prefix(kFlannelAnnotation);
  Json data;  // null
  if (conf.backend == BackendType::kVxlan)
    data = {{"VNI", conf.vni.value()}, {"VtepMAC", ToString(vtep_mac)}};
  std::map<std::string, std::string> annotations{
      {prefix + "backend-type", std::string(ToString(conf.backend))},
      {prefix + "kube-subnet-manager", "true"}};
  if (!ips.v4.empty()) {
    annotations[prefix + "backend-data"] = data.dump();
    annotations[prefix + "public-ip"] = ToString(ips.v4);
  }
  if (!ips.v6.empty()) {
    annotations[prefix + "backend-v6-data"] = data.dump();
    annotations[prefix + "public-ipv6"] = ToString(ips.v6);
  }
  return annotations;
}

std::string SubnetEnv(const NetConf& conf, std::span<const InterfaceAddress> subnets, uint16_t pod_mtu) {
  std::string text;
  for (const auto& [layout, family, prefix] :
       {std::tuple{&conf.v4, IpFamily::kV4, "FLANNEL_"}, {&conf.v6, IpFamily::kV6, "FLANNEL_IPV6_"}}) {
    if (*layout) text += fmt::format("{}NETWORK={}\n", prefix, ToString((*layout)->network));
    for (const InterfaceAddress& subnet : subnets) {
      if (subnet.address.family() == family) text += fmt::format("{}SUBNET={}\n", prefix, ToString(subnet));
    }
  }
  return text + fmt::format("FLANNEL_MTU={}\nFLANNEL_IPMASQ=false\n", pod_mtu);
}

}  // namespace podwire
