#pragma once

#include <cstdint>
#include <string>

#include <absl/status/status.h>
#include <netlink/netlink.h>

#include "net/address.h"

namespace podwire {

/// What an interface that podwired made for a pod is told once it exists.
struct PodLink {
  std::string ifname;
  std::string alias;  ///< InterfaceAlias of its port
  uint16_t mtu = 1500;
  MacAddr mac{};       ///< empty: stays
  bool trunk = false;  ///< pods' interfaces are made on it, and bound super-packets by their own MTU
};

/// Sets MAC, MTU and alias, and bounds the super-packets that the kernel may send by it to what an
/// encapsulation of ours can hold. `socket`: of the interface's namespace.
absl::Status ConfigurePodLink(nl_sock* socket, const PodLink& link);

}  // namespace podwire
