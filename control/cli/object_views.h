#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "control/cli/table.h"
#include "endpoints.pb.h"

namespace podwire::cli {

/// A pod: its manifest, if one was applied, and its attachment, if it is on this node.
struct PodRow {
  nlohmann::ordered_json object;  // made from the attachment if there is no manifest
  std::optional<v1::Endpoint> endpoint;
};

// The columns of Kubernetes objects. `with_namespace`: a first column that says it (get -A).
View<PodRow> PodView(bool with_namespace);
View<nlohmann::ordered_json> PolicyView(bool with_namespace);
View<nlohmann::ordered_json> ClusterPolicyView();
View<nlohmann::ordered_json> ConfigMapView(bool with_namespace);
View<nlohmann::ordered_json> NamespaceView();
View<nlohmann::ordered_json> NodeView();

/// A Pod object with what an attachment knows: for a pod without manifest.
nlohmann::ordered_json PodFromEndpoint(const v1::Endpoint& endpoint);

/// The string at a path of keys ("metadata", "name"), or "".
std::string Text(const nlohmann::ordered_json& object, std::initializer_list<const char*> path);

}  // namespace podwire::cli
