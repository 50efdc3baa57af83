#include "acl/rule_set_builder.h"

#include <algorithm>
#include <map>

#include "acl/stable_hash.h"

namespace podwire {
namespace {

/// Appends once; calls come with ascending rules.
void AppendOnce(std::vector<uint32_t>& list, uint32_t rule) {
  if (list.empty() || list.back() != rule) list.push_back(rule);
}

/// The closest prefix around each step of a walk over prefixes in order (parents come before their children).
template <class V>
class PrefixStack {
 public:
  /// The value of the closest prefix pushed before that holds `prefix`; nullptr if there is none.
  const V* Around(const IpPrefix& prefix) {
    while (!open_.empty() && !open_.back().first.Contains(prefix)) open_.pop_back();
    return open_.empty() ? nullptr : &open_.back().second;
  }
  void Push(const IpPrefix& prefix, V value) { open_.emplace_back(prefix, std::move(value)); }

 private:
  std::vector<std::pair<IpPrefix, V>> open_;
};

constexpr uint64_t kAnySalt = 0x616e79;
constexpr uint64_t kBlockSalt = 0x626c6f63;

/// Factor for the sum of those whom a port set applies to; odd, so that no information of the sum is lost.
uint64_t Weight(uint64_t salt, uint64_t meaning) { return meaning == 0 ? 0 : CombineHash(salt, meaning) | 1; }

}  // namespace

void RuleSetBuilder::Begin(std::vector<RuleUse> rules, const RuleSet& start) {
  out_ = start;
  rules_ = std::move(rules);
  const bool levelled = !rules_.empty() && rules_.front().level != 0;
  if (levelled || levelled_) meanings_.clear();
  levelled_ = levelled;
  ports_of_.clear();
  ids_.clear();
  prefixes_.clear();
  names_asked_.clear();
}

RuleSet RuleSetBuilder::Build(std::vector<RuleUse> rules) {
  Begin(std::move(rules), nothing_);
  RuleList any;
  for (uint32_t i = 0; i < rules_.size(); ++i) {
    if (rules_[i].rule->any_peer) any.push_back(i);
  }
  out_.any_peer = PortsOf(any);
  if (!AllowsEverybodyEverything()) {  // else nobody gains by being somebody
    AddClasses({});
    AddPrefixes();
  }
  out_.fingerprint = Fingerprint();
  return std::move(out_);
}

RuleSet RuleSetBuilder::Extend(const RuleSet& before, std::vector<RuleUse> rules, const ClassCounts& seen) {
  Begin(std::move(rules), before);
  for (uint32_t i = 1; i < out_.held.size(); ++i) ids_.emplace(out_.held[i].get(), PortSetId(i));
  out_.by_prefix.ForEach(
      [&](const IpPrefix& prefix, PortSetId ports) { prefixes_.emplace_back(prefix, ports); });
  std::sort(prefixes_.begin(), prefixes_.end());
  if (!AllowsEverybodyEverything()) AddClasses(seen);
  out_.fingerprint = Fingerprint();
  return std::move(out_);
}

bool RuleSetBuilder::AllowsEverybodyEverything() const {
  const PortRanges joined = WithoutRules(out_.port_sets[out_.any_peer.value()]);
  return !levelled_ && !joined.empty() && joined[0].first == 0 && joined[0].last == kLastPortKey;
}

PortSetId RuleSetBuilder::PortsOf(const RuleList& list) {
  const auto [it, added] = ports_of_.try_emplace(list, kNoPorts);
  if (!added) return it->second;
  PortRanges ranges;
  for (const uint32_t i : list) ranges.insert(ranges.end(), rules_[i].ports.begin(), rules_[i].ports.end());
  if (ranges.empty()) return kNoPorts;
  PortSetPool::Ptr ports = pool_.Intern(Disjoint(std::move(ranges)));
  const PortSetId next(static_cast<uint32_t>(out_.port_sets.size()));
  const auto [known, is_new] = ids_.try_emplace(ports.get(), next);
  if (is_new) {
    out_.port_sets.emplace_back(*ports);
    out_.held.push_back(std::move(ports));
  }
  return it->second = known->second;
}

void RuleSetBuilder::AddClasses(const ClassCounts& seen) {
  std::array<absl::flat_hash_map<ClassId, RuleList>, kPeerKinds> lists;
  for (uint32_t i = 0; i < rules_.size(); ++i) {
    for (const PodPeer& peer : rules_[i].rule->pod_peers) {
      const auto kind = static_cast<size_t>(peer.kind);
      const std::span<const ClassId> all = classes_.ClassesOf(peer);
      for (auto c = std::ranges::lower_bound(all, ClassId(seen[kind])); c != all.end(); ++c)
        AppendOnce(lists[kind][*c], i);
    }
  }
  for (size_t kind = 0; kind < kPeerKinds; ++kind) {
    out_.by_class[kind].reserve(out_.by_class[kind].size() + lists[kind].size());
    for (const auto& [c, list] : lists[kind]) {
      if (const PortSetId ports = PortsOf(list); ports != kNoPorts) out_.by_class[kind].emplace(c, ports);
    }
  }
}

/// Walks the prefixes at which some block begins or some hole (except) does, outermost first. A block's holes
/// are all inside it, so what holds inside a prefix is what holds around it, and the blocks that begin there,
/// without the blocks that have a hole there.
void RuleSetBuilder::AddPrefixes() {
  struct Boundary {
    std::vector<uint32_t> begins, holes;  // numbers of blocks
  };
  std::map<IpPrefix, Boundary> boundaries;
  std::vector<uint32_t> rule_of_block;
  for (uint32_t i = 0; i < rules_.size(); ++i) {
    for (const IpBlock& block : rules_[i].rule->blocks) {
      const auto number = static_cast<uint32_t>(rule_of_block.size());
      rule_of_block.push_back(i);
      boundaries[block.cidr].begins.push_back(number);
      for (const IpPrefix& hole : block.except) AppendOnce(boundaries[hole].holes, number);
    }
  }
  struct Region {
    std::vector<uint32_t> blocks;  // ascending
    PortSetId ports = kNoPorts;
  };
  PrefixStack<Region> regions;
  for (const auto& [prefix, boundary] : boundaries) {
    const Region* around = regions.Around(prefix);
    const std::vector<uint32_t> before = around == nullptr ? std::vector<uint32_t>{} : around->blocks;
    const PortSetId ports_around = around == nullptr ? kNoPorts : around->ports;
    std::vector<uint32_t> with;
    std::set_union(before.begin(), before.end(), boundary.begins.begin(), boundary.begins.end(),
                   std::back_inserter(with));
    Region here;
    std::set_difference(with.begin(), with.end(), boundary.holes.begin(), boundary.holes.end(),
                        std::back_inserter(here.blocks));
    RuleList list;
    for (const uint32_t block : here.blocks) AppendOnce(list, rule_of_block[block]);
    here.ports = PortsOf(list);
    if (here.ports != ports_around) {
      out_.by_prefix.Set(prefix, here.ports);
      prefixes_.emplace_back(prefix, here.ports);
    }
    regions.Push(prefix, std::move(here));
  }
}

uint32_t RuleSetBuilder::LevelOf(const RuleRef& ref) const {
  if (!levelled_) return 0;
  return std::partition_point(rules_.begin(), rules_.end(), [&](const RuleUse& use) { return use.ref < ref; })
      ->level;
}

/// Of ranges joined where their levels are the same. Rules without ports reach over all names: a name that
/// stands there by such a rule only says nothing that its number does not say.
const RuleSetBuilder::Meaning& RuleSetBuilder::MeaningOf(PortSetId id) {
  const auto [it, added] = meanings_.try_emplace(out_.held[id.value()]);
  Meaning& meaning = it->second;
  if (!added) return meaning;
  constexpr PortKey kLastNumber = kFirstPortName - 1;
  const RuleRef portless = FindRule(out_.port_sets[id.value()], kLastNumber);
  uint64_t names_hash = 0;
  const auto add = [&](PortKey first, PortKey last, uint32_t level) {
    if (first < kFirstPortName) {
      last = last < kLastNumber ? last : kLastPortKey;
      meaning.hash = CombineHash(CombineHash(CombineHash(meaning.hash, first), last), level) | 1;
      return;
    }
    if (portless != kNoRule && LevelOf(portless) == level) return;
    for (PortKey key = first; key <= last; ++key) {
      meaning.names.push_back({key, CombineHash(names_.Hash(key), level)});
      names_hash += meaning.names.back().hash;  // a sum: keys of names depend on what else was compiled
    }
  };
  const std::span<const PortRange> ranges = out_.port_sets[id.value()];
  for (auto r = ranges.begin(); r != ranges.end();) {
    const PortKey first = r->first;
    const uint32_t level = LevelOf(r->rule);
    PortKey last = r->last;
    for (++r; r != ranges.end() && r->first == last + 1 && LevelOf(r->rule) == level; ++r) last = r->last;
    add(first, last, level);
  }
  if (names_hash != 0) meaning.hash = CombineHash(meaning.hash, names_hash) | 1;
  return meaning;
}

const PortNameMembers& RuleSetBuilder::ServingAll(PortKey name) {
  names_asked_.push_back(name);
  return classes_.ServingAll(name);
}

uint64_t RuleSetBuilder::Fingerprint() {
  const Meaning any = MeaningOf(out_.any_peer);
  uint64_t sum = CombineHash(kAnySalt, any.hash);
  for (const auto& [name, hash] : any.names) sum += Weight(kAnySalt, hash) * ServingAll(name).Total();
  for (size_t at = 0; at < kPeerKinds; ++at) {
    const auto kind = static_cast<PeerKind>(at);
    for (const auto& [c, ports] : out_.by_class[at]) {
      const Meaning& m = MeaningOf(ports);
      sum += Weight(at, m.hash) * classes_.MembersOf(kind, c);
      for (const auto& [name, hash] : m.names) sum += Weight(at, hash) * classes_.ServingOf(kind, c, name);
    }
  }
  return MixHash(sum + PrefixFingerprint());
}

/// Each prefix adds what differs from around it: prefixes that change nothing weigh nothing.
uint64_t RuleSetBuilder::PrefixFingerprint() {
  uint64_t sum = 0;
  PrefixStack<PortSetId> regions;
  for (const auto& [key, ports] : prefixes_) {
    const IpPrefix& prefix = key;  // clang cannot capture a binding
    const PortSetId* around = regions.Around(prefix);
    const uint64_t place = CombineHash(HashAddress(prefix.address), prefix.length);
    const auto add = [&](PortSetId id, uint64_t sign) {
      const Meaning& m = MeaningOf(id);
      sum += sign * Weight(kBlockSalt, m.hash) * place;
      for (const auto& [name, hash] : m.names) {
        sum += sign * Weight(kBlockSalt, hash) * ServingAll(name).Within(prefix);
      }
    };
    add(ports, 1);
    if (around != nullptr) add(*around, ~uint64_t{0});  // minus once
    regions.Push(prefix, ports);
  }
  return sum;
}

}  // namespace podwire
