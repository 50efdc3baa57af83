#pragma once

#include <string>
#include <utility>
#include <vector>

#include "control/config.h"
#include "control/machine/machine.h"

namespace podwire::doctor {

enum class Result { kPass, kWarn, kFail };
/// "PASS", "WARN", "FAIL".
std::string_view ToString(Result result);

/// What one check found. kFail: podwired will not work as configured; kWarn: it will, but less well than it
/// could.
struct Finding {
  std::string check;  ///< what was looked at, and which: "hugepages", "port uplink"
  Result result = Result::kPass;
  std::string found;
  std::string cure;  ///< the command or change that mends it; empty with kPass
};
using Findings = std::vector<Finding>;

inline Finding Pass(std::string check, std::string found) {
  return {std::move(check), Result::kPass, std::move(found), ""};
}
inline Finding Warn(std::string check, std::string found, std::string cure) {
  return {std::move(check), Result::kWarn, std::move(found), std::move(cure)};
}
inline Finding Fail(std::string check, std::string found, std::string cure) {
  return {std::move(check), Result::kFail, std::move(found), std::move(cure)};
}

// The checks by what they look at, each in a file of its own. `config` is podwired's, or its defaults.
Findings CheckMemory(const Machine& machine, const Config& config);   // hugepages, memory
Findings CheckCpus(const Machine& machine, const Config& config);     // workers' CPUs, instructions, clock
Findings CheckKernel(const Machine& machine, const Config& config);   // release, tun, sockets, IPv6
Findings CheckPci(const Machine& machine, const Config& config);      // IOMMU, vfio, NICs, pci ports
Findings CheckNetwork(const Machine& machine, const Config& config);  // netdev ports, underlay, MTU
Findings CheckCni(const Machine& machine, const Config& config);      // who attaches pods, others' leavings

/// All of them in this order.
Findings CheckAll(const Machine& machine, const Config& config);

}  // namespace podwire::doctor
