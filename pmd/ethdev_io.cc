#include <array>
#include <cstddef>

#include <rte_ethdev.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "pmd/ethdev_port.h"
#include "pmd/owned_counter.h"
#include "pmd/segment.h"

namespace podwire {
namespace {

constexpr uint16_t kTcpChecksum = offsetof(rte_tcp_hdr, cksum);
constexpr uint16_t kUdpChecksum = offsetof(rte_udp_hdr, dgram_cksum);
constexpr uint16_t kSegmentBurst = 32;
constexpr int kSegmentRetries = 64;
/// Stale requests of whoever had the mbuf before us.
constexpr uint64_t kTxRequests = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IP_CKSUM |
                                 RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TUNNEL_MASK;

/// virtio says only that the checksum is partial and, of a super-packet, the segments' size; where things
/// are, the headers say.
Offload VirtioOffload(const rte_mbuf& m) noexcept {
  rte_net_hdr_lens lens{};
  const uint32_t type =
      rte_net_get_ptype(&m, &lens, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK);
  const uint32_t l4 = type & RTE_PTYPE_L4_MASK;
  if (l4 != RTE_PTYPE_L4_TCP && l4 != RTE_PTYPE_L4_UDP) return {};
  const bool tcp = l4 == RTE_PTYPE_L4_TCP;
  Offload offload{.csum_start = static_cast<uint16_t>(lens.l2_len + lens.l3_len),
                  .csum_offset = tcp ? kTcpChecksum : kUdpChecksum,
                  .flags = Offload::kNeedsCsum};
  if (tcp && (m.ol_flags & RTE_MBUF_F_RX_LRO) != 0) {
    offload.gso_size = m.tso_segsz;
    offload.gso_type = RTE_ETH_IS_IPV4_HDR(type) != 0 ? GsoType::kTcp4 : GsoType::kTcp6;
  }
  return offload;
}

Offload ReceivedOffload(const rte_mbuf& m, bool virtio) noexcept {
  switch (m.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
    case RTE_MBUF_F_RX_L4_CKSUM_NONE:
      return virtio ? VirtioOffload(m) : Offload{};
    case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
      return {.flags = Offload::kDataValid};
    default:
      return {};
  }
}

}  // namespace

uint16_t EthdevPort::RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept {
  const uint16_t received = rte_eth_rx_burst(device_.port(), queue, mbufs, n);
  if (received == 0) return 0;
  uint64_t bytes = 0;
  for (uint16_t i = 0; i < received; ++i) {
    OffloadOf(*mbufs[i]) = ReceivedOffload(*mbufs[i], is_vhost_);
    bytes += mbufs[i]->pkt_len;
  }
  Add(rx_[queue].packets, received);
  Add(rx_[queue].bytes, bytes);
  return received;
}

/// Asks the device for the checksum and, when gso_size is set, the segmentation. False when it does not offer
/// them, or the frame is not the plain TCP or UDP that they are meant for.
bool EthdevPort::OffloadToDevice(rte_mbuf& m) const noexcept {
  const Offload& offload = OffloadOf(m);
  const bool tcp = offload.csum_offset == kTcpChecksum;
  const uint64_t wanted = offload.gso_size != 0 ? RTE_ETH_TX_OFFLOAD_TCP_TSO
                          : tcp                 ? RTE_ETH_TX_OFFLOAD_TCP_CKSUM
                                                : RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
  const uint64_t offered = tx_offloads_.load(std::memory_order_relaxed);
  if ((offered & wanted) == 0 || (!tcp && offload.csum_offset != kUdpChecksum)) return false;
  if (offload.csum_start + sizeof(rte_tcp_hdr) > m.data_len) return false;
  rte_net_hdr_lens lens{};
  const uint32_t type =
      rte_net_get_ptype(&m, &lens, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK);
  const uint32_t l4 = type & RTE_PTYPE_L4_MASK;
  if (l4 != (tcp ? RTE_PTYPE_L4_TCP : RTE_PTYPE_L4_UDP) || lens.l2_len + lens.l3_len != offload.csum_start)
    return false;
  // QEMU's igbvf, asked to cut a frame with a VLAN tag in it, made 3 Mbit/s of TCP; with frames cut here it
  // is 63.
  if (offload.gso_size != 0 && lens.l2_len != sizeof(rte_ether_hdr)) return false;
  const bool v4 = RTE_ETH_IS_IPV4_HDR(type) != 0;
  m.l2_len = lens.l2_len & 0x7f;
  m.l3_len = lens.l3_len & 0x1ff;
  m.l4_len = lens.l4_len;
  m.ol_flags |= (v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
                (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
  if (offload.gso_size != 0) {
    m.tso_segsz = offload.gso_size;
    m.ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    if (v4 && (offered & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0) m.ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  }
  return true;
}

/// Makes `m` what the device can send as it is, or says what else must be done with it. Again is harmless.
EthdevPort::Prepared EthdevPort::Prepare(rte_mbuf& m) const noexcept {
  const Offload& offload = OffloadOf(m);
  if (offload.gso_size != 0) return PrepareSuperPacket(m);
  const bool tunnel = (m.ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK) != 0;
  m.ol_flags &= ~kTxRequests;
  const bool copy =
      m.nb_segs > 1 && (tx_offloads_.load(std::memory_order_relaxed) & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0;
  if (offload.needs_csum()) {
    const bool in_software = tunnel || copy;
    if ((in_software || !OffloadToDevice(m)) && !CompleteChecksum(m)) return Prepared::kBroken;
  }
  return copy ? Prepared::kCopy : Prepared::kReady;
}

EthdevPort::Prepared EthdevPort::PrepareSuperPacket(rte_mbuf& m) const noexcept {
  const bool tunnel = (m.ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK) != 0;
  if (tunnel || (tx_offloads_.load(std::memory_order_relaxed) & RTE_ETH_TX_OFFLOAD_TCP_TSO) == 0)
    return Prepared::kSegment;
  m.ol_flags &= ~kTxRequests;
  return OffloadToDevice(m) ? Prepared::kReady : Prepared::kSegment;
}

/// `bytes`: of all `n`, summed before the burst, for the driver owns the mbufs after it. `requests`: what any
/// of them asks of the device.
uint16_t EthdevPort::SendReady(TxQueue& q, uint16_t queue, rte_mbuf** mbufs, uint16_t n, uint64_t bytes,
                               uint64_t requests) noexcept {
  const uint16_t ready =
      (requests & kTxRequests) == 0 ? n : rte_eth_tx_prepare(device_.port(), queue, mbufs, n);
  const uint16_t sent = rte_eth_tx_burst(device_.port(), queue, mbufs, ready);
  for (uint16_t i = sent; i < n; ++i) bytes -= mbufs[i]->pkt_len;
  Add(q.packets, sent);
  Add(q.bytes, bytes);
  if (sent == n || sent < ready) return sent;
  rte_pktmbuf_free(mbufs[sent]);  // the driver can never send this one
  Add(q.errors, 1);
  return static_cast<uint16_t>(sent + 1);
}

/// Sends frames that nobody else holds; the queue gets a moment to drain, then the rest is freed. Returns
/// those sent.
uint16_t EthdevPort::SendOwned(uint16_t queue, rte_mbuf** frames, uint16_t n) noexcept {
  uint16_t sent = 0;
  for (int attempt = 0; sent < n && attempt < kSegmentRetries; ++attempt) {
    sent = static_cast<uint16_t>(
        sent + rte_eth_tx_burst(device_.port(), queue, frames + sent, static_cast<uint16_t>(n - sent)));
  }
  if (sent < n) rte_pktmbuf_free_bulk(frames + sent, n - sent);
  return sent;
}

void EthdevPort::SendSegments(TxQueue& q, uint16_t queue, rte_mbuf* packet) noexcept {
  std::array<rte_mbuf*, kSegmentBurst> frames;
  Segmenter segmenter;
  bool whole = segmenter.Start(*packet);
  while (whole) {
    const uint16_t n = segmenter.Next(pools_, frames);
    if (n == 0) break;
    const uint16_t sent = SendOwned(queue, frames.data(), n);
    Add(q.segments, sent);
    whole = sent == n;
  }
  whole = whole && segmenter.remaining() == 0;
  Add(q.packets, whole ? 1 : 0);
  Add(q.bytes, whole ? packet->pkt_len : 0);
  Add(q.errors, whole ? 0 : 1);
  rte_pktmbuf_free(packet);
}

void EthdevPort::SendCopy(TxQueue& q, uint16_t queue, rte_mbuf* packet) noexcept {
  rte_mbuf* copy = rte_pktmbuf_copy(packet, &pools_.big(), 0, UINT32_MAX);
  const uint32_t len = packet->pkt_len;
  rte_pktmbuf_free(packet);
  const bool sent = copy != nullptr && SendOwned(queue, &copy, 1) == 1;
  Add(q.packets, sent ? 1 : 0);
  Add(q.bytes, sent ? len : 0);
  Add(q.errors, sent ? 0 : 1);
}

void EthdevPort::SendSpecial(TxQueue& q, uint16_t queue, rte_mbuf* packet, Prepared how) noexcept {
  switch (how) {
    case Prepared::kSegment:
      return SendSegments(q, queue, packet);
    case Prepared::kCopy:
      return SendCopy(q, queue, packet);
    case Prepared::kReady:
    case Prepared::kBroken:
      Add(q.errors, 1);
      rte_pktmbuf_free(packet);
  }
}

uint16_t EthdevPort::TxLocked(TxQueue& q, uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept {
  uint16_t done = 0;
  while (done < n) {
    uint16_t end = done;
    uint64_t bytes = 0, requests = 0;
    Prepared how = Prepared::kReady;
    for (; end < n && (how = Prepare(*mbufs[end])) == Prepared::kReady; ++end) {
      bytes += mbufs[end]->pkt_len;
      requests |= mbufs[end]->ol_flags;
    }
    if (end > done) {
      const auto ready = static_cast<uint16_t>(end - done);
      done = static_cast<uint16_t>(done + SendReady(q, queue, mbufs + done, ready, bytes, requests));
      if (done < end) break;
    }
    if (end < n) SendSpecial(q, queue, mbufs[done++], how);
  }
  return done;
}

uint16_t EthdevPort::TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept {
  const auto device_queue = static_cast<uint16_t>(queue % usable_tx_queues_.load(std::memory_order_relaxed));
  TxQueue& q = tx_[device_queue];
  if (!tx_is_shared_) return TxLocked(q, device_queue, mbufs, n);
  rte_spinlock_lock(&q.lock);
  const uint16_t done = TxLocked(q, device_queue, mbufs, n);
  rte_spinlock_unlock(&q.lock);
  return done;
}

}  // namespace podwire
