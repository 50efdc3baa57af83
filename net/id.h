#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <utility>

namespace podwire {

/// A number that names one kind of thing; conversions are explicit.
template <class Tag, std::unsigned_integral Rep>
class Id {
 public:
  using rep = Rep;
  constexpr Id() = default;
  explicit constexpr Id(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  auto operator<=>(const Id&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const Id& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  Rep value_ = 0;
};

using PortId = Id<struct PortIdTag, uint16_t>;          ///< index of a switch port; kNoPort is none
using EndpointId = Id<struct EndpointIdTag, uint32_t>;  ///< slot of a local endpoint; kNoEndpoint is none
using NextHopId = Id<struct NextHopIdTag, uint32_t>;    ///< index into Tables::next_hops; kNoNextHop is none
using Vni = Id<struct VniTag, uint32_t>;                ///< 24 bits, host order

inline constexpr PortId kNoPort{UINT16_MAX};
inline constexpr EndpointId kNoEndpoint{UINT32_MAX};
inline constexpr NextHopId kNoNextHop{UINT32_MAX};

}  // namespace podwire
