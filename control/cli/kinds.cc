#include "control/cli/kinds.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace podwire::cli {
namespace {

const std::vector<KindInfo>& Kinds() {
  static const std::vector<KindInfo> kinds{
      {"Pod", "pods", "pod", {"po"}, true},
      {"Namespace", "namespaces", "namespace", {"ns"}},
      {"NetworkPolicy",
       "networkpolicies",
       "networkpolicy.networking.k8s.io",
       {"netpol", "networkpolicy", "networkpolicies.networking.k8s.io"},
       true},
      {"ClusterNetworkPolicy",
       "clusternetworkpolicies",
       "clusternetworkpolicy.policy.networking.k8s.io",
       {"cnp", "clusternetworkpolicy", "clusternetworkpolicies.policy.networking.k8s.io"}},
      {"Node", "nodes", "node", {"no"}},
      {"ConfigMap", "configmaps", "configmap", {"cm"}, true},
      {"ports", "ports", "port", {}, false, false},
      {"devices", "devices", "device", {"dev"}, false, false},
      {"routes", "routes", "route", {}, false, false},
      {"endpoints", "endpoints", "endpoint", {"ep"}, true, false},
      {"flows", "flows", "flow", {}, false, false},
      {"connections", "connections", "connection", {"conn"}, false, false},
  };
  return kinds;
}

}  // namespace

std::span<const KindInfo> AllKinds() { return Kinds(); }

const KindInfo* FindKind(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const KindInfo& info : Kinds()) {
    if (lower == info.plural || lower == info.resource ||
        std::ranges::find(info.aliases, lower) != info.aliases.end()) {
      return &info;
    }
  }
  return nullptr;
}

std::string ResourceName(std::string_view kind, std::string_view name) {
  const KindInfo* info = FindKind(kind);
  return fmt::format("{}/{}", info == nullptr ? kind : info->resource, name);
}

std::string ObjectName(std::string_view kind, std::string_view object_namespace, std::string_view name) {
  return fmt::format("{} {}{}{}", kind, object_namespace, object_namespace.empty() ? "" : "/", name);
}

}  // namespace podwire::cli
