#include "tests/pmd/eal_fixture.h"

#include <unistd.h>

#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "net/status.h"
#include "pmd/eal.h"

namespace podwire {
namespace {

std::unique_ptr<MbufPools> pools;

class EalEnvironment : public testing::Environment {
 public:
  void TearDown() override {
    if (pools == nullptr) return;
    pools.reset();
    ShutdownEal();
  }
};
[[maybe_unused]] testing::Environment* const kEnvironment =
    testing::AddGlobalTestEnvironment(new EalEnvironment);

template <class T>
T OrDie(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  fmt::print(stderr, "{}\n", Message(result.status()));
  std::exit(1);
}

}  // namespace

MbufPools& TestPools() {
  if (pools == nullptr) {
    OrDie(InitEal({.file_prefix = fmt::format("pwtest{}", getpid()),
                   .memory_mb = 256,
                   .hugepages = HugepageUse::kOff}));
    pools = OrDie(MbufPools::Create({.name = "test", .small_count = 8192, .big_count = 256}));
  }
  return *pools;
}

}  // namespace podwire
