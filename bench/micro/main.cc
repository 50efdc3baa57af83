// What the parts of the packet path cost. Without options: Google Benchmark, time and TSC cycles an
// operation.
// --list: the cases whose instructions are counted, with their operations a run.
// --instructions CASE...: runs the cases for callgrind (bench/micro/instructions.py), each into a dump of its
// own that bears its name.
#include <algorithm>
#include <cstdio>
#include <string_view>

#include <benchmark/benchmark.h>
#include <rte_cycles.h>
#include <valgrind/callgrind.h>

#include "bench/micro/case.h"
#include "tests/switch/eal_environment.h"

namespace podwire::bench {
namespace {

constexpr int kWarmups = 4;
constexpr int kCountedRuns = 64;

Cases AllCases() {
  Cases cases;
  AddHashCases(cases);
  AddStageCases(cases);
  AddTableCases(cases);
  AddPolicyCases(cases);
  AddBurstCases(cases);
  return cases;
}

void Time(benchmark::State& state, const CaseInfo& info) {
  const std::unique_ptr<Case> c = info.make();
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  uint64_t cycles = 0;
  if (info.prepared) {
    for (auto _ : state) {
      c->Prepare();
      const uint64_t start = rte_rdtsc_precise();
      c->Run();
      const uint64_t taken = rte_rdtsc_precise() - start;
      cycles += taken;
      state.SetIterationTime(static_cast<double>(taken) / hz);
    }
  } else {
    const uint64_t start = rte_rdtsc_precise();
    for (auto _ : state) c->Run();
    cycles = rte_rdtsc_precise() - start;
  }
  const auto operations = static_cast<double>(state.iterations()) * info.items;
  state.counters["cycles/op"] = static_cast<double>(cycles) / operations;
  for (const auto& [name, value] : c->Facts()) state.counters[name] = value;
  state.SetItemsProcessed(static_cast<int64_t>(operations));
}

int CountInstructions(const Cases& cases, int count, char** names) {
  for (int i = 0; i < count; ++i) {
    const auto info =
        std::find_if(cases.begin(), cases.end(), [&](const CaseInfo& c) { return c.name == names[i]; });
    if (info == cases.end()) {
      std::fprintf(stderr, "micro_bench: no case \"%s\"\n", names[i]);
      return 2;
    }
    const std::unique_ptr<Case> c = info->make();
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    for (int run = -kWarmups; run < kCountedRuns; ++run) {
      c->Prepare();
      if (run >= 0) CALLGRIND_TOGGLE_COLLECT;
      c->Run();
      if (run >= 0) CALLGRIND_TOGGLE_COLLECT;
    }
    CALLGRIND_DUMP_STATS_AT(names[i]);
    CALLGRIND_STOP_INSTRUMENTATION;
  }
  return 0;
}

int Main(int argc, char** argv) {
  const Cases cases = AllCases();
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "--list") {
    for (const CaseInfo& c : cases) {
      if (c.gated) std::printf("%s %u\n", c.name.c_str(), c.items * kCountedRuns);
    }
    return 0;
  }
  testing::StartEal();  // rte_get_tsc_hz is of it
  if (mode == "--instructions") return CountInstructions(cases, argc - 2, argv + 2);
  for (const CaseInfo& c : cases) {
    auto* b = benchmark::RegisterBenchmark(c.name.c_str(), [&c](benchmark::State& s) { Time(s, c); });
    if (c.prepared) b->UseManualTime();
    if (c.items == 1) b->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) { return podwire::bench::Main(argc, argv); }
