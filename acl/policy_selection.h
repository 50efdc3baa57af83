#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/model.h"
#include "acl/peer_table.h"
#include "acl/policy_info.h"
#include "acl/selector_index.h"

namespace podwire {

using PolicyList = std::vector<uint32_t>;  ///< indexes of policies, ascending

/// A policy of either kind as the compiler takes it. Points into the model.
struct SelectedPolicy {
  PolicyInfo info;
  std::string_view ns;                                    ///< of peers without namespace
  std::array<const std::vector<PolicyRule>*, 2> rules{};  ///< by Direction; nullptr: says nothing of it
};

/// Which policies of a model select which local pods.
class PolicySelection {
 public:
  struct LocalPod {
    const ObjectKey* key;
    const Pod* pod;  ///< nullptr: not in the model
    /// By Direction and Tier. None of Baseline where NetworkPolicies isolate.
    std::array<std::array<PolicyList, kTiers>, 2> policies;
  };

  PolicySelection(const Model& model, std::span<const ObjectKey> local_pods);
  const std::vector<LocalPod>& pods() const { return pods_; }
  /// All that select some local pod, by precedence.
  const std::vector<SelectedPolicy>& policies() const { return policies_; }

 private:
  /// The policies of a namespace by their podSelector.
  struct NamespacePolicies {
    SelectorIndex selectors;
    std::vector<std::vector<uint32_t>> by_selector;  // candidates
    PeerTable::NamespaceMatch subjects;
  };
  void AddClusterPolicies();
  NamespacePolicies& PoliciesOf(const std::string& ns);
  std::vector<uint32_t> CandidatesOf(const ObjectKey& key, const Pod* pod);
  void Rank(std::vector<std::vector<uint32_t>> selected_by);

  const Model& model_;
  std::vector<SelectedPolicy> candidates_;
  absl::flat_hash_map<std::string, NamespacePolicies> namespaces_;
  PeerTable subjects_;                                                     // of ClusterNetworkPolicies
  std::array<std::vector<std::vector<uint32_t>>, kPeerKinds> by_subject_;  // candidates by kind and number
  std::vector<LocalPod> pods_;
  std::vector<SelectedPolicy> policies_;
};

}  // namespace podwire
