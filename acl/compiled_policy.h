#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/model.h"
#include "acl/pod_addresses.h"
#include "acl/policy_info.h"
#include "acl/port_names.h"
#include "acl/port_set.h"
#include "acl/rule_set.h"
#include "net/address.h"
#include "net/id.h"

namespace podwire {

using RuleSetId = Id<struct RuleSetIdTag, uint32_t>;  ///< of one CompiledPolicy and direction
inline constexpr RuleSetId kNotIsolated{UINT32_MAX};  ///< no policy selects the pod for the direction

/// What the policies say of one local pod. Ids are valid with the CompiledPolicy they come from only.
struct EndpointPolicy {
  RuleSetId ingress = kNotIsolated;
  RuleSetId egress = kNotIsolated;
  /// Changes when a verdict of this pod could change: its policies, their rules, who belongs to the peers
  /// they name, the named ports they resolve. The same in every compilation of equal models, whatever else is
  /// in them.
  uint64_t fingerprint = 0;

  RuleSetId Of(Direction d) const { return d == Direction::kIngress ? ingress : egress; }
};

/// What policies say of a connection at one of its two ends.
struct PolicyVerdict {
  bool allowed = true;
  bool isolated = false;  ///< it was for NetworkPolicies to say, and some isolates the pod for the direction
  /// What decided, the same one every time. kNoRule: nothing did; if `isolated`, then no rule allows.
  RuleRef rule;
  RuleRef passed_by;  ///< the rule of the Admin tier that passed it on; else kNoRule
  bool operator==(const PolicyVerdict&) const = default;
};

/// All network policies of a cluster as far as they concern the local pods. Immutable; read by any thread.
///
/// Check answers for policies alone. Left to the caller: replies and related ICMP errors of connections,
/// traffic of a pod to its own address, traffic from the pod's own node, ARP and neighbour discovery (all of
/// them allowed whatever Check says), and service translation (peer and port are those behind it).
class CompiledPolicy {
 public:
  /// The policy of a local pod given to Compile; nullptr for any other.
  const EndpointPolicy* Find(const ObjectKey& pod) const;

  /// Whether a connection between the pod and `peer` may begin. `rule_set` is of that direction; `peer` is
  /// the source for ingress, the destination for egress; `port` is the destination port (host order; not
  /// looked at unless `ip_proto` is TCP, UDP or SCTP). A few hash look-ups and binary searches, however many
  /// policies, peers and pods there are: once for each tier that has something to say. A rule set that does
  /// not exist denies.
  PolicyVerdict Check(Direction direction, RuleSetId rule_set, const IpAddress& peer, uint8_t ip_proto,
                      uint16_t port) const noexcept;

  /// A policy that a RuleRef of this CompiledPolicy speaks of.
  const PolicyInfo& PolicyOf(const RuleRef& rule) const { return *policies_[rule.policy]; }
  /// What a rule does.
  RuleAction ActionOf(Direction direction, const RuleRef& rule) const noexcept;
  /// "NetworkPolicy ns/name ingress[0]", "ClusterNetworkPolicy name (Admin, priority 5) rule 'no-dns'"
  std::string NameOf(Direction direction, const RuleRef& rule) const;

  /// Entries in the tables, for status and benchmarks.
  struct Size {
    size_t policies = 0;   ///< that select a local pod
    size_t rule_sets = 0;  ///< both directions
    size_t addresses = 0;  ///< of pods
    size_t entries = 0;    ///< classes and prefixes in all rule sets
    size_t port_sets = 0;  ///< distinct ones
  };
  Size size() const;

 private:
  friend class PolicyCompiler;

  // What a RuleSetId stands for: a rule set for each tier that is asked, by Tier; else nullptr. None for
  // Baseline where NetworkPolicies isolate.
  struct TieredRules {
    std::array<const RuleSet*, kTiers> sets{};
    const RuleSet* Of(Tier tier) const { return sets[static_cast<size_t>(tier)]; }
    auto operator<=>(const TieredRules&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const TieredRules& t) {
      return H::combine(std::move(h), t.sets);
    }
  };
  struct Packet;
  RuleRef FirstMatch(const RuleSet& rules, const Packet& packet) const noexcept;

  std::vector<std::shared_ptr<const PolicyInfo>> policies_;  // by number; those that select a local pod
  absl::flat_hash_map<ObjectKey, EndpointPolicy> endpoints_;
  std::array<std::vector<TieredRules>, 2> tiered_rules_;  // by Direction
  std::vector<std::shared_ptr<const RuleSet>> rule_sets_;
  PodAddresses pods_;
  std::shared_ptr<const std::vector<AddressClass>> groups_;   // by PodGroupId
  std::shared_ptr<const std::vector<PortNames>> port_names_;  // [0]: pods that serve no name
};

/// Compiles `model` for `local_pods`, from nothing; PolicyCompiler does it again and again. A local pod that
/// the model does not know counts as one without labels and ports; one with host_network is never isolated
/// (it has no endpoint). An address that several live pods claim matches what matches all of them, and in
/// rules that deny what matches one: a reused address does not inherit.
CompiledPolicy Compile(const Model& model, std::span<const ObjectKey> local_pods);

}  // namespace podwire
