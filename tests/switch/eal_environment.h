#pragma once

#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "pmd/mempool.h"

namespace podwire::testing {

struct MbufFree {
  void operator()(rte_mbuf* m) const noexcept { rte_pktmbuf_free(m); }
};
using MbufPtr = std::unique_ptr<rte_mbuf, MbufFree>;

/// DPDK's environment and mbuf pools for a whole test program: no hugepages, no devices, no files. Fails the
/// program's run if mbufs are still out at its end.
class EalEnvironment : public ::testing::Environment {
 public:
  /// With lcores 1..workers besides the main one; `before_pools` is called when EAL is up.
  explicit EalEnvironment(unsigned workers = 0, void (*before_pools)() = nullptr)
      : workers_(workers), before_pools_(before_pools) {}
  void SetUp() override;
  void TearDown() override;
  /// Valid while tests run.
  static MbufPools& Pools();

 private:
  const unsigned workers_;
  void (*const before_pools_)();
};

/// Starts EAL and the pools unless they are there. For programs without GoogleTest (fuzzers).
void StartEal(unsigned workers = 0, void (*before_pools)() = nullptr);

}  // namespace podwire::testing
