#pragma once

#include "switch/packet.h"
#include "switch/track.h"
#include "switch/worker_context.h"

namespace podwire {

// What a worker tells of, off its usual way. Each is one copy into its EventRing, and no more than the ring's
// credit allows.

/// A packet was dropped, and the ring wants to know.
template <class Key>
void RecordDrop(WorkerContext& w, const BasicPacket<Key>& p, DropReason reason, EndpointId victim) noexcept;

/// A connection was cut; `key` is its original direction's.
template <class Key>
void RecordCut(WorkerContext& w, const Key& key, DropReason reason, EndpointId victim) noexcept;

/// The policies have spoken of a new connection, whose first packet is `p`: an event, if the namespace of one
/// of its pods here wants a log. Nothing for any other fate.
template <class Key>
void RecordVerdict(WorkerContext& w, const BasicPacket<Key>& p, const Fate& fate) noexcept;

}  // namespace podwire
