#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace podwire::cli {

/// A kind that the client's commands take.
struct KindInfo {
  std::string kind;                  // "NetworkPolicy"; for what is no object, its plural
  std::string plural;                // "networkpolicies"
  std::string resource;              // as kubectl prints it: "networkpolicy.networking.k8s.io"
  std::vector<std::string> aliases;  // further names: "networkpolicy", "netpol"
  bool namespaced = false;
  bool object = true;  // a Kubernetes object, that can be applied and deleted
};

/// All kinds, in the order in which help shows them.
std::span<const KindInfo> AllKinds();

/// By any of its names, in any case: "Pod", "pods", "po", "networkpolicies.networking.k8s.io". nullptr if
/// there is none.
const KindInfo* FindKind(std::string_view name);

/// "pod/web", "networkpolicy.networking.k8s.io/deny-all".
std::string ResourceName(std::string_view kind, std::string_view name);

/// "NetworkPolicy prod/deny-all", "Node n1".
std::string ObjectName(std::string_view kind, std::string_view object_namespace, std::string_view name);

}  // namespace podwire::cli
