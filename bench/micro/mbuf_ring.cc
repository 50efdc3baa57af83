#include "bench/micro/mbuf_ring.h"

#include <cstring>

#include "pmd/offload.h"

namespace podwire::bench {

MbufRing::MbufRing() {
  testing::StartEal();
  const testing::Bytes room(128);
  for (int i = 0; i < kBursts * kBurst; ++i) mbufs_.push_back(testing::ToMbuf(room).release());
}

MbufRing::~MbufRing() {
  for (rte_mbuf* m : mbufs_) rte_pktmbuf_free(m);
}

rte_mbuf** MbufRing::Fill(std::span<const testing::Bytes> frames) {
  rte_mbuf** burst = &mbufs_[at_];
  at_ = at_ + kBurst < mbufs_.size() ? at_ + kBurst : 0;
  for (uint16_t i = 0; i < kBurst; ++i) {
    rte_mbuf& m = *burst[i];
    const testing::Bytes& frame = frames[i];
    rte_pktmbuf_reset(&m);
    m.data_len = static_cast<uint16_t>(frame.size());
    m.pkt_len = m.data_len;
    OffloadOf(m) = {};
    std::memcpy(rte_pktmbuf_mtod(&m, uint8_t*), frame.data(), frame.size());
  }
  return burst;
}

}  // namespace podwire::bench
