#pragma once

#include <memory>

#include <absl/status/statusor.h>

#include "pmd/port.h"

namespace podwire {

// One function a kind, each in a file of its own; called by CreatePort, which has checked name and MTU.
using PortOr = absl::StatusOr<std::unique_ptr<Port>>;
PortOr CreateTapPort(const PortConfig& config, const TapOptions& options, const PortContext& context);
PortOr CreateNetdevPort(const PortConfig& config, const NetdevOptions& options, const PortContext& context);
PortOr CreateVhostUserPort(const PortConfig& config, const VhostUserOptions& options,
                           const PortContext& context);
PortOr CreatePciPort(const PortConfig& config, const PciOptions& options, const PortContext& context);
PortOr CreateVdevPort(const PortConfig& config, const VdevOptions& options, const PortContext& context);
PortOr CreateTrunkMember(const PortConfig& config, const TrunkMemberOptions& options,
                         const PortContext& context);

}  // namespace podwire
