#pragma once

#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "control/config.h"
#include "net/address.h"
#include "overlay/routes.h"

namespace podwire {

/// An address that the kernel has on an interface.
struct InterfaceAddressState {
  InterfaceAddress address;
  bool lasting = true;  ///< others reach the node by it: global, not temporary, deprecated or tentative
};

/// Of the calling thread's network namespace. NotFound: no such interface.
absl::StatusOr<std::vector<InterfaceAddressState>> ReadKernelAddresses(const std::string& interface);

/// Unicast routes of the main table that lead through a gateway on the interface, the one of least metric for
/// each prefix, sorted by prefix; at most kMaxKernelRoutes, the least specific.
inline constexpr size_t kMaxKernelRoutes = 1024;
absl::StatusOr<std::vector<UnderlayRoute>> ReadKernelRoutes(const std::string& interface);

/// Of an underlay whose interface the kernel keeps: takes the kernel's first lasting address of each family
/// if none is configured. FailedPrecondition: there is none; or one that is configured is not the kernel's.
absl::Status ResolveUnderlayAddresses(UnderlayConfig& underlay, const std::string& interface,
                                      const std::vector<InterfaceAddressState>& addresses);

/// Those of the underlay's addresses that the kernel has no longer.
std::vector<IpAddress> LostAddresses(const UnderlayConfig& underlay,
                                     const std::vector<InterfaceAddressState>& addresses);

}  // namespace podwire
