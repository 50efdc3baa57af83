#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <rte_mbuf.h>

#include "pmd/mempool.h"
#include "pmd/offload.h"
#include "pmd/tunnel_bundle.h"

namespace podwire {

/// Adds the rest to a partial checksum (OffloadOf: kNeedsCsum) and clears that flag; chained mbufs included.
/// A UDP result of 0 becomes 0xffff (RFC 768). False, and nothing changed, when the field lies outside the
/// first mbuf.
bool CompleteChecksum(rte_mbuf& packet) noexcept;

/// Software segmentation of a TCP super-packet, plain or inside VXLAN or a bare UDP tunnel over IPv4 or IPv6
/// (see Offload for what the mbuf must say). The frames are new single mbufs of at most gso_size payload; the
/// checksums of IP (both) and TCP are complete, and so is an outer UDP checksum over IPv6; over IPv4 it is
/// left as it was (0). TCP sequence numbers and IPv4 ids count up, FIN and PSH are on the last frame only,
/// CWR on the first (RFC 3168 6.1.2).
///
///   Segmenter s;
///   if (!s.Start(packet)) drop;
///   while (uint16_t n = s.Next(pools, frames)) send;
///   if (s.remaining() != 0) count: the pool ran dry;
///   free packet
///
/// NextBundle in place of Next needs no mbufs and copies no payload.
class Segmenter {
 public:
  /// False when headers and lengths do not fit together. `packet` must outlive the use of Next.
  bool Start(const rte_mbuf& packet) noexcept;
  /// The next frames, each the caller's with OffloadOf() cleared. 0: all done, or no mbufs.
  uint16_t Next(const MbufPools& pools, std::span<rte_mbuf*> frames) noexcept;
  /// The next frames of a tunnel as one UDP super-packet, whose payload stays where it is in
  /// `packet`. How many frames; 0: all done, no such tunnel, or mbufs too small for it, which Next can do.
  uint16_t NextBundle(TunnelBundle& bundle) noexcept;
  /// Payload bytes not yet in a frame.
  uint32_t remaining() const { return payload_left_; }

 private:
  static constexpr uint16_t kMaxHeader = 256;

  bool FindHeaders(const rte_mbuf& packet) noexcept;
  void CopyPayload(uint8_t* to, uint32_t len) noexcept;
  void WriteHeaders(uint8_t* frame, uint16_t payload_len) noexcept;
  void WriteInnerHeaders(uint8_t* frame, uint16_t payload_len) noexcept;
  void WriteTcpChecksum(uint8_t* frame, uint16_t payload_len, uint16_t payload_sum) const noexcept;
  void WriteOuterChecksum(uint8_t* frame, uint16_t payload_len) const noexcept;
  void ZeroWhatVaries() noexcept;
  void NextFrame(uint16_t payload_len) noexcept;
  bool GatherPayload(TunnelBundle& bundle, uint32_t len, uint16_t& sum) noexcept;
  void WriteBundleHeader(TunnelBundle& bundle) const noexcept;

  /// An IPv4 header's part of its checksum that is the same in all frames, and the first id, host order.
  struct Ipv4Template {
    uint16_t sum = 0;
    uint16_t id = 0;
  };
  Ipv4Template TakeIpv4(uint16_t offset) noexcept;
  void WriteIp(uint8_t* frame, uint16_t offset, const Ipv4Template* v4, uint16_t frame_len) const noexcept;

  const rte_mbuf* source_ = nullptr;  ///< mbuf that holds the next payload byte
  uint32_t source_offset_ = 0;
  uint32_t payload_left_ = 0;
  uint32_t sequence_ = 0;    ///< of the next frame
  uint32_t pseudo_sum_ = 0;  ///< of TCP's pseudo header without the length
  uint32_t tcp_sum_ = 0;     ///< of what is the same in all frames: that and the TCP header
  Ipv4Template outer_ip_, ip_;
  uint8_t tcp_flags_ = 0;
  uint16_t index_ = 0;  ///< of the next frame
  uint16_t gso_size_ = 0;
  uint16_t header_len_ = 0;
  uint16_t outer_l3_ = 0;  ///< offsets in the frame; outer ones count when tunnel_
  uint16_t outer_l4_ = 0;
  uint16_t l3_ = 0;
  uint16_t l4_ = 0;
  bool tunnel_ = false;
  bool outer_v4_ = false;
  bool v4_ = false;
  std::array<uint8_t, kMaxHeader> header_;  ///< zero where frames differ
};

}  // namespace podwire
