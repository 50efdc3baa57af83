#include "control/machine/pci_functions.h"

namespace podwire {
namespace {

const std::string kDevices = "/sys/bus/pci/devices";

/// In switchdev mode the kernel names the embedded switch, of which the PF's interface is the uplink.
bool IsSwitchdev(const Machine& machine, const std::string& interface) {
  return !machine.Read("/sys/class/net/" + interface + "/phys_switch_id").value_or("").empty();
}

/// "0x8086" and "0x1521" as lspci -n writes them.
std::string ReadId(const Machine& machine, const std::string& path) {
  std::string vendor = machine.Read(path + "/vendor").value_or(""),
              device = machine.Read(path + "/device").value_or("");
  if (!vendor.starts_with("0x") || !device.starts_with("0x")) return "";
  return vendor.substr(2) + ":" + device.substr(2);
}

PciFunction ReadFunction(const Machine& machine, const std::string& address) {
  const std::string path = kDevices + "/" + address;
  PciFunction f{.address = address,
                .id = ReadId(machine, path),
                .driver = machine.LinkName(path + "/driver"),
                .physical_function = machine.LinkName(path + "/physfn"),
                .interfaces = machine.List(path + "/net"),
                .iommu_group = machine.LinkName(path + "/iommu_group"),
                .vfs = static_cast<unsigned>(machine.ReadNumber(path + "/sriov_numvfs").value_or(0)),
                .max_vfs = static_cast<unsigned>(machine.ReadNumber(path + "/sriov_totalvfs").value_or(0))};
  // "-1" where the machine has one node only: no number here.
  if (const auto node = machine.ReadNumber(path + "/numa_node")) f.numa_node = static_cast<unsigned>(*node);
  for (const std::string& interface : f.interfaces)
    f.switchdev = f.switchdev || IsSwitchdev(machine, interface);
  return f;
}

}  // namespace

std::vector<PciFunction> ListPciFunctions(const Machine& machine) {
  std::vector<PciFunction> functions;
  for (const std::string& address : machine.List(kDevices)) {
    const std::string pci_class = machine.Read(kDevices + "/" + address + "/class").value_or("");
    if (pci_class.starts_with("0x02")) functions.push_back(ReadFunction(machine, address));
  }
  return functions;
}

std::optional<PciFunction> FindPciFunction(const Machine& machine, const std::string& address) {
  if (!machine.Exists(kDevices + "/" + address)) return std::nullopt;
  return ReadFunction(machine, address);
}

}  // namespace podwire
