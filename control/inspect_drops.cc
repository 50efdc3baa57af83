#include "control/inspect_drops.h"

#include <algorithm>

#include "control/explain.h"
#include "control/protocol_names.h"
#include "net/status.h"

namespace podwire {
namespace {

/// How long a caller who has gone may go unnoticed, and how often one is told of what was missed.
constexpr std::chrono::milliseconds kLook(250);
constexpr std::chrono::seconds kMissedPeriod(1);

std::optional<Direction> DirectionOf(DropReason reason) {
  if (reason == DropReason::kPolicyDeniedEgress) return Direction::kEgress;
  if (reason == DropReason::kPolicyDeniedIngress) return Direction::kIngress;
  return std::nullopt;
}

/// Which policies denied: the last packet on record says, else those that isolate the pod now.
void FillPolicies(Daemon& d, const Endpoint& e, DropReason reason, v1::PodDrops& pod) {
  const auto direction = DirectionOf(reason);
  if (!direction) return;
  if (const auto last = d.events.LastDenial(pod.pod(), reason)) {
    *pod.mutable_last() = ToProto(*last);
    *pod.mutable_policies() = pod.last().policies();
  }
  if (pod.policies_size() != 0) return;
  d.controller.Read([&](const ControlState& s) {
    for (std::string& p : IsolatingPolicies(s.desired.model(), e.pod, *direction))
      pod.add_policies(std::move(p));
  });
}

void FillPod(Daemon& d, const Endpoint& e, const DropCounts& drops, v1::Drops& out) {
  for (size_t i = 1; i < kDropReasonCount; ++i) {
    if (drops[i] == 0) continue;
    v1::PodDrops& pod = *out.add_pods();
    pod.set_pod(ToString(e.pod));
    pod.set_reason(std::string(kDropReasonInfo[i].name));
    pod.set_packets(drops[i]);
    FillPolicies(d, e, static_cast<DropReason>(i), pod);
  }
}

std::string_view NameOf(EventKind kind) { return kind == EventKind::kCut ? "cut" : "drop"; }

}  // namespace

v1::DropRecord ToProto(const NamedEvent& e) {
  v1::DropRecord r;
  r.set_kind(std::string(NameOf(e.kind)));
  r.set_time(TimeText(e.time));
  r.set_worker(e.worker);
  r.set_reason(std::string(InfoOf(e.reason).name));
  r.set_help(std::string(InfoOf(e.reason).help));
  r.set_in_port(e.port);
  const TupleRecord& t = e.tuple;
  const bool has_addresses = t.src != IpAddress(Ipv4{}) || t.dst != IpAddress(Ipv4{});
  if (has_addresses) {
    r.set_protocol(ProtocolName(t.proto));
    r.set_src(ToString(t.src));
    r.set_dst(ToString(t.dst));
    r.set_src_port(t.src_port);
    r.set_dst_port(t.dst_port);
  }
  r.set_src_pod(e.src_pod);
  r.set_dst_pod(e.dst_pod);
  r.set_pod(e.pod);
  if (e.direction) r.set_direction(std::string(ToString(*e.direction)));
  r.set_reply(e.reply);
  if (e.is_policy()) {
    for (const std::string& p : e.denial().isolating) r.add_policies(p);
    r.set_hint(e.denial().hint);
  }
  return r;
}

absl::StatusOr<EventFilter> ParseDropFilter(const v1::WatchDropsRequest& request) {
  EventFilter filter;
  if (!request.pod_name().empty()) {
    filter.pod = ToString(
        ObjectKey{request.pod_namespace().empty() ? "default" : request.pod_namespace(), request.pod_name()});
  } else {
    filter.ns = request.pod_namespace();
  }
  if (!request.reason().empty()) {
    const auto it = std::ranges::find(kDropReasonInfo, request.reason(), &DropReasonInfo::name);
    if (it == kDropReasonInfo.begin() || it == kDropReasonInfo.end()) {
      return InvalidArgument("reason: there is no reason \"{}\" (`podwire drops --all` lists them)",
                             request.reason());
    }
    filter.reason = static_cast<DropReason>(it - kDropReasonInfo.begin());
  }
  if (!request.address().empty()) {
    const auto ip = ParseIp(request.address());
    const auto prefix = ip.ok() ? IpPrefix::Make(*ip, ip->bits()) : ParsePrefix(request.address());
    if (!prefix.ok())
      return InvalidArgument("address: \"{}\" is neither an address nor a CIDR", request.address());
    filter.prefix = *prefix;
  }
  if (request.port() > UINT16_MAX)
    return InvalidArgument("port: expected 0 to 65535, not {}", request.port());
  filter.port = static_cast<uint16_t>(request.port());
  if (!request.protocol().empty()) {
    ASSIGN_OR_RETURN(filter.proto, ParseProtocol(request.protocol()));
  }
  return filter;
}

grpc::Status GetDrops(Daemon& d, const v1::DropsRequest& request, v1::Drops& out) {
  const auto tables = d.sw.tables();
  const ObjectKey wanted{request.pod_namespace().empty() ? "default" : request.pod_namespace(),
                         request.pod_name()};
  const bool all = wanted.name.empty();
  DropCounts totals = d.sw.ReadCounters().drops;
  if (!all) totals = {};
  bool found = all;
  for (const Endpoint& e : tables->endpoints) {
    if (!e.in_use() || (!all && e.pod != wanted)) continue;
    found = true;
    const DropCounts drops = d.sw.ReadEndpointDrops(e.id);
    for (size_t i = 1; i < kDropReasonCount && !all; ++i) totals[i] += drops[i];
    FillPod(d, e, drops, out);
  }
  if (!found) {
    return ToGrpc(
        Error(absl::StatusCode::kNotFound, "pod {} is not attached to this node", ToString(wanted)));
  }
  for (size_t i = 1; i < kDropReasonCount; ++i) {
    v1::DropCount& reason = *out.add_reasons();
    reason.set_reason(std::string(kDropReasonInfo[i].name));
    reason.set_help(std::string(kDropReasonInfo[i].help));
    reason.set_packets(totals[i]);
  }
  if (!all) return grpc::Status::OK;
  for (const auto& [policies, connections] : d.events.Cuts()) {
    v1::CutCount& cut = *out.add_cuts();
    cut.set_policies(policies);
    cut.set_connections(connections);
  }
  return grpc::Status::OK;
}

grpc::Status WatchDrops(Daemon& d, grpc::ServerContext& context, const v1::WatchDropsRequest& request,
                        grpc::ServerWriter<v1::DropRecord>& writer) {
  auto filter = ParseDropFilter(request);
  if (!filter.ok()) return ToGrpc(filter.status());
  const auto watcher = d.events.Watch(*std::move(filter));
  if (!watcher.ok()) return ToGrpc(watcher.status());
  writer.SendInitialMetadata();  // what is dropped from now on comes
  v1::DropRecord missed;
  missed.set_kind("missed");
  auto next_missed = std::chrono::steady_clock::now();
  while (!context.IsCancelled()) {
    const WatchBatch batch = (*watcher)->Wait(kLook);
    if (batch.closed) return ToGrpc(Error(absl::StatusCode::kUnavailable, "podwired is ending"));
    for (const NamedEvent& e : batch.events) {
      if (!writer.Write(ToProto(e))) return grpc::Status::CANCELLED;
    }
    missed.set_lost(missed.lost() + batch.lost);
    missed.set_left_out(missed.left_out() + batch.left_out);
    const auto now = std::chrono::steady_clock::now();
    if ((missed.lost() == 0 && missed.left_out() == 0) || now < next_missed) continue;
    if (!writer.Write(missed)) return grpc::Status::CANCELLED;
    missed.clear_lost();
    missed.clear_left_out();
    next_missed = now + kMissedPeriod;
  }
  return grpc::Status::CANCELLED;
}

}  // namespace podwire
