#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "net/address.h"

namespace podwire {

/// What the kernel says of an Ethernet interface.
struct NetdevInfo {
  std::string name;
  int ifindex = 0;
  MacAddr mac;
  uint16_t mtu = 0;  ///< 65535 if it is more
};

/// `socket`: any of the interface's network namespace. NotFound; FailedPrecondition if it is down;
/// InvalidArgument if it is not Ethernet.
absl::StatusOr<NetdevInfo> FindNetdev(int socket, const std::string& interface);

/// Whether the interface is there and has a carrier.
bool HasLink(int socket, int ifindex);
/// What Port::Vanished says of it.
std::string VanishedNetdev(int socket, int ifindex);

}  // namespace podwire
