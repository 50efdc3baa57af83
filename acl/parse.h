#pragma once

#include <string_view>

#include <absl/status/statusor.h>
#include <nlohmann/json_fwd.hpp>

#include "acl/model.h"

namespace podwire {

/// Kubernetes objects (JSON form, v1, networking.k8s.io/v1, policy.networking.k8s.io/v1alpha2) as values of
/// the model. A refusal is InvalidArgument; its message begins with the path of the field and says what was
/// expected:
///   spec.ingress[0].from[1].ipBlock.cidr: "10.0.0.0/99" is not a CIDR (like 10.0.0.0/24)
/// null equals absent, except as an item of a list, where it is refused. apiVersion and kind may be absent
/// (items of a List have none), but not be another's.

/// What every object has.
struct ObjectMeta {
  ObjectKey key;  ///< ns empty for cluster-scoped kinds
  Labels labels;
};

/// Reads document["metadata"]; name and namespace are checked as DNS names, labels for their syntax.
/// `default_namespace` stands in for an absent namespace; empty: the kind has no namespace and any is
/// ignored.
absl::StatusOr<ObjectMeta> ParseMetadata(const nlohmann::json& document, std::string_view default_namespace);

/// Refuses unknown fields at the top and in spec: a rule we do not understand must not be half enforced.
absl::StatusOr<NetworkPolicy> ParseNetworkPolicy(const nlohmann::json& document,
                                                 std::string_view default_namespace);

/// The same. domainNames are refused: nothing here knows their addresses.
absl::StatusOr<ClusterNetworkPolicy> ParseClusterNetworkPolicy(const nlohmann::json& document);

/// Reads metadata, spec.{nodeName,hostNetwork}, ports of containers (and of init containers that keep
/// running), status.{podIP,podIPs,phase}; ignores all other fields.
absl::StatusOr<Pod> ParsePod(const nlohmann::json& document, std::string_view default_namespace);

/// Reads metadata; the labels always include kubernetes.io/metadata.name.
absl::StatusOr<Namespace> ParseNamespace(const nlohmann::json& document);

}  // namespace podwire
