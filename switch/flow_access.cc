#include "switch/flow_access.h"

#include <netinet/in.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "switch/elapsed.h"
#include "switch/output.h"
#include "switch/worker_context.h"

namespace podwire {
namespace {

constexpr uint32_t kPlacesPerStep = 64, kVisitsPerStep = 64;

template <class Key>
Key KeyOf(const FlowId& id) {
  Key key;
  if constexpr (std::is_same_v<Key, FlowKey4>) {
    key.src = id.src.v4();
    key.dst = id.dst.v4();
  } else {
    key.src = id.src.v6();
    key.dst = id.dst.v6();
  }
  key.src_port_be = rte_cpu_to_be_16(id.src_port);
  key.dst_port_be = rte_cpu_to_be_16(id.dst_port);
  key.in_port = id.in_port;
  key.proto = id.proto;
  return key;
}

template <class Key>
FlowId IdOf(const Key& key) {
  const TupleRecord t = TupleRecordOf(key);
  return {.src = t.src,
          .dst = t.dst,
          .src_port = t.src_port,
          .dst_port = t.dst_port,
          .proto = t.proto,
          .in_port = key.in_port};
}

/// One of FlowFilter's bits; 0: of no interest.
template <class Key>
uint8_t KindOf(const FlowEntry<Key>& e) {
  constexpr bool kV4 = std::is_same_v<Key, FlowKey4>;
  if (e.key.proto == IPPROTO_ICMP || e.key.proto == IPPROTO_ICMPV6) return 0;  // rules cannot tell them apart
  if (e.action == Action::kDeliver || e.action == Action::kForward)
    return kV4 ? FlowFilter::kForward4 : FlowFilter::kForward6;
  const bool denied =
      e.reason == DropReason::kPolicyDeniedEgress || e.reason == DropReason::kPolicyDeniedIngress;
  if (e.action != Action::kDrop || !denied) return 0;
  return kV4 ? FlowFilter::kDrop4 : FlowFilter::kDrop6;
}

template <class Key>
bool Passes(const FlowFilter& f, const FlowEntry<Key>& e, uint32_t now_ms) {
  const size_t port = e.key.in_port.value();
  return e.packets >= f.min_packets && port < f.ports.size() && (f.ports[port] & KindOf(e)) != 0 &&
         ElapsedMs(now_ms, e.last_seen_ms) <= f.max_idle_ms;
}

/// What the NIC has carried goes into the books as if the worker had.
template <class Key>
void Count(WorkerContext& w, const FlowVisit& v, FlowEntry<Key>* e) {
  if (v.packets == 0) return;
  w.counters.Add(Counter::kReceived, v.packets);
  w.counters.Add(Counter::kFlowHits, v.packets);
  w.counters.Add(Counter::kOffloaded, v.packets);
  if (v.dropped != DropReason::kNone) {
    w.counters.AddDrop(v.dropped, v.victim, v.packets);
  } else {
    w.counters.Add(Counter::kSent, v.packets);
  }
  if (e == nullptr) return;
  e->packets += v.packets;
  e->bytes += v.bytes;
}

template <class Key>
void Describe(const WorkerContext& w, const FlowEntry<Key>& e, FlowVisit& v) {
  v.found = true;
  v.entry_packets = e.packets;
  v.current = e.generation == w.tables->generation;
  v.action = e.action;
  v.reason = e.reason;
  v.tunnel_src_port = rte_be_to_cpu_16(e.tunnel_src_port_be);
}

bool IsEstablished(ConnState s) { return s == ConnState::kEstablished || s == ConnState::kReply; }

template <class Key>
void LookAtConnection(WorkerContext& w, const Key& key, FlowVisit& v) {
  auto& table = w.shared.ConnectionsOf<Key>();
  const auto found = table.Find(key, SymmetricHash(key, w.shared.hash_seed));
  if (found.index == 0) return;
  Connection<Key>& c = table.At(found.index);
  v.connected = c.denied.load(std::memory_order_relaxed) == DropReason::kNone;
  v.established =
      IsEstablished(c.state.load(std::memory_order_relaxed)) && !c.embryonic.load(std::memory_order_relaxed);
  v.reply = found.reply;
  v.original = IdOf(c.key);
  v.original.in_port = kNoPort;
  if (v.packets != 0 && v.dropped == DropReason::kNone)
    c.last_seen_ms.store(w.now_ms, std::memory_order_relaxed);
}

template <class Key>
void VisitIn(WorkerContext& w, FlowVisit& v) {
  const Key key = KeyOf<Key>(v.id);
  FlowEntry<Key>* e = w.FlowsOf<Key>().Find(key, FlowHash(key, w.shared.hash_seed));
  Count(w, v, e);
  LookAtConnection(w, key, v);
  if (e == nullptr) return;
  if (v.packets != 0 || v.keep) e->last_seen_ms = w.now_ms;
  Describe(w, *e, v);
}

template <class Key>
void ScanIn(const WorkerAccess& workers, uint16_t worker, const FlowFilter& filter, size_t places,
            uint32_t& cursor, std::vector<FlowVisit>& out) {
  bool more = true;
  for (size_t left = places; more && left > 0; left -= std::min<size_t>(left, kPlacesPerStep)) {
    // The worker must not allocate; doubled, or each step would copy all.
    if (out.capacity() - out.size() < kPlacesPerStep) out.reserve(2 * out.size() + kPlacesPerStep);
    const bool called = workers.call(worker, [&](WorkerContext& w) {
      more = w.FlowsOf<Key>().ForEachChunk(cursor, kPlacesPerStep, [&](const FlowEntry<Key>& e) {
        if (!Passes(filter, e, w.now_ms)) return;
        FlowVisit v;
        v.id = IdOf(e.key);
        v.worker = worker;
        Describe(w, e, v);
        out.push_back(v);
      });
    });
    if (!called) return;
  }
  if (!more) cursor = 0;
}

}  // namespace

FlowId FlowIdOf(const FlowRecord& r) {
  return {.src = r.tuple.src,
          .dst = r.tuple.dst,
          .src_port = r.tuple.src_port,
          .dst_port = r.tuple.dst_port,
          .proto = r.tuple.proto,
          .in_port = r.in_port};
}

void FlowAccess::Scan(const FlowFilter& filter, size_t places, std::vector<FlowVisit>& out) {
  for (const uint16_t worker : workers_.running()) {
    ScanIn<FlowKey4>(workers_, worker, filter, places, cursors_[{worker, false}], out);
    ScanIn<FlowKey6>(workers_, worker, filter, places, cursors_[{worker, true}], out);
  }
}

void FlowAccess::Visit(std::span<FlowVisit> visits) {
  std::ranges::stable_sort(visits, {}, &FlowVisit::worker);
  while (!visits.empty()) {
    const uint16_t worker = visits.front().worker;
    const auto end = std::ranges::find_if(visits.first(std::min<size_t>(visits.size(), kVisitsPerStep)),
                                          [worker](const FlowVisit& v) { return v.worker != worker; });
    const auto step = visits.first(static_cast<size_t>(end - visits.begin()));
    const auto visit = [step](WorkerContext& w) {
      for (FlowVisit& v : step) {
        if (v.id.src.is_v4()) {
          VisitIn<FlowKey4>(w, v);
        } else {
          VisitIn<FlowKey6>(w, v);
        }
      }
    };
    if (!workers_.call(worker, visit)) {
      for (const uint16_t other : workers_.running()) {
        if (workers_.call(other, visit)) break;
      }
    }
    visits = visits.subspan(step.size());
  }
}

void FlowAccess::AskNeighbor(const IpAddress& address, const MacAddr& known) {
  NeighborTable& table = workers_.shared->neighbors;
  const NeighborId id = table.SlotFor(address, workers_.shared->NowMs());
  if (id == kNoNeighbor) return;
  for (const uint16_t worker : workers_.running()) {
    const auto ask = [&](WorkerContext& w) {
      table.Use(id, w.now_ms);
      podwire::AskNeighbor(w, id, known);
    };
    if (workers_.call(worker, ask)) return;
  }
}

uint32_t FlowAccess::HashOf(const FlowId& id) const {
  const uint64_t seed = workers_.shared->hash_seed;
  return id.src.is_v4() ? SymmetricHash(KeyOf<FlowKey4>(id), seed) : SymmetricHash(KeyOf<FlowKey6>(id), seed);
}

}  // namespace podwire
