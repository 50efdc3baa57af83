#pragma once

#include <array>
#include <cstdint>

#include <rte_ip.h>
#include <rte_mbuf.h>

#include "pmd/offload.h"

namespace podwire {

/// An unfragmented TCP segment with payload over IPv4 without options, or over IPv6 without extension
/// headers, of which nothing but its place in the stream need be told to the receiver: ACK, perhaps PSH, FIN
/// and ECE, no other flag.
struct TcpSegment {
  const uint8_t* ip = nullptr;  ///< IP header, the TCP header with its options behind it
  uint16_t header_len = 0;      ///< of both, bytes
  uint16_t payload_len = 0;     ///< bytes; never 0
  uint8_t l3_len = 0;           ///< of the IP header: 20 or 40

  bool v6() const { return l3_len != sizeof(rte_ipv4_hdr); }
};

/// Whether the `len` bytes from `ip` on, the first `contiguous` of them readable there, are such a segment.
/// Checksums are not looked at.
bool FindTcpSegment(const uint8_t* ip, uint32_t contiguous, uint32_t len, TcpSegment& segment) noexcept;

/// Folded pseudo-header sum of such a segment's IP header for `tcp_len` bytes of TCP.
uint16_t TcpPseudoSum(const TcpSegment& segment, uint16_t tcp_len) noexcept;

/// Generic receive offload of one connection: successive segments that a super-packet can stand for without
/// a difference to its receiver (Linux's rules: all but the last as long as the first, equal in all header
/// fields but lengths, checksums, sequence numbers and, with DF, ids; PSH and FIN end it), and of kMinGsoSize
/// bytes at least.
class TcpCoalescer {
 public:
  static constexpr uint16_t kMaxHeader = 40 + 60;

  /// `first` must stay readable while this is used.
  explicit TcpCoalescer(const TcpSegment& first) noexcept;
  TcpCoalescer() noexcept = default;

  /// Whether `next` continues the stream. That its checksum is right is the caller's to see to.
  bool Continues(const TcpSegment& next) const noexcept;
  /// After Continues.
  void Append(const TcpSegment& next) noexcept;
  uint16_t segments() const { return segments_; }
  uint16_t header_len() const { return first_.header_len; }
  const TcpSegment& first() const { return first_; }
  /// Bytes of IP packet.
  uint32_t len() const { return len_; }

  /// Writes the super-packet's header_len() bytes of IP and TCP to `ip`, which may be where the first
  /// segment's are; the TCP checksum is partial.
  void WriteHeader(uint8_t* ip) const noexcept;
  /// What goes with it, for an IP header at `l3_offset`.
  Offload OffloadAt(uint16_t l3_offset) const noexcept;

 private:
  bool ContinuesIp(const TcpSegment& next) const noexcept;

  TcpSegment first_;
  uint32_t next_sequence_ = 0;
  uint32_t len_ = 0;
  uint16_t segments_ = 0;
  uint8_t end_flags_ = 0;  ///< PSH and FIN of the last
  bool ended_ = false;
};

}  // namespace podwire
