#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "control/cni/config.h"
#include "control/cni/environment.h"

namespace podwire::cni {

/// Runs one command of a runtime against the podwired that `input` (the network configuration) names.
/// Returns what goes to standard output: a result for ADD, the versions for VERSION, else nothing.
absl::StatusOr<std::string> Execute(const Environment& env, const std::string& input);

}  // namespace podwire::cni
