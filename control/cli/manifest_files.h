#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "control/cli/manifest.h"

namespace podwire::cli {

/// The objects of all `paths`, in order: files, directories (their *.yaml, *.yml and *.json, by name, not
/// deeper) and
/// "-", standard input. All files are read; the message has a line for each that is bad. No object at all is
/// an error.
absl::StatusOr<std::vector<Manifest>> ReadManifests(const std::vector<std::string>& paths);

}  // namespace podwire::cli
