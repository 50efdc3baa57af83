#pragma once

#include <memory>
#include <string>

#include "pmd/netdev_info.h"
#include "pmd/port_kinds.h"
#include "pmd/uplink_filter.h"

namespace podwire {

/// A port on an interface that stays the kernel's: by AF_XDP or by AF_PACKET, as `options.mode` says. kAuto
/// takes AF_XDP where the driver does it without copying, for only then a packet costs less by it; everywhere
/// else AF_PACKET, which moves whole super-packets.
PortOr CreateSharedNetdevPort(const PortConfig& config, const NetdevOptions& options,
                              const PortContext& context);

/// By AF_PACKET. `filter`: which frames are podwire's; nullptr: all. `reason`: why not by AF_XDP.
PortOr CreatePacketPort(const PortConfig& config, const PortContext& context, const std::string& interface,
                        std::unique_ptr<UplinkFilter> filter, std::string reason);

/// By AF_XDP. `queues`: the interface's; there is a socket for each receive queue. Unimplemented: the driver
/// copies, or has no native XDP, and `zero_copy_only`.
PortOr CreateXdpPort(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev,
                     std::unique_ptr<UplinkFilter> filter, const QueueCounts& queues, bool zero_copy_only);

}  // namespace podwire
