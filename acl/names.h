#pragma once

#include <string_view>

#include <absl/status/status.h>

namespace podwire {

/// Kubernetes' syntax rules for names. OK, or InvalidArgument with the text quoted and what was expected.

/// RFC 1123 label: at most 63 of [a-z0-9-], alphanumeric at both ends. Namespaces.
absl::Status CheckDnsLabel(std::string_view text);
/// RFC 1123 subdomain: at most 253, labels joined by dots. Pods, policies, prefixes of label keys.
absl::Status CheckDnsSubdomain(std::string_view text);
/// [prefix/]name, the name at most 63 of [A-Za-z0-9_.-], alphanumeric at both ends.
absl::Status CheckLabelKey(std::string_view text);
/// Empty, or as the name of a label key.
absl::Status CheckLabelValue(std::string_view text);
/// RFC 6335 service name: at most 15 of [a-z0-9-], one letter at least, no hyphen at an end or doubled.
absl::Status CheckPortName(std::string_view text);

}  // namespace podwire
