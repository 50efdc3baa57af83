#pragma once

#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "acl/compiled_policy.h"
#include "acl/model.h"

namespace podwire {

struct PolicyQuery {
  Direction direction = Direction::kIngress;
  ObjectKey pod;   ///< the local pod whose policies are asked
  IpAddress peer;  ///< source for ingress, destination for egress
  uint8_t ip_proto = 6;
  uint16_t port = 0;  ///< destination port, host order
};

/// One peer or port of a rule: where it stands ("ingress[0].from[1]"), what it asks for, and why it did or
/// did not match.
struct MatchTrace {
  std::string field;
  std::string wants;
  bool matched = false;
  std::string why;
  std::string
      need{};  ///< what would make it match: "pod dev/web had label role=db"; empty: it does, or nothing
  uint32_t distance = 0;  ///< how much that is; 0 for what matches, less is nearer
};

/// A rule matches when one of its peers and one of its ports does; an absent list has one item that says so.
struct RuleTrace {
  uint32_t rule = 0;
  bool peer_matched = false;
  bool port_matched = false;
  std::vector<MatchTrace> peers;
  std::vector<MatchTrace> ports;
  bool Allows() const { return peer_matched && port_matched; }
};

struct PolicyTrace {
  ObjectKey policy;
  std::vector<RuleTrace> rules;
};

/// The rule of a ClusterNetworkPolicy that decided or passed on.
struct ClusterRuleTrace {
  PolicyInfo policy;
  RuleAction action = RuleAction::kAccept;
  RuleTrace rule;
};

struct PolicyExplanation {
  PolicyQuery query;
  PolicyVerdict verdict;                ///< from CompiledPolicy::Check
  std::string peer;                     ///< who the peer is: "pod dev/web", "no pod known by this address"
  std::optional<ObjectKey> allowed_by;  ///< the NetworkPolicy of verdict.rule
  /// Every NetworkPolicy that selects the pod for the direction, by key; none if they were not asked.
  std::vector<PolicyTrace> isolating;
  std::optional<ClusterRuleTrace> passed_by;   ///< of verdict.passed_by
  std::optional<ClusterRuleTrace> decided_by;  ///< of verdict.rule, if it is a ClusterNetworkPolicy's
  std::vector<PolicyInfo> silent;  ///< ClusterNetworkPolicies that were asked and have no rule that matches

  /// The same in lines of plain words.
  std::string Text() const;
  /// What the nearest rule would have needed: "would pass ingress[0] of dev/web if the port were TCP 443".
  /// Empty when allowed.
  std::string Hint() const;
};

/// Explains a verdict of `compiled`; `model` is what it was compiled from. Scans (it is for people).
/// NotFound when the pod was not among the local pods.
absl::StatusOr<PolicyExplanation> ExplainPolicy(const CompiledPolicy& compiled, const Model& model,
                                                const PolicyQuery& query);

}  // namespace podwire
