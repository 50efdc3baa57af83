#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <rte_mbuf.h>

#include "pmd/offload.h"
#include "tests/fuzz/check.h"
#include "tests/switch/eal_environment.h"

namespace podwire::testing {

/// A packet in chained mbufs, each of which ends where its heap block ends, so that AddressSanitizer sees the
/// byte behind.
class TightChain {
 public:
  TightChain(std::span<const uint8_t> bytes, std::span<const size_t> cuts) {
    for (const size_t cut : cuts) {
      const size_t len = std::min(cut, bytes.size());
      if (len != 0) Add(bytes.first(len));
      bytes = bytes.subspan(len);
    }
    if (!bytes.empty() || parts_.empty()) Add(bytes);
  }
  ~TightChain() {
    // Those too that JoinTunnel has freed: nothing has been allocated since.
    for (const Part& part : parts_) {
      part.mbuf->buf_addr = part.saved_addr;
      part.mbuf->buf_len = part.saved_len;
    }
    rte_pktmbuf_free(parts_[0].mbuf);
  }
  TightChain(const TightChain&) = delete;
  TightChain& operator=(const TightChain&) = delete;
  rte_mbuf& operator*() { return *parts_[0].mbuf; }

 private:
  struct Part {
    rte_mbuf* mbuf;
    void* saved_addr;
    uint16_t saved_len;
    std::unique_ptr<uint8_t[]> block;
  };

  void Add(std::span<const uint8_t> bytes) {
    rte_mbuf* m = rte_pktmbuf_alloc(&EalEnvironment::Pools().small());
    parts_.push_back({m, m->buf_addr, m->buf_len, std::make_unique<uint8_t[]>(bytes.size())});
    std::ranges::copy(bytes, parts_.back().block.get());
    m->buf_addr = parts_.back().block.get();
    m->data_off = 0;
    m->buf_len = m->data_len = static_cast<uint16_t>(bytes.size());
    m->pkt_len = m->data_len;
    OffloadOf(*m) = {};
    if (parts_.size() > 1) CHECK(rte_pktmbuf_chain(parts_[0].mbuf, m) == 0);
  }

  std::vector<Part> parts_;
};

}  // namespace podwire::testing
