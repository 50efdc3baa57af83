#include "tests/switch/eal_environment.h"

#include <cstdio>
#include <cstdlib>

#include <unistd.h>

#include <fmt/format.h>

#include "net/status.h"
#include "pmd/eal.h"

namespace podwire::testing {
namespace {

MbufPools* pools = nullptr;

}  // namespace

void StartEal() {
  if (pools != nullptr) return;
  absl::StatusOr<std::unique_ptr<MbufPools>> made = []() -> absl::StatusOr<std::unique_ptr<MbufPools>> {
    ASSIGN_OR_RETURN(const EalInfo info, InitEal({.file_prefix = fmt::format("podwire-test-{}", getpid()),
                                                  .memory_mb = 128,
                                                  .hugepages = HugepageUse::kOff,
                                                  .telemetry = false}));
    return MbufPools::Create({.name = "test", .small_count = 4096, .big_count = 64, .cache = 0});
  }();
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", Message(made.status()).c_str());
    std::abort();
  }
  pools = made->release();
}

void EalEnvironment::SetUp() { StartEal(); }

void EalEnvironment::TearDown() {
  EXPECT_EQ(rte_mempool_in_use_count(&pools->small()), 0u) << "leaked mbufs";
  EXPECT_EQ(rte_mempool_in_use_count(&pools->big()), 0u) << "leaked big mbufs";
  delete pools;
  pools = nullptr;
  ShutdownEal();
}

MbufPools& EalEnvironment::Pools() { return *pools; }

}  // namespace podwire::testing
