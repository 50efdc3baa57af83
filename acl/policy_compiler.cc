#include "acl/policy_compiler.h"

#include <algorithm>

#include "acl/stable_hash.h"

namespace podwire {
namespace {

constexpr uint64_t kDirectionSalt[2] = {0x696e, 0x6f7574};
/// Peers, classes and names that nobody asks for any more are dropped when there are so many more than at
/// the start, and twice as many.
constexpr size_t kSpareEntries = 1 << 15;
constexpr uint64_t kPurgePeriod = 64;  // epochs

PortRange RangeOf(const PolicyPort& port, RuleRef ref) {
  const auto proto = static_cast<uint8_t>(port.protocol);
  if (port.is_whole_protocol()) return {MakePortKey(proto, 0), MakePortKey(proto, UINT16_MAX), ref};
  return {MakePortKey(proto, port.first), MakePortKey(proto, port.last), ref};
}

void AppendNodes(const Model& model, const LabelSelector& selector, std::vector<IpBlock>& blocks) {
  for (const auto& [name, node] : model.nodes) {
    if (!selector.Matches(node.labels)) continue;
    for (const IpAddress& a : node.addresses) blocks.push_back({IpPrefix::Make(a, a.bits()), {}});
  }
}

/// What the pod itself serves under the names that an ingress rule uses.
PortRanges OwnPorts(const CompiledRule& rule, RuleRef ref, const Pod* pod) {
  PortRanges ranges;
  if (pod == nullptr) return ranges;
  for (const auto& [name, protocol] : rule.own_names) {
    for (const ContainerPort& port : pod->ports) {
      if (port.name != name || port.protocol != protocol) continue;
      const PortKey key = MakePortKey(static_cast<uint8_t>(protocol), port.number);
      ranges.push_back({key, key, ref});
    }
  }
  return ranges;
}

}  // namespace

PolicyCompiler::PolicyCompiler() { StartAgain(); }

void PolicyCompiler::StartAgain() {
  peers_ = {};
  names_ = {};
  classes_ = std::make_unique<AddressClasses>(groups_, peers_, names_);
  policies_.clear();
  built_ = {};
}

size_t PolicyCompiler::entries() const {
  size_t sum = names_.size() + classes_->entries();
  for (const PeerKind kind : {PeerKind::kNamespace, PeerKind::kOwn, PeerKind::kCross})
    sum += peers_.count(kind);
  return sum;
}

void PolicyCompiler::ChangePod(const Pod* before, const Pod* after) {
  groups_.Change(before, after);
  if (before != nullptr) selection_.ChangePod(before->key);
  if (after != nullptr) selection_.ChangePod(after->key);
}

void PolicyCompiler::ChangeNamespace(const std::string& name) {
  changed_namespaces_.insert(name);
  selection_.ChangeNamespace(name);
}

CompiledPolicy PolicyCompiler::Compile(const Model& model, std::span<const ObjectKey> local_pods) {
  ++epoch_;
  const bool start_again = entries() > 2 * entries_at_start_ + kSpareEntries;
  if (start_again) StartAgain();
  selection_.Update(model, local_pods, epoch_);
  CompileRules(model);
  classes_->Update(model, changed_namespaces_, epoch_);
  changed_namespaces_.clear();
  if (start_again) entries_at_start_ = entries();
  BuildRuleSets();
  out_.pods_ = groups_.ShareAddresses();
  out_.groups_ = classes_->ShareGroups();
  out_.port_names_ = classes_->SharePortNames();
  return std::exchange(out_, {});
}

/// Of policies that select a local pod and are new or have changed.
void PolicyCompiler::CompileRules(const Model& model) {
  policies_.resize(selection_.policies().size());
  for (const uint32_t number : selection_.changed()) policies_[number].compiled = false;
  if (std::exchange(nodes_changed_, false)) {
    for (Policy& p : policies_) p.compiled = p.compiled && !p.names_nodes;
  }
  for (const PolicySelection::LocalPod* pod : selection_.pods()) {
    for (const auto& by_tier : pod->policies) {
      for (const PolicyList& policies : by_tier) {
        for (const uint32_t number : policies) {
          if (!policies_[number].compiled) CompileRules(model, number);
        }
      }
    }
  }
}

void PolicyCompiler::CompileRules(const Model& model, uint32_t number) {
  const PolicyInfo& info = *selection_.policies()[number].info;
  Policy out{.compiled = true, .compiled_at = epoch_};
  for (const Direction d : {Direction::kIngress, Direction::kEgress}) {
    const auto at = static_cast<size_t>(d);
    if (!selection_.policies()[number].rules[at]) continue;
    const std::vector<PolicyRule>& rules = info.tier == Tier::kNetworkPolicy
                                               ? model.policies.at(info.key).Rules(d)
                                               : model.cluster_policies.at(info.key.name).Rules(d);
    for (const PolicyRule& rule : rules) {
      CompiledRule compiled = CompileRule(model, info.key.ns, rule, d, out.names_nodes);
      compiled.number = static_cast<uint32_t>(out.rules[at].size());
      out.rules[at].push_back(std::move(compiled));
    }
  }
  policies_[number] = std::move(out);
}

CompiledRule PolicyCompiler::CompileRule(const Model& model, const std::string& ns, const PolicyRule& rule,
                                         Direction d, bool& names_nodes) {
  CompiledRule out{.action = rule.action, .any_peer = rule.peers.empty()};
  const Claim claim = rule.action == RuleAction::kDeny ? Claim::kAny : Claim::kAll;
  for (const PolicyPeer& peer : rule.peers) {
    if (peer.ip_block) {
      out.blocks.push_back(*peer.ip_block);
    } else if (peer.node_selector) {
      AppendNodes(model, *peer.node_selector, out.blocks);
      names_nodes = true;
    } else if (peer.pod_selector || peer.namespace_selector) {
      out.pod_peers.push_back(peers_.Intern(ns, peer, claim));
    }
    out.blocks.insert(out.blocks.end(), peer.networks.begin(), peer.networks.end());
  }
  if (rule.ports.empty()) out.ports.push_back({0, kLastPortKey, {}});
  for (const PolicyPort& port : rule.ports) {
    if (!port.is_named()) {
      out.ports.push_back(RangeOf(port, {}));
      continue;
    }
    for (const L4Protocol protocol : {L4Protocol::kTcp, L4Protocol::kUdp, L4Protocol::kSctp}) {
      if (protocol != port.protocol && !port.any_protocol) continue;
      if (d == Direction::kEgress) {
        const PortKey name = names_.Intern(port.name, protocol);
        out.ports.push_back({name, name, {}});
      } else {
        out.own_names.emplace_back(port.name, protocol);
      }
    }
  }
  return out;
}

std::vector<RuleUse> PolicyCompiler::UsesOf(Direction d, const PolicyList& policies, const Pod* pod) const {
  std::vector<RuleUse> uses;
  uint32_t run = 0;
  for (uint32_t place = 0; place < policies.size(); ++place) {
    const uint32_t number = policies[place];
    const bool ordered = selection_.policies()[number].info->tier != Tier::kNetworkPolicy;
    for (const CompiledRule& rule : policies_[number].rules[static_cast<size_t>(d)]) {
      RuleUse use{.rule = &rule, .ref = {place, rule.number}, .ports = rule.ports};
      for (PortRange& r : use.ports) r.rule = use.ref;
      const PortRanges own = OwnPorts(rule, use.ref, pod);
      use.ports.insert(use.ports.end(), own.begin(), own.end());
      if (ordered && (uses.empty() || uses.back().rule->action != rule.action)) ++run;
      if (ordered) use.level = run << 2 | static_cast<uint32_t>(rule.action);
      uses.push_back(std::move(use));
    }
  }
  return uses;
}

PolicyCompiler::RuleSetKey PolicyCompiler::KeyOf(Direction d, const PolicyList& policies,
                                                 const Pod* pod) const {
  RuleSetKey key{policies, {}};
  if (d == Direction::kEgress) return key;
  for (uint32_t place = 0; place < policies.size(); ++place) {
    for (const CompiledRule& rule : policies_[policies[place]].rules[static_cast<size_t>(d)]) {
      const PortRanges own = OwnPorts(rule, {place, rule.number}, pod);
      key.second.insert(key.second.end(), own.begin(), own.end());
    }
  }
  return key;
}

bool PolicyCompiler::HasOtherRules(const BuiltSet& built, const PolicyList& policies) const {
  return std::ranges::any_of(policies, [&](uint32_t p) { return policies_[p].compiled_at > built.built_at; });
}

bool PolicyCompiler::HasOtherPeers(const BuiltSet& built) const {
  const auto is_newer = [&](auto peer) { return classes_->ChangedAt(peer) > built.built_at; };
  return std::ranges::any_of(built.peers, is_newer) || std::ranges::any_of(built.names, is_newer);
}

void PolicyCompiler::Build(RuleSetBuilder& builder, BuiltSet& built, Direction d, const PolicyList& policies,
                           const Pod* pod) {
  built.peers.clear();
  for (const uint32_t number : policies) {
    for (const CompiledRule& rule : policies_[number].rules[static_cast<size_t>(d)])
      built.peers.insert(built.peers.end(), rule.pod_peers.begin(), rule.pod_peers.end());
  }
  std::ranges::sort(built.peers);
  built.peers.erase(std::unique(built.peers.begin(), built.peers.end()), built.peers.end());
  RuleSet set = builder.Build(UsesOf(d, policies, pod));
  set.policies = policies;
  Take(builder, built, std::move(set));
}

/// The rules are the same, but not who is a peer.
void PolicyCompiler::Extend(RuleSetBuilder& builder, BuiltSet& built, Direction d, const PolicyList& policies,
                            const Pod* pod) {
  Take(builder, built, builder.Extend(*built.set, UsesOf(d, policies, pod), built.classes));
}

void PolicyCompiler::Take(RuleSetBuilder& builder, BuiltSet& built, RuleSet set) {
  ++built_count_;
  built.built_at = epoch_;
  built.classes = classes_->counts();
  built.set = std::make_shared<const RuleSet>(std::move(set));
  built.names = builder.names_asked();
  std::ranges::sort(built.names);
  built.names.erase(std::unique(built.names.begin(), built.names.end()), built.names.end());
}

const PolicyCompiler::BuiltSet& PolicyCompiler::SetOf(RuleSetBuilder& builder, Direction d,
                                                      const PolicyList& policies, const Pod* pod) {
  BuiltSet& built = built_[static_cast<size_t>(d)][KeyOf(d, policies, pod)];
  if (built.used_at == epoch_) return built;
  built.used_at = epoch_;
  if (built.set == nullptr || HasOtherRules(built, policies)) {
    Build(builder, built, d, policies, pod);
  } else if (HasOtherPeers(built)) {
    Extend(builder, built, d, policies, pod);
  }
  out_.rule_sets_.push_back(built.set);
  for (const uint32_t number : policies) out_.policies_[number] = selection_.policies()[number].info;
  return built;
}

RuleSetId PolicyCompiler::TiersOf(RuleSetBuilder& builder, const PolicySelection::LocalPod& pod, Direction d,
                                  uint64_t& fingerprint) {
  const auto at = static_cast<size_t>(d);
  CompiledPolicy::TieredRules tiers;
  for (size_t tier = 0; tier < kTiers; ++tier) {
    const PolicyList& policies = pod.policies[at][tier];
    if (policies.empty()) continue;
    tiers.sets[tier] = SetOf(builder, d, policies, pod.pod).set.get();
    fingerprint += CombineHash(kDirectionSalt[at] + tier, tiers.sets[tier]->fingerprint);
  }
  if (tiers == CompiledPolicy::TieredRules{}) return kNotIsolated;
  auto& all = out_.tiered_rules_[at];
  const auto [it, added] = tiered_[at].try_emplace(tiers, RuleSetId(static_cast<uint32_t>(all.size())));
  if (added) all.push_back(tiers);
  return it->second;
}

void PolicyCompiler::BuildRuleSets() {
  built_count_ = 0;
  tiered_ = {};
  out_.policies_.resize(policies_.size());
  out_.endpoints_.reserve(selection_.pods().size());
  RuleSetBuilder builder(*classes_, names_, port_sets_);
  for (const PolicySelection::LocalPod* pod : selection_.pods()) {
    EndpointPolicy endpoint;
    endpoint.ingress = TiersOf(builder, *pod, Direction::kIngress, endpoint.fingerprint);
    endpoint.egress = TiersOf(builder, *pod, Direction::kEgress, endpoint.fingerprint);
    out_.endpoints_.insert_or_assign(*pod->key, endpoint);
  }
  for (auto& sets : built_)
    absl::erase_if(sets, [&](const auto& entry) { return entry.second.used_at != epoch_; });
  if (epoch_ % kPurgePeriod == 0) port_sets_.Purge();
}

CompiledPolicy Compile(const Model& model, std::span<const ObjectKey> local_pods) {
  PolicyCompiler compiler;
  for (const auto& [key, pod] : model.pods) compiler.ChangePod(nullptr, &pod);
  for (const auto& [name, policy] : model.cluster_policies) compiler.ChangeClusterPolicy(name);
  return compiler.Compile(model, local_pods);
}

}  // namespace podwire
