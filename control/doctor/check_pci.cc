#include <algorithm>
#include <set>

#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "control/doctor/checks.h"
#include "control/machine/pci_functions.h"
#include "pmd/pci_drivers.h"

namespace podwire::doctor {
namespace {

/// Whether some port's device is, or is to be, with vfio: not those that stay with the kernel's driver.
bool NeedsVfio(const Machine& machine, const Config& config) {
  for (const PortConfig& port : config.ports) {
    const auto* pci = std::get_if<PciOptions>(&port.options);
    if (pci == nullptr) continue;
    const auto function = FindPciFunction(machine, pci->address);
    if (!function || function->driver == "vfio-pci" || !IsUsableDriver(function->driver)) return true;
  }
  return false;
}

bool HasNoIommuMode(const Machine& machine) {
  return machine.Read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y";
}

Finding CheckIommu(const Machine& machine, bool needed) {
  const size_t groups = machine.List("/sys/kernel/iommu_groups").size();
  if (groups > 0) return Pass("IOMMU", fmt::format("{} groups", groups));
  if (HasNoIommuMode(machine))
    return Warn("IOMMU", "none: vfio runs in its unsafe mode, in which a device may write anywhere",
                "intel_iommu=on iommu=pt on the kernel's command line, VT-d or AMD-Vi on in the BIOS");
  if (!needed) return Pass("IOMMU", "none; only pci ports need it");
  return Fail("IOMMU", "none, which pci ports need",
              "intel_iommu=on iommu=pt on the kernel's command line, VT-d or AMD-Vi on in the BIOS");
}

Finding CheckVfio(const Machine& machine, bool needed) {
  if (machine.Exists("/sys/bus/pci/drivers/vfio-pci")) return Pass("vfio", "vfio-pci is there");
  if (!needed) return Pass("vfio", "not there; only pci ports need it");
  return Fail("vfio", "no driver vfio-pci, which pci ports need", "modprobe vfio-pci");
}

/// Devices of the same group that somebody else drives: vfio gives the group as a whole or not at all.
std::vector<std::string> Companions(const Machine& machine, const PciFunction& function) {
  std::vector<std::string> others;
  for (const std::string& address :
       machine.List("/sys/kernel/iommu_groups/" + function.iommu_group + "/devices")) {
    const std::string driver = machine.LinkName("/sys/bus/pci/devices/" + address + "/driver");
    if (address != function.address && !driver.empty() && driver != "vfio-pci" && driver != "pcieport")
      others.push_back(fmt::format("{} ({})", address, driver));
  }
  return others;
}

/// Workers whose CPU hangs on another memory controller than the device.
std::vector<unsigned> FarWorkers(const Machine& machine, const Config& config, unsigned node) {
  const std::vector<unsigned> near =
      ParseCpuList(machine.Read(fmt::format("/sys/devices/system/node/node{}/cpulist", node)).value_or(""));
  std::vector<unsigned> far;
  for (const WorkerConfig& worker : config.workers) {
    if (!near.empty() && std::ranges::find(near, worker.cpu) == near.end()) far.push_back(worker.cpu);
  }
  return far;
}

Finding CheckPort(const Machine& machine, const Config& config, const std::string& name,
                  const std::string& address) {
  const std::string check = "port " + name;
  const auto function = FindPciFunction(machine, address);
  if (!function) {
    return Fail(check, fmt::format("there is no PCI device {}", address),
                "lspci -D shows those that are there");
  }
  if (!IsUsableDriver(function->driver)) {
    const std::string has = function->driver.empty() ? "no driver" : "driver " + function->driver;
    const std::string also =
        function->interfaces.empty()
            ? ""
            : fmt::format(", and is the host's {}", absl::StrJoin(function->interfaces, ", "));
    return Fail(
        check, fmt::format("{} has {}{}", address, has, also),
        fmt::format("dpdk-devbind.py --bind=vfio-pci {}{}", address,
                    also.empty() ? "" : ", if the host can do without it; else use a virtual function"));
  }
  if (const auto others = Companions(machine, *function); function->driver == "vfio-pci" && !others.empty()) {
    return Fail(check,
                fmt::format("{} shares IOMMU group {} with {}", address, function->iommu_group,
                            absl::StrJoin(others, ", ")),
                "bind those to vfio-pci as well, or another slot");
  }
  if (function->numa_node) {
    if (const auto far = FarWorkers(machine, config, *function->numa_node); !far.empty()) {
      return Warn(check,
                  fmt::format("{} is on NUMA node {}, the worker on CPU {} is not", address,
                              *function->numa_node, absl::StrJoin(far, ", ")),
                  fmt::format("workers on the CPUs of /sys/devices/system/node/node{}/cpulist",
                              *function->numa_node));
    }
  }
  return Pass(check, fmt::format("{} is with {}", address, function->driver));
}

/// What there is, so that a user sees what could be used.
std::string Describe(const PciFunction& f) {
  std::string text = f.address;
  if (!f.interfaces.empty()) text += fmt::format(" ({})", absl::StrJoin(f.interfaces, ", "));
  text += f.driver.empty() ? ", no driver" : ", " + f.driver;
  if (f.max_vfs > 0) {
    text += fmt::format(", {} of {} virtual functions, {}", f.vfs, f.max_vfs,
                        f.switchdev ? "switchdev mode" : "legacy mode");
  }
  return text;
}

}  // namespace

Findings CheckPci(const Machine& machine, const Config& config) {
  const bool needed = NeedsVfio(machine, config);
  Findings findings{CheckIommu(machine, needed), CheckVfio(machine, needed)};
  for (const PciFunction& function : ListPciFunctions(machine)) {
    if (function.physical_function.empty()) findings.push_back(Pass("NIC", Describe(function)));
  }
  for (const PortConfig& port : config.ports) {
    if (const auto* pci = std::get_if<PciOptions>(&port.options))
      findings.push_back(CheckPort(machine, config, port.name, pci->address));
  }
  return findings;
}

}  // namespace podwire::doctor
