#include <array>

#include "bench/micro/case.h"
#include "tests/switch/conn_table_fixture.h"

namespace podwire::bench {
namespace {

std::array<FlowKey4, kBurst> Keys() {
  std::array<FlowKey4, kBurst> keys;
  for (uint32_t n = 0; n < kBurst; ++n) keys[n] = TupleOf(n * 7919);
  return keys;
}

}  // namespace

void AddHashCases(Cases& cases) {
  cases.push_back({.name = "hash/flow", .items = kBurst, .make = [] {
                     return MakeCase([keys = Keys()] {
                       for (const FlowKey4& key : keys) Use(FlowHash(key, kHashSeed));
                     });
                   }});
  cases.push_back({.name = "hash/symmetric", .items = kBurst, .make = [] {
                     return MakeCase([keys = Keys()] {
                       for (const FlowKey4& key : keys) Use(SymmetricHash(key, kHashSeed));
                     });
                   }});
}

}  // namespace podwire::bench
