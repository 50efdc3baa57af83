#include "control/node_subnets.h"

#include <algorithm>

#include "net/status.h"
#include "overlay/subnet_plan.h"

namespace podwire {
namespace {

constexpr const char* kField = "spec.podCIDR";

std::vector<IpPrefix> PodCidrsExcept(const std::map<std::string, Node>& nodes, const std::string& except) {
  std::vector<IpPrefix> cidrs;
  for (const auto& [name, node] : nodes) {
    const auto cidr = PodCidrOf(node);
    if (cidr && name != except) cidrs.push_back(*cidr);
  }
  return cidrs;
}

bool OverlapsAny(const IpPrefix& p, const std::vector<IpPrefix>& others) {
  return std::ranges::any_of(others, [&](const IpPrefix& o) { return o.Overlaps(p); });
}

std::vector<IpPrefix> Values(const DesiredState::PlannedSubnets& planned) {
  std::vector<IpPrefix> subnets;
  for (const auto& [name, subnet] : planned) subnets.push_back(subnet);
  return subnets;
}

}  // namespace

std::vector<NodeProblem> CheckPodCidrs(const std::map<std::string, Node>& nodes, const NetConf* network,
                                       const DesiredState::PlannedSubnets& pinned) {
  std::vector<NodeProblem> problems;
  for (const auto& [name, node] : nodes) {
    const auto cidr = PodCidrOf(node);
    if (!cidr) continue;
    for (const auto& [other, others] : nodes) {
      const auto theirs = PodCidrOf(others);
      if (other >= name || !theirs || !theirs->Overlaps(*cidr)) continue;
      problems.push_back(
          {name, kField,
           fmt::format("{} overlaps {} of node {}", ToString(*cidr), ToString(*theirs), other)});
    }
    for (const auto& [other, subnet] : pinned) {
      if (other == name || !subnet.Overlaps(*cidr)) continue;
      problems.push_back({name, kField,
                          fmt::format("{} overlaps {}, which was planned for node {} and has pods",
                                      ToString(*cidr), ToString(subnet), other)});
    }
    if (network == nullptr || !network->v4) continue;
    const absl::Status inside = CheckSubnet(*network->v4, *cidr, {});
    if (!inside.ok()) problems.push_back({name, kField, Message(inside)});
  }
  return problems;
}

absl::StatusOr<DesiredState::PlannedSubnets> PlanSubnets(const std::map<std::string, Node>& nodes,
                                                         const std::vector<std::string>& wanted,
                                                         const NetConf& network,
                                                         const DesiredState::PlannedSubnets& before) {
  DesiredState::PlannedSubnets planned;
  if (!network.v4) return planned;
  const std::vector<IpPrefix> cidrs = PodCidrsExcept(nodes, "");
  std::vector<std::string> without;
  for (const std::string& name : wanted) {
    const auto node = nodes.find(name);
    if (node != nodes.end() && PodCidrOf(node->second)) continue;
    const auto old = before.find(name);
    const bool fits = old != before.end() && !OverlapsAny(old->second, cidrs) &&
                      network.v4->network.Contains(old->second) &&
                      old->second.length == network.v4->subnet_length;
    if (fits) {
      planned.insert(*old);
    } else {
      without.push_back(name);
    }
  }
  for (const std::string& name : without) {
    if (planned.contains(name)) continue;
    std::vector<IpPrefix> taken = cidrs;
    for (const IpPrefix& p : Values(planned)) taken.push_back(p);
    const auto subnet = PlanSubnet(*network.v4, taken);
    if (!subnet.ok()) return Annotate(subnet.status(), "node " + name);
    planned.emplace(name, *subnet);
  }
  return planned;
}

}  // namespace podwire
