#include <algorithm>
#include <optional>
#include <set>

#include "control/protocol_names.h"
#include "control/services.h"
#include "flows.grpc.pb.h"
#include "net/status.h"

namespace podwire {
namespace {

/// A FlowFilter, parsed. Fields that are set must all hold.
struct Filter {
  std::optional<std::vector<IpAddress>> pod;  // its addresses
  std::optional<IpPrefix> prefix;
  uint16_t port = 0;
  std::optional<uint8_t> proto;
  std::optional<bool> allowed;
  uint32_t limit = 0;

  bool Matches(const TupleRecord& t, bool is_allowed) const {
    const auto is_pod = [&](const IpAddress& a) { return std::ranges::find(*pod, a) != pod->end(); };
    if (pod && !is_pod(t.src) && !is_pod(t.dst)) return false;
    if (prefix && !prefix->Contains(t.src) && !prefix->Contains(t.dst)) return false;
    if (port != 0 && t.src_port != port && t.dst_port != port) return false;
    if (proto && *proto != t.proto) return false;
    return !allowed || *allowed == is_allowed;
  }
};

absl::StatusOr<Filter> ParseFilter(const v1::FlowFilter& f, const ControlState& s) {
  Filter filter{.limit = f.limit()};
  if (!f.pod_name().empty()) {
    const ObjectKey key{f.pod_namespace().empty() ? "default" : f.pod_namespace(), f.pod_name()};
    const auto pod = s.desired.model().pods.find(key);
    if (pod == s.desired.model().pods.end()) {
      return Error(absl::StatusCode::kNotFound, "there is no pod {}", ToString(key));
    }
    filter.pod = pod->second.addresses;
  } else if (!f.pod_namespace().empty()) {
    filter.pod.emplace();
    for (const auto& [key, pod] : s.desired.model().pods) {
      if (key.ns == f.pod_namespace()) {
        filter.pod->insert(filter.pod->end(), pod.addresses.begin(), pod.addresses.end());
      }
    }
  }
  if (!f.address().empty()) {
    const auto ip = ParseIp(f.address());
    const auto prefix = ip.ok() ? IpPrefix::Make(*ip, ip->bits()) : ParsePrefix(f.address());
    if (!prefix.ok()) return InvalidArgument("address: \"{}\" is neither an address nor a CIDR", f.address());
    filter.prefix = *prefix;
  }
  if (f.port() > UINT16_MAX) return InvalidArgument("port: expected 0 to 65535, not {}", f.port());
  filter.port = static_cast<uint16_t>(f.port());
  if (!f.protocol().empty()) {
    ASSIGN_OR_RETURN(filter.proto, ParseProtocol(f.protocol()));
  }
  if (!f.verdict().empty() && f.verdict() != "allowed" && f.verdict() != "denied") {
    return InvalidArgument("verdict: expected allowed or denied, not \"{}\"", f.verdict());
  }
  if (!f.verdict().empty()) filter.allowed = f.verdict() == "allowed";
  return filter;
}

void Fill(const TupleRecord& t, v1::Tuple& out) {
  out.set_src(ToString(t.src));
  out.set_dst(ToString(t.dst));
  out.set_src_port(t.src_port);
  out.set_dst_port(t.dst_port);
  out.set_protocol(ProtocolName(t.proto));
}

std::string PodAt(const Tables& t, const IpAddress& a) {
  const Endpoint* e = t.EndpointOf(a);
  return e == nullptr ? "" : ToString(e->pod);
}

std::string PortAt(const Tables& t, PortId id) {
  return id.value() < t.ports.size() ? t.ports[id.value()].name : "";
}

void FillNextHop(const Tables& t, const FlowRecord& r, v1::Flow& out) {
  switch (r.action) {
    case Action::kDrop:
      out.set_action("drop");
      out.set_reason(std::string(InfoOf(r.reason).name));
      return;
    case Action::kDeliver:
      out.set_action("deliver");
      break;
    case Action::kForward:
      out.set_action("direct");
      break;
    case Action::kLocal:
      out.set_action("local");
      return;
  }
  out.set_out_port(PortAt(t, r.out_port));
  if (r.generation != t.generation || r.next_hop.value() >= t.adjacencies.size()) return;
  const Adjacency& a = t.adjacencies[r.next_hop.value()];
  if (a.to_endpoint) return;
  if (a.hop.kind == NextHop::Kind::kVxlan) out.set_action("vxlan");
  if (a.hop.kind == NextHop::Kind::kUdp) out.set_action("udp");
  out.set_next_hop(!a.hop.node.empty() ? a.hop.node
                                       : ToString(a.hop.neighbor.empty() ? r.tuple.dst : a.hop.neighbor));
}

v1::Flow ToProto(const FlowRecord& r, const Tables& t, const std::set<FlowId>& offloaded) {
  v1::Flow f;
  f.set_offloaded(offloaded.contains(FlowIdOf(r)));
  f.set_worker(r.worker);
  Fill(r.tuple, *f.mutable_tuple());
  f.set_in_port(PortAt(t, r.in_port));
  FillNextHop(t, r, f);
  f.set_packets(r.packets);
  f.set_bytes(r.bytes);
  f.set_idle_seconds(r.idle_ms / 1000.0);
  f.set_src_pod(PodAt(t, r.tuple.src));
  f.set_dst_pod(PodAt(t, r.tuple.dst));
  return f;
}

/// Which rule decided for a connection at one end, if that can still be said. References hold for one
/// compilation only, so the policies in force are asked again: as long as the version is the same, so is what
/// they say.
std::string RuleText(const Tables& t, const ConnectionRecord& r, bool egress) {
  const Endpoint* e = t.EndpointAt(egress ? r.src_endpoint : r.dst_endpoint);
  if (e == nullptr) return "not local";
  if (e->version != (egress ? r.src_version : r.dst_version)) return "to be decided anew";
  const Direction direction = egress ? Direction::kEgress : Direction::kIngress;
  const RuleSetId set = e->policy.Of(direction);
  if (set == kNotIsolated) return "not isolated";
  if ((egress ? r.egress_rule : r.ingress_rule) == kNoRule) return "none";
  const IpAddress& peer = egress ? r.tuple.dst : r.tuple.src;
  const RuleRef rule = t.policy->Check(direction, set, peer, r.tuple.proto, r.tuple.dst_port).rule;
  if (rule == kNoRule) return "none";
  const PolicyInfo& policy = t.policy->PolicyOf(rule);
  if (policy.tier == Tier::kNetworkPolicy) return fmt::format("{} rule {}", ToString(policy.key), rule.rule);
  return fmt::format("{}: {}", t.policy->NameOf(direction, rule),
                     ToString(t.policy->ActionOf(direction, rule)));
}

v1::Connection ToProto(const ConnectionRecord& r, const Tables& t) {
  v1::Connection c;
  Fill(r.tuple, *c.mutable_tuple());
  c.set_state(r.state);
  c.set_idle_seconds(r.idle_ms / 1000.0);
  c.set_expires_seconds(r.expires_ms / 1000.0);
  c.set_src_pod(PodAt(t, r.tuple.src));
  c.set_dst_pod(PodAt(t, r.tuple.dst));
  c.set_verdict(r.allowed ? "allowed" : "denied");
  c.set_egress_rule(RuleText(t, r, true));
  c.set_ingress_rule(RuleText(t, r, false));
  return c;
}

class FlowsService final : public v1::Flows::Service {
 public:
  explicit FlowsService(Daemon& d) : d_(d) {}

  grpc::Status ListFlows(grpc::ServerContext* context, const v1::FlowFilter* request,
                         grpc::ServerWriter<v1::Flow>* writer) override {
    const auto offloaded = d_.offload != nullptr ? d_.offload->Offloaded() : std::set<FlowId>{};
    return Stream(
        context, *request, writer, [&](const auto& fn) { d_.sw.ForEachFlow(fn); },
        [](const FlowRecord& r) { return r.action != Action::kDrop; },
        [&](const FlowRecord& r, const Tables& t) { return ToProto(r, t, offloaded); });
  }

  grpc::Status ListConnections(grpc::ServerContext* context, const v1::FlowFilter* request,
                               grpc::ServerWriter<v1::Connection>* writer) override {
    return Stream(
        context, *request, writer, [&](const auto& fn) { d_.sw.ForEachConnection(fn); },
        [](const ConnectionRecord& r) { return r.allowed; },
        [](const ConnectionRecord& r, const Tables& t) { return ToProto(r, t); });
  }

 private:
  template <class Writer, class ForEach, class Allowed, class Convert>
  grpc::Status Stream(grpc::ServerContext* context, const v1::FlowFilter& request, Writer* writer,
                      ForEach for_each, Allowed allowed, Convert convert) {
    const auto filter = d_.controller.Read([&](const ControlState& s) { return ParseFilter(request, s); });
    if (!filter.ok()) return ToGrpc(filter.status());
    const auto tables = d_.sw.tables();
    uint32_t written = 0;
    for_each([&](const auto& record) {
      if (!filter->Matches(record.tuple, allowed(record))) return true;
      if (context->IsCancelled() || !writer->Write(convert(record, *tables))) return false;
      return ++written != filter->limit;
    });
    return grpc::Status::OK;
  }

  Daemon& d_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFlowsService(Daemon& d) { return std::make_unique<FlowsService>(d); }

}  // namespace podwire
