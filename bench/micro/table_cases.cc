#include <algorithm>
#include <random>
#include <string_view>

#include <fmt/format.h>

#include "bench/micro/case.h"
#include "switch/flow_table.h"
#include "switch/packet.h"
#include "tests/switch/conn_table_fixture.h"

namespace podwire::bench {
namespace {

using Flows = FlowTable<FlowKey4>;

/// A packet of each flow, in random order; whole bursts.
std::vector<Packet> Packets(uint32_t flows) {
  std::vector<Packet> packets(flows);
  for (uint32_t n = 0; n < flows; ++n) {
    packets[n].key = TupleOf(n);
    packets[n].hash = FlowHash(packets[n].key, kHashSeed);
    packets[n].kind = PacketKind::kFlow;
  }
  std::shuffle(packets.begin(), packets.end(), std::mt19937_64(1));
  packets.resize(flows / kBurst * kBurst);
  return packets;
}

/// Goes through all packets, a burst a Run.
class TableCase : public Case {
 protected:
  explicit TableCase(uint32_t entries) : packets(Packets(entries)) {}
  const Packet* NextBurst() {
    const Packet* burst = &packets[at_];
    at_ = at_ + kBurst < packets.size() ? at_ + kBurst : 0;
    return burst;
  }
  bool begins_anew() const { return at_ == 0; }
  const std::vector<Packet> packets;

 private:
  size_t at_ = 0;
};

class FlowLookup : public TableCase {
 public:
  explicit FlowLookup(uint32_t flows) : TableCase(flows), table_(flows, kHashSeed) {
    for (uint32_t n = 0; n < flows; ++n) table_.Insert(TupleOf(n), FlowHash(TupleOf(n), kHashSeed), 0);
  }
  /// Counts in the entries, as the pipeline does.
  void Run() override {
    Flows::Entry* out[kBurst];
    table_.LookupBulk(NextBurst(), kBurst, out);
    for (Flows::Entry* e : out) {
      if (e != nullptr) ++e->packets;
    }
  }

 private:
  Flows table_;
};

class FlowInsert : public TableCase {
 public:
  explicit FlowInsert(uint32_t flows) : TableCase(flows) {}
  void Prepare() override {
    if (begins_anew()) table_ = std::make_unique<Flows>(static_cast<uint32_t>(packets.size()), kHashSeed);
  }
  void Run() override {
    const Packet* burst = NextBurst();
    for (uint16_t i = 0; i < kBurst; ++i) Use(table_->Insert(burst[i].key, burst[i].hash, 0));
  }

 private:
  std::unique_ptr<Flows> table_;
};

class ConnFind : public TableCase {
 public:
  explicit ConnFind(uint32_t connections) : TableCase(connections), all_({.capacity = connections}) {
    for (uint32_t n = 0; n < connections; ++n)
      all_.table->Insert(TupleOf(n), HashOf(TupleOf(n)), 0, [](ConnTable4::Conn& c) { c.embryonic = false; });
  }
  void Run() override {
    const Packet* burst = NextBurst();
    for (uint16_t i = 0; i < kBurst; ++i) Use(all_.table->Find(burst[i].key, HashOf(burst[i].key)).index);
  }

 private:
  TableAndReaders all_;
};

/// Connections that come and go: half the table in use, one inserted and the oldest removed a time.
class ConnInsertRemove : public Case {
 public:
  explicit ConnInsertRemove(uint32_t connections) : all_({.capacity = connections}), live_(connections / 2) {
    for (uint32_t i = 0; i < live_.size(); i += kBurst) Run();
  }
  void Run() override {
    for (uint16_t i = 0; i < kBurst; ++i) {
      ConnTable4::Inserted& oldest = live_[n_ % live_.size()];
      if (oldest.index != 0) all_.table->Remove(oldest.index, oldest.serial);
      const FlowKey4 key = TupleOf(n_++);
      oldest = all_.table->Insert(key, HashOf(key), n_, [](ConnTable4::Conn& c) { c.embryonic = false; });
    }
    all_.Quiescent();
  }

 private:
  TableAndReaders all_;
  std::vector<ConnTable4::Inserted> live_;
  uint32_t n_ = 0;
};

template <class T>
void Add(Cases& cases, std::string_view name, bool prepared = false) {
  for (const auto& [text, entries] : {std::pair("1k", 1024u), {"100k", 100'000u}, {"1M", 1'000'000u}}) {
    cases.push_back({.name = fmt::format("{}/{}", name, text),
                     .items = kBurst,
                     .prepared = prepared,
                     .gated = entries < 1'000'000,
                     .make = [n = entries] { return std::make_unique<T>(n); }});
  }
}

}  // namespace

void AddTableCases(Cases& cases) {
  Add<FlowLookup>(cases, "flow_lookup");
  Add<FlowInsert>(cases, "flow_insert", true);
  Add<ConnFind>(cases, "conn_find");
  Add<ConnInsertRemove>(cases, "conn_insert_remove");
}

}  // namespace podwire::bench
