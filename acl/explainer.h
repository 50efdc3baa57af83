#pragma once

#include <string>
#include <vector>

#include "acl/explain.h"

namespace podwire {

/// "TCP 80", "ICMP": what the query's packet is.
std::string PacketName(const PolicyQuery& query);

/// The distance of what nothing could make match.
inline constexpr uint32_t kHopeless = 64;

/// Why something does not match, and what would make it.
struct Mismatch {
  std::string why;  ///< empty: it does
  std::string need;
  uint32_t distance = 0;
};

/// Holds rules of a model against one query, one by one, and says of each why it matches or does not. Scans.
class Explainer {
 public:
  Explainer(const Model& model, const PolicyQuery& query);

  /// Who the peer is.
  std::string Peer() const;
  /// Every NetworkPolicy that isolates the pod for the direction.
  std::vector<PolicyTrace> Isolating() const;
  /// A rule of a ClusterNetworkPolicy.
  RuleTrace ClusterRule(const ClusterNetworkPolicy& policy, uint32_t number) const;
  /// The ClusterNetworkPolicies of a tier that have rules for the pod and the direction, by precedence.
  std::vector<PolicyInfo> Selecting(Tier tier) const;

 private:
  RuleTrace Rule(const std::string& ns, const PolicyRule& rule, uint32_t number,
                 std::string_view ports) const;
  MatchTrace PeerMatch(const std::string& ns, const PolicyPeer& peer, RuleAction action) const;
  Mismatch WhyNotPod(const std::string& ns, const PolicyPeer& peer, const Pod& pod) const;
  MatchTrace BlockMatch(const IpBlock& block) const;
  MatchTrace NetworksMatch(const std::vector<IpBlock>& networks) const;
  MatchTrace NodesMatch(const LabelSelector& selector) const;
  MatchTrace PortMatch(const PolicyPort& port) const;
  std::string WhyNotServing(const Pod& pod, const PolicyPort& port) const;
  const Labels& OwnLabels() const;

  const Model& model_;
  const PolicyQuery& query_;
  const Pod* self_ = nullptr;
  std::vector<const Pod*> peers_, bystanders_;  // at the peer's address; bystanders stand for nobody
};

}  // namespace podwire
