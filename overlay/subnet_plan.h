#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "overlay/net_conf.h"

namespace podwire {

/// A node's pod subnets, at most one a family.
struct PodSubnets {
  std::optional<IpPrefix> v4, v6;

  bool empty() const { return !v4 && !v6; }
  const std::optional<IpPrefix>& Of(IpFamily family) const { return family == IpFamily::kV6 ? v6 : v4; }
  std::optional<IpPrefix>& Of(IpFamily family) { return family == IpFamily::kV6 ? v6 : v4; }
  /// IPv4 first.
  std::vector<IpPrefix> List() const;
  bool operator==(const PodSubnets&) const = default;
};
/// "10.244.1.0/24,fd44:0:0:1::/64"
std::string ToString(const PodSubnets& subnets);
/// The opposite. InvalidArgument also when there are two of a family.
absl::StatusOr<PodSubnets> ParsePodSubnets(std::string_view text);

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
