#pragma once

#include <cstddef>
#include <string>

#include <absl/status/status.h>

#include "net/address.h"
#include "pmd/fd.h"

namespace podwire {

/// Sends `bytes` over TCP from a process in `from` to one in `to` (network namespace paths) listening at
/// `address`, and compares them there. An error says where it stopped; nothing waits longer than 5 s.
absl::Status Transfer(const std::string& from, const std::string& to, const IpAddress& address, size_t bytes);

/// A UDP socket of the namespace, bound to the address (any if empty) and port; receives time out after 2 s.
Fd UdpSocket(const std::string& netns, const IpAddress& address, uint16_t port);

/// Open descriptors of this process.
size_t OpenDescriptors();

}  // namespace podwire
