#include "switch/outer_checksum.h"

#include <algorithm>

namespace podwire {

// Not rte_raw_cksum_mbuf: that of DPDK 22.11 cuts off a segment's carries when an odd number of bytes came
// before it.
uint16_t SumOfAll(const PacketBase& p, const uint8_t* ip) noexcept {
  const rte_mbuf* m = p.mbuf;
  auto offset = static_cast<uint32_t>(ip - rte_pktmbuf_mtod(m, const uint8_t*));
  uint64_t sum = 0;
  uint32_t done = 0;
  for (; m != nullptr && done < p.l3_len; m = m->next, offset = 0) {
    const uint32_t len = std::min<uint32_t>(p.l3_len - done, m->data_len - offset);
    const uint16_t part = rte_raw_cksum(rte_pktmbuf_mtod_offset(m, const uint8_t*, offset), len);
    sum += (done & 1) != 0 ? AtOddOffset(part) : part;
    done += len;
  }
  return FoldChecksum(sum);
}

}  // namespace podwire
