#include "tests/switch/eal_environment.h"

#include <cstdio>
#include <cstdlib>

#include <sched.h>
#include <unistd.h>

#include <fmt/format.h>

#include "net/status.h"
#include "pmd/eal.h"

namespace podwire::testing {
namespace {

MbufPools* pools = nullptr;

/// Lists for so many workers, each of the CPUs that this process may use.
std::vector<std::string> AnyCpu(unsigned workers) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  std::string list;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) list += fmt::format("{}{}", list.empty() ? "" : ",", cpu);
  }
  return std::vector<std::string>(workers, list);
}

}  // namespace

void StartEal(unsigned workers, void (*before_pools)()) {
  if (pools != nullptr) return;
  absl::StatusOr<std::unique_ptr<MbufPools>> made = [&]() -> absl::StatusOr<std::unique_ptr<MbufPools>> {
    ASSIGN_OR_RETURN(const EalInfo info, InitEal({.file_prefix = fmt::format("podwire-test-{}", getpid()),
                                                  .worker_cpus = AnyCpu(workers),
                                                  .memory_mb = 128,
                                                  .hugepages = HugepageUse::kOff,
                                                  .telemetry = false}));
    if (before_pools != nullptr) before_pools();
    return MbufPools::Create({.name = "test", .small_count = 4096, .big_count = 64, .cache = 0});
  }();
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", Message(made.status()).c_str());
    std::abort();
  }
  pools = made->release();
}

void EalEnvironment::SetUp() { StartEal(workers_, before_pools_); }

void EalEnvironment::TearDown() {
  EXPECT_EQ(rte_mempool_in_use_count(&pools->small()), 0u) << "leaked mbufs";
  EXPECT_EQ(rte_mempool_in_use_count(&pools->big()), 0u) << "leaked big mbufs";
  delete pools;
  pools = nullptr;
  ShutdownEal();
}

MbufPools& EalEnvironment::Pools() { return *pools; }

}  // namespace podwire::testing
