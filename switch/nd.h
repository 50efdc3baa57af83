#pragma once

#include <cstdint>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "net/address.h"
#include "switch/counters.h"
#include "switch/drop_reasons.h"
#include "switch/neighbor.h"
#include "switch/packet.h"

namespace podwire {

struct Tables;

/// The packet stays the caller's; unless there is a reason to drop it, it ends here.
struct NdResult {
  DropReason reason =
      DropReason::kNone;  ///< kInvalidNd, kBadChecksum, kSpoofedMac, kSpoofedAddress, kUnknownPort, kNoMbuf
  rte_mbuf* answer = nullptr;                    ///< a whole frame for the port that the packet came in by
  Counter counter = Counter::kNdAdvertisements;  ///< of the answer
};

/// Answers or learns from a message of kind kNd: IPv6 neighbour discovery (RFC 4861).
/// Pod ports: each on-link address but the pod's own is at the gateway's MAC, as with ARP; the gateway's own
/// addresses are also defended (RFC 4862 5.4), and routers are solicited there: the answer has a lifetime and
/// the MTU, no prefix. A sender that is not the pod is refused. Underlay: solicitations for the node's IPv6
/// address are answered. The neighbour table learns who asked us, and takes advertisements of neighbours that
/// it has a slot for by RFC 4861 7.2.5; who asks others only updates what it already knows. The switch sends
/// from that address alone, so nobody solicits a link-local address of the port. Multicast listeners'
/// reports, which nobody needs, end here.
NdResult HandleNd(const Tables& tables, const Packet6& packet, NeighborTable& neighbors, rte_mempool& pool,
                  uint32_t now_ms) noexcept;

/// A solicitation for `target` on the underlay, as a whole frame; to its solicited-node group unless `known`
/// is not empty. nullptr: no mbuf.
rte_mbuf* BuildNeighborSolicitation(rte_mempool& pool, const MacAddr& own_mac, const Ipv6& own_address,
                                    const Ipv6& target, const MacAddr& known = {}) noexcept;
/// Tells the underlay where `address` is now (an unsolicited advertisement, RFC 4861 7.2.6), as a whole
/// frame. nullptr: no mbuf.
rte_mbuf* BuildNeighborAnnouncement(rte_mempool& pool, const MacAddr& own_mac, const Ipv6& address) noexcept;

}  // namespace podwire
