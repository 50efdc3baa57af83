#pragma once

#include <array>
#include <string>
#include <string_view>

namespace podwire::cni {

/// Versions of the CNI specification that the plugin speaks, oldest first.
inline constexpr std::array<std::string_view, 5> kVersions{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

/// Its place in kVersions, or -1 for one we do not speak. Order of places is order of versions.
constexpr int VersionRank(std::string_view version) {
  for (size_t i = 0; i < kVersions.size(); ++i) {
    if (kVersions[i] == version) return static_cast<int>(i);
  }
  return -1;
}

/// Whether `version` (one of kVersions) is `since` or later.
constexpr bool AtLeast(std::string_view version, std::string_view since) {
  return VersionRank(version) >= VersionRank(since);
}

/// "0.3.0, 0.3.1, ..."
inline std::string VersionList() {
  std::string list;
  for (const auto version : kVersions) list.append(list.empty() ? "" : ", ").append(version);
  return list;
}

}  // namespace podwire::cni
