#include "switch/events.h"

#include <rte_cycles.h>

#include "switch/flow_records.h"
#include "switch/parse.h"

namespace podwire {
namespace {

bool IsPolicy(DropReason reason) noexcept {
  return reason == DropReason::kPolicyDeniedEgress || reason == DropReason::kPolicyDeniedIngress;
}

bool WantsLog(const Endpoint* e, bool allowed) noexcept {
  if (e == nullptr || e->policy_log == PolicyLogLevel::kOff) return false;
  return !allowed || e->policy_log == PolicyLogLevel::kAll;
}

}  // namespace

template <class Key>
void RecordDrop(WorkerContext& w, const BasicPacket<Key>& p, DropReason reason, EndpointId victim) noexcept {
  w.events.Put({.tsc = rte_rdtsc(),
                .tuple = TupleRecordOf(p.key),
                .victim = victim,
                .in_port = p.key.in_port,
                .kind = EventKind::kDrop,
                .reason = reason});
}

template <class Key>
void RecordCut(WorkerContext& w, const Key& key, DropReason reason, EndpointId victim) noexcept {
  w.events.Put({.tsc = rte_rdtsc(),
                .tuple = TupleRecordOf(key),
                .victim = victim,
                .in_port = kNoPort,
                .kind = EventKind::kCut,
                .reason = reason});
}

template <class Key>
void RecordVerdict(WorkerContext& w, const BasicPacket<Key>& p, const Fate& fate) noexcept {
  const bool denied = IsPolicy(fate.reason) && fate.connection == 0;
  if (!denied && !fate.opened) return;
  const Ends ends = EndsOf(*w.tables, HeadersOf(p));
  if (!WantsLog(ends.src, !denied) && !WantsLog(ends.dst, !denied)) return;
  const bool of_dst = ends.src == nullptr || fate.reason == DropReason::kPolicyDeniedIngress;
  const EndpointId victim = (of_dst ? ends.dst : ends.src)->id;
  if (!w.events.WantsVerdict(victim, fate.reason)) return;
  w.events.Put({.tsc = rte_rdtsc(),
                .tuple = TupleRecordOf(p.key),
                .victim = victim,
                .in_port = p.key.in_port,
                .kind = EventKind::kVerdict,
                .reason = fate.reason});
}

#define PODWIRE_INSTANTIATE(Key)                                                                      \
  template void RecordDrop(WorkerContext&, const BasicPacket<Key>&, DropReason, EndpointId) noexcept; \
  template void RecordCut(WorkerContext&, const Key&, DropReason, EndpointId) noexcept;               \
  template void RecordVerdict(WorkerContext&, const BasicPacket<Key>&, const Fate&) noexcept;
PODWIRE_INSTANTIATE(FlowKey4)
PODWIRE_INSTANTIATE(FlowKey6)
#undef PODWIRE_INSTANTIATE

}  // namespace podwire
