// What the switch's tables cost an operation. Arguments: flows or connections in the table.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "switch/flow_table.h"
#include "switch/packet.h"
#include "tests/switch/conn_table_fixture.h"

namespace podwire {
namespace {

constexpr uint32_t kBurst = 32;

// A packet of each flow, in random order.
std::vector<Packet> Packets(uint32_t flows) {
  std::mt19937_64 random(1);
  std::vector<Packet> packets(flows);
  for (uint32_t n = 0; n < flows; ++n) {
    packets[n].key = TupleOf(n);
    packets[n].hash = FlowHash(packets[n].key, kHashSeed);
    packets[n].kind = PacketKind::kFlow;
  }
  std::shuffle(packets.begin(), packets.end(), random);
  packets.resize(flows / kBurst * kBurst);
  return packets;
}

void FlowLookupBulk(benchmark::State& state) {
  const auto flows = static_cast<uint32_t>(state.range(0));
  FlowTable<FlowKey4> table(flows, kHashSeed);
  for (uint32_t n = 0; n < flows; ++n) table.Insert(TupleOf(n), FlowHash(TupleOf(n), kHashSeed), 0);
  const std::vector<Packet> packets = Packets(flows);
  FlowEntry<FlowKey4>* out[kBurst];
  size_t at = 0;
  for (auto _ : state) {
    table.LookupBulk(&packets[at], kBurst, out);
    for (FlowEntry<FlowKey4>* e : out) {
      if (e != nullptr) ++e->packets;
    }
    at = at + kBurst < packets.size() ? at + kBurst : 0;
  }
  state.SetItemsProcessed(state.iterations() * kBurst);
}
BENCHMARK(FlowLookupBulk)->Arg(1024)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);

void FlowInsert(benchmark::State& state) {
  const auto flows = static_cast<uint32_t>(state.range(0));
  const std::vector<Packet> packets = Packets(flows);
  for (auto _ : state) {
    state.PauseTiming();
    auto table = std::make_unique<FlowTable<FlowKey4>>(flows, kHashSeed);
    state.ResumeTiming();
    for (const Packet& p : packets) benchmark::DoNotOptimize(table->Insert(p.key, p.hash, 0));
    state.PauseTiming();
    table.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(packets.size()));
}
BENCHMARK(FlowInsert)->Arg(1024)->Arg(100'000)->Arg(1'000'000);

void ConnFind(benchmark::State& state) {
  const auto connections = static_cast<uint32_t>(state.range(0));
  TableAndReaders all({.capacity = connections});
  for (uint32_t n = 0; n < connections; ++n) {
    all.table->Insert(TupleOf(n), HashOf(TupleOf(n)), 0, [](ConnTable4::Conn&) {});
  }
  const std::vector<Packet> packets = Packets(connections);
  size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(all.table->Find(packets[at].key, HashOf(packets[at].key)));
    at = at + 1 < packets.size() ? at + 1 : 0;
  }
}
BENCHMARK(ConnFind)->Arg(1024)->Arg(100'000)->Arg(1'000'000);

// Connections that come and go: half the table in use, one inserted and the oldest removed a time.
void ConnInsertRemove(benchmark::State& state) {
  const auto connections = static_cast<uint32_t>(state.range(0));
  TableAndReaders all({.capacity = connections});
  std::vector<ConnTable4::Inserted> live(connections / 2);
  uint32_t n = 0;
  for (auto _ : state) {
    ConnTable4::Inserted& oldest = live[n % live.size()];
    if (oldest.index != 0) all.table->Remove(oldest.index, oldest.serial);
    const FlowKey4 key = TupleOf(n++);
    oldest = all.table->Insert(key, HashOf(key), n, [](ConnTable4::Conn&) {});
    if (n % kBurst == 0) all.Quiescent();
  }
}
BENCHMARK(ConnInsertRemove)->Arg(1024)->Arg(100'000)->Arg(1'000'000);

}  // namespace
}  // namespace podwire

BENCHMARK_MAIN();
