#include "acl/policy_selection.h"

#include <algorithm>

namespace podwire {
namespace {

constexpr Direction kDirections[] = {Direction::kIngress, Direction::kEgress};

SelectedPolicy Of(const NetworkPolicy& p) {
  SelectedPolicy out{.info = {.key = p.key}, .ns = p.key.ns};
  for (const Direction d : kDirections) {
    if (p.Isolates(d)) out.rules[static_cast<size_t>(d)] = &p.Rules(d);
  }
  return out;
}

SelectedPolicy Of(const ClusterNetworkPolicy& p) {
  SelectedPolicy out{.info = {.tier = p.tier, .priority = p.priority, .key = {"", p.name}}};
  for (const Direction d : kDirections) {
    const auto at = static_cast<size_t>(d);
    if (!p.Rules(d).empty()) out.rules[at] = &p.Rules(d);
    for (const PolicyRule& rule : p.Rules(d)) out.info.rules[at].push_back({rule.name, rule.action});
  }
  return out;
}

}  // namespace

PolicySelection::PolicySelection(const Model& model, std::span<const ObjectKey> local_pods) : model_(model) {
  AddClusterPolicies();
  std::vector<std::vector<uint32_t>> selected_by;
  for (const ObjectKey& key : local_pods) {
    const auto it = model.pods.find(key);
    const Pod* pod = it == model.pods.end() ? nullptr : &it->second;
    pods_.push_back({.key = &key, .pod = pod, .policies = {}});
    const bool is_subject = pod == nullptr || !pod->host_network;
    selected_by.push_back(is_subject ? CandidatesOf(key, pod) : std::vector<uint32_t>{});
  }
  Rank(std::move(selected_by));
}

void PolicySelection::AddClusterPolicies() {
  for (const auto& [name, policy] : model_.cluster_policies) {
    const PodPeer subject = subjects_.Intern("", policy.subject);
    auto& by_number = by_subject_[static_cast<size_t>(subject.kind)];
    if (by_number.size() <= subject.number) by_number.resize(subject.number + 1);
    by_number[subject.number].push_back(static_cast<uint32_t>(candidates_.size()));
    candidates_.push_back(Of(policy));
  }
}

PolicySelection::NamespacePolicies& PolicySelection::PoliciesOf(const std::string& ns) {
  const auto [it, added] = namespaces_.try_emplace(ns);
  NamespacePolicies& out = it->second;
  if (!added) return out;
  out.subjects = subjects_.MatchNamespace(ns, model_.NamespaceLabels(ns));
  for (auto p = model_.policies.lower_bound({ns, ""}); p != model_.policies.end() && p->first.ns == ns; ++p) {
    const uint32_t id = out.selectors.Intern(p->second.pod_selector);
    if (id == out.by_selector.size()) out.by_selector.emplace_back();
    out.by_selector[id].push_back(static_cast<uint32_t>(candidates_.size()));
    candidates_.push_back(Of(p->second));
  }
  return out;
}

std::vector<uint32_t> PolicySelection::CandidatesOf(const ObjectKey& key, const Pod* pod) {
  const NamespacePolicies& policies = PoliciesOf(key.ns);
  const Labels no_labels;
  const Labels& labels = pod == nullptr ? no_labels : pod->labels;
  std::vector<uint32_t> candidates;
  const auto add = [&](const std::vector<uint32_t>& more) {
    candidates.insert(candidates.end(), more.begin(), more.end());
  };
  for (const uint32_t id : policies.selectors.Match(labels)) add(policies.by_selector[id]);
  for (const uint32_t number : policies.subjects.peers)
    add(by_subject_[static_cast<size_t>(PeerKind::kNamespace)][number]);
  for (const uint32_t number : subjects_.MatchCross(policies.subjects, labels))
    add(by_subject_[static_cast<size_t>(PeerKind::kCross)][number]);
  return candidates;
}

/// Numbers the candidates that select some pod by precedence, and sorts each pod's by direction and tier.
void PolicySelection::Rank(std::vector<std::vector<uint32_t>> selected_by) {
  std::vector<bool> selects(candidates_.size());
  for (const auto& list : selected_by) {
    for (const uint32_t candidate : list) selects[candidate] = true;
  }
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < candidates_.size(); ++i) {
    if (selects[i]) order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return candidates_[a].info < candidates_[b].info; });
  std::vector<uint32_t> index(candidates_.size());
  for (const uint32_t candidate : order) {
    index[candidate] = static_cast<uint32_t>(policies_.size());
    policies_.push_back(std::move(candidates_[candidate]));
  }
  for (size_t i = 0; i < pods_.size(); ++i) {
    PolicyList mine;
    for (const uint32_t candidate : selected_by[i]) mine.push_back(index[candidate]);
    std::sort(mine.begin(), mine.end());
    for (const Direction d : kDirections) {
      const auto at = static_cast<size_t>(d);
      auto& by_tier = pods_[i].policies[at];
      for (const uint32_t p : mine) {
        if (policies_[p].rules[at] != nullptr)
          by_tier[static_cast<size_t>(policies_[p].info.tier)].push_back(p);
      }
      if (!by_tier[static_cast<size_t>(Tier::kNetworkPolicy)].empty())
        by_tier[static_cast<size_t>(Tier::kBaseline)].clear();
    }
  }
}

}  // namespace podwire
