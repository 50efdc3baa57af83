#include <deque>

#include "acl/address_classes.h"
#include "acl/compiled_policy.h"
#include "acl/peer_table.h"
#include "acl/policy_selection.h"
#include "acl/port_names.h"
#include "acl/rule_set_builder.h"
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
  PolicyCompiler(const Model& model, std::span<const ObjectKey> local_pods)
      : model_(model), selection_(model, local_pods) {}

  CompiledPolicy Run() {
    CompileRules();
    AddressClasses classes = ClassifyPods(model_, peers_, names_);
    BuildRuleSets(classes);
    for (const SelectedPolicy& policy : selection_.policies()) out_.policies_.push_back(policy.info);
    out_.pods_ = std::move(classes.pods);
    out_.port_names_ = std::move(classes.port_names);
    out_.port_sets_.Seal();
    return std::move(out_);
  }

 private:
  static constexpr Direction kDirections[] = {Direction::kIngress, Direction::kEgress};

  void CompileRules() {
    const std::vector<SelectedPolicy>& policies = selection_.policies();
    for (const Direction d : kDirections) {
      const auto at = static_cast<size_t>(d);
      rules_[at].resize(policies.size());
      for (uint32_t i = 0; i < policies.size(); ++i) {
        if (policies[i].rules[at] == nullptr) continue;
        uint32_t number = 0;
        for (const PolicyRule& rule : *policies[i].rules[at]) {
          rules_[at][i].push_back(CompileRule(std::string(policies[i].ns), rule, d, {i, number++}));
        }
      }
    }
  }

  CompiledRule CompileRule(const std::string& ns, const PolicyRule& rule, Direction d, RuleRef ref) {
    CompiledRule out{.ref = ref, .action = rule.action, .any_peer = rule.peers.empty()};
    const Claim claim = rule.action == RuleAction::kDeny ? Claim::kAny : Claim::kAll;
    for (const PolicyPeer& peer : rule.peers) {
      if (peer.ip_block) {
        out.blocks.push_back(&*peer.ip_block);
      } else if (peer.node_selector) {
        AppendNodes(*peer.node_selector, out.blocks);
      } else if (peer.pod_selector || peer.namespace_selector) {
        out.pod_peers.push_back(peers_.Intern(ns, peer, claim));
      }
      for (const IpBlock& network : peer.networks) out.blocks.push_back(&network);
    }
    if (rule.ports.empty()) out.ports.push_back({0, kLastPortKey, ref});
    for (const PolicyPort& port : rule.ports) {
      if (!port.is_named()) {
        out.ports.push_back(RangeOf(port, ref));
        continue;
      }
      for (const L4Protocol protocol : {L4Protocol::kTcp, L4Protocol::kUdp, L4Protocol::kSctp}) {
        if (protocol != port.protocol && !port.any_protocol) continue;
        if (d == Direction::kEgress) {
          const PortKey name = names_.Intern(port.name, protocol);
          out.ports.push_back({name, name, ref});
        } else {
          out.own_names.emplace_back(port.name, protocol);
        }
      }
    }
    return out;
  }

  void AppendNodes(const LabelSelector& selector, std::vector<const IpBlock*>& blocks) {
    for (const auto& [name, node] : model_.nodes) {
      if (!selector.Matches(node.labels)) continue;
      for (const IpAddress& a : node.addresses) {
        blocks.push_back(&node_blocks_.emplace_back(IpBlock{IpPrefix::Make(a, a.bits()), {}}));
      }
    }
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
    uint32_t run = 0;
    for (const uint32_t policy : policies) {
      const bool ordered = selection_.policies()[policy].info.tier != Tier::kNetworkPolicy;
      for (const CompiledRule& rule : rules_[static_cast<size_t>(d)][policy]) {
        RuleUse use{&rule, rule.ports};
        const PortRanges own = OwnPorts(rule, pod);
        use.ports.insert(use.ports.end(), own.begin(), own.end());
        if (ordered && (uses.empty() || uses.back().rule->action != rule.action)) ++run;
        if (ordered) use.level = run << 2 | static_cast<uint32_t>(rule.action);
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
    for (const PolicySelection::LocalPod& local : selection_.pods()) {
      EndpointPolicy endpoint;
      endpoint.ingress = BuildTiers(builder, local, Direction::kIngress, endpoint.fingerprint);
      endpoint.egress = BuildTiers(builder, local, Direction::kEgress, endpoint.fingerprint);
      out_.endpoints_.insert_or_assign(*local.key, endpoint);
    }
  }

  RuleSetId BuildTiers(RuleSetBuilder& builder, const PolicySelection::LocalPod& local, Direction d,
                       uint64_t& fingerprint) {
    const auto at = static_cast<size_t>(d);
    CompiledPolicy::TieredRules tiers;
    auto& sets = out_.rule_sets_[at];
    for (size_t tier = 0; tier < kTiers; ++tier) {
      const PolicyList& policies = local.policies[at][tier];
      if (policies.empty()) continue;
      const auto [it, added] =
          built_[at].try_emplace(KeyOf(d, policies, local.pod), static_cast<uint32_t>(sets.size()));
      if (added) sets.push_back(builder.Build(UsesOf(d, policies, local.pod)));
      tiers.sets[tier] = it->second;
      fingerprint += CombineHash(kDirectionSalt[at] + tier, sets[it->second].fingerprint);
    }
    if (tiers == CompiledPolicy::TieredRules{}) return kNotIsolated;
    auto& all = out_.tiered_rules_[at];
    const auto [it, added] = tiered_[at].try_emplace(tiers, RuleSetId(static_cast<uint32_t>(all.size())));
    if (added) all.push_back(tiers);
    return it->second;
  }

  const Model& model_;
  const PolicySelection selection_;
  CompiledPolicy out_;
  PeerTable peers_;
  PortNameTable names_;
  std::deque<IpBlock> node_blocks_;
  std::array<std::vector<std::vector<CompiledRule>>, 2> rules_;  // by direction and policy
  std::array<absl::flat_hash_map<RuleSetKey, uint32_t>, 2> built_;
  std::array<absl::flat_hash_map<CompiledPolicy::TieredRules, RuleSetId>, 2> tiered_;
};

CompiledPolicy Compile(const Model& model, std::span<const ObjectKey> local_pods) {
  return PolicyCompiler(model, local_pods).Run();
}

}  // namespace podwire
