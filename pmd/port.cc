#include "pmd/port.h"

#include <array>

#include "net/status.h"

namespace podwire {
namespace {
constexpr std::array<std::string_view, 6> kKindNames = {"tap", "netdev", "vhost-user",
                                                        "pci", "vdev",   "trunk-member"};
constexpr size_t kAskable = 5;  // the first ones
}  // namespace

std::string_view ToString(PortKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

std::string_view ToString(SharedMode mode) {
  switch (mode) {
    case SharedMode::kAuto:
      return "auto";
    case SharedMode::kAfXdp:
      return "af_xdp";
    case SharedMode::kAfPacket:
      return "af_packet";
  }
  return "";
}

absl::StatusOr<PortKind> ParsePortKind(std::string_view text) {
  for (size_t i = 0; i < kAskable; ++i) {
    if (kKindNames[i] == text) return static_cast<PortKind>(i);
  }
  return InvalidArgument("port kind \"{}\": expected tap, netdev, vhost-user, pci or vdev", text);
}

}  // namespace podwire
