#include "acl/policy_selection.h"

#include <algorithm>
#include <utility>

namespace podwire {
namespace {

constexpr Direction kDirections[] = {Direction::kIngress, Direction::kEgress};

SelectedPolicy Of(const NetworkPolicy& p) {
  SelectedPolicy out{.info = std::make_shared<const PolicyInfo>(PolicyInfo{.key = p.key}),
                     .subject = {.pod_selector = p.pod_selector}};
  for (const Direction d : kDirections) out.rules[static_cast<size_t>(d)] = p.Isolates(d);
  return out;
}

SelectedPolicy Of(const ClusterNetworkPolicy& p) {
  PolicyInfo info{.tier = p.tier, .priority = p.priority, .key = {"", p.name}};
  SelectedPolicy out{.subject = p.subject};
  for (const Direction d : kDirections) {
    const auto at = static_cast<size_t>(d);
    out.rules[at] = !p.Rules(d).empty();
    for (const PolicyRule& rule : p.Rules(d)) info.rules[at].push_back({rule.name, rule.action});
  }
  out.info = std::make_shared<const PolicyInfo>(std::move(info));
  return out;
}

void AddTo(std::vector<PolicyList>& lists, uint32_t at, uint32_t policy) {
  if (lists.size() <= at) lists.resize(at + 1);
  lists[at].push_back(policy);
}

}  // namespace

void PolicySelection::Update(const Model& model, std::span<const ObjectKey> local_pods, uint64_t epoch) {
  epoch_ = epoch;
  changed_.clear();
  pods_.clear();
  UpdateClusterPolicies(model);
  UpdatePolicies(model);
  for (const ObjectKey& key : local_pods) {
    const auto [ns, new_namespace] = namespaces_.try_emplace(key.ns);
    if (new_namespace) BuildNamespace(model, ns->first, ns->second);
    ns->second.used_at = epoch_;
    const auto [known, added] = known_.try_emplace(key);
    LocalPod& pod = known->second;
    const auto it = model.pods.find(key);
    pod.key = &known->first;
    pod.pod = it == model.pods.end() ? nullptr : &it->second;
    const bool stale = added || pod.selected_at < std::max(ns->second.changed_at, subjects_changed_at_) ||
                       changed_pods_.contains(key);
    if (stale) Select(pod, ns->second);
    pod.used_at = epoch_;
    pods_.push_back(&pod);
  }
  changed_pods_.clear();
  std::erase_if(known_, [&](const auto& known) { return known.second.used_at != epoch_; });
  std::erase_if(namespaces_, [&](const auto& entry) {
    if (entry.second.used_at == epoch_) return false;
    for (const auto& [name, number] : entry.second.numbers) Remove(number);
    return true;
  });
}

uint32_t PolicySelection::Add(SelectedPolicy policy) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(policies_.size()));
    policies_.emplace_back();
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  policies_[number] = std::move(policy);
  changed_.push_back(number);
  return number;
}

void PolicySelection::Remove(uint32_t number) {
  policies_[number] = {};
  free_.push_back(number);
}

bool PolicySelection::TakeRules(uint32_t number, SelectedPolicy now) {
  SelectedPolicy& held = policies_[number];
  const bool only_rules = held.subject == now.subject && held.rules == now.rules &&
                          held.info->tier == now.info->tier && held.info->priority == now.info->priority;
  held = std::move(now);
  changed_.push_back(number);
  return only_rules;
}

void PolicySelection::UpdateClusterPolicies(const Model& model) {
  bool rebuild = false;
  for (const std::string& name : std::exchange(changed_cluster_policies_, {})) {
    const auto now = model.cluster_policies.find(name);
    const auto known = cluster_numbers_.find(name);
    if (now == model.cluster_policies.end()) {
      if (known == cluster_numbers_.end()) continue;
      Remove(known->second);
      cluster_numbers_.erase(known);
      rebuild = true;
    } else if (known == cluster_numbers_.end()) {
      cluster_numbers_.emplace(name, Add(Of(now->second)));
      rebuild = true;
    } else {
      rebuild = !TakeRules(known->second, Of(now->second)) || rebuild;
    }
  }
  if (!rebuild) return;
  subjects_changed_at_ = epoch_;
  subjects_ = {};
  by_subject_ = {};
  for (const auto& [name, number] : cluster_numbers_) {
    const PodPeer subject = subjects_.Intern("", policies_[number].subject);
    AddTo(by_subject_[static_cast<size_t>(subject.kind)], subject.number, number);
  }
  for (auto& [ns, policies] : namespaces_)
    policies.subjects = subjects_.MatchNamespace(ns, model.NamespaceLabels(ns));
}

void PolicySelection::UpdatePolicies(const Model& model) {
  Names rebuild;
  for (const ObjectKey& key : std::exchange(changed_policies_, {})) {
    const auto ns = namespaces_.find(key.ns);
    if (ns == namespaces_.end()) continue;  // no pod of it is local
    const auto now = model.policies.find(key);
    const auto known = ns->second.numbers.find(key.name);
    const bool exists = now != model.policies.end();
    const bool same =
        exists && known != ns->second.numbers.end() && TakeRules(known->second, Of(now->second));
    if (!same) rebuild.insert(key.ns);
  }
  rebuild.merge(std::exchange(changed_namespaces_, {}));
  for (const std::string& name : rebuild) {
    const auto ns = namespaces_.find(name);
    if (ns != namespaces_.end()) BuildNamespace(model, ns->first, ns->second);
  }
}

void PolicySelection::BuildNamespace(const Model& model, const std::string& ns, NamespacePolicies& out) {
  auto before = std::exchange(out.numbers, {});
  out.selectors = {};
  out.by_selector.clear();
  out.changed_at = epoch_;
  out.subjects = subjects_.MatchNamespace(ns, model.NamespaceLabels(ns));
  for (auto p = model.policies.lower_bound({ns, ""}); p != model.policies.end() && p->first.ns == ns; ++p) {
    const auto known = before.find(p->first.name);
    uint32_t number = 0;
    if (known == before.end()) {
      number = Add(Of(p->second));
    } else {
      number = known->second;
      before.erase(known);
    }
    out.numbers.emplace_hint(out.numbers.end(), p->first.name, number);
    AddTo(out.by_selector, out.selectors.Intern(p->second.pod_selector), number);
  }
  for (const auto& [name, number] : before) Remove(number);
}

PolicyList PolicySelection::CandidatesOf(const NamespacePolicies& policies, const Labels& labels) const {
  PolicyList candidates;
  const auto add = [&](const PolicyList& more) {
    candidates.insert(candidates.end(), more.begin(), more.end());
  };
  for (const uint32_t id : policies.selectors.Match(labels)) add(policies.by_selector[id]);
  for (const uint32_t number : policies.subjects.peers)
    add(by_subject_[static_cast<size_t>(PeerKind::kNamespace)][number]);
  for (const uint32_t number : subjects_.MatchCross(policies.subjects, labels))
    add(by_subject_[static_cast<size_t>(PeerKind::kCross)][number]);
  return candidates;
}

/// Fills the pod's lists.
void PolicySelection::Select(LocalPod& pod, const NamespacePolicies& policies) const {
  pod.selected_at = epoch_;
  pod.policies = {};
  if (pod.pod != nullptr && pod.pod->host_network) return;
  const Labels no_labels;
  PolicyList mine = CandidatesOf(policies, pod.pod == nullptr ? no_labels : pod.pod->labels);
  std::sort(mine.begin(), mine.end(),
            [&](uint32_t a, uint32_t b) { return *policies_[a].info < *policies_[b].info; });
  for (const Direction d : kDirections) {
    const auto at = static_cast<size_t>(d);
    auto& by_tier = pod.policies[at];
    for (const uint32_t p : mine) {
      if (policies_[p].rules[at]) by_tier[static_cast<size_t>(policies_[p].info->tier)].push_back(p);
    }
    if (!by_tier[static_cast<size_t>(Tier::kNetworkPolicy)].empty())
      by_tier[static_cast<size_t>(Tier::kBaseline)].clear();
  }
}

}  // namespace podwire
