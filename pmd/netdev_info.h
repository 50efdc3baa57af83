#pragma once

#include <cstdint>
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

/// Queues in use.
struct QueueCounts {
  uint32_t rx = 0, tx = 0;
  bool operator==(const QueueCounts&) const = default;
};
/// What the driver says (ETHTOOL_GCHANNELS), else what the kernel has made room for. `socket`: as above.
absl::StatusOr<QueueCounts> CountQueues(int socket, int ifindex);

/// Whether the interface is there and has a carrier.
bool HasLink(int socket, int ifindex);
/// What Port::Vanished says of it.
std::string VanishedNetdev(int socket, int ifindex);
/// The same of one that is shared with the kernel, whose filter goes by its MAC.
std::string VanishedShared(int socket, const NetdevInfo& netdev);

}  // namespace podwire
