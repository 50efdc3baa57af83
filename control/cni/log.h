#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

#include "control/cni/config.h"
#include "control/cni/environment.h"

namespace podwire::cni {

/// Appends one line with time and process ID to `conf.log_file`, if there is one. Never an error: a log that
/// cannot be written says so on standard error, which runtimes keep.
void Log(const NetConf& conf, std::string_view line);

/// One call of a runtime in the log: a line at its end, and with logLevel "debug" one at its start.
class CallLog {
 public:
  CallLog(const NetConf& conf, const Environment& env);
  /// Logs how it ended; returns `outcome`.
  absl::StatusOr<std::string> Done(absl::StatusOr<std::string> outcome) const;

 private:
  const NetConf& conf_;
  const Environment& env_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace podwire::cni
