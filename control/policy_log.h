#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "control/config.h"
#include "control/event_names.h"

namespace spdlog::sinks {
class sink;
}

namespace podwire {

/// The policy decision log: a JSON object a line for each verdict on a new connection, in files that are
/// never more nor larger than configured. One thread.
class PolicyLog {
 public:
  static constexpr uint32_t kLinesPerSecond = 2000;

  PolicyLog(const PolicyLogConfig& config, const std::string& state_dir, std::string node);
  ~PolicyLog();

  /// Writes a verdict. What is too much for a second or cannot be written is counted, and told of in the next
  /// line as "leftOut", together with `left_out_before`: what has been left out before it came here, since
  /// the start.
  void Write(const NamedEvent& verdict, uint64_t left_out_before);
  /// To the file; once for many lines.
  void Flush();
  uint64_t left_out() const { return left_out_; }

 private:
  bool Append(const std::string& line);

  const PolicyLogConfig config_;
  const std::string path_, node_;
  std::unique_ptr<spdlog::sinks::sink> sink_;  // from the first line on
  std::chrono::sys_seconds second_;
  std::optional<std::chrono::sys_seconds> failed_;  // since then it does not work
  uint32_t lines_ = 0;                              // of that second
  uint64_t left_out_ = 0, told_ = 0;
};

/// The line, without its end. `left_out`: verdicts since the line before that have none.
std::string PolicyLogLine(const NamedEvent& verdict, const std::string& node, uint64_t left_out);

/// "2026-01-31T23:59:59.123456Z"
std::string TimeText(std::chrono::system_clock::time_point time);

}  // namespace podwire
