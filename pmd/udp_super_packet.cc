#include "pmd/udp_super_packet.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "net/checksum.h"
#include "pmd/offload.h"

namespace podwire {
namespace {

constexpr uint16_t kEthernet = sizeof(rte_ether_hdr);

}  // namespace

bool UdpSuperPacket::Find(const rte_mbuf& m, UdpSuperPacket& super) noexcept {
  const Offload& offload = OffloadOf(m);
  if (m.data_len < kEthernet + sizeof(rte_ipv4_hdr) || !offload.needs_csum()) return false;
  if (rte_pktmbuf_mtod(&m, const rte_ether_hdr*)->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4)) return false;
  const auto* ip = rte_pktmbuf_mtod_offset(&m, const rte_ipv4_hdr*, kEthernet);
  const uint32_t udp_at = kEthernet + uint32_t{rte_ipv4_hdr_len(ip)};
  const uint32_t header = udp_at + sizeof(rte_udp_hdr);
  const uint32_t end = kEthernet + uint32_t{rte_be_to_cpu_16(ip->total_length)};
  if (ip->version != 4 || rte_ipv4_hdr_len(ip) < sizeof *ip || header > m.data_len) return false;
  if (ip->next_proto_id != IPPROTO_UDP || end > m.pkt_len || end <= header) return false;
  if ((ip->fragment_offset & ~RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) != 0) return false;
  if (offload.csum_start != udp_at || offload.csum_offset != offsetof(rte_udp_hdr, dgram_cksum)) return false;
  const auto* udp = rte_pktmbuf_mtod_offset(&m, const rte_udp_hdr*, udp_at);
  if (rte_be_to_cpu_16(udp->dgram_len) != end - udp_at || offload.gso_size == 0) return false;
  if (header + uint32_t{offload.gso_size} > UINT16_MAX - RTE_PKTMBUF_HEADROOM) return false;
  super = {.header_len = static_cast<uint16_t>(header), .datagram_len = offload.gso_size, .len = end};
  return true;
}

void UdpSplitter::Start(rte_mbuf* m, const UdpSuperPacket& super) noexcept {
  packet_ = m;
  super_ = super;
  offset_ = super.header_len;
  index_ = 0;
}

void UdpSplitter::WriteHeader(rte_mbuf& frame, uint16_t datagram_len) const noexcept {
  auto* data = rte_pktmbuf_mtod(&frame, uint8_t*);
  std::memcpy(data, rte_pktmbuf_mtod(packet_, const void*), super_.header_len);
  const auto udp_at = static_cast<uint16_t>(super_.header_len - sizeof(rte_udp_hdr));
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(data + kEthernet);
  ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(super_.header_len - kEthernet + datagram_len));
  ip->packet_id = rte_cpu_to_be_16(static_cast<uint16_t>(rte_be_to_cpu_16(ip->packet_id) + index_));
  ip->hdr_checksum = 0;
  ip->hdr_checksum = rte_ipv4_cksum(ip);
  auto* udp = reinterpret_cast<rte_udp_hdr*>(data + udp_at);
  udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(sizeof *udp + datagram_len));
  udp->dgram_cksum = FoldChecksum(uint64_t{rte_raw_cksum(&ip->src_addr, 2 * sizeof ip->src_addr)} +
                                  RTE_BE16(IPPROTO_UDP) + udp->dgram_len);
  OffloadOf(frame) = {
      .csum_start = udp_at, .csum_offset = offsetof(rte_udp_hdr, dgram_cksum), .flags = Offload::kNeedsCsum};
}

rte_mbuf* UdpSplitter::Next(const MbufPools& pools) noexcept {
  const auto datagram_len =
      static_cast<uint16_t>(std::min<uint32_t>(super_.datagram_len, super_.len - offset_));
  const auto frame_len = static_cast<uint16_t>(super_.header_len + datagram_len);
  rte_mbuf* frame = rte_pktmbuf_alloc(frame_len <= kSmallRoom ? &pools.small() : &pools.big());
  if (frame != nullptr) {
    frame->data_len = frame_len;
    frame->pkt_len = frame_len;
    auto* payload = rte_pktmbuf_mtod_offset(frame, uint8_t*, super_.header_len);
    const void* from = rte_pktmbuf_read(packet_, offset_, datagram_len, payload);
    if (from != payload) std::memcpy(payload, from, datagram_len);
    WriteHeader(*frame, datagram_len);
  }
  offset_ += datagram_len;
  ++index_;
  if (offset_ == super_.len) {
    rte_pktmbuf_free(packet_);
    packet_ = nullptr;
  }
  return frame;
}

}  // namespace podwire
