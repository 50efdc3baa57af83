#pragma once

#include <cstdint>
#include <string>

#include <absl/status/statusor.h>

namespace podwire {

/// "tcp", "udp", "sctp", "icmp", or a number as text.
std::string ProtocolName(uint8_t proto);
absl::StatusOr<uint8_t> ParseProtocol(const std::string& text);

}  // namespace podwire
