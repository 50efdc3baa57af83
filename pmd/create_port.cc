#include <rte_ether.h>

#include "net/status.h"
#include "pmd/port.h"
#include "pmd/port_kinds.h"

namespace podwire {
namespace {

constexpr uint16_t kMaxMtu = 65535 - RTE_ETHER_HDR_LEN - RTE_PKTMBUF_HEADROOM;

/// Dispatch by kind of options.
struct Creator {
  const PortConfig& config;
  const PortContext& context;

  PortOr operator()(const TapOptions& o) const { return Named(CreateTapPort(config, o, context)); }
  PortOr operator()(const NetdevOptions& o) const { return Named(CreateNetdevPort(config, o, context)); }
  PortOr operator()(const VhostUserOptions& o) const { return CreateVhostUserPort(config, o, context); }
  PortOr operator()(const PciOptions& o) const { return CreatePciPort(config, o, context); }
  PortOr operator()(const VdevOptions& o) const { return CreateVdevPort(config, o, context); }
  PortOr operator()(const TrunkMemberOptions& o) const {
    return Named(CreateTrunkMember(config, o, context));
  }

  PortOr Named(PortOr port) const {
    if (port.ok()) return port;
    return Annotate(port.status(), fmt::format("port {}", config.name));
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Port>> CreatePort(const PortConfig& config, const PortContext& context) {
  if (config.name.empty()) return InvalidArgument("a port needs a name");
  if (config.mtu < RTE_ETHER_MIN_MTU || config.mtu > kMaxMtu) {
    return InvalidArgument("port {}: mtu: {} is not within {} to {}", config.name, config.mtu,
                           RTE_ETHER_MIN_MTU, kMaxMtu);
  }
  if (context.workers == 0) return InvalidArgument("port {}: no workers", config.name);
  return std::visit(Creator{config, context}, config.options);
}

}  // namespace podwire
