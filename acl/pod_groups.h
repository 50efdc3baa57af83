#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/container/node_hash_map.h>

#include "acl/model.h"
#include "acl/pod_addresses.h"
#include "acl/port_set.h"

namespace podwire {

/// All that policies can ask of a pod as a peer. The replicas of a workload share one.
struct PodTemplate {
  std::string ns;
  Labels labels;
  std::vector<ContainerPort> ports;
  bool operator==(const PodTemplate&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const PodTemplate& t) {
    return H::combine(std::move(h), t.ns, t.labels, t.ports);
  }
};

/// Addresses that the same pods stand behind: pods of one template, or, where several live pods claim an
/// address, of several.
struct PodGroup {
  std::vector<const PodTemplate*> pods;  ///< sorted; empty: no group has this number
  uint64_t members = 0;                  ///< the sum of HashAddress of its addresses
  /// By port that a pod gives a name: the sum of CombineHash(HashAddress, port).
  std::vector<std::pair<PortKey, uint64_t>> serving;
  uint32_t addresses = 0;
};

/// The live pods of a cluster by what policies see of them, kept up with each change.
class PodGroups {
 public:
  /// A pod became another one; nullptr: there was none, there is none any more.
  void Change(const Pod* before, const Pod* after);

  const PodGroup& group(PodGroupId id) const { return groups_[id.value()]; }
  /// Numbers of groups are below.
  size_t size() const { return groups_.size(); }
  const PodAddresses& addresses() const { return addresses_; }
  PodAddresses ShareAddresses() { return addresses_.Share(); }
  /// Those with a pod of the namespace.
  using Ids = absl::flat_hash_set<PodGroupId>;
  const absl::flat_hash_map<std::string, Ids>& by_namespace() const { return by_namespace_; }

  /// Groups that got or lost an address since the last call.
  Ids TakeTouched() { return std::exchange(touched_, {}); }
  /// Addresses that have got another group, or lost theirs, since the last call, with the one that they had.
  using Moves = absl::flat_hash_map<IpAddress, PodGroupId>;
  Moves TakeMoves() { return std::exchange(moves_, {}); }

 private:
  using Templates = std::vector<const PodTemplate*>;
  void Claim(const IpAddress& a, const PodTemplate* pod, bool begins);
  void Join(PodGroupId id, const IpAddress& a, uint64_t sign);
  PodGroupId GroupOf(Templates pods);
  void Free(PodGroupId id);

  absl::node_hash_map<PodTemplate, uint32_t> templates_;  // how many claims there are of it
  std::vector<PodGroup> groups_;
  std::vector<PodGroupId> free_;
  absl::flat_hash_map<Templates, PodGroupId> ids_;
  absl::flat_hash_map<std::string, Ids> by_namespace_;
  PodAddresses addresses_;
  absl::flat_hash_map<IpAddress, Templates> disputed_;  // those with several claims: all claims
  Ids touched_;
  Moves moves_;
};

}  // namespace podwire
