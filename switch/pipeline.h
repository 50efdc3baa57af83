#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "net/id.h"
#include "switch/packet.h"
#include "switch/worker_context.h"

namespace podwire {

/// Takes a burst through the switch: parse, flow table, decide on a miss, rewrite, tx buffers. Owns the
/// mbufs. `n` is at most kMaxBurst. The caller flushes w.tx.
void RunBurst(WorkerContext& w, rte_mbuf** mbufs, const PortId* in_ports, uint16_t n) noexcept;

/// Sends or gives up what waits for an underlay neighbour.
void FlushPending(WorkerContext& w) noexcept;

/// The worker ends: what waits is dropped.
void DropPending(WorkerContext& w) noexcept;

}  // namespace podwire
