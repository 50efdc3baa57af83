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

/// The IP header's word on where UDP begins and the packet ends, as offsets in the frame. False: it is none
/// that carries a whole UDP datagram right behind it.
bool ReadIpv4(const rte_mbuf& m, uint32_t& udp_at, uint32_t& end) {
  if (m.data_len < kEthernet + sizeof(rte_ipv4_hdr)) return false;
  const auto* ip = rte_pktmbuf_mtod_offset(&m, const rte_ipv4_hdr*, kEthernet);
  udp_at = kEthernet + uint32_t{rte_ipv4_hdr_len(ip)};
  end = kEthernet + uint32_t{rte_be_to_cpu_16(ip->total_length)};
  return ip->version == 4 && rte_ipv4_hdr_len(ip) >= sizeof *ip && ip->next_proto_id == IPPROTO_UDP &&
         (ip->fragment_offset & ~RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) == 0;
}

bool ReadIpv6(const rte_mbuf& m, uint32_t& udp_at, uint32_t& end) {
  if (m.data_len < kEthernet + sizeof(rte_ipv6_hdr)) return false;
  const auto* ip = rte_pktmbuf_mtod_offset(&m, const rte_ipv6_hdr*, kEthernet);
  udp_at = kEthernet + sizeof *ip;
  end = udp_at + rte_be_to_cpu_16(ip->payload_len);
  return rte_be_to_cpu_32(ip->vtc_flow) >> 28 == 6 && ip->proto == IPPROTO_UDP;
}

}  // namespace

bool UdpSuperPacket::Find(const rte_mbuf& m, UdpSuperPacket& super) noexcept {
  const Offload& offload = OffloadOf(m);
  if (m.data_len < kEthernet || !offload.needs_csum()) return false;
  const rte_be16_t type = rte_pktmbuf_mtod(&m, const rte_ether_hdr*)->ether_type;
  const bool v6 = type == RTE_BE16(RTE_ETHER_TYPE_IPV6);
  if (!v6 && type != RTE_BE16(RTE_ETHER_TYPE_IPV4)) return false;
  uint32_t udp_at = 0, end = 0;
  if (!(v6 ? ReadIpv6(m, udp_at, end) : ReadIpv4(m, udp_at, end))) return false;
  const uint32_t header = udp_at + sizeof(rte_udp_hdr);
  if (header > m.data_len || end > m.pkt_len || end <= header) return false;
  if (offload.csum_start != udp_at || offload.csum_offset != offsetof(rte_udp_hdr, dgram_cksum)) return false;
  const auto* udp = rte_pktmbuf_mtod_offset(&m, const rte_udp_hdr*, udp_at);
  if (rte_be_to_cpu_16(udp->dgram_len) != end - udp_at || offload.gso_size == 0) return false;
  if (header + uint32_t{offload.gso_size} > UINT16_MAX - RTE_PKTMBUF_HEADROOM) return false;
  super = {
      .header_len = static_cast<uint16_t>(header), .datagram_len = offload.gso_size, .len = end, .v6 = v6};
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
  auto* udp = reinterpret_cast<rte_udp_hdr*>(data + udp_at);
  udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(sizeof *udp + datagram_len));
  uint16_t addresses = 0;
  if (super_.v6) {
    auto* ip = reinterpret_cast<rte_ipv6_hdr*>(data + kEthernet);
    ip->payload_len = udp->dgram_len;
    addresses = rte_raw_cksum(ip->src_addr, 2 * sizeof ip->src_addr);
  } else {
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(data + kEthernet);
    ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(super_.header_len - kEthernet + datagram_len));
    ip->packet_id = rte_cpu_to_be_16(static_cast<uint16_t>(rte_be_to_cpu_16(ip->packet_id) + index_));
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    addresses = rte_raw_cksum(&ip->src_addr, 2 * sizeof ip->src_addr);
  }
  udp->dgram_cksum = FoldChecksum(uint64_t{addresses} + RTE_BE16(IPPROTO_UDP) + udp->dgram_len);
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
