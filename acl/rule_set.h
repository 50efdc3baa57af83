#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/port_set.h"
#include "net/id.h"
#include "net/prefix_map.h"

namespace podwire {

/// Ways to select pods as peers. Every pod address falls into one class of each kind: the set of peers of
/// that kind that match it. What may talk is the union over kinds (and ipBlocks, and rules without peers), so
/// kinds need not be multiplied with one another.
enum class PeerKind : uint8_t {
  kNamespace,  ///< all pods of the selected namespaces
  kOwn,        ///< selected pods of the policy's namespace
  kCross,      ///< selected pods of selected namespaces
};
inline constexpr size_t kPeerKinds = 3;
using ClassId = Id<struct ClassIdTag, uint32_t>;
inline constexpr ClassId kNoClass{0};  ///< no peer of the kind matches

/// What an address is to the policies.
struct AddressClass {
  std::array<ClassId, kPeerKinds> of_kind{};
  uint32_t port_names = 0;  ///< index into the port names of pods; 0: none
  bool operator==(const AddressClass&) const = default;
};

/// The rules of all policies that select a pod for one direction, by what a peer is. Shared by pods that the
/// same policies select, and by one compilation with the next where nothing of it changes.
struct RuleSet {
  PortSetId any_peer = kNoPorts;
  std::array<absl::flat_hash_map<ClassId, PortSetId>, kPeerKinds> by_class;
  PrefixMap<PortSetId> by_prefix;  ///< the longest prefix says all of ipBlocks; kNoPorts in holes
  std::vector<std::span<const PortRange>> port_sets;    ///< by PortSetId
  std::vector<std::shared_ptr<const PortRanges>> held;  ///< what port_sets show
  /// By precedence; RuleRef::policy of a port set's rules counts these.
  std::vector<uint32_t> policies;
  uint64_t fingerprint = 0;
};

}  // namespace podwire
