#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

namespace podwire {

enum class HugepageUse : uint8_t { kAuto, kOn, kOff };

struct EalOptions {
  std::string file_prefix = "podwire";  ///< one a process on a machine: letters, digits, '-', '_', '.'
  /// CPU list of the control thread, "0" or "0-1,4"; empty: the CPUs this process may use.
  std::string main_cpus;
  /// A CPU list a worker; worker i becomes lcore i + 1 (lcore 0 is the main one). Lists may overlap.
  std::vector<std::string> worker_cpus;
  uint32_t memory_mb = 512;
  HugepageUse hugepages = HugepageUse::kAuto;
  bool telemetry = true;
  /// Takes DPDK's log lines of level warning and worse (rte_log levels: 4 error, 5 warning), without newline,
  /// from any thread. None: they go to stderr.
  std::function<void(uint32_t level, std::string_view line)> log;
};

struct EalInfo {
  bool hugepages = false;
  std::string why;  ///< why hugepages are used or not, for the log
  uint32_t memory_mb = 0;
};

/// Starts DPDK and registers podwire's mbuf fields. Once a process, from the main thread, which it pins to
/// main_cpus (threads started later inherit that). InvalidArgument names the option; otherwise
/// FailedPrecondition with EAL's own words and the cure.
absl::StatusOr<EalInfo> InitEal(const EalOptions& options);

/// Frees what EAL holds and removes its run-time directory. All ports and pools must be gone.
void ShutdownEal();

}  // namespace podwire
