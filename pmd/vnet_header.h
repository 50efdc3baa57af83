#pragma once

#include <cstddef>
#include <cstdint>

#include <rte_mbuf.h>
#include <rte_tcp.h>

#include "pmd/offload.h"

namespace podwire {

/// The virtio-net header (virtio 1.1, 5.1.6) as TAP and AF_PACKET use it: 10 bytes, host byte order.
/// (linux/virtio_net.h has a member called `class`.)
struct VnetHeader {
  static constexpr uint8_t kNeedsCsum = 1, kDataValid = 2;
  static constexpr uint8_t kGsoNone = 0, kGsoTcp4 = 1, kGsoTcp6 = 4, kGsoEcn = 0x80;

  uint8_t flags = 0;
  uint8_t gso_type = kGsoNone;
  uint16_t hdr_len = 0;  ///< of Ethernet, IP and TCP; for super-packets
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
    if (type != VnetHeader::kGsoTcp4 && type != VnetHeader::kGsoTcp6) return false;
    if (header.gso_size == 0 || !offload.needs_csum()) return false;
    offload.gso_type = type == VnetHeader::kGsoTcp4 ? GsoType::kTcp4 : GsoType::kTcp6;
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

}  // namespace podwire
