#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/machine/machine.h"

namespace podwire {

/// A PCI function of the network class, as sysfs has it.
struct PciFunction {
  std::string address;                  ///< "0000:03:02.1"
  std::string id;                       ///< vendor and device: "8086:1521"
  std::string driver;                   ///< "vfio-pci", "mlx5_core"; empty: none
  std::string physical_function;        ///< of a virtual one: its PF's address
  std::vector<std::string> interfaces;  ///< the kernel's, on this function
  std::optional<unsigned> numa_node;
  std::string iommu_group;  ///< empty: none
  unsigned vfs = 0;         ///< virtual functions there are
  unsigned max_vfs = 0;     ///< 0: no SR-IOV
  bool switchdev = false;   ///< its embedded switch is the kernel's to steer (eswitch mode switchdev)

  bool operator==(const PciFunction&) const = default;
};

/// All, by address.
std::vector<PciFunction> ListPciFunctions(const Machine& machine);
/// One by its address, whatever its class; nothing: there is none.
std::optional<PciFunction> FindPciFunction(const Machine& machine, const std::string& address);

}  // namespace podwire
