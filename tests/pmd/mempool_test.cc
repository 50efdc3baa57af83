#include "pmd/mempool.h"

#include <gtest/gtest.h>

#include "tests/pmd/eal_fixture.h"

namespace podwire {
namespace mempool_test {

TEST(MempoolTest, ThreadsCannotKeepMoreThanHalfOfAPoolForThemselves) {
  for (const uint32_t memory_mb : {64u, 512u, 4096u}) {
    for (const uint32_t threads : {1u, 3u, 17u, 65u}) {
      const auto o = MempoolOptions::ForMemory(memory_mb, threads);
      SCOPED_TRACE(testing::Message() << memory_mb << " MB, " << threads << " threads");
      // DPDK lets a cache grow to one and a half times its size.
      EXPECT_LE(o.cache * threads * 3 / 2, o.small_count / 2);
      EXPECT_LE(o.big_cache * threads * 3 / 2, o.big_count / 2);
    }
  }
  EXPECT_EQ(MempoolOptions::ForMemory(512, 3).cache, 256u);
  EXPECT_EQ(MempoolOptions::ForMemory(512, 3).big_cache, 16u);
  EXPECT_GT(MempoolOptions::ForMemory(512, 65).big_cache, 0u);
}

TEST(MempoolTest, ThePoolsHaveTheCachesThatWereAskedFor) {
  TestPools();
  const auto pools =
      MbufPools::Create({.name = "caches", .small_count = 255, .big_count = 63, .cache = 40, .big_cache = 7});
  ASSERT_TRUE(pools.ok()) << pools.status();
  EXPECT_EQ((*pools)->small().cache_size, 40u);
  EXPECT_EQ((*pools)->big().cache_size, 7u);
}

}  // namespace mempool_test
}  // namespace podwire
