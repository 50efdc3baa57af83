#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "acl/model.h"
#include "acl/port_set.h"

namespace podwire {

/// A policy that a RuleRef speaks of.
struct PolicyInfo {
  struct Rule {
    std::string name;
    RuleAction action = RuleAction::kAccept;
  };
  Tier tier = Tier::kNetworkPolicy;
  uint16_t priority = 0;                   ///< ClusterNetworkPolicy
  ObjectKey key;                           ///< without namespace: a ClusterNetworkPolicy
  std::array<std::vector<Rule>, 2> rules;  ///< ClusterNetworkPolicy: by Direction

  /// By precedence: tier, priority, name.
  bool operator<(const PolicyInfo& other) const;
};
/// "NetworkPolicy ns/name", "ClusterNetworkPolicy name (Admin, priority 5)"
std::string ToString(const PolicyInfo& policy);
/// A ClusterNetworkPolicy's: "rule 'no-dns'", or "rule 2" if it has no name. A NetworkPolicy's: "ingress[2]"
std::string RuleName(const PolicyInfo& policy, Direction direction, uint32_t rule);

}  // namespace podwire
