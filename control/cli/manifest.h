#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>

namespace podwire::cli {

/// One object of a manifest.
struct Manifest {
  std::string file;  // as the user named it
  int line = 0;      // from 1: where the document starts
  std::string item;  // "items[2]" for an object out of a List, else empty
  nlohmann::json json;

  /// "web.yaml:12", with a List's item behind it.
  std::string Where() const;
  /// The object's own words for itself; empty if it does not say (or not by a string).
  std::string kind() const;
  std::string name() const;
  std::string object_namespace() const;
};

/// Reads YAML (YAML 1.2's core schema, as Kubernetes' manifests have it: quoted scalars are strings; anchors,
/// aliases and merge keys) or JSON: many documents, separated by `---` or, in JSON, one after the other;
/// Lists opened; empty documents left out. A whole text without any object gives an empty vector.
/// InvalidArgument `FILE:LINE: what` for bad syntax, a key given twice, a document that is no object with a
/// kind.
absl::StatusOr<std::vector<Manifest>> ParseManifests(std::string_view text, const std::string& file);

}  // namespace podwire::cli
