#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include "net/checksum.h"
#include "pmd/coalesce.h"
#include "pmd/offload.h"
#include "pmd/udp_super_packet.h"

namespace podwire {
namespace {

constexpr uint16_t kEthernet = sizeof(rte_ether_hdr);
constexpr uint16_t kIp = sizeof(rte_ipv4_hdr);
constexpr uint16_t kOuterLen4 = kEthernet + kIp + sizeof(rte_udp_hdr);
constexpr uint16_t kOuterLen6 = kEthernet + sizeof(rte_ipv6_hdr) + sizeof(rte_udp_hdr);
constexpr uint16_t kVxlanPrefix = sizeof(rte_vxlan_hdr) + kEthernet;

/// A place in a chain of mbufs that only moves on.
class Cursor {
 public:
  explicit Cursor(rte_mbuf& m) : m_(&m) {}

  void Advance(uint32_t n) noexcept {
    at_ += n;
    while (at_ >= m_->data_len && m_->next != nullptr) {
      at_ -= m_->data_len;
      m_ = m_->next;
    }
  }
  uint8_t* data() const noexcept { return rte_pktmbuf_mtod_offset(m_, uint8_t*, at_); }
  /// Bytes from here to this mbuf's end.
  uint32_t room() const noexcept { return m_->data_len - at_; }

 private:
  rte_mbuf* m_;
  uint32_t at_ = 0;
};

uint16_t SumOf(Cursor from, uint32_t len) noexcept {
  uint64_t sum = 0;
  for (uint32_t done = 0; done < len;) {
    const uint32_t part = std::min(len - done, from.room());
    const uint16_t part_sum = rte_raw_cksum(from.data(), part);
    sum += (done & 1) != 0 ? AtOddOffset(part_sum) : part_sum;
    done += part;
    from.Advance(part);
  }
  return FoldChecksum(sum);
}

/// `to` lies before `from`, both end `len` bytes further on.
void MoveBytes(Cursor& to, Cursor& from, uint32_t len) noexcept {
  while (len > 0) {
    const uint32_t part = std::min({len, from.room(), to.room()});
    std::memmove(to.data(), from.data(), part);
    to.Advance(part);
    from.Advance(part);
    len -= part;
  }
}

/// Cuts the chain after `len` bytes.
void Truncate(rte_mbuf& m, uint32_t len) noexcept {
  m.pkt_len = len;
  rte_mbuf* last = &m;
  uint16_t segments = 1;
  for (; len > last->data_len; last = last->next, ++segments) len -= last->data_len;
  last->data_len = static_cast<uint16_t>(len);
  rte_pktmbuf_free(last->next);
  last->next = nullptr;
  m.nb_segs = segments;
}

/// Reads the datagrams one after the other.
class Joiner {
 public:
  Joiner(rte_mbuf& m, const UdpSuperPacket& super, bool vxlan)
      : m_(m), super_(super), prefix_(vxlan ? kVxlanPrefix : 0), vxlan_(vxlan) {}

  bool AllContinue() noexcept {
    Cursor at(m_);
    at.Advance(super_.header_len);
    for (uint32_t offset = super_.header_len; offset < super_.len; offset += super_.datagram_len) {
      const uint32_t len = std::min<uint32_t>(super_.datagram_len, super_.len - offset);
      if (!Take(at, len)) return false;
      at.Advance(len);
    }
    return segments_.segments() > 1;
  }

  /// Payloads together, headers in front.
  void Join() noexcept {
    const uint32_t headers = uint32_t{prefix_} + segments_.header_len();
    Cursor from(m_);
    from.Advance(super_.header_len + uint32_t{super_.datagram_len});
    Cursor to = from;
    for (uint32_t offset = super_.header_len + uint32_t{super_.datagram_len}; offset < super_.len;
         offset += super_.datagram_len) {
      const uint32_t len = std::min<uint32_t>(super_.datagram_len, super_.len - offset);
      from.Advance(headers);
      MoveBytes(to, from, len - headers);
    }
    const uint32_t l3 = uint32_t{super_.header_len} + prefix_;
    Truncate(m_, l3 + segments_.len());
    segments_.WriteHeader(rte_pktmbuf_mtod_offset(&m_, uint8_t*, l3));
    WriteOuter();
    OffloadOf(m_) = segments_.OffloadAt(static_cast<uint16_t>(l3));
  }

 private:
  bool Take(const Cursor& at, uint32_t len) noexcept {
    // The headers, in one piece even where an mbuf ends.
    std::array<uint8_t, kVxlanPrefix + TcpCoalescer::kMaxHeader> copy;
    const uint32_t wanted = std::min<uint32_t>(len, prefix_ + uint32_t{TcpCoalescer::kMaxHeader});
    const uint8_t* data = at.data();
    if (at.room() < wanted) {
      if (segments_.segments() == 0) return false;  // what the first refers to must stay
      Cursor from = at;
      for (uint32_t done = 0; done < wanted;) {
        const uint32_t part = std::min(wanted - done, from.room());
        std::memcpy(copy.data() + done, from.data(), part);
        done += part;
        from.Advance(part);
      }
      data = copy.data();
    }
    return wanted >= prefix_ && Accept(at, data, wanted - prefix_, len - prefix_);
  }

  bool Accept(Cursor at, const uint8_t* data, uint32_t contiguous, uint32_t len) noexcept {
    TcpSegment segment;
    const uint8_t* ip = data + prefix_;
    if (!FindTcpSegment(ip, contiguous, len, segment)) return false;
    if (!segment.v6() && rte_raw_cksum(ip, kIp) != 0xffff) return false;
    const bool first = segments_.segments() == 0;
    if (first) {
      // Join writes behind the outer header.
      if (ip != rte_pktmbuf_mtod_offset(&m_, const uint8_t*, super_.header_len + prefix_)) return false;
      const auto* eth = reinterpret_cast<const rte_ether_hdr*>(data + sizeof(rte_vxlan_hdr));
      const rte_be16_t type = segment.v6() ? RTE_BE16(RTE_ETHER_TYPE_IPV6) : RTE_BE16(RTE_ETHER_TYPE_IPV4);
      if (vxlan_ ? eth->ether_type != type : segment.v6()) return false;
    } else if (std::memcmp(segments_.first().ip - prefix_, data, prefix_) != 0 ||
               !segments_.Continues(segment)) {
      return false;
    }
    at.Advance(prefix_ + uint32_t{segment.l3_len});
    const auto tcp_len = static_cast<uint16_t>(len - segment.l3_len);
    if (FoldChecksum(uint64_t{TcpPseudoSum(segment, tcp_len)} + SumOf(at, tcp_len)) != 0xffff) return false;
    if (first) {
      segments_ = TcpCoalescer(segment);
    } else {
      segments_.Append(segment);
    }
    return true;
  }

  void WriteOuter() noexcept {
    const auto udp_at = static_cast<uint16_t>(super_.header_len - sizeof(rte_udp_hdr));
    auto* udp = rte_pktmbuf_mtod_offset(&m_, rte_udp_hdr*, udp_at);
    udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(m_.pkt_len - udp_at));
    udp->dgram_cksum = 0;
    if (super_.v6) {
      rte_pktmbuf_mtod_offset(&m_, rte_ipv6_hdr*, kEthernet)->payload_len = udp->dgram_len;
      return;
    }
    auto* ip = rte_pktmbuf_mtod_offset(&m_, rte_ipv4_hdr*, kEthernet);
    ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(m_.pkt_len - kEthernet));
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  }

  rte_mbuf& m_;
  const UdpSuperPacket& super_;
  const uint16_t prefix_;
  const bool vxlan_;
  TcpCoalescer segments_;
};

/// Whether the outer header, in the first mbuf, is the tunnel's.
bool IsToTunnel(rte_mbuf& m, const UdpSuperPacket& super, const UdpTunnel& tunnel) {
  const auto* udp = rte_pktmbuf_mtod_offset(&m, const rte_udp_hdr*, super.header_len - sizeof(rte_udp_hdr));
  if (udp->dst_port != tunnel.port_be) return false;
  if (super.v6) {
    const auto* ip = rte_pktmbuf_mtod_offset(&m, const rte_ipv6_hdr*, kEthernet);
    return super.header_len == kOuterLen6 && tunnel.address6 != Ipv6{} &&
           std::memcmp(ip->dst_addr, tunnel.address6.bytes.data(), sizeof ip->dst_addr) == 0;
  }
  const auto* ip = rte_pktmbuf_mtod_offset(&m, const rte_ipv4_hdr*, kEthernet);
  return super.header_len == kOuterLen4 && tunnel.address.be != 0 && ip->dst_addr == tunnel.address.be &&
         rte_raw_cksum(ip, kIp) == 0xffff;  // made anew by Join: it must not hide a fault
}

}  // namespace

bool JoinTunnel(rte_mbuf& m, const UdpSuperPacket& super, const UdpTunnel& tunnel) noexcept {
  if (!tunnel.enabled() || !IsToTunnel(m, super, tunnel)) return false;
  Joiner joiner(m, super, tunnel.vxlan);
  if (!joiner.AllContinue()) return false;
  joiner.Join();
  return true;
}

}  // namespace podwire
