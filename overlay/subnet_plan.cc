#include "overlay/subnet_plan.h"

#include <algorithm>
#include <vector>

#include "net/status.h"

namespace podwire {
namespace {

/// First address behind the prefix; empty when the prefix ends the address space.
IpAddress After(const IpPrefix& p) {
  auto bytes = p.address.bytes();
  if (p.length == 0) return {};
  unsigned carry = 1u << (7 - (p.length - 1) % 8);
  for (int i = (p.length - 1) / 8; i >= 0 && carry != 0; --i) {
    carry += bytes[i];
    bytes[i] = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
  if (carry != 0) return {};
  if (p.address.is_v6()) return Ipv6{bytes};
  Ipv4 v4;
  std::memcpy(&v4.be, bytes.data(), 4);
  return v4;
}

/// The first subnet boundary at or behind `a`; empty if there is none.
IpAddress Boundary(const IpAddress& a, uint8_t length) {
  const IpPrefix p = IpPrefix::Make(a, length);
  return p.address == a ? a : After(p);
}

}  // namespace

std::vector<IpPrefix> PodSubnets::List() const {
  std::vector<IpPrefix> list;
  if (v4) list.push_back(*v4);
  if (v6) list.push_back(*v6);
  return list;
}

std::string ToString(const PodSubnets& subnets) {
  std::string text;
  for (const IpPrefix& subnet : subnets.List()) text += (text.empty() ? "" : ",") + ToString(subnet);
  return text;
}

absl::StatusOr<PodSubnets> ParsePodSubnets(std::string_view text) {
  PodSubnets subnets;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    ASSIGN_OR_RETURN(const IpPrefix subnet, ParsePrefix(rest.substr(0, comma)));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    std::optional<IpPrefix>& own = subnets.Of(subnet.address.family());
    if (own) return InvalidArgument("\"{}\": two subnets of one family", text);
    own = subnet;
  }
  return subnets;
}

absl::StatusOr<IpPrefix> PlanSubnet(const SubnetLayout& layout, std::span<const IpPrefix> taken) {
  std::vector<IpPrefix> sorted(taken.begin(), taken.end());
  std::sort(sorted.begin(), sorted.end());
  // One pass: each taken prefix pushes the candidate behind itself.
  IpAddress candidate = layout.subnet_min;
  for (const IpPrefix& t : sorted) {
    if (candidate.empty()) break;
    if (t.Overlaps(IpPrefix::Make(candidate, layout.subnet_length))) candidate = After(t);
    if (!candidate.empty()) candidate = Boundary(candidate, layout.subnet_length);
  }
  if (candidate.empty() || candidate > layout.subnet_max) {
    return Error(absl::StatusCode::kResourceExhausted,
                 "no subnet left: from {} to {} all /{} subnets are taken by {} nodes; widen "
                 "SubnetMin..SubnetMax or remove Node objects",
                 ToString(layout.subnet_min), ToString(layout.subnet_max), layout.subnet_length,
                 taken.size());
  }
  return IpPrefix{candidate, layout.subnet_length};
}

absl::Status CheckSubnet(const SubnetLayout& layout, const IpPrefix& subnet,
                         std::span<const IpPrefix> others) {
  if (!layout.network.Contains(subnet)) {
    return InvalidArgument("{} does not lie in the network {}", ToString(subnet), ToString(layout.network));
  }
  for (const IpPrefix& other : others) {
    if (other.Overlaps(subnet))
      return InvalidArgument("{} overlaps another node's {}", ToString(subnet), ToString(other));
  }
  return absl::OkStatus();
}

IpAddress GatewayOf(const IpPrefix& subnet) { return Offset(subnet.address, 1); }

}  // namespace podwire
