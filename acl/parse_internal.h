#pragma once

#include <optional>
#include <string_view>

#include "acl/json_fields.h"
#include "acl/model.h"

namespace podwire {

/// Shared by the parsers of this folder.

/// Refuses a document that is no object or whose kind or apiVersion is another's.
absl::Status CheckKind(const JsonNode& document, std::string_view api_version, std::string_view kind);
/// TCP when absent.
absl::StatusOr<L4Protocol> ParseProtocol(const JsonNode& node);
/// metav1.LabelSelector; that of everything when absent.
absl::StatusOr<LabelSelector> ParseSelector(const JsonNode& node);
/// nullopt when absent.
absl::StatusOr<std::optional<LabelSelector>> ParseOptionalSelector(const JsonNode& node);
/// A prefix with its host bits masked; refused when absent.
absl::StatusOr<IpPrefix> ParseCidr(const JsonNode& node);
/// A map of labels with their syntax checked; empty when absent.
absl::StatusOr<Labels> ParseLabels(const JsonNode& node);

}  // namespace podwire
