#pragma once

#include "switch/decide.h"
#include "switch/output.h"
#include "switch/packet.h"
#include "switch/worker_context.h"

namespace podwire {

/// What becomes of a packet and of those like it: decide's answer joined with the connection's.
struct Fate {
  Action action = Action::kDrop;
  DropReason reason = DropReason::kNone;
  Path path;                ///< kDeliver, kForward
  uint32_t connection = 0;  ///< index; 0: none
  uint32_t serial = 0;      ///< of the connection
  bool reply = false;       ///< the packet goes in the connection's reply direction
  bool unsettled =
      false;  ///< the connection's state must see every packet (TCP before and after established)
  bool cacheable = false;  ///< may be kept in the flow table until the tables change
  bool opened = false;     ///< its connection is new
  bool displaced = false;  ///< that one took the place of another
};

/// Decides a packet's fate, creating or re-deciding its connection. The slow path: hash look-ups and short
/// locks, no allocation.
template <class Key>
Fate DecideFate(WorkerContext& w, const BasicPacket<Key>& p) noexcept;

enum class Touch : uint8_t {
  kSettled,    ///< only time need be told of more packets
  kUnsettled,  ///< the state must see each packet
  kInvalid,    ///< no state of the connection allows the packet: drop it
  kGone,       ///< there is no such connection any more: what was cached is void
};

/// Tells the connection that a packet of it passed: time and state.
template <class Key>
Touch TouchConnection(WorkerContext& w, const BasicPacket<Key>& p, uint32_t connection, uint32_t serial,
                      bool reply) noexcept;

/// Whether a cached denial holds: it was of this connection, 0 for none, and the other side may have opened
/// one since, which the packet now belongs to.
template <class Key>
bool IsStillDenied(const WorkerContext& w, const BasicPacket<Key>& p, uint32_t connection,
                   uint32_t serial) noexcept;

/// The connection that an ICMP error's quoted packet belongs to lives and is allowed.
template <class Key>
bool IsRelated(WorkerContext& w, const BasicPacket<Key>& p) noexcept;

}  // namespace podwire
