#include "pmd/tunnel_bundle.h"

#include <algorithm>
#include <cstddef>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "net/checksum.h"
#include "pmd/segment.h"

namespace podwire {

/// The next `len` bytes of payload as parts of the bundle, and their sum. False, and nothing changed, when
/// they are in more mbufs than it has room for.
bool Segmenter::GatherPayload(TunnelBundle& bundle, uint32_t len, uint16_t& sum) noexcept {
  const rte_mbuf* m = source_;
  uint32_t offset = source_offset_;
  const uint16_t parts_before = bundle.part_count;
  const uint32_t len_before = bundle.len;
  uint64_t total = 0;
  for (uint32_t done = 0; done < len;) {
    if (offset == m->data_len) {
      m = m->next;
      offset = 0;
      continue;
    }
    if (bundle.part_count == TunnelBundle::kMaxParts) {
      bundle.part_count = parts_before;
      bundle.len = len_before;
      return false;
    }
    const uint32_t part = std::min(len - done, m->data_len - offset);
    const auto* data = rte_pktmbuf_mtod_offset(m, const uint8_t*, offset);
    const uint16_t part_sum = rte_raw_cksum(data, part);
    total += (done & 1) != 0 ? AtOddOffset(part_sum) : part_sum;
    bundle.AddPart(data, part);
    done += part;
    offset += part;
  }
  source_ = m;
  source_offset_ = offset;
  sum = FoldChecksum(total);
  return true;
}

/// The outer lengths of the whole, and the partial UDP checksum.
void Segmenter::WriteBundleHeader(TunnelBundle& bundle) const noexcept {
  uint8_t* header = bundle.headers[0].data();
  auto* udp = reinterpret_cast<rte_udp_hdr*>(header + outer_l4_);
  udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(bundle.len - outer_l4_));
  uint16_t addresses = 0;
  if (outer_v4_) {
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(header + outer_l3_);
    ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(bundle.len - outer_l3_));
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    addresses = rte_raw_cksum(&ip->src_addr, 2 * sizeof ip->src_addr);
  } else {
    auto* ip = reinterpret_cast<rte_ipv6_hdr*>(header + outer_l3_);
    ip->payload_len = udp->dgram_len;
    addresses = rte_raw_cksum(ip->src_addr, 2 * sizeof ip->src_addr);
  }
  udp->dgram_cksum = FoldChecksum(uint64_t{addresses} + RTE_BE16(IPPROTO_UDP) + udp->dgram_len);
}

uint16_t Segmenter::NextBundle(TunnelBundle& bundle) noexcept {
  bundle.Clear();
  if (!tunnel_ || payload_left_ == 0) return 0;
  const auto outer = static_cast<uint16_t>(outer_l4_ + sizeof(rte_udp_hdr));  // what the frames share
  const uint32_t frame_len = uint32_t{header_len_} - outer + gso_size_;
  const uint32_t most =
      std::min<uint32_t>(TunnelBundle::kMaxFrames, (uint32_t{UINT16_MAX} - (outer - outer_l3_)) / frame_len);
  while (bundle.frames < most && payload_left_ > 0 && bundle.part_count < TunnelBundle::kMaxParts) {
    const auto payload_len = static_cast<uint16_t>(std::min<uint32_t>(payload_left_, gso_size_));
    uint8_t* header = bundle.headers[bundle.frames].data();
    const uint16_t shared = bundle.frames == 0 ? 0 : outer;
    const auto own_len = static_cast<uint16_t>(header_len_ - shared);
    bundle.AddPart(header + shared, own_len);
    uint16_t sum = 0;
    if (!GatherPayload(bundle, payload_len, sum)) {
      --bundle.part_count;
      bundle.len -= own_len;
      break;
    }
    if (bundle.frames == 0) {
      WriteHeaders(header, payload_len);
    } else {
      WriteInnerHeaders(header, payload_len);
    }
    WriteTcpChecksum(header, payload_len, sum);
    NextFrame(payload_len);
    ++bundle.frames;
  }
  if (bundle.frames == 0) return 0;
  bundle.frame_len = static_cast<uint16_t>(frame_len);
  bundle.csum_start = outer_l4_;
  WriteBundleHeader(bundle);
  return bundle.frames;
}

}  // namespace podwire
