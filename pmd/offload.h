#pragma once

#include <cstdint>

#include <rte_mbuf.h>

namespace podwire {

/// What is segmented at the receiver of a super-packet.
/// kUdp stays inside the port that received it, which cuts it up.
enum class GsoType : uint8_t { kNone = 0, kTcp4 = 1, kTcp6 = 2, kUdp = 3 };

/// The least gso_size of a TCP super-packet, bytes: the kernel's smallest MSS, 48, less the longest TCP
/// options. Smaller segments are refused or left as they are, for a packet must not become thousands of
/// frames.
inline constexpr uint16_t kMinGsoSize = 8;

/// Checksum and segmentation work still to be done on a packet, with Linux's (virtio's) meaning. Whoever puts
/// an mbuf into a burst sets it: every port's RxBurst does for each mbuf, other producers assign `Offload{}`.
/// It lies where devices leave their RSS hash, of which we make no use: in the mbuf's first cache line, which
/// each packet touches anyway (a dynfield would be in the second).
///
/// A super-packet (gso_size != 0) is TCP and always has kNeedsCsum, csum_start pointing at its (innermost)
/// TCP header. It is usually a small first mbuf that holds all headers, followed by one big one.
///
/// Encapsulated super-packets: whoever prepends the outer headers sets in the mbuf outer_l2_len,
/// outer_l3_len, l2_len (outer UDP + tunnel header + inner Ethernet if there is one), l3_len, l4_len and
/// RTE_MBUF_F_TX_TUNNEL_VXLAN or RTE_MBUF_F_TX_TUNNEL_UDP, as DPDK wants it. Without a tunnel flag ports read
/// the headers themselves.
struct [[gnu::may_alias]] Offload {
  uint16_t csum_start = 0;   ///< bytes from mbuf data start; who prepends or strips headers moves it
  uint16_t csum_offset = 0;  ///< of the checksum field, from csum_start: 16 TCP, 6 UDP
  uint16_t gso_size = 0;     ///< TCP payload bytes a segment, kMinGsoSize at least; 0: not a super-packet
  GsoType gso_type = GsoType::kNone;
  uint8_t flags = 0;

  /// Partial checksum: the field holds the folded pseudo-header sum (length included) and the rest is to be
  /// added.
  static constexpr uint8_t kNeedsCsum = 1;
  /// The receiver has checked the checksum already.
  static constexpr uint8_t kDataValid = 2;

  bool needs_csum() const { return (flags & kNeedsCsum) != 0; }
  bool operator==(const Offload&) const = default;
};
static_assert(sizeof(Offload) <= sizeof(rte_mbuf::hash) && alignof(Offload) <= alignof(rte_mbuf));

inline Offload& OffloadOf(rte_mbuf& m) { return reinterpret_cast<Offload&>(m.hash); }
inline const Offload& OffloadOf(const rte_mbuf& m) { return reinterpret_cast<const Offload&>(m.hash); }

}  // namespace podwire
