#include "control/node_subnets.h"

#include <algorithm>

#include "net/status.h"
#include "overlay/subnet_plan.h"

namespace podwire {
namespace {

constexpr const char* kField = "spec.podCIDR";

const std::optional<SubnetLayout>& LayoutOf(const NetConf& network, IpFamily family) {
  return family == IpFamily::kV6 ? network.v6 : network.v4;
}

bool OverlapsAny(const IpPrefix& p, const std::vector<IpPrefix>& others) {
  return std::ranges::any_of(others, [&](const IpPrefix& o) { return o.Overlaps(p); });
}

std::optional<IpPrefix> PlannedFor(const DesiredState::PlannedSubnets& planned, const std::string& node,
                                   IpFamily family) {
  const auto it = planned.find(node);
  return it == planned.end() ? std::nullopt : it->second.Of(family);
}

/// What is wrong with one podCIDR of a node.
void CheckPodCidr(const std::string& name, const IpPrefix& cidr, const std::map<std::string, Node>& nodes,
                  const NetConf* network, const DesiredState::PlannedSubnets& pinned,
                  std::vector<NodeProblem>& problems) {
  const IpFamily family = cidr.address.family();
  for (const auto& [other, others] : nodes) {
    if (other >= name) break;
    const auto theirs = PodCidrsOf(others).Of(family);
    if (!theirs || !theirs->Overlaps(cidr)) continue;
    problems.push_back(
        {name, kField, fmt::format("{} overlaps {} of node {}", ToString(cidr), ToString(*theirs), other)});
  }
  for (const auto& [other, planned] : pinned) {
    const auto& subnet = planned.Of(family);
    if (other == name || !subnet || !subnet->Overlaps(cidr)) continue;
    problems.push_back({name, kField,
                        fmt::format("{} overlaps {}, which was planned for node {} and has pods",
                                    ToString(cidr), ToString(*subnet), other)});
  }
  if (network == nullptr || !LayoutOf(*network, family)) return;
  const absl::Status inside = CheckSubnet(*LayoutOf(*network, family), cidr, {});
  if (!inside.ok()) problems.push_back({name, kField, Message(inside)});
}

/// Plans one family into `planned`.
absl::Status PlanFamily(const std::map<std::string, Node>& nodes, const std::vector<std::string>& wanted,
                        const SubnetLayout& layout, const DesiredState::PlannedSubnets& before,
                        DesiredState::PlannedSubnets& planned) {
  const IpFamily family = layout.network.address.family();
  std::vector<IpPrefix> taken;
  for (const auto& [name, node] : nodes) {
    if (const auto cidr = PodCidrsOf(node).Of(family)) taken.push_back(*cidr);
  }
  const std::vector<IpPrefix> cidrs = taken;
  std::vector<std::string> without;
  for (const std::string& name : wanted) {
    const auto node = nodes.find(name);
    if (node != nodes.end() && PodCidrsOf(node->second).Of(family)) continue;
    const auto old = PlannedFor(before, name, family);
    const bool fits = old && !OverlapsAny(*old, cidrs) && layout.network.Contains(*old) &&
                      old->length == layout.subnet_length;
    if (fits) {
      planned[name].Of(family) = *old;
      taken.push_back(*old);
    } else {
      without.push_back(name);
    }
  }
  for (const std::string& name : without) {
    if (PlannedFor(planned, name, family)) continue;
    const auto subnet = PlanSubnet(layout, taken);
    if (!subnet.ok()) return Annotate(subnet.status(), "node " + name);
    planned[name].Of(family) = *subnet;
    taken.push_back(*subnet);
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<NodeProblem> CheckPodCidrs(const std::map<std::string, Node>& nodes, const NetConf* network,
                                       const DesiredState::PlannedSubnets& pinned) {
  std::vector<NodeProblem> problems;
  for (const auto& [name, node] : nodes) {
    for (const IpPrefix& cidr : PodCidrsOf(node).List()) {
      CheckPodCidr(name, cidr, nodes, network, pinned, problems);
    }
  }
  return problems;
}

absl::StatusOr<DesiredState::PlannedSubnets> PlanSubnets(const std::map<std::string, Node>& nodes,
                                                         const std::vector<std::string>& wanted,
                                                         const NetConf& network,
                                                         const DesiredState::PlannedSubnets& before) {
  DesiredState::PlannedSubnets planned;
  for (const IpFamily family : {IpFamily::kV4, IpFamily::kV6}) {
    const auto& layout = LayoutOf(network, family);
    if (layout) RETURN_IF_ERROR(PlanFamily(nodes, wanted, *layout, before, planned));
  }
  return planned;
}

}  // namespace podwire
