#include "switch/worker_mode.h"

#include "net/status.h"

namespace podwire {

std::string_view ToString(WorkerMode mode) {
  switch (mode) {
    case WorkerMode::kAdaptive:
      return "adaptive";
    case WorkerMode::kPoll:
      return "poll";
  }
  return "";
}

absl::StatusOr<WorkerMode> ParseWorkerMode(std::string_view text) {
  for (const WorkerMode mode : {WorkerMode::kAdaptive, WorkerMode::kPoll}) {
    if (text == ToString(mode)) return mode;
  }
  return InvalidArgument("mode: expected adaptive or poll, not \"{}\"", text);
}

}  // namespace podwire
