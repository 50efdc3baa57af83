#include "pmd/mempool.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <rte_errno.h>

#include "net/status.h"

namespace podwire {
namespace {

constexpr uint32_t kSmallElement = sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM + kSmallRoom + 128;
constexpr uint32_t kBigElement = sizeof(rte_mbuf) + UINT16_MAX + 128;

absl::StatusOr<MempoolPtr> CreatePool(const std::string& name, uint32_t count, uint32_t cache,
                                      uint16_t data_room, int socket) {
  MempoolPtr pool(rte_pktmbuf_pool_create(name.c_str(), count, std::min<uint32_t>(cache, count / 4), 0,
                                          data_room, socket));
  if (pool != nullptr) return pool;
  if (rte_errno == ENOMEM || rte_errno == ENOBUFS) {
    return Error(absl::StatusCode::kResourceExhausted,
                 "mbuf pool {}: no room for {} mbufs of {} bytes: raise memory", name, count, data_room);
  }
  return ErrnoError(rte_errno, "mbuf pool {}", name);
}

}  // namespace

MempoolOptions MempoolOptions::ForMemory(uint32_t memory_mb, uint32_t threads) {
  const uint64_t bytes = uint64_t{memory_mb} << 20;
  MempoolOptions o{
      .small_count = static_cast<uint32_t>(std::max<uint64_t>(bytes * 3 / 8 / kSmallElement, 2048)),
      .big_count = static_cast<uint32_t>(std::max<uint64_t>(bytes / 8 / kBigElement, 64))};
  // A cache grows to one and a half times its size before it gives back.
  o.cache = std::min(o.cache, o.small_count / (3 * threads));
  o.big_cache = std::min(o.big_cache, o.big_count / (3 * threads));
  return o;
}

absl::StatusOr<std::unique_ptr<MbufPools>> MbufPools::Create(const MempoolOptions& o) {
  ASSIGN_OR_RETURN(MempoolPtr small, CreatePool(o.name + "_small", o.small_count, o.cache,
                                                RTE_PKTMBUF_HEADROOM + kSmallRoom, o.socket));
  ASSIGN_OR_RETURN(MempoolPtr big,
                   CreatePool(o.name + "_big", o.big_count, o.big_cache, UINT16_MAX, o.socket));
  return std::unique_ptr<MbufPools>(new MbufPools(std::move(small), std::move(big)));
}

}  // namespace podwire
