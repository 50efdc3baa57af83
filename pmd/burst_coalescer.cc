#include "pmd/burst_coalescer.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "net/checksum.h"

namespace podwire {
namespace {

constexpr uint16_t kEthernet = sizeof(rte_ether_hdr);
constexpr uint16_t kIp4 = sizeof(rte_ipv4_hdr), kIp6 = sizeof(rte_ipv6_hdr);

const uint8_t* IpOf(const rte_mbuf& m) { return rte_pktmbuf_mtod_offset(&m, const uint8_t*, kEthernet); }

/// An IP header is there, and it is of the Ethernet type's version.
bool IsIp(const rte_mbuf& m) {
  if (m.data_len < kEthernet + kIp4) return false;
  const rte_be16_t type = rte_pktmbuf_mtod(&m, const rte_ether_hdr*)->ether_type;
  if (type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) return IpOf(m)[0] >> 4 != 6;
  return type == RTE_BE16(RTE_ETHER_TYPE_IPV6) && m.data_len >= kEthernet + kIp6 && IpOf(m)[0] >> 4 == 6;
}

bool Coalescible(const rte_mbuf& m, TcpSegment& segment) {
  return m.nb_segs == 1 && OffloadOf(m).gso_size == 0 &&
         FindTcpSegment(IpOf(m), uint32_t{m.data_len} - kEthernet, m.pkt_len - kEthernet, segment);
}

/// Verified here unless the sender's kernel or the port vouches for it.
bool ChecksumGood(const rte_mbuf& m) {
  const Offload& offload = OffloadOf(m);
  TcpSegment segment{.ip = IpOf(m)};
  segment.l3_len = static_cast<uint8_t>(segment.ip[0] >> 4 == 6 ? kIp6 : kIp4);
  if (offload.needs_csum()) return offload.csum_start == kEthernet + segment.l3_len;
  if ((offload.flags & Offload::kDataValid) != 0) return true;
  const auto tcp_len = static_cast<uint16_t>(m.data_len - kEthernet - segment.l3_len);
  return FoldChecksum(uint64_t{TcpPseudoSum(segment, tcp_len)} +
                      rte_raw_cksum(segment.ip + segment.l3_len, tcp_len)) == 0xffff;
}

/// What tells a packet's connection: addresses, and the ports behind them if it has any there.
struct Connection {
  const uint8_t* bytes = nullptr;
  uint32_t len = 0;
  bool is_tcp = true;  ///< or may be
};

Connection ConnectionOf4(const uint8_t* ip, uint32_t contiguous) {
  const auto& h = *reinterpret_cast<const rte_ipv4_hdr*>(ip);
  const bool has_ports = h.version_ihl == 0x45 && contiguous >= kIp4 + 4u &&
                         (h.fragment_offset & ~RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) == 0;
  return {ip + offsetof(rte_ipv4_hdr, src_addr), has_ports ? 8u + 4 : 8,
          !has_ports || h.next_proto_id == IPPROTO_TCP};
}

Connection ConnectionOf6(const uint8_t* ip, uint32_t contiguous) {
  const auto& h = *reinterpret_cast<const rte_ipv6_hdr*>(ip);
  const bool has_ports = contiguous >= kIp6 + 4u && h.proto == IPPROTO_TCP;
  const bool other = h.proto == IPPROTO_UDP || h.proto == IPPROTO_ICMPV6;
  return {ip + offsetof(rte_ipv6_hdr, src_addr), has_ports ? 32u + 4 : 32, !other};
}

}  // namespace

void BurstCoalescer::Plan(std::span<rte_mbuf*> mbufs) noexcept {
  planned_ = static_cast<uint16_t>(std::min<size_t>(mbufs.size(), kMaxBurst));
  group_count_ = open_count_ = 0;
  mbufs_ = mbufs.data();
  for (uint8_t i = 0; i < planned_; ++i) {
    next_[i] = group_of_[i] = starts_[i] = kNone;
    follows_[i] = false;
    Place(*mbufs[i], i);
  }
  std::array<rte_mbuf*, kMaxBurst> arranged;
  uint16_t n = 0;
  for (uint8_t i = 0; i < planned_; ++i) {
    if (follows_[i]) continue;
    if (next_[i] != kNone) starts_[n] = group_of_[i];
    for (uint8_t at = i; at != kNone; at = next_[at]) arranged[n++] = mbufs[at];
  }
  std::copy_n(arranged.data(), n, mbufs.data());
}

void BurstCoalescer::Place(const rte_mbuf& m, uint8_t index) noexcept {
  if (!IsIp(m)) return;
  TcpSegment segment;
  const bool coalescible = Coalescible(m, segment);
  for (uint8_t slot = 0; coalescible && slot < open_count_; ++slot) {
    Group& group = groups_[open_[slot]];
    if (group.segments.Continues(segment) && Join(group, m, segment, index)) return;
  }
  CloseConnectionOf(IpOf(m), m.data_len - kEthernet);
  if (coalescible) Open(segment, index);
}

bool BurstCoalescer::Join(Group& group, const rte_mbuf& m, const TcpSegment& segment,
                          uint8_t index) noexcept {
  const rte_mbuf& last = *mbufs_[group.last];
  const auto* ethernet = rte_pktmbuf_mtod(&m, const uint8_t*);
  if (std::memcmp(ethernet, rte_pktmbuf_mtod(&last, const uint8_t*), kEthernet) != 0) return false;
  if (!group.checked && !ChecksumGood(last)) return false;
  group.checked = true;
  if (!ChecksumGood(m)) return false;
  group.segments.Append(segment);
  next_[group.last] = index;
  group.last = index;
  follows_[index] = true;
  return true;
}

/// Nothing that comes later may pass this packet: what it belongs to is complete.
void BurstCoalescer::CloseConnectionOf(const uint8_t* ip, uint32_t contiguous) noexcept {
  const bool v6 = ip[0] >> 4 == 6;
  const Connection c = v6 ? ConnectionOf6(ip, contiguous) : ConnectionOf4(ip, contiguous);
  if (!c.is_tcp) return;
  for (uint8_t slot = open_count_; slot-- > 0;) {
    const TcpSegment& first = groups_[open_[slot]].segments.first();
    // Addresses and ports lie side by side in a header without options.
    if (first.v6() == v6 && std::memcmp(c.bytes, first.ip + (c.bytes - ip), c.len) == 0) Close(slot);
  }
}

void BurstCoalescer::Open(const TcpSegment& segment, uint8_t index) noexcept {
  if (open_count_ == kMaxOpen) {  // the oldest, in its place the others
    std::copy(open_.begin() + 1, open_.end(), open_.begin());
    --open_count_;
  }
  groups_[group_count_] = {.segments = TcpCoalescer(segment), .last = index, .checked = false};
  group_of_[index] = group_count_;
  open_[open_count_++] = group_count_++;
}

}  // namespace podwire
