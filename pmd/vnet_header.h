#pragma once

#include <cstddef>
#include <cstdint>

#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "pmd/offload.h"
#include "pmd/tunnel_bundle.h"

namespace podwire {

/// The virtio-net header (virtio 1.1, 5.1.6) as TAP and AF_PACKET use it: 10 bytes, host byte order.
/// (linux/virtio_net.h has a member called `class`.)
struct VnetHeader {
  static constexpr uint8_t kNeedsCsum = 1, kDataValid = 2;
  static constexpr uint8_t kGsoNone = 0, kGsoTcp4 = 1, kGsoTcp6 = 4, kGsoUdp = 5, kGsoEcn = 0x80;

  uint8_t flags = 0;
  uint8_t gso_type = kGsoNone;
  uint16_t hdr_len = 0;  ///< of Ethernet, IP and TCP or UDP; for super-packets
  uint16_t gso_size = 0;
  uint16_t csum_start = 0;
  uint16_t csum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);

/// csum_start of TCP right behind Ethernet and an IPv4 header with all options: beyond it lies a tunnel.
inline constexpr uint16_t kMaxPlainCsumStart = 14 + 60;

/// Sets OffloadOf(m) from the header its frame came with. False when the header does not fit the frame (its
/// checksum field outside the first mbuf, an unknown segmentation type): such a frame is to be dropped.
inline bool ReadVnetHeader(const VnetHeader& header, rte_mbuf& m) noexcept {
  Offload offload;
  if ((header.flags & VnetHeader::kNeedsCsum) != 0) {
    if (uint32_t{header.csum_start} + header.csum_offset + 2 > m.data_len) return false;
    offload.csum_start = header.csum_start;
    offload.csum_offset = header.csum_offset;
    offload.flags = Offload::kNeedsCsum;
  } else if ((header.flags & VnetHeader::kDataValid) != 0) {
    offload.flags = Offload::kDataValid;
  }
  const uint8_t type = header.gso_type & ~VnetHeader::kGsoEcn;
  if (type != VnetHeader::kGsoNone) {
    if (header.gso_size == 0 || !offload.needs_csum()) return false;
    switch (type) {
      case VnetHeader::kGsoTcp4:
        offload.gso_type = GsoType::kTcp4;
        break;
      case VnetHeader::kGsoTcp6:
        offload.gso_type = GsoType::kTcp6;
        break;
      case VnetHeader::kGsoUdp:
        offload.gso_type = GsoType::kUdp;
        break;
      default:
        return false;
    }
    offload.gso_size = header.gso_size;
  }
  OffloadOf(m) = offload;
  return true;
}

/// The header to send `m` with. False when its offload does not fit the frame.
inline bool WriteVnetHeader(const rte_mbuf& m, VnetHeader& header) noexcept {
  const Offload& offload = OffloadOf(m);
  header = {};
  if (offload.needs_csum()) {
    if (uint32_t{offload.csum_start} + offload.csum_offset + 2 > m.data_len) return false;
    header.flags = VnetHeader::kNeedsCsum;
    header.csum_start = offload.csum_start;
    header.csum_offset = offload.csum_offset;
  } else if ((offload.flags & Offload::kDataValid) != 0) {
    header.flags = VnetHeader::kDataValid;
  }
  if (offload.gso_size == 0) return true;
  if (!offload.needs_csum() || offload.csum_start + sizeof(rte_tcp_hdr) > m.data_len) return false;
  const auto* tcp = rte_pktmbuf_mtod_offset(&m, const rte_tcp_hdr*, offload.csum_start);
  header.gso_type = offload.gso_type == GsoType::kTcp4 ? VnetHeader::kGsoTcp4 : VnetHeader::kGsoTcp6;
  if ((tcp->tcp_flags & RTE_TCP_CWR_FLAG) != 0) header.gso_type |= VnetHeader::kGsoEcn;
  header.gso_size = offload.gso_size;
  header.hdr_len = static_cast<uint16_t>(offload.csum_start + (tcp->data_off >> 4) * 4);
  return true;
}

/// The header of a TCP super-packet, `header_len` bytes of Ethernet, IP and TCP.
inline VnetHeader SuperPacketHeader(const Offload& offload, uint16_t header_len) noexcept {
  return {.flags = VnetHeader::kNeedsCsum,
          .gso_type = offload.gso_type == GsoType::kTcp6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4,
          .hdr_len = header_len,
          .gso_size = offload.gso_size,
          .csum_start = offload.csum_start,
          .csum_offset = offload.csum_offset};
}

/// The header of a UDP super-packet; a bundle of one frame is none.
inline VnetHeader UdpSuperPacketHeader(const TunnelBundle& bundle) noexcept {
  VnetHeader header{.flags = VnetHeader::kNeedsCsum,
                    .csum_start = bundle.csum_start,
                    .csum_offset = offsetof(rte_udp_hdr, dgram_cksum)};
  if (bundle.frames < 2) return header;
  header.gso_type = VnetHeader::kGsoUdp;
  header.gso_size = bundle.frame_len;
  header.hdr_len = static_cast<uint16_t>(bundle.csum_start + sizeof(rte_udp_hdr));
  return header;
}

}  // namespace podwire
