#include "control/controller.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/node_subnets.h"
#include "net/status.h"
#include "pmd/vanished_port.h"
#include "switch/counters.h"

namespace podwire {

const PortEntry* ControlState::FindPort(const std::string& name) const {
  const auto it =
      std::ranges::find_if(ports, [&](const PortEntry& p) { return p.port && p.config.name == name; });
  return it == ports.end() ? nullptr : &*it;
}

absl::StatusOr<PortId> ControlState::FindFreePort(const std::string& name) const {
  const PortEntry* entry = FindPort(name);
  if (entry == nullptr || entry->leaving) {
    return Error(
        absl::StatusCode::kNotFound,
        "there is no port {}: ports in the configuration file are there from the start, those that are added "
        "until podwired ends",
        name);
  }
  if (entry->suspended) {
    return Error(absl::StatusCode::kFailedPrecondition, "port {} is gone: {}", name, entry->port->Vanished());
  }
  switch (entry->role) {
    case PortRole::kNone:
      return PortId(static_cast<uint16_t>(entry - ports.data()));
    case PortRole::kPod:
      return Error(absl::StatusCode::kFailedPrecondition, "port {} is pod {}'s", name, ToString(entry->pod));
    case PortRole::kUnderlay:
      return Error(absl::StatusCode::kFailedPrecondition, "port {} is the underlay's", name);
    case PortRole::kTrunk:
      return Error(absl::StatusCode::kFailedPrecondition, "port {} is a trunk: attach \"macvlan\" to it",
                   name);
  }
  return absl::InternalError("port role");
}

absl::StatusOr<const PortEntry*> ControlState::FindTrunk(const std::string& name) const {
  const PortEntry* found = nullptr;
  for (const PortEntry& p : ports) {
    if (p.port == nullptr || p.leaving || p.role != PortRole::kTrunk) continue;
    if (!name.empty() && p.config.name != name) continue;
    if (name.empty() && p.config.kind() != PortKind::kTap) continue;
    if (found != nullptr) {
      return Error(absl::StatusCode::kFailedPrecondition, "there are several trunks ({}, {}): say which",
                   found->config.name, p.config.name);
    }
    found = &p;
  }
  if (found != nullptr && found->suspended) {
    return Error(absl::StatusCode::kFailedPrecondition, "trunk {} is gone: {}", found->config.name,
                 found->port->Vanished());
  }
  if (found != nullptr) return found;
  if (!name.empty() && FindPort(name) != nullptr)
    return Error(absl::StatusCode::kFailedPrecondition, "port {} is not a trunk", name);
  return Error(
      absl::StatusCode::kNotFound,
      "there is no trunk{}: put a port of kind tap with \"trunk\": true into podwired's configuration",
      name.empty() ? "" : " " + name);
}

PortId ControlState::FreePortId() const {
  const auto it = std::ranges::find_if(ports, [](const PortEntry& p) { return p.port == nullptr; });
  return PortId(static_cast<uint16_t>(it - ports.begin()));
}

absl::StatusOr<EndpointId> ControlState::FreeSlot() const {
  const auto it = std::ranges::find(slots, false);
  if (it != slots.end()) return EndpointId(static_cast<uint32_t>(it - slots.begin()));
  if (slots.size() < kMaxEndpoints) return EndpointId(static_cast<uint32_t>(slots.size()));
  return Error(absl::StatusCode::kResourceExhausted, "this node has {} endpoints, as many as it can",
               kMaxEndpoints);
}

Controller::Controller(const Config& config, DesiredState desired, Engine engine, Store& store)
    : config_(config), engine_(std::move(engine)), store_(store), state_{.desired = std::move(desired)} {
  strand_ =
      std::make_unique<Strand>([this](const std::function<void()>& fn) { Edit(fn); }, [this] { Publish(); });
}

Controller::~Controller() { strand_.reset(); }

void Controller::Edit(const std::function<void()>& fn) {
  const std::unique_lock lock(mutex_);
  fn();
}

absl::Status Controller::Load() {
  ASSIGN_OR_RETURN(const std::vector<StoredObject> stored, store_.LoadObjects());
  ASSIGN_OR_RETURN(DesiredState::PlannedSubnets planned, store_.LoadPlannedSubnets());
  ASSIGN_OR_RETURN(const std::vector<IpAddress> cursors, store_.LoadCursors());
  std::vector<std::string> documents;
  for (const StoredObject& o : stored) documents.push_back(o.json);
  const ParsedObjects parsed = ParseObjects(documents, "default");
  for (const ObjectProblem& p : parsed.problems) {
    return Error(absl::StatusCode::kDataLoss, "stored object: {}", ToString(p));
  }
  return Run({.commit = [&] {
    for (const ParsedObject& o : parsed.objects) state_.desired.Put(o);
    state_.desired.SetPlannedSubnets(std::move(planned));
    for (const IpAddress& cursor : cursors) state_.ipam.set_cursor(cursor);
  }});
}

namespace {

/// The underlay's port learns which tunnel ends here, and which pods do.
void TellUnderlay(const Tables& t) {
  const LocalNode& l = t.local;
  if (l.underlay_port == kNoPort) return;
  UdpTunnel tunnel;
  if (l.tunnel_enabled) {
    tunnel = {.port_be = l.tunnel_port_be, .vxlan = l.tunnel_is_vxlan};
    if (l.underlay_address.is_v4()) tunnel.address = l.underlay_address.v4();
    if (l.underlay_address6.is_v6()) tunnel.address6 = l.underlay_address6.v6();
  }
  Port& port = *t.ports[l.underlay_port.value()].port;
  port.SetTunnel(tunnel);
  port.SetPodSubnets(l.pod_subnets);
}

}  // namespace

/// Strand only. Readers may go on meanwhile: the strand alone edits what is read here.
void Controller::Publish() {
  const DesiredState& desired = state_.desired;
  if (compiled_revision_ != desired.policy_revision()) {
    policy_ = std::make_shared<const CompiledPolicy>(state_.desired.CompilePolicy());
    compiled_revision_ = desired.policy_revision();
  }
  std::vector<PortView> views;
  for (const PortEntry& p : state_.ports) {
    if (p.port == nullptr || p.leaving) {
      views.emplace_back();
    } else if (p.suspended) {
      views.push_back({.role = p.role, .name = p.config.name, .mtu = p.port->mtu()});
    } else {
      const auto* share = std::get_if<TrunkMemberOptions>(&p.config.options);
      views.push_back({p.port.get(), p.role, p.config.name, p.port->mac(), p.port->mtu(), share});
    }
  }
  const std::shared_ptr<const Tables> previous = engine_.tables();
  TablesResult result = BuildTables({.state = desired,
                                     .ports = views,
                                     .underlay = config_.underlay ? &*config_.underlay : nullptr,
                                     .policy = policy_,
                                     .previous = *previous,
                                     .gateway_mac = config_.gateway_mac,
                                     .kernel_routes = state_.kernel_routes});
  TellUnderlay(*result.tables);
  const LocalNode& before = previous->local;
  const LocalNode now = result.tables->local;
  engine_.publish(std::move(result.tables));
  if (now.underlay_port != kNoPort && now.underlay_mac != before.underlay_mac) engine_.announce_underlay();
  for (const std::string& w : result.warnings) {
    if (std::ranges::find(state_.warnings, w) == state_.warnings.end()) spdlog::warn("msg=\"{}\"", w);
  }
  Edit([&] { state_.warnings = std::move(result.warnings); });
}

absl::StatusOr<PodSubnets> Controller::PlanOwnSubnets(DesiredState::PlannedSubnets& planned) {
  const DesiredState& d = state_.desired;
  const NetConf* network = d.network();
  planned = d.planned_subnets();
  PodSubnets subnets = d.SubnetsOf(d.node());
  if (network == nullptr) {
    if (!subnets.empty()) return subnets;
    return Error(absl::StatusCode::kFailedPrecondition,
                 "node {} has no network: apply the ConfigMap kube-flannel-cfg, or give `network` in the "
                 "configuration "
                 "file",
                 d.node());
  }
  const bool complete = (!network->v4 || subnets.v4) && (!network->v6 || subnets.v6);
  if (complete) return subnets;
  std::vector<std::string> wanted{d.node()};
  for (const auto& [name, node] : d.nodes()) wanted.push_back(name);
  ASSIGN_OR_RETURN(planned, PlanSubnets(d.nodes(), wanted, *network, d.planned_subnets()));
  RETURN_IF_ERROR(store_.WriteObjects({.planned_subnets = &planned}));
  const PodSubnets& own = planned[d.node()];
  if (!subnets.v4) subnets.v4 = own.v4;
  if (!subnets.v6) subnets.v6 = own.v6;
  return subnets;
}

absl::StatusOr<std::unique_ptr<Port>> Controller::SuspendPort(const std::string& name,
                                                              const std::string& why) {
  PortEntry* entry = nullptr;
  std::unique_ptr<Port> closed;
  RETURN_IF_ERROR(Run({.prepare = [&]() -> absl::Status {
                         entry = const_cast<PortEntry*>(state_.FindPort(name));
                         if (entry != nullptr && !entry->leaving && !entry->suspended)
                           return absl::OkStatus();
                         return Error(absl::StatusCode::kNotFound, "there is no port {}", name);
                       },
                       .commit = [&] { entry->suspended = true; },
                       .after =
                           [&] {
                             Edit([&] {
                               entry = const_cast<PortEntry*>(state_.FindPort(name));
                               closed = std::move(entry->port);
                               entry->port =
                                   std::make_unique<VanishedPort>(entry->config, closed->mtu(), why);
                             });
                           }}));
  return closed;
}

void Controller::ExplainSuspended(const std::string& name, const std::string& why) {
  // Its stand-in is in no tables.
  const absl::Status status =
      Run({.commit =
               [&] {
                 auto* entry = const_cast<PortEntry*>(state_.FindPort(name));
                 if (entry == nullptr || !entry->suspended) return;
                 entry->port = std::make_unique<VanishedPort>(entry->config, entry->port->mtu(), why);
               },
           .publish = false});
  if (!status.ok()) spdlog::debug("msg=\"port state\" port={} error=\"{}\"", name, Message(status));
}

absl::Status Controller::ResumePort(const std::string& name, std::unique_ptr<Port> port) {
  PortEntry* entry = nullptr;
  return Run({.prepare = [&]() -> absl::Status {
                entry = const_cast<PortEntry*>(state_.FindPort(name));
                return entry != nullptr && entry->suspended
                           ? absl::OkStatus()
                           : Error(absl::StatusCode::kNotFound, "there is no suspended port {}", name);
              },
              .commit =
                  [&] {
                    entry->port = std::move(port);
                    entry->suspended = false;
                  }});
}

absl::Status Controller::SetKernelRoutes(std::vector<UnderlayRoute> routes) {
  return Run({.commit = [&] { state_.kernel_routes = std::move(routes); }});
}

absl::StatusOr<PortId> Controller::AddPort(const PortConfig& config, std::unique_ptr<Port> port,
                                           PortRole role) {
  PortId id = kNoPort;
  RETURN_IF_ERROR(Run({.prepare = [&]() -> absl::Status {
                         if (state_.FindPort(config.name) == nullptr) return absl::OkStatus();
                         return Error(absl::StatusCode::kAlreadyExists, "port {} exists", config.name);
                       },
                       .commit =
                           [&] {
                             id = state_.FreePortId();
                             if (id.value() == state_.ports.size()) state_.ports.emplace_back();
                             state_.ports[id.value()] = {
                                 .config = config, .port = std::move(port), .role = role};
                           }}));
  return id;
}

absl::Status Controller::RemovePort(const std::string& name) {
  PortEntry* entry = nullptr;
  std::unique_ptr<Port> closed;  // outside the strand: a device may take its time
  RETURN_IF_ERROR(
      Run({.prepare = [&]() -> absl::Status {
             entry = const_cast<PortEntry*>(state_.FindPort(name));
             if (entry == nullptr || entry->leaving) {
               return Error(absl::StatusCode::kNotFound, "there is no port {}", name);
             }
             if (entry->role == PortRole::kUnderlay) {
               return Error(absl::StatusCode::kFailedPrecondition,
                            "port {} is the underlay's: change the configuration file instead", name);
             }
             if (entry->role == PortRole::kPod) {
               return Error(absl::StatusCode::kFailedPrecondition,
                            "port {} is pod {}'s: it goes when the pod does", name, ToString(entry->pod));
             }
             if (entry->role == PortRole::kTrunk) {
               return Error(absl::StatusCode::kFailedPrecondition,
                            "port {} is a trunk: change the configuration file instead", name);
             }
             return absl::OkStatus();
           },
           .commit = [&] { entry->leaving = true; },
           .after =
               [&] {
                 Edit([&] {
                   entry = const_cast<PortEntry*>(state_.FindPort(name));
                   closed = std::move(entry->port);
                   *entry = {};
                 });
               }}));
  return closed->Destroy();
}

void Controller::ReleasePorts() {
  std::vector<PortEntry> closed;
  const absl::Status status = Run({.commit =
                                       [&] {
                                         for (PortEntry& p : state_.ports) p.leaving = true;
                                         std::vector<LiveAttachment> all;
                                         for (const auto& [key, a] : state_.desired.attachments())
                                           all.push_back(a);
                                         for (LiveAttachment& a : all) {
                                           a.port = kNoPort;
                                           state_.desired.PutAttachment(std::move(a));
                                         }
                                       },
                                   .after = [&] { Edit([&] { closed.swap(state_.ports); }); }});
  if (!status.ok()) spdlog::error("msg=\"release ports\" error=\"{}\"", Message(status));
}

}  // namespace podwire
