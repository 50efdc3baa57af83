#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include <absl/container/flat_hash_set.h>

#include "net/address.h"

namespace podwire {

/// The underlay addresses of nodes from which tunnel packets are accepted. Asked once a tunnel packet, so
/// IPv4 has a table of its own that is one or two loads away. Built once, then read by any thread.
class VtepSet {
 public:
  void Insert(const IpAddress& a) {
    if (!a.is_v4()) {
      others_.insert(a);
    } else if (a.v4().be != 0 && !Contains(a.v4())) {
      if (2 * ++count_ >= slots_.size()) Grow();
      Place(a.v4().be);
    }
  }

  bool Contains(Ipv4 a) const noexcept {
    uint32_t slot = Home(a.be);
    for (; slots_[slot] != 0; slot = (slot + 1) & mask()) {
      if (slots_[slot] == a.be) return a.be != 0;
    }
    return false;
  }
  bool Contains(const IpAddress& a) const noexcept {
    return a.is_v4() ? Contains(a.v4()) : others_.contains(a);
  }

 private:
  uint32_t mask() const noexcept { return static_cast<uint32_t>(slots_.size() - 1); }
  uint32_t Home(uint32_t be) const noexcept { return (be * 0x9e3779b1u) >> std::countl_zero(mask()); }
  void Place(uint32_t be) {
    uint32_t slot = Home(be);
    while (slots_[slot] != 0) slot = (slot + 1) & mask();
    slots_[slot] = be;
  }
  void Grow() {
    std::vector<uint32_t> before(slots_.size() * 2, 0);
    before.swap(slots_);
    for (const uint32_t be : before) {
      if (be != 0) Place(be);
    }
  }

  std::vector<uint32_t> slots_ = std::vector<uint32_t>(16, 0);  // network order; 0: empty; a power of two
  size_t count_ = 0;
  absl::flat_hash_set<IpAddress> others_;
};

}  // namespace podwire
