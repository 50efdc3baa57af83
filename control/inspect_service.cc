#include <algorithm>

#include "control/explain.h"
#include "control/inspect_drops.h"
#include "control/kernel_table.h"
#include "control/protocol_names.h"
#include "control/services.h"
#include "inspect.grpc.pb.h"
#include "net/status.h"
#include "pmd/guest_memory.h"

namespace podwire {
namespace {

/// The kernel may take an address away from an interface that it shares.
void WarnOfLostAddresses(const Config& config, v1::Status& out) {
  if (!config.underlay->shared) return;
  const std::string interface = SharedInterface(config);
  const auto addresses = ReadKernelAddresses(interface);
  if (!addresses.ok()) return;  // the port's link says so
  for (const IpAddress& lost : LostAddresses(*config.underlay, *addresses)) {
    out.add_warnings(fmt::format(
        "{} has {} no longer, by which other nodes reach this one: give it back, or restart podwired to "
        "take another",
        interface, ToString(lost)));
  }
}

void FillNetwork(const ControlState& s, const Tables& t, const Config& config, v1::Status& out) {
  const DesiredState& d = s.desired;
  if (const NetConf* conf = d.network(); conf != nullptr) {
    out.set_network(ToString(*conf));
    out.set_backend(std::string(ToString(conf->backend)) +
                    (conf->direct_routing ? " with DirectRouting" : ""));
  }
  out.set_pod_subnet(ToString(d.SubnetsOf(d.node())));
  if (config.underlay) {
    const UnderlayConfig& u = *config.underlay;
    const auto join = [](const std::string& a, const std::string& b) {
      return a + (a.empty() || b.empty() ? "" : ",") + b;
    };
    const auto address = [](const InterfaceAddress& a) { return a.address.empty() ? "" : ToString(a); };
    const auto gateway = [](const IpAddress& a) { return a.empty() ? "" : ToString(a); };
    const std::string gateways = join(gateway(u.gateway), gateway(u.gateway6));
    const char* no_gateway = u.shared ? "the kernel's" : "none";
    out.set_underlay(fmt::format("port {}, address {}, gateway {}", u.port,
                                 join(address(u.address), address(u.address6)),
                                 gateways.empty() ? no_gateway : gateways));
    WarnOfLostAddresses(config, out);
  }
  out.set_pod_mtu(t.local.pod_mtu);
  out.set_nodes(static_cast<uint32_t>(d.nodes().size()));
  out.set_policies(static_cast<uint32_t>(d.model().policies.size() + d.model().cluster_policies.size()));
  out.set_pods(static_cast<uint32_t>(d.model().pods.size()));
  out.set_namespaces(static_cast<uint32_t>(d.model().namespaces.size()));
  out.set_endpoints(static_cast<uint32_t>(d.attachments().size()));
  for (const std::string& w : s.warnings) out.add_warnings(w);
  for (const PortEntry& p : s.ports) {
    if (p.port == nullptr || p.leaving) continue;
    if (p.suspended) {
      out.add_warnings(fmt::format("port {} is gone: {}; podwired takes it up again when it is back",
                                   p.config.name, p.port->Vanished()));
    } else if (p.role == PortRole::kUnderlay && !p.port->link_up())
      out.add_warnings(
          fmt::format("port {}, the underlay's, has no link: no other node can be reached", p.config.name));
  }
  for (const auto& [key, a] : d.attachments()) {
    if (!a.trouble.empty()) out.add_warnings(fmt::format("pod {}: {}", ToString(a.record.pod), a.trouble));
  }
}

v1::RouteEntry RouteOf(const Tables& t, const IpPrefix& prefix, const FibEntry& route,
                       const std::vector<NeighborRecord>& neighbors) {
  v1::RouteEntry e;
  e.set_prefix(ToString(prefix));
  if (route.kind == RouteKind::kSubnetLocal) {
    e.set_kind("local");
    e.set_node(t.local.name);
    e.set_mtu(t.local.pod_mtu);
    return e;
  }
  const Adjacency& a = t.adjacencies[route.next_hop.value()];
  switch (a.hop.kind) {
    case NextHop::Kind::kDirect:
      e.set_kind("direct");
      break;
    case NextHop::Kind::kVxlan:
      e.set_kind("vxlan");
      break;
    case NextHop::Kind::kUdp:
      e.set_kind("udp");
      break;
  }
  e.set_node(a.hop.node);
  e.set_mtu(a.hop.mtu);
  if (a.port.value() < t.ports.size()) e.set_port(t.ports[a.port.value()].name);
  if (a.hop.neighbor.empty()) return e;
  e.set_via(ToString(a.hop.neighbor));
  e.set_neighbor_state("none");
  for (const NeighborRecord& n : neighbors) {
    if (n.address != a.hop.neighbor) continue;
    e.set_neighbor_state(n.state);
    if (!n.mac.empty()) e.set_neighbor_mac(ToString(n.mac));
  }
  return e;
}

v1::RouteEntry PodRouteOf(const Tables& t, const Endpoint& e, const IpAddress& address) {
  v1::RouteEntry route;
  route.set_prefix(ToString(IpPrefix::Make(address, address.bits())));
  route.set_kind("local");
  route.set_node(t.local.name);
  route.set_port(t.ports[e.port.value()].name);
  route.set_mtu(t.adjacencies[e.adjacency.value()].hop.mtu);
  return route;
}

v1::PolicyRule ToProto(const DecidingRule& r) {
  v1::PolicyRule out;
  const bool cluster = r.policy.tier != Tier::kNetworkPolicy;
  out.set_kind(cluster ? "ClusterNetworkPolicy" : "NetworkPolicy");
  out.set_namespace_(r.policy.key.ns);
  out.set_name(r.policy.key.name);
  out.set_tier(std::string(ToString(r.policy.tier)));
  out.set_priority(r.policy.priority);
  out.set_rule(r.rule);
  out.set_rule_name(r.name);
  out.set_action(std::string(ToString(r.action)));
  return out;
}

/// ns/name of the NetworkPolicy, or name of the ClusterNetworkPolicy, that allowed; "" if none did.
std::string AllowedBy(const std::optional<DecidingRule>& r) {
  if (!r || r->action == RuleAction::kDeny) return "";
  return r->policy.key.ns.empty() ? r->policy.key.name : ToString(r->policy.key);
}

int AllowedByRule(const std::optional<DecidingRule>& r) {
  return AllowedBy(r).empty() ? -1 : static_cast<int>(r->rule);
}

/// Why policies of one end dropped it, in words.
std::string Denial(const ExplainResult& r) {
  const char* stage =
      r.decision.reason == DropReason::kPolicyDeniedEgress ? "egress policy" : "ingress policy";
  const bool by_policy = r.decision.reason == DropReason::kPolicyDeniedEgress ||
                         r.decision.reason == DropReason::kPolicyDeniedIngress;
  for (const TraceStep& step : r.steps) {
    if (by_policy && step.stage == stage) return step.text;
  }
  return std::string(InfoOf(r.decision.reason).help);
}

void FillExplanation(const ExplainResult& r, v1::Explanation& out) {
  const bool allowed = r.decision.action != Action::kDrop;
  out.set_verdict(allowed ? "allowed" : "denied");
  if (!allowed) out.set_reason(std::string(InfoOf(r.decision.reason).name));
  for (const TraceStep& step : r.steps) {
    v1::ExplainStep& s = *out.add_steps();
    s.set_stage(step.stage);
    s.set_outcome(step.outcome);
    s.set_text(step.text);
    for (const std::string& detail : step.details) s.add_details(detail);
  }
  out.set_egress_policy(AllowedBy(r.egress));
  out.set_egress_rule(AllowedByRule(r.egress));
  out.set_ingress_policy(AllowedBy(r.ingress));
  out.set_ingress_rule(AllowedByRule(r.ingress));
  if (r.egress) *out.mutable_egress_decision() = ToProto(*r.egress);
  if (r.ingress) *out.mutable_ingress_decision() = ToProto(*r.ingress);
  for (const std::string& policy : r.isolating) out.add_isolating(policy);
  out.set_src(ToString(r.headers.src));
  out.set_dst(ToString(r.headers.dst));
  std::string policies;
  for (const std::string& policy : r.isolating) policies += (policies.empty() ? "" : ", ") + policy;
  const bool has_port = r.headers.proto == 6 || r.headers.proto == 17 || r.headers.proto == 132;
  std::string summary = fmt::format("{} from {} to {}", ProtocolName(r.headers.proto), out.src(), out.dst());
  if (has_port) summary += fmt::format(" port {}", r.headers.dst_port);
  summary += allowed ? " is allowed" : fmt::format(" is denied: {}", Denial(r));
  if (!policies.empty()) summary += fmt::format(" (isolated by {})", policies);
  out.set_summary(summary);
}

absl::StatusOr<ExplainQuery> QueryOf(const v1::ExplainRequest& r) {
  ASSIGN_OR_RETURN(const uint8_t proto, ParseProtocol(r.protocol().empty() ? "tcp" : r.protocol()));
  if (r.port() > UINT16_MAX || r.src_port() > UINT16_MAX) {
    return InvalidArgument("port: expected 0 to 65535");
  }
  return ExplainQuery{.from = r.from(),
                      .to = r.to(),
                      .proto = proto,
                      .port = static_cast<uint16_t>(r.port()),
                      .src_port = static_cast<uint16_t>(r.src_port()),
                      .default_namespace = r.default_namespace()};
}

void FillConnections(const std::vector<ConnectionTableReport>& tables, v1::Status& out) {
  for (const ConnectionTableReport& t : tables) {
    v1::ConnectionTable& table = *out.add_connection_tables();
    table.set_family(t.family == IpFamily::kV6 ? "IPv6" : "IPv4");
    table.set_connections(t.connections);
    table.set_capacity(t.capacity);
    table.set_connection_bytes(t.connection_bytes);
    table.set_embryonic(t.embryonic);
    table.set_embryonic_budget(t.embryonic_budget);
    table.set_evicted(t.evicted);
    out.set_connections(out.connections() + t.connections);
    out.set_connection_capacity(out.connection_capacity() + t.capacity);
    out.set_embryonic_connections(out.embryonic_connections() + t.embryonic);
    out.set_embryonic_budget(out.embryonic_budget() + t.embryonic_budget);
    out.set_connections_evicted(out.connections_evicted() + t.evicted);
  }
}

class InspectService final : public v1::Inspect::Service {
 public:
  explicit InspectService(Daemon& d) : d_(d) {}

  grpc::Status GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status* out) override {
    const auto tables = d_.sw.tables();
    out->set_version(PODWIRE_VERSION);
    out->set_node(d_.controller.config().node);
    out->set_uptime_seconds(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - d_.started).count());
    out->set_hugepages(d_.hugepages);
    d_.controller.Read([&](const ControlState& s) { FillNetwork(s, *tables, d_.controller.config(), *out); });
    FillConnections(d_.sw.ReadConnectionTables(), *out);
    out->set_generation(tables->generation);
    if (const uint64_t lost = LostGuestMappings(); lost > 0) {
      out->add_warnings(
          fmt::format("vhost-user pods took back memory that they share, {} times: their ports are deaf "
                      "until they start again",
                      lost));
    }
    for (v1::WorkerStatus& w : WorkerStatuses(d_.sw)) {
      if (w.lcore() == d_.controller.config().control_lcore) {
        out->add_warnings(fmt::format(
            "worker {} shares CPU {} with podwired's other threads (lcores.control)", w.worker(), w.lcore()));
      }
      *out->add_workers() = std::move(w);
    }
    return grpc::Status::OK;
  }

  grpc::Status ListRoutes(grpc::ServerContext*, const v1::RoutesRequest*,
                          grpc::ServerWriter<v1::RouteEntry>* writer) override {
    const auto tables = d_.sw.tables();
    const std::vector<NeighborRecord> neighbors = d_.sw.ReadNeighbors();
    std::vector<std::pair<IpPrefix, v1::RouteEntry>> routes;
    tables->fib.ForEach([&](const IpPrefix& prefix, const FibEntry& route) {
      routes.emplace_back(prefix, RouteOf(*tables, prefix, route, neighbors));
    });
    for (const Endpoint& e : tables->endpoints) {
      if (!e.in_use()) continue;
      for (const IpAddress& a : e.addresses) {
        routes.emplace_back(IpPrefix::Make(a, a.bits()), PodRouteOf(*tables, e, a));
      }
    }
    std::ranges::sort(routes, {}, &std::pair<IpPrefix, v1::RouteEntry>::first);
    for (const auto& [prefix, route] : routes) {
      if (!writer->Write(route)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status GetCounters(grpc::ServerContext*, const v1::CountersRequest*, v1::Counters* out) override {
    const CounterTotals totals = d_.sw.ReadCounters();
    out->set_received(totals.Get(Counter::kReceived));
    out->set_generated(totals.Get(Counter::kGenerated));
    out->set_sent(totals.Get(Counter::kSent));
    out->set_dropped(totals.dropped());
    out->set_consumed(totals.Get(Counter::kConsumed));
    out->set_queued(totals.Get(Counter::kQueued));
    for (size_t i = 0; i < kCounterCount; ++i) {
      Add(*out, std::string(kCounterInfo[i].name), totals.counters[i], kCounterInfo[i].help);
    }
    v1::Status connections;
    FillConnections(d_.sw.ReadConnectionTables(), connections);
    Add(*out, "connections_embryonic", connections.embryonic_connections(),
        "connections that nobody has answered yet, now");
    Add(*out, "connections_evicted", connections.connections_evicted(),
        "connections forgotten before their time to make room");
    for (size_t i = 1; i < kDropReasonCount; ++i) {
      Add(*out, fmt::format("drop_{}", kDropReasonInfo[i].name), totals.drops[i], kDropReasonInfo[i].help);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetDrops(grpc::ServerContext*, const v1::DropsRequest* request, v1::Drops* out) override {
    return podwire::GetDrops(d_, *request, *out);
  }

  grpc::Status WatchDrops(grpc::ServerContext* context, const v1::WatchDropsRequest* request,
                          grpc::ServerWriter<v1::DropRecord>* writer) override {
    return podwire::WatchDrops(d_, *context, *request, *writer);
  }

  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::Explanation* out) override {
    const auto query = QueryOf(*request);
    if (!query.ok()) return ToGrpc(query.status());
    const auto tables = d_.sw.tables();
    const auto result =
        d_.controller.Read([&](const ControlState& s) { return podwire::Explain(s, *tables, *query); });
    if (!result.ok()) return ToGrpc(result.status());
    FillExplanation(*result, *out);
    return grpc::Status::OK;
  }

  grpc::Status ExplainMany(grpc::ServerContext*, const v1::ExplainManyRequest* request,
                           grpc::ServerWriter<v1::Explanation>* writer) override {
    std::vector<v1::Explanation> answers(static_cast<size_t>(request->queries_size()));
    const absl::Status status = d_.controller.Read([&](const ControlState& s) -> absl::Status {
      const auto tables = d_.sw.tables();
      for (size_t i = 0; i < answers.size(); ++i) {
        const auto query = QueryOf(request->queries(static_cast<int>(i)));
        const auto result = query.ok() ? podwire::Explain(s, *tables, *query) : query.status();
        if (!result.ok()) return Annotate(result.status(), fmt::format("queries[{}]", i));
        FillExplanation(*result, answers[i]);
      }
      return absl::OkStatus();
    });
    if (!status.ok()) return ToGrpc(status);
    for (const v1::Explanation& answer : answers) {
      if (!writer->Write(answer)) break;
    }
    return grpc::Status::OK;
  }

 private:
  static void Add(v1::Counters& out, std::string name, uint64_t value, std::string_view help) {
    v1::Counter& c = *out.add_counters();
    c.set_name(std::move(name));
    c.set_value(value);
    c.set_help(std::string(help));
  }

  Daemon& d_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInspectService(Daemon& d) { return std::make_unique<InspectService>(d); }

}  // namespace podwire
