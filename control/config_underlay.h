#pragma once

#include <absl/status/status.h>
#include <nlohmann/json_fwd.hpp>

#include "control/config.h"

namespace podwire {

/// The configuration's `underlay`; its ports have been read.
absl::Status ReadUnderlay(const nlohmann::json& value, Config& config);

}  // namespace podwire
