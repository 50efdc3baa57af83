#include "control/protocol_names.h"

#include <charconv>
#include <utility>

#include "net/status.h"

namespace podwire {
namespace {

constexpr std::pair<const char*, uint8_t> kProtocols[] = {
    {"tcp", 6}, {"udp", 17}, {"sctp", 132}, {"icmp", 1}, {"icmpv6", 58}};

}  // namespace

std::string ProtocolName(uint8_t proto) {
  for (const auto& [name, number] : kProtocols) {
    if (number == proto) return name;
  }
  return std::to_string(proto);
}

absl::StatusOr<uint8_t> ParseProtocol(const std::string& text) {
  for (const auto& [name, number] : kProtocols) {
    if (text == name) return number;
  }
  uint8_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  return InvalidArgument(
      "protocol: expected tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255, not \"{}\"", text);
}

}  // namespace podwire
