#pragma once

#include <span>

#include <absl/status/statusor.h>

#include "overlay/net_conf.h"

namespace podwire {

/// The subnet for a node without one: the first of the layout's that overlaps none of `taken`. Pure and
/// deterministic. ResourceExhausted says how many are in use.
absl::StatusOr<IpPrefix> PlanSubnet(const SubnetLayout& layout, std::span<const IpPrefix> taken);

/// A node's subnet must lie in the network and overlap no other node's. InvalidArgument says what it does
/// instead.
absl::Status CheckSubnet(const SubnetLayout& layout, const IpPrefix& subnet,
                         std::span<const IpPrefix> others);

/// The address that pods of `subnet` have as their gateway: its first, as flannel's bridge has.
IpAddress GatewayOf(const IpPrefix& subnet);

}  // namespace podwire
