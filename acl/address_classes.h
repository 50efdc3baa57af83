#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/model.h"
#include "acl/peer_table.h"
#include "acl/port_names.h"
#include "acl/rule_set.h"

namespace podwire {

/// The class of every pod address, and what rule sets need to know of classes.
struct AddressClasses {
  struct NamedPort {
    PeerKind kind;
    ClassId of;
    PortKey name;
    auto operator<=>(const NamedPort&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const NamedPort& n) {
      return H::combine(std::move(h), n.kind, n.of, n.name);
    }
  };

  absl::flat_hash_map<IpAddress, AddressClass> pods;  ///< without those that nothing matches
  std::vector<PortNames> port_names{PortNames{}};
  std::array<std::vector<std::vector<ClassId>>, kPeerKinds>
      classes_of;  ///< by peer number: those that hold it

  // For fingerprints: hashes of the addresses that belong to something, summed, so that a class which is
  // split because of somebody else's peers weighs as much as its parts.
  std::array<std::vector<uint64_t>, kPeerKinds> members;     ///< by class
  absl::flat_hash_map<NamedPort, uint64_t> serving_members;  ///< of a class, with a port of that name
  PortNameMembers serving;                                   ///< of all pods
};

AddressClasses ClassifyPods(const Model& model, const PeerTable& peers, const PortNameTable& names);

}  // namespace podwire
