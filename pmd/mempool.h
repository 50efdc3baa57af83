#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <absl/status/statusor.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace podwire {

struct MempoolFree {
  void operator()(rte_mempool* p) const noexcept { rte_mempool_free(p); }
};
using MempoolPtr = std::unique_ptr<rte_mempool, MempoolFree>;

/// Bytes of packet a small mbuf holds behind its headroom. The headroom is DPDK's 128 bytes: 64 for the
/// longest encapsulation header over IPv4 (84 over IPv6), the rest slack; drivers set it themselves, so it
/// cannot be more.
inline constexpr uint16_t kSmallRoom = 2048;

struct MempoolOptions {
  std::string name = "podwire";  ///< prefix of the pools' names; one set a name and process
  uint32_t small_count = 16384;
  uint32_t big_count = 512;
  uint32_t cache = 256;             ///< small mbufs that each lcore keeps
  uint32_t big_cache = cache / 16;  ///< big ones
  int socket = -1;                  ///< NUMA node; -1: any

  /// Three eighths of `memory_mb` of EAL memory as small mbufs (2.4 KB each), an eighth as big ones (64 KB).
  /// The caches of `threads` lcores (workers and main) hold half of a pool at most, or those that have few
  /// would starve the others.
  static MempoolOptions ForMemory(uint32_t memory_mb, uint32_t threads);
};

/// The mbuf pools of a process. Any thread may allocate and free; workers (lcores) have caches.
class MbufPools {
 public:
  /// ResourceExhausted when EAL's memory does not suffice. EAL must be up.
  static absl::StatusOr<std::unique_ptr<MbufPools>> Create(const MempoolOptions& options);

  /// Ordinary frames and the headers of super-packets.
  rte_mempool& small() const { return *small_; }
  /// Up to 65,407 bytes behind the usual headroom (65,535 without): the rest of a super-packet, or a jumbo
  /// frame.
  rte_mempool& big() const { return *big_; }

 private:
  MbufPools(MempoolPtr small, MempoolPtr big) : small_(std::move(small)), big_(std::move(big)) {}
  MempoolPtr small_;
  MempoolPtr big_;
};

}  // namespace podwire
