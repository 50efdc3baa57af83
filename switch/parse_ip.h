#pragma once

// What parse.cc is made of: the checks of one IP header with what it carries, by family.

#include <netinet/in.h>

#include <cstdint>

#include <rte_mbuf.h>

#include "switch/packet.h"

namespace podwire {

/// An IP header that has been checked, and where its payload lies: bytes from mbuf data.
struct IpSpan {
  uint32_t l3 = 0;
  uint32_t l4 = 0;          ///< behind options and extension headers; of later fragments the fragmented bytes
  uint32_t end = 0;         ///< behind the packet
  uint32_t fragmented = 0;  ///< IPv6: where the fragmented part begins
  uint32_t frag_id_be = 0;  ///< identification
  uint16_t frag_offset = 0;  ///< bytes
  uint8_t proto = 0;         ///< of what is at l4
  bool fragment = false;
  bool later_fragment = false;
};

template <class T>
const T* At(const rte_mbuf& m, uint32_t offset) noexcept {
  return rte_pktmbuf_mtod_offset(&m, const T*, offset);
}

/// Whether [offset, offset + len) lies before `end` and in the first segment.
inline bool Holds(const rte_mbuf& m, uint32_t offset, uint32_t len, uint32_t end) noexcept {
  return offset + len <= end && offset + len <= m.data_len;
}

inline bool HasPorts(uint8_t proto) noexcept {
  return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/// Checks the header at `offset` of a packet that ends at or before `end`; fills `ip`. kNone, kMalformed;
/// IPv4: kBadChecksum, kIpOptions; IPv6: kExtensionHeader.
DropReason CheckIpv4(const rte_mbuf& m, uint32_t offset, uint32_t end, bool checksum_good,
                     IpSpan& ip) noexcept;
DropReason CheckIpv6(const rte_mbuf& m, uint32_t offset, uint32_t end, IpSpan& ip) noexcept;

/// Fills the descriptor of a packet whose mbuf, in_port and outer headers' fields are there: kind, key and
/// all that its header and L4 say. kNone, kMalformed, kMulticast.
DropReason Describe(Packet& p, const IpSpan& ip) noexcept;
DropReason Describe(Packet6& p, const IpSpan& ip) noexcept;

/// Ports, flags and lengths of an L4 that Describe has not handled itself (ICMP). kNone or kMalformed.
template <class Key>
DropReason Transport(BasicPacket<Key>& p, const IpSpan& ip) noexcept;

/// The L4 ports at `offset`, if the protocol has any; in an ICMP error at least 8 bytes are there.
template <class Key>
void TakePorts(BasicPacket<Key>& p, uint32_t offset) noexcept;

/// Makes the mbuf's Offload one that later stages and drivers can trust: it comes from a pod's kernel or from
/// the pod itself. `outer_l4`: of the tunnel, 0 without. kNone or kMalformed.
template <class Key>
DropReason CheckOffload(BasicPacket<Key>& p, const IpSpan& ip, uint32_t outer_l4) noexcept;

}  // namespace podwire
