#include <algorithm>
#include <map>

#include "acl/address_classes.h"
#include "acl/compiled_policy.h"
#include "acl/peer_table.h"
#include "acl/port_names.h"
#include "acl/rule_set_builder.h"
#include "acl/selector_index.h"
#include "acl/stable_hash.h"

namespace podwire {
namespace {

constexpr uint64_t kDirectionSalt[2] = {0x696e, 0x6f7574};

PortRange RangeOf(const PolicyPort& port, RuleRef ref) {
  const auto proto = static_cast<uint8_t>(port.protocol);
  if (port.is_whole_protocol()) return {MakePortKey(proto, 0), MakePortKey(proto, UINT16_MAX), ref};
  return {MakePortKey(proto, port.first), MakePortKey(proto, port.last), ref};
}

}  // namespace

/// Makes one CompiledPolicy, in the order of its methods.
class PolicyCompiler {
 public:
  explicit PolicyCompiler(const Model& model) : model_(model) {}

  CompiledPolicy Run(std::span<const ObjectKey> local_pods) {
    SelectPolicies(local_pods);
    CompileRules();
    AddressClasses classes = ClassifyPods(model_, peers_, names_);
    BuildRuleSets(classes);
    out_.pods_ = std::move(classes.pods);
    out_.port_names_ = std::move(classes.port_names);
    out_.port_sets_.Seal();
    return std::move(out_);
  }

 private:
  static constexpr Direction kDirections[] = {Direction::kIngress, Direction::kEgress};
  using PolicyList = std::vector<uint32_t>;  // indexes of policies, ascending

  struct LocalPod {
    const ObjectKey* key;
    const Pod* pod;  // nullptr: not in the model
    std::vector<const NetworkPolicy*> selected_by;
    std::array<PolicyList, 2> isolated_by;
  };
  /// The policies of a namespace by their podSelector.
  struct NamespacePolicies {
    SelectorIndex selectors;
    std::vector<std::vector<const NetworkPolicy*>> by_selector;
  };

  const NamespacePolicies& PoliciesOf(const std::string& ns) {
    const auto [it, added] = namespaces_.try_emplace(ns);
    if (!added) return it->second;
    for (auto p = model_.policies.lower_bound({ns, ""}); p != model_.policies.end() && p->first.ns == ns;
         ++p) {
      const uint32_t id = it->second.selectors.Intern(p->second.pod_selector);
      if (id == it->second.by_selector.size()) it->second.by_selector.emplace_back();
      it->second.by_selector[id].push_back(&p->second);
    }
    return it->second;
  }

  /// Which policies select which local pods; policies_ are all that do, by key.
  void SelectPolicies(std::span<const ObjectKey> local_pods) {
    std::map<ObjectKey, const NetworkPolicy*> selecting;
    for (const ObjectKey& key : local_pods) {
      const auto it = model_.pods.find(key);
      LocalPod local{&key, it == model_.pods.end() ? nullptr : &it->second, {}, {}};
      if (local.pod == nullptr || !local.pod->host_network) {
        const NamespacePolicies& policies = PoliciesOf(key.ns);
        const Labels no_labels;
        for (const uint32_t id :
             policies.selectors.Match(local.pod == nullptr ? no_labels : local.pod->labels)) {
          for (const NetworkPolicy* p : policies.by_selector[id]) {
            local.selected_by.push_back(p);
            selecting.emplace(p->key, p);
          }
        }
      }
      local_pods_.push_back(std::move(local));
    }
    absl::flat_hash_map<const NetworkPolicy*, uint32_t> index;
    for (const auto& [key, policy] : selecting) {
      index.emplace(policy, static_cast<uint32_t>(policies_.size()));
      policies_.push_back(policy);
      out_.policies_.push_back(key);
    }
    for (LocalPod& local : local_pods_) {
      for (const NetworkPolicy* p : local.selected_by) {
        for (const Direction d : kDirections) {
          if (p->Isolates(d)) local.isolated_by[static_cast<size_t>(d)].push_back(index[p]);
        }
      }
      for (PolicyList& list : local.isolated_by) std::sort(list.begin(), list.end());
    }
  }

  void CompileRules() {
    for (const Direction d : kDirections) {
      auto& by_policy = rules_[static_cast<size_t>(d)];
      by_policy.resize(policies_.size());
      for (uint32_t i = 0; i < policies_.size(); ++i) {
        if (!policies_[i]->Isolates(d)) continue;
        uint32_t number = 0;
        for (const PolicyRule& rule : policies_[i]->Rules(d)) {
          by_policy[i].push_back(CompileRule(policies_[i]->key.ns, rule, d, {i, number++}));
        }
      }
    }
  }

  CompiledRule CompileRule(const std::string& ns, const PolicyRule& rule, Direction d, RuleRef ref) {
    CompiledRule out{.ref = ref, .any_peer = rule.peers.empty()};
    for (const PolicyPeer& peer : rule.peers) {
      if (peer.ip_block) {
        out.blocks.push_back(&*peer.ip_block);
      } else if (peer.pod_selector || peer.namespace_selector) {
        out.pod_peers.push_back(peers_.Intern(ns, peer));
      }
    }
    if (rule.ports.empty()) out.ports.push_back({0, kLastPortKey, ref});
    for (const PolicyPort& port : rule.ports) {
      if (!port.is_named()) {
        out.ports.push_back(RangeOf(port, ref));
      } else if (d == Direction::kEgress) {
        const PortKey name = names_.Intern(port.name, port.protocol);
        out.ports.push_back({name, name, ref});
      } else {
        out.own_names.emplace_back(port.name, port.protocol);
      }
    }
    return out;
  }

  /// What the pod itself serves under the names that an ingress rule uses.
  static PortRanges OwnPorts(const CompiledRule& rule, const Pod* pod) {
    PortRanges ranges;
    if (pod == nullptr) return ranges;
    for (const auto& [name, protocol] : rule.own_names) {
      for (const ContainerPort& port : pod->ports) {
        if (port.name != name || port.protocol != protocol) continue;
        const PortKey key = MakePortKey(static_cast<uint8_t>(protocol), port.number);
        ranges.push_back({key, key, rule.ref});
      }
    }
    return ranges;
  }

  std::vector<RuleUse> UsesOf(Direction d, const PolicyList& policies, const Pod* pod) const {
    std::vector<RuleUse> uses;
    for (const uint32_t policy : policies) {
      for (const CompiledRule& rule : rules_[static_cast<size_t>(d)][policy]) {
        RuleUse use{&rule, rule.ports};
        const PortRanges own = OwnPorts(rule, pod);
        use.ports.insert(use.ports.end(), own.begin(), own.end());
        uses.push_back(std::move(use));
      }
    }
    return uses;
  }

  /// What makes two pods' rule sets differ: the policies, and what their own port names stand for.
  using RuleSetKey = std::pair<PolicyList, PortRanges>;
  RuleSetKey KeyOf(Direction d, const PolicyList& policies, const Pod* pod) const {
    RuleSetKey key{policies, {}};
    for (const uint32_t policy : policies) {
      for (const CompiledRule& rule : rules_[static_cast<size_t>(d)][policy]) {
        const PortRanges own = OwnPorts(rule, pod);
        key.second.insert(key.second.end(), own.begin(), own.end());
      }
    }
    return key;
  }

  void BuildRuleSets(const AddressClasses& classes) {
    RuleSetBuilder builder(classes, names_, out_.port_sets_);
    std::array<absl::flat_hash_map<RuleSetKey, RuleSetId>, 2> built;
    for (const LocalPod& local : local_pods_) {
      EndpointPolicy endpoint;
      for (const Direction d : kDirections) {
        const auto at = static_cast<size_t>(d);
        const PolicyList& policies = local.isolated_by[at];
        if (policies.empty()) continue;
        auto& sets = out_.rule_sets_[at];
        const auto [it, added] = built[at].try_emplace(KeyOf(d, policies, local.pod),
                                                       RuleSetId(static_cast<uint32_t>(sets.size())));
        if (added) sets.push_back(builder.Build(UsesOf(d, policies, local.pod)));
        (d == Direction::kIngress ? endpoint.ingress : endpoint.egress) = it->second;
        endpoint.fingerprint += CombineHash(kDirectionSalt[at], sets[it->second.value()].fingerprint);
      }
      out_.endpoints_.insert_or_assign(*local.key, endpoint);
    }
  }

  const Model& model_;
  CompiledPolicy out_;
  absl::flat_hash_map<std::string, NamespacePolicies> namespaces_;
  std::vector<LocalPod> local_pods_;
  std::vector<const NetworkPolicy*> policies_;
  PeerTable peers_;
  PortNameTable names_;
  std::array<std::vector<std::vector<CompiledRule>>, 2> rules_;  // by direction and policy
};

CompiledPolicy Compile(const Model& model, std::span<const ObjectKey> local_pods) {
  return PolicyCompiler(model).Run(local_pods);
}

}  // namespace podwire
