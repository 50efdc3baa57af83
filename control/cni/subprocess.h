#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace podwire::cni {

struct ProgramResult {
  int exit_status = 0;  // 128 + the signal's number if one ended it
  std::string output;   // standard output
};

/// Runs `path` with exactly the environment `env` ("K=V") and `input` on standard input; standard error is
/// ours. Ends it by SIGKILL after `timeout` (DeadlineExceeded). The caller ignores SIGPIPE.
absl::StatusOr<ProgramResult> RunProgram(const std::string& path, const std::vector<std::string>& env,
                                         const std::string& input, std::chrono::milliseconds timeout);

}  // namespace podwire::cni
