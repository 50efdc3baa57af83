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
constexpr uint16_t kIp = sizeof(rte_ipv4_hdr);
constexpr uint32_t kAddressesAndPorts = 8 + 4;  // they lie side by side in a header without options

const uint8_t* IpOf(const rte_mbuf& m) { return rte_pktmbuf_mtod_offset(&m, const uint8_t*, kEthernet); }

bool IsIpv4(const rte_mbuf& m) {
  return m.data_len >= kEthernet + kIp &&
         rte_pktmbuf_mtod(&m, const rte_ether_hdr*)->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4);
}

bool Coalescible(const rte_mbuf& m, TcpSegment& segment) {
  return m.nb_segs == 1 && OffloadOf(m).gso_size == 0 &&
         FindTcpSegment(IpOf(m), uint32_t{m.data_len} - kEthernet, m.pkt_len - kEthernet, segment);
}

/// Verified here unless the sender's kernel or the port vouches for it.
bool ChecksumGood(const rte_mbuf& m) {
  const Offload& offload = OffloadOf(m);
  if (offload.needs_csum()) return offload.csum_start == kEthernet + kIp;
  if ((offload.flags & Offload::kDataValid) != 0) return true;
  const auto tcp_len = static_cast<uint16_t>(m.data_len - kEthernet - kIp);
  const uint8_t* ip = IpOf(m);
  return FoldChecksum(uint64_t{TcpPseudoSum(ip, tcp_len)} + rte_raw_cksum(ip + kIp, tcp_len)) == 0xffff;
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
  if (!IsIpv4(m)) return;
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
  const auto& h = *reinterpret_cast<const rte_ipv4_hdr*>(ip);
  const bool has_ports = h.version_ihl == 0x45 && contiguous >= kIp + 4u &&
                         (h.fragment_offset & ~RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) == 0;
  if (has_ports && h.next_proto_id != IPPROTO_TCP) return;
  const uint32_t compared = has_ports ? kAddressesAndPorts : 8;
  constexpr size_t kAddresses = offsetof(rte_ipv4_hdr, src_addr);
  for (uint8_t slot = open_count_; slot-- > 0;) {
    const uint8_t* other = groups_[open_[slot]].segments.first().ip;
    if (std::memcmp(ip + kAddresses, other + kAddresses, compared) == 0) Close(slot);
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
