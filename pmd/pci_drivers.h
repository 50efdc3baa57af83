#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace podwire {

/// Kernel drivers that hand a device to DPDK; Mellanox devices stay with theirs.
inline constexpr std::array<std::string_view, 5> kUsableDrivers = {"vfio-pci", "igb_uio", "uio_pci_generic",
                                                                   "mlx5_core", "mlx4_core"};

inline bool IsUsableDriver(std::string_view driver) {
  return std::ranges::find(kUsableDrivers, driver) != kUsableDrivers.end();
}

}  // namespace podwire
