#pragma once

#include <cstdint>
#include <string_view>

#include <absl/status/statusor.h>

namespace podwire {

/// What a worker does when there is nothing to do: adaptive sleeps after a short spin, poll never sleeps.
enum class WorkerMode : uint8_t { kAdaptive, kPoll };

/// "adaptive", "poll".
std::string_view ToString(WorkerMode mode);
/// InvalidArgument that lists the modes when `text` is none.
absl::StatusOr<WorkerMode> ParseWorkerMode(std::string_view text);

}  // namespace podwire
