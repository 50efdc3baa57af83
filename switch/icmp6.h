#pragma once

#include <cstdint>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "net/address.h"
#include "switch/icmp.h"
#include "switch/packet.h"

namespace podwire {

/// Turns an ICMPv6 echo request to the switch (RFC 4443 4.1) into its reply where it lies, as its namesake
/// for IPv4 does.
bool MakeEchoReply(Packet6& packet) noexcept;

/// Whether an ICMPv6 error may be sent about a packet (RFC 4443 2.4 e): never about ICMPv6 errors, multicast,
/// or to a source that is no single host of another link; later fragments are spared too.
bool MayReport(const Packet6& packet) noexcept;

/// As its namesake for IPv4, quoting as much as keeps the error within IPv6's least MTU, 1280 bytes (RFC 4443
/// 2.4 c). nullptr also without a source.
rte_mbuf* BuildIcmpError(rte_mempool& pool, const Packet6& packet, IcmpError error, uint16_t mtu,
                         const Ipv6& source, Packet6& out) noexcept;

}  // namespace podwire
