#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/address.h"

namespace podwire {

/// What network policies know of a cluster: plain values, as parsed (acl/parse.h) or made by a test.

using Labels = std::map<std::string, std::string, std::less<>>;

/// Namespace and name of an object; ordered by namespace first, so a map's objects of one namespace are
/// neighbours.
struct ObjectKey {
  std::string ns;
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const ObjectKey& k) {
    return H::combine(std::move(h), k.ns, k.name);
  }
};
/// "namespace/name"
std::string ToString(const ObjectKey& key);

/// One item of matchExpressions.
struct LabelRequirement {
  enum class Operator : uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Operator op = Operator::kExists;
  std::vector<std::string> values;  ///< kIn and kNotIn only

  bool Matches(const Labels& labels) const;
  auto operator<=>(const LabelRequirement&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const LabelRequirement& r) {
    return H::combine(std::move(h), r.key, static_cast<uint8_t>(r.op), r.values);
  }
};

/// metav1.LabelSelector: every label and every expression must hold. Empty: everything matches.
struct LabelSelector {
  Labels match_labels;
  std::vector<LabelRequirement> expressions;

  bool empty() const { return match_labels.empty() && expressions.empty(); }
  bool Matches(const Labels& labels) const;
  /// The same selector with expressions and values sorted and repetitions gone, so that equal means equal.
  LabelSelector Normalized() const;
  bool operator==(const LabelSelector&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const LabelSelector& s) {
    return H::combine(std::move(h), s.match_labels, s.expressions);
  }
};
/// As kubectl writes it: "app=web,tier in (a,b),!old"; "everything" when empty.
std::string ToString(const LabelSelector& selector);
std::string ToString(const LabelRequirement& requirement);

/// The label that the API server puts on every namespace; its value is the namespace's name.
inline constexpr std::string_view kNamespaceNameLabel = "kubernetes.io/metadata.name";

struct Namespace {
  std::string name;
  Labels labels;
  bool operator==(const Namespace&) const = default;
};

/// The protocols that have ports in a NetworkPolicy; the values are those of the IP header.
enum class L4Protocol : uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };
std::string_view ToString(L4Protocol protocol);

struct ContainerPort {
  std::string name;     ///< may be empty
  uint16_t number = 0;  ///< host order
  L4Protocol protocol = L4Protocol::kTcp;
  bool operator==(const ContainerPort&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const ContainerPort& p) {
    return H::combine(std::move(h), p.name, p.number, static_cast<uint8_t>(p.protocol));
  }
};

struct Pod {
  ObjectKey key;
  Labels labels;
  std::vector<IpAddress> addresses;
  std::vector<ContainerPort> ports;
  std::string node_name;
  bool host_network = false;  ///< its addresses are its node's: no selector ever matches it
  bool finished = false;      ///< phase Succeeded or Failed: its addresses are no longer its own

  /// Whether its addresses stand for it in peers of rules.
  bool IsPeer() const { return !host_network && !finished; }
  bool operator==(const Pod&) const = default;
};

struct IpBlock {
  IpPrefix cidr;
  std::vector<IpPrefix> except;  ///< inside cidr
  bool Contains(const IpAddress& a) const;
  bool operator==(const IpBlock&) const = default;
};

/// Either ip_block or one or both selectors. None of them: matches nothing (the API server refuses it).
/// Those of a ClusterNetworkPolicy: namespace_selector, it and pod_selector, networks or node_selector.
struct PolicyPeer {
  std::optional<LabelSelector> pod_selector;        ///< alone: pods of the policy's own namespace
  std::optional<LabelSelector> namespace_selector;  ///< alone: all pods of those namespaces
  std::optional<IpBlock> ip_block;
  std::vector<IpBlock> networks;               ///< any of them
  std::optional<LabelSelector> node_selector;  ///< the addresses of those nodes
  bool operator==(const PolicyPeer&) const = default;
};

/// A whole protocol (first 0, name empty), the ports first..last (host order), or a named container port.
struct PolicyPort {
  L4Protocol protocol = L4Protocol::kTcp;
  uint16_t first = 0;
  uint16_t last = 0;  ///< inclusive; equals first without endPort
  std::string name;
  bool any_protocol = false;  ///< named: whatever its protocol is

  bool is_named() const { return !name.empty(); }
  bool is_whole_protocol() const { return first == 0 && name.empty(); }
  bool operator==(const PolicyPort&) const = default;
};

enum class RuleAction : uint8_t { kAccept, kDeny, kPass };
std::string_view ToString(RuleAction action);  ///< "Accept", "Deny", "Pass"

/// Matches what one of `peers` and one of `ports` matches; an empty list matches everything.
struct PolicyRule {
  std::vector<PolicyPeer> peers;
  std::vector<PolicyPort> ports;
  std::string name;                         ///< ClusterNetworkPolicy: for people; may be empty
  RuleAction action = RuleAction::kAccept;  ///< NetworkPolicy: always that
  bool operator==(const PolicyRule&) const = default;
};

/// As seen by the pod that a policy selects.
enum class Direction : uint8_t { kIngress = 0, kEgress = 1 };
std::string_view ToString(Direction direction);  ///< "ingress", "egress"

/// networking.k8s.io/v1 NetworkPolicy with policyTypes resolved.
struct NetworkPolicy {
  ObjectKey key;
  LabelSelector pod_selector;
  bool isolates_ingress = true;
  bool isolates_egress = false;
  std::vector<PolicyRule> ingress;  ///< ignored unless isolates_ingress
  std::vector<PolicyRule> egress;   ///< ignored unless isolates_egress

  bool Isolates(Direction d) const { return d == Direction::kIngress ? isolates_ingress : isolates_egress; }
  const std::vector<PolicyRule>& Rules(Direction d) const {
    return d == Direction::kIngress ? ingress : egress;
  }
  bool operator==(const NetworkPolicy&) const = default;
};

/// Policies by precedence: a tier is asked what the tiers before it left open.
enum class Tier : uint8_t { kAdmin = 0, kNetworkPolicy = 1, kBaseline = 2 };
inline constexpr size_t kTiers = 3;
std::string_view ToString(Tier tier);  ///< "Admin", "NetworkPolicy", "Baseline"

/// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy. The first rule that matches decides, in the order
/// of priority, then name, then place in the policy.
struct ClusterNetworkPolicy {
  std::string name;
  Tier tier = Tier::kAdmin;
  uint16_t priority = 0;  ///< 0..1000, lower comes first
  PolicyPeer subject;     ///< namespace_selector, or it and pod_selector
  std::vector<PolicyRule> ingress;
  std::vector<PolicyRule> egress;

  const std::vector<PolicyRule>& Rules(Direction d) const {
    return d == Direction::kIngress ? ingress : egress;
  }
  bool operator==(const ClusterNetworkPolicy&) const = default;
};

/// A node as `nodes` peers select it.
struct ClusterNode {
  Labels labels;
  std::vector<IpAddress> addresses;
  bool operator==(const ClusterNode&) const = default;
};

/// All objects that policies depend on. The owner edits it (one thread), and tells a PolicyCompiler, if it
/// has one; compiling and ExplainPolicy read it. Each key equals the key or name inside its value.
struct Model {
  std::map<std::string, Namespace, std::less<>> namespaces;
  std::map<ObjectKey, Pod> pods;
  std::map<ObjectKey, NetworkPolicy> policies;
  std::map<std::string, ClusterNetworkPolicy> cluster_policies;
  std::map<std::string, ClusterNode> nodes;

  /// A namespace's labels, kNamespaceNameLabel always included; one that is not in `namespaces` has only
  /// that.
  Labels NamespaceLabels(std::string_view name) const;
};

}  // namespace podwire
