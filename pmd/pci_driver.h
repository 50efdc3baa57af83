#pragma once

#include <string>

#include <absl/status/status.h>

namespace podwire {

/// Has the PCI function `address` driven by `driver`; empty: by one of the kernel's own choice, "-": by none.
/// A function that has that driver already is left alone unless `anew`. vfio-pci keeps it until this is
/// called again. FailedPrecondition in plain words when the driver does not take it (modprobe it first).
absl::Status BindPciDriver(const std::string& address, const std::string& driver, bool anew = false);

/// The kernel's driver of the PCI function; empty: none.
std::string PciDriver(const std::string& address);

/// Whether some process has the VFIO group open: the devices in it are in use.
bool IsVfioGroupOpen(const std::string& group);

}  // namespace podwire
