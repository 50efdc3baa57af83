#pragma once

#include <map>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "control/desired_state.h"
#include "overlay/net_conf.h"
#include "overlay/node.h"

namespace podwire {

/// A node whose podCIDR cannot be: outside the network, or another node's too.
struct NodeProblem {
  std::string node;
  std::string field;  ///< spec.podCIDR
  std::string message;
};

/// Checks the podCIDRs of all nodes against the network (nullptr: none yet, only against one another) and
/// against `pinned` subnets of nodes whose plan cannot change any more.
std::vector<NodeProblem> CheckPodCidrs(const std::map<std::string, Node>& nodes, const NetConf* network,
                                       const DesiredState::PlannedSubnets& pinned);

/// Subnets for the nodes of `wanted` that have no podCIDR of a family of the network's: those of `before`
/// that still fit stay, the others get the first free one by flannel's rules. ResourceExhausted when the
/// network has no room.
absl::StatusOr<DesiredState::PlannedSubnets> PlanSubnets(const std::map<std::string, Node>& nodes,
                                                         const std::vector<std::string>& wanted,
                                                         const NetConf& network,
                                                         const DesiredState::PlannedSubnets& before);

}  // namespace podwire
