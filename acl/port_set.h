#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>

#include "acl/model.h"
#include "net/id.h"

namespace podwire {

/// A rule of a policy: `policy` is its number in a CompiledPolicy (or, inside a rule set, its place in that),
/// `rule` indexes the policy's ingress or egress list.
struct RuleRef {
  uint32_t policy = UINT32_MAX;
  uint32_t rule = UINT32_MAX;
  auto operator<=>(const RuleRef&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const RuleRef& r) {
    return H::combine(std::move(h), r.policy, r.rule);
  }
};
inline constexpr RuleRef kNoRule{};

/// Protocol and port as one number, so that a rule's ports are ranges of one axis: TCP, UDP and SCTP ports,
/// then all other protocols, then names of egress ports, which the destination pod resolves.
using PortKey = uint32_t;
inline constexpr PortKey kOtherProtocols = 3u << 16;
inline constexpr PortKey kFirstPortName = 1u << 24;
inline constexpr PortKey kLastPortKey = UINT32_MAX;
/// `port` in host order.
PortKey MakePortKey(uint8_t ip_proto, uint16_t port) noexcept;

struct PortRange {
  PortKey first = 0;
  PortKey last = 0;  ///< inclusive
  RuleRef rule;      ///< what allows it
  bool operator==(const PortRange&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const PortRange& r) {
    return H::combine(std::move(h), r.first, r.last, r.rule);
  }
};

/// Sorted and disjoint; where ranges overlapped the smallest rule is kept.
using PortRanges = std::vector<PortRange>;
PortRanges Disjoint(PortRanges ranges);
/// Sorted, disjoint ranges with neighbours joined whatever their rules are.
PortRanges WithoutRules(std::span<const PortRange> ranges);

/// The rule that allows `key`, or kNoRule. A binary search.
RuleRef FindRule(std::span<const PortRange> set, PortKey key) noexcept;

using PortSetId = Id<struct PortSetIdTag, uint32_t>;  ///< of one rule set
inline constexpr PortSetId kNoPorts{0};               ///< the empty set

/// Distinct port sets, each held once as long as a rule set has it.
class PortSetPool {
 public:
  using Ptr = std::shared_ptr<const PortRanges>;
  /// `ranges` as Disjoint returns them.
  Ptr Intern(PortRanges ranges);
  /// Drops what nobody has any more.
  void Purge();
  size_t size() const { return sets_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(const Ptr& p) const { return (*this)(*p); }
    size_t operator()(const PortRanges& r) const { return absl::HashOf(r); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Ptr& a, const Ptr& b) const { return *a == *b; }
    bool operator()(const Ptr& a, const PortRanges& b) const { return *a == b; }
  };
  absl::flat_hash_set<Ptr, Hash, Equal> sets_;
};

}  // namespace podwire
