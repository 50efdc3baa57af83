#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <rte_mbuf.h>

#include "bench/micro/case.h"
#include "tests/switch/packet_builder.h"

namespace podwire::bench {

/// Mbufs that are filled with frames over and over, a burst at a time, as a receive queue gives them. One
/// thread; EAL must be up.
class MbufRing {
 public:
  static constexpr uint16_t kBursts = 8;

  MbufRing();
  ~MbufRing();
  MbufRing(const MbufRing&) = delete;

  /// The next kBurst mbufs, holding the frames (kBurst of them, 128 bytes each at most). They stay the
  /// ring's: whoever they are handed to must neither free nor keep them.
  rte_mbuf** Fill(std::span<const testing::Bytes> frames);

 private:
  std::vector<rte_mbuf*> mbufs_;
  size_t at_ = 0;
};

}  // namespace podwire::bench
