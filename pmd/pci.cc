#include <array>
#include <filesystem>
#include <system_error>

#include <rte_pci.h>

#include "net/status.h"
#include "pmd/ethdev_port.h"
#include "pmd/pci_driver.h"
#include "pmd/pci_drivers.h"
#include "pmd/port_kinds.h"

namespace podwire {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> UsableAddress(const std::string& text) {
  rte_pci_addr address;
  if (rte_pci_addr_parse(text.c_str(), &address) != 0)
    return InvalidArgument("PCI address \"{}\": expected one like 0000:03:02.1", text);
  std::array<char, PCI_PRI_STR_SIZE + 1> canonical{};
  rte_pci_device_name(&address, canonical.data(), canonical.size());
  const fs::path device = fs::path("/sys/bus/pci/devices") / canonical.data();
  std::error_code error;
  if (!fs::exists(device, error))
    return Error(absl::StatusCode::kNotFound, "there is no PCI device {}", canonical.data());
  const std::string driver = PciDriver(canonical.data());
  if (!IsUsableDriver(driver)) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "PCI device {} is {}: bind it to vfio-pci: dpdk-devbind.py -b vfio-pci {}", canonical.data(),
                 driver.empty() ? "not bound to a driver" : "bound to " + driver, canonical.data());
  }
  return std::string(canonical.data());
}

}  // namespace

PortOr CreatePciPort(const PortConfig& config, const PciOptions& options, const PortContext& context) {
  absl::StatusOr<std::string> address = UsableAddress(options.address);
  if (!address.ok()) return Annotate(address.status(), "port " + config.name);
  if (options.queues == 0) return InvalidArgument("port {}: queues: 0 is less than 1", config.name);
  ASSIGN_OR_RETURN(auto port, EthdevPort::Create(config,
                                                 {.devargs = *address,
                                                  .rx_queues = options.queues,
                                                  .promiscuous = options.promiscuous,
                                                  .vlan_filter = options.trunk},
                                                 context));
  return port;
}

}  // namespace podwire
