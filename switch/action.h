#pragma once

#include <cstdint>

namespace podwire {

/// What becomes of a packet.
enum class Action : uint8_t {
  kDrop,
  kDeliver,  ///< to a pod of this node
  kForward,  ///< to a next hop on the underlay (the adjacency says how)
  kLocal,    ///< to the switch itself: gateway or underlay address
};

}  // namespace podwire
