#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/model.h"
#include "acl/port_set.h"
#include "net/address.h"
#include "net/id.h"
#include "net/prefix_map.h"

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

/// What NetworkPolicies say of a connection at one of its two ends.
struct PolicyVerdict {
  bool allowed = true;
  bool isolated = false;  ///< some policy selects the pod for this direction
  RuleRef rule;           ///< the first rule that allows (policies by key, then by rule); else kNoRule
  bool operator==(const PolicyVerdict&) const = default;
};

/// Every address falls into one class of each kind: the set of peers of that kind that match it. An address's
/// verdict is the union over kinds, so the kinds need not be multiplied with one another.
enum class PeerKind : uint8_t {
  kNamespace,  ///< all pods of the selected namespaces
  kOwn,        ///< selected pods of the policy's namespace
  kCross,      ///< selected pods of selected namespaces
  kBlock,      ///< ipBlock
};
inline constexpr size_t kPeerKinds = 4;
using ClassId = Id<struct ClassIdTag, uint32_t>;
inline constexpr ClassId kNoClass{0};  ///< no peer of the kind matches

struct AddressClass {
  std::array<ClassId, kPeerKinds> of_kind{};
  uint32_t port_names = 0;  ///< index into the port names of pods; 0: none
};

/// All NetworkPolicies of a cluster as far as they concern the local pods. Immutable; read by any thread.
///
/// Check answers for NetworkPolicy alone. Left to the caller: replies and related ICMP errors of connections,
/// traffic of a pod to its own address, traffic from the pod's own node, ARP and neighbour discovery (all of
/// them allowed whatever Check says), and service translation (peer and port are those behind it).
class CompiledPolicy {
 public:
  /// The policy of a local pod given to Compile; nullptr for any other.
  const EndpointPolicy* Find(const ObjectKey& pod) const;

  /// Whether a connection between the pod and `peer` may begin. `rule_set` is of that direction; `peer` is
  /// the source for ingress, the destination for egress; `port` is the destination port (host order; not
  /// looked at unless `ip_proto` is TCP, UDP or SCTP). A few hash look-ups and binary searches, however many
  /// policies, peers and pods there are. A rule set that does not exist denies.
  PolicyVerdict Check(Direction direction, RuleSetId rule_set, const IpAddress& peer, uint8_t ip_proto,
                      uint16_t port) const noexcept;

  /// Name of the policy a RuleRef speaks of; `policy` is below policies().size().
  const std::vector<ObjectKey>& policies() const { return policies_; }

  struct Size {
    size_t policies, rule_sets, classes, addresses, prefixes, entries, port_sets;
  };
  /// How large the tables are, for `get` and benchmarks.
  Size size() const;

 private:
  friend class PolicyCompiler;

  struct RuleSet {
    PortSetId any_peer = kNoPorts;
    std::array<absl::flat_hash_map<ClassId, PortSetId>, kPeerKinds> by_class;
    uint64_t fingerprint = 0;
  };

  AddressClass Classify(const IpAddress& a) const noexcept;

  std::vector<ObjectKey> policies_;  // those that select a local pod, sorted
  absl::flat_hash_map<ObjectKey, EndpointPolicy> endpoints_;
  std::array<std::vector<RuleSet>, 2> rule_sets_;  // by Direction
  PortSetPool port_sets_;
  std::array<uint32_t, kPeerKinds> class_counts_{};
  absl::flat_hash_map<IpAddress, AddressClass> pods_;  // pods that a peer or a port name knows
  PrefixMap<ClassId> blocks_;                          // class kBlock of all addresses
  std::vector<PortNames> port_names_;                  // [0] is empty
};

/// Compiles `model` for `local_pods`. A local pod that the model does not know counts as one without labels
/// and ports; one with host_network is never isolated (it has no endpoint). An address that several live pods
/// claim matches only what matches all of them: a reused address does not inherit.
CompiledPolicy Compile(const Model& model, std::span<const ObjectKey> local_pods);

}  // namespace podwire
