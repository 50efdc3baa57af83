#pragma once

#include <cstdint>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "net/address.h"
#include "switch/packet.h"

namespace podwire {

struct Tables;

/// The ICMP errors that the switch itself sends (RFC 792; ICMPv6: RFC 4443).
enum class IcmpError : uint8_t {
  kNetUnreachable,       ///< 3/0; ICMPv6 1/0
  kHostUnreachable,      ///< 3/1; ICMPv6 1/3: the next hop does not answer
  kPortUnreachable,      ///< 3/3; ICMPv6 1/4
  kFragmentationNeeded,  ///< 3/4 with the MTU (RFC 1191); ICMPv6 2/0, packet too big
  kTimeExceeded,         ///< 11/0; ICMPv6 3/0
};

/// Limits the ICMP errors of a worker: 1000 a second, 50 at once (Linux's icmp_msgs_per_sec and
/// icmp_msgs_burst as they were until 6.8). Single-threaded; milliseconds modulo 2^32.
class IcmpLimiter {
 public:
  static constexpr uint32_t kPerSecond = 1000;
  static constexpr uint32_t kBurst = 50;

  bool Take(uint32_t now_ms) noexcept;

 private:
  uint32_t tokens_ = kBurst;
  uint32_t filled_ms_ = 0;
};

/// Turns an ICMP echo request to the switch (RFC 792) into its reply where it lies, addresses exchanged, TTL
/// 64; `packet` follows (key, ttl, icmp_type). What is in front of the IPv4 header stays: strip it and route
/// the packet to its new destination. False, and nothing changed, for anything else, fragments included.
bool MakeEchoReply(Packet& packet) noexcept;

/// Whether an ICMP error may be sent about a packet (RFC 1812 4.3.2.7): never about ICMP errors, later
/// fragments, multicast, or to a source that is no single host.
bool MayReport(const Packet& packet) noexcept;

/// A new mbuf that starts with an IPv4 header: the error about `packet`, as it came in or stripped, from
/// `source` to its source, quoting as much as keeps it within 576 bytes (RFC 1812 4.3.2.3). `mtu` for
/// kFragmentationNeeded. nullptr: no mbuf, or not MayReport. `out` describes it, ready for DecideForwarding
/// and PrependHeader.
rte_mbuf* BuildIcmpError(rte_mempool& pool, const Packet& packet, IcmpError error, uint16_t mtu, Ipv4 source,
                         Packet& out) noexcept;

/// The address of the family that the switch speaks from: the gateway's, or without one the underlay's; zero
/// if there is none.
template <class Address>
Address OwnAddress(const Tables& tables) noexcept;

}  // namespace podwire
