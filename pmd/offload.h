#pragma once

#include <cstdint>

#include <absl/status/status.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

namespace podwire {

/// What is segmented at the receiver of a super-packet.
enum class GsoType : uint8_t { kNone = 0, kTcp4 = 1, kTcp6 = 2 };

/// Checksum and segmentation work still to be done on a packet, with Linux's (virtio's) meaning. Whoever puts
/// an mbuf into a burst sets it: every port's RxBurst does for each mbuf, other producers assign `Offload{}`
/// (rte_pktmbuf_alloc does not clear dynfields).
///
/// A super-packet (gso_size != 0) is TCP and always has kNeedsCsum, csum_start pointing at its (innermost)
/// TCP header. It is usually a small first mbuf that holds all headers, followed by one big one.
///
/// Encapsulated super-packets: whoever prepends the outer headers sets in the mbuf outer_l2_len,
/// outer_l3_len, l2_len (outer UDP + tunnel header + inner Ethernet if there is one), l3_len, l4_len and
/// RTE_MBUF_F_TX_TUNNEL_VXLAN or RTE_MBUF_F_TX_TUNNEL_UDP, as DPDK wants it. Without a tunnel flag ports read
/// the headers themselves.
struct Offload {
  uint16_t csum_start = 0;   ///< bytes from mbuf data start; who prepends or strips headers moves it
  uint16_t csum_offset = 0;  ///< of the checksum field, from csum_start: 16 TCP, 6 UDP
  uint16_t gso_size = 0;     ///< TCP payload bytes a segment, 0: not a super-packet
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
static_assert(sizeof(Offload) == 8);

namespace internal {
/// Offset of Offload in an mbuf; written once by RegisterOffloadField before workers start.
inline int offload_dynfield = -1;
}  // namespace internal

/// Reserves the mbuf dynfield. Once after InitEal (which calls it); again is harmless.
absl::Status RegisterOffloadField();

inline Offload& OffloadOf(rte_mbuf& m) {
  return *RTE_MBUF_DYNFIELD(&m, internal::offload_dynfield, Offload*);
}
inline const Offload& OffloadOf(const rte_mbuf& m) {
  return *RTE_MBUF_DYNFIELD(&m, internal::offload_dynfield, const Offload*);
}

}  // namespace podwire
