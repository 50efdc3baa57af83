#include "control/attacher.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "control/build_tables.h"
#include "control/vhost_user_files.h"
#include "net/status.h"
#include "overlay/subnet_plan.h"

namespace podwire {
namespace {

constexpr uint16_t kFallbackMtu = 1500;

std::string PortName(const AttachSpec& s) {
  if (s.IsInOwnNamespace()) return "host-" + s.key.ifname;
  return fmt::format("pod-{}-{}", s.key.container_id.substr(0, 40), s.key.ifname);
}

MacAddr MacOf(const AttachSpec& spec, const std::string& node) {
  if (!spec.mac.empty()) return spec.mac;
  return DeriveMac(fmt::format("{} {} {}", node, spec.key.container_id, spec.key.ifname));
}

/// "10.244.1.2,fd44:0:0:1::2"
std::string AddressesOf(const Attachment& a) {
  std::string text;
  for (const InterfaceAddress& address : a.addresses)
    text += (text.empty() ? "" : ",") + ToString(address.address);
  return text;
}

}  // namespace

Attacher::KeyLock::KeyLock(Attacher& owner, AttachmentKey key) : owner_(owner), key_(std::move(key)) {
  std::unique_lock lock(owner_.mutex_);
  owner_.released_.wait(lock, [&] { return owner_.busy_.insert(key_).second; });
}

Attacher::KeyLock::~KeyLock() {
  {
    const std::lock_guard lock(owner_.mutex_);
    owner_.busy_.erase(key_);
  }
  owner_.released_.notify_all();
}

absl::Status FitMtu(const Port& port, uint16_t asked, uint16_t& mtu) {
  if (asked > port.mtu())
    return InvalidArgument("mtu: port {} carries at most {}, not {}", port.name(), port.mtu(), asked);
  mtu = std::min(mtu, port.mtu());
  return absl::OkStatus();
}

PodInterface InterfaceOf(const Attachment& a) {
  PodInterface pod{.netns = a.netns, .ifname = a.key.ifname, .mac = a.mac, .mtu = a.mtu};
  const MacAddr gateway_mac = a.gateway_mac;
  for (const InterfaceAddress& address : a.addresses) {
    pod.addresses.push_back({address.address, address.address.bits()});
  }
  for (const IpAddress& gateway : a.gateways) pod.gateways.push_back({gateway, gateway_mac});
  if (!a.host || a.routes.empty()) pod.routes = GatewayRoutes(pod);
  for (const PodRoute& route : a.routes) {
    if (std::ranges::find(pod.routes, route.dst) == pod.routes.end()) pod.routes.push_back(route.dst);
  }
  return pod;
}

PortConfig PortOf(const Attachment& a) {
  PortConfig port{.name = a.port, .mtu = a.mtu};
  if (a.kind == AttachKind::kVhostUser) {
    port.options =
        VhostUserOptions{.socket_path = a.socket, .queues = a.vhost.queues, .client = a.vhost.client};
  } else if (a.kind == AttachKind::kMacvlan) {
    port.options =
        TrunkMemberOptions{.trunk_name = a.trunk, .mac = a.mac, .netns = a.netns, .ifname = a.key.ifname};
  } else if (a.kind == AttachKind::kVf) {
    port.options = TrunkMemberOptions{.trunk_name = a.trunk,
                                      .mac = a.mac,
                                      .vlan = a.vf.vlan,
                                      .netns = a.netns,
                                      .ifname = HasInterface(a) ? a.key.ifname : ""};
  } else {
    port.options = TapOptions{.netns = a.netns, .ifname = a.key.ifname, .mac = a.mac, .persistent = true};
  }
  return port;
}

absl::StatusOr<std::unique_ptr<Port>> Attacher::CreatePort(PortConfig config) {
  if (config.kind() == PortKind::kTap) return wiring_.create_port(config);
  if (auto* member = std::get_if<TrunkMemberOptions>(&config.options)) {
    // It stays: Attach has trunks_, and all else that comes here is on the thread that closes trunks.
    ASSIGN_OR_RETURN(member->trunk, controller_.Read([&](const ControlState& s) -> absl::StatusOr<Port*> {
      ASSIGN_OR_RETURN(const PortEntry* trunk, s.FindTrunk(member->trunk_name));
      return trunk->port.get();
    }));
    return wiring_.create_port(config);
  }
  const std::lock_guard lock(dpdk_mutex_);
  return wiring_.create_port(config);
}

absl::StatusOr<LiveAttachment> Attacher::Attach(const AttachSpec& spec) {
  RETURN_IF_ERROR(CheckSpec(spec));
  std::shared_lock trunk_lock(trunks_, std::defer_lock);
  if (spec.kind == AttachKind::kMacvlan || spec.kind == AttachKind::kVf) trunk_lock.lock();
  const KeyLock key_lock(*this, spec.key);
  LiveAttachment a;
  absl::Status status = Reserve(spec, a);
  if (status.ok()) {
    status = BringUp(a);
    const absl::Status undone = status.ok() ? absl::OkStatus() : RollBack(a);
    if (!undone.ok())
      spdlog::error("msg=\"roll back\" attachment={} error=\"{}\"", ToString(spec.key), Message(undone));
  }
  if (!status.ok()) {
    spdlog::warn("msg=\"attach failed\" pod={} attachment={} error=\"{}\"", ToString(spec.pod),
                 ToString(spec.key), Message(status));
    return Annotate(status, fmt::format("attach pod {}", ToString(spec.pod)));
  }
  spdlog::info("msg=\"pod attached\" pod={} attachment={} address={} netns={}", ToString(spec.pod),
               ToString(spec.key), AddressesOf(a.record), spec.netns);
  return a;
}

/// Records the attachment as 'adding', with its addresses: from here on nobody else gets them.
absl::Status Attacher::Reserve(const AttachSpec& spec, LiveAttachment& a) {
  ControlState& state = controller_.state();
  DesiredState::PlannedSubnets planned;
  const auto prepare = [&]() -> absl::Status {
    if (state.desired.FindAttachment(spec.key) != nullptr) {
      return Error(absl::StatusCode::kAlreadyExists, "container {} has an interface {} already",
                   spec.key.container_id, spec.key.ifname);
    }
    if (spec.kind == AttachKind::kPort) {
      RETURN_IF_ERROR(state.FindFreePort(spec.port).status());
    } else if (state.FindPort(PortName(spec)) != nullptr) {
      return Error(absl::StatusCode::kAlreadyExists, "port {} exists", PortName(spec));
    }
    ASSIGN_OR_RETURN(const PodSubnets subnets, controller_.PlanOwnSubnets(planned));
    ASSIGN_OR_RETURN(a.slot, state.FreeSlot());
    Attachment& r = a.record;
    r = {.key = spec.key,
         .netns = spec.netns,
         .network = spec.network,
         .pod = spec.pod,
         .pod_uid = spec.pod_uid,
         .kind = spec.kind,
         .port = spec.kind == AttachKind::kPort ? spec.port : PortName(spec),
         .mac = MacOf(spec, state.desired.node()),
         .gateway_mac = GatewayMac(controller_.config()),
         .routes = spec.routes,
         .mtu = spec.mtu,
         .delegated_ipam = !spec.addresses.empty(),
         .vhost = spec.vhost,
         .host = spec.host};
    if (r.kind == AttachKind::kVhostUser) {
      r.socket = VhostUserSocket(controller_.config().state_dir, r);
      RETURN_IF_ERROR(CheckSocketIsFree(r));
    }
    if (r.mtu == 0) r.mtu = controller_.tables()->local.pod_mtu;
    if (r.mtu == 0) r.mtu = kFallbackMtu;
    if (r.kind == AttachKind::kPort) RETURN_IF_ERROR(FitMtu(*state.FindPort(r.port)->port, spec.mtu, r.mtu));
    if (r.kind == AttachKind::kMacvlan) RETURN_IF_ERROR(TakeTrunk(spec, r));
    if (r.kind == AttachKind::kVf) RETURN_IF_ERROR(TakeVf(spec, r));
    const absl::Status filled = FillAddresses(spec, subnets, r);
    const absl::Status stored =
        filled.ok() ? controller_.store().AddAttachment(r, state.ipam.cursors()) : filled;
    if (!stored.ok()) {
      for (const InterfaceAddress& address : r.addresses) state.ipam.Release(address.address);
    }
    return stored;
  };
  const auto commit = [&] {
    if (a.slot.value() == state.slots.size()) state.slots.push_back(false);
    state.slots[a.slot.value()] = true;
    state.desired.SetPlannedSubnets(std::move(planned));
    state.desired.PutAttachment(a);
  };
  return controller_.Run({.prepare = prepare, .commit = commit, .publish = false});
}

/// Strand only. On failure `a` has the addresses taken so far, for the caller to release.
absl::Status Attacher::FillAddresses(const AttachSpec& spec, const PodSubnets& subnets, Attachment& a) {
  for (const InterfaceAddress& address : spec.addresses) {
    RETURN_IF_ERROR(TakeDelegated(address, subnets, a));
  }
  if (!spec.addresses.empty()) return absl::OkStatus();
  for (const IpPrefix& subnet : subnets.List()) {
    ASSIGN_OR_RETURN(const IpAddress address, controller_.state().ipam.Allocate(subnet));
    a.addresses.push_back({address, subnet.length});
    a.gateways.push_back(GatewayOf(subnet));
  }
  return absl::OkStatus();
}

absl::Status Attacher::TakeDelegated(const InterfaceAddress& address, const PodSubnets& subnets,
                                     Attachment& a) {
  const IpFamily family = address.address.family();
  const auto& subnet = subnets.Of(family);
  // A prefix without a gateway of its own (a /32) is served by the node's.
  const bool own_gateway =
      address.length + 2 <= address.address.bits() && !(subnet && subnet->Contains(address.address));
  if (!own_gateway && !subnet) {
    return InvalidArgument("addresses: {} has no gateway: this node has no {} subnet", ToString(address),
                           family == IpFamily::kV6 ? "IPv6" : "IPv4");
  }
  const IpAddress gateway = GatewayOf(own_gateway ? address.prefix() : *subnet);
  if (address.address == gateway)
    return InvalidArgument("addresses: {} is the gateway's", ToString(address.address));
  RETURN_IF_ERROR(controller_.state().ipam.Reserve(address.address));
  a.addresses.push_back(address);
  const bool first =
      std::ranges::none_of(a.gateways, [&](const IpAddress& other) { return other.family() == family; });
  if (first) a.gateways.push_back(gateway);
  return absl::OkStatus();
}

/// Strand only. The trunk by which the pod is to be reached; its MAC must be the pod's alone there.
absl::Status Attacher::TakeTrunk(const AttachSpec& spec, Attachment& a) const {
  const ControlState& state = controller_.state();
  ASSIGN_OR_RETURN(const PortEntry* trunk, state.FindTrunk(spec.port));
  if (trunk->config.kind() != PortKind::kTap)
    return InvalidArgument("port: {} is a trunk of virtual functions: attach \"vf\"", trunk->config.name);
  a.trunk = trunk->config.name;
  for (const auto& [key, other] : state.desired.attachments()) {
    if (other.record.trunk != a.trunk || other.record.mac != a.mac) continue;
    return Error(absl::StatusCode::kAlreadyExists, "mac: {} is pod {}'s on trunk {}", ToString(a.mac),
                 ToString(other.record.pod), a.trunk);
  }
  return FitMtu(*trunk->port, spec.mtu, a.mtu);
}

/// The trunk may carry less than it did, and the kernel has lowered the pod's interface with it.
void Attacher::FitTrunk(Attachment& a) const {
  controller_.Read([&](const ControlState& s) {
    const auto trunk = s.FindTrunk(a.trunk);
    if (trunk.ok()) a.mtu = std::min(a.mtu, (*trunk)->port->mtu());
  });
}

absl::Status Attacher::SetUpInterface(const Attachment& a) {
  if (a.kind == AttachKind::kVf) RETURN_IF_ERROR(SetUpVf(a));
  if (!HasInterface(a)) return absl::OkStatus();
  if (a.kind == AttachKind::kMacvlan) {
    MacvlanOptions macvlan{
        .netns = a.netns, .ifname = a.key.ifname, .port = a.port, .mac = a.mac, .mtu = a.mtu};
    RETURN_IF_ERROR(controller_.Read([&](const ControlState& s) -> absl::Status {
      ASSIGN_OR_RETURN(const PortEntry* trunk, s.FindTrunk(a.trunk));
      macvlan.parent = std::get<TapOptions>(trunk->config.options).ifname;
      return absl::OkStatus();
    }));
    RETURN_IF_ERROR(wiring_.make_macvlan(macvlan));
  }
  return wiring_.set_up(InterfaceOf(a));
}

/// The interface comes up last: when the pod can send, its policy is in force.
absl::Status Attacher::BringUp(LiveAttachment& a) {
  if (a.record.kind == AttachKind::kVhostUser) RETURN_IF_ERROR(DescribeVhostUser(a.record));
  if (a.record.kind == AttachKind::kPort) {
    RETURN_IF_ERROR(JoinExisting(a));
  } else {
    ASSIGN_OR_RETURN(std::unique_ptr<Port> port, CreatePort(PortOf(a.record)));
    RETURN_IF_ERROR(Join(a, std::move(port)));
  }
  if (a.record.kind == AttachKind::kVf) RETURN_IF_ERROR(GiveVf(a.record));
  RETURN_IF_ERROR(SetUpInterface(a.record));
  ControlState& state = controller_.state();
  a.record.state = AttachState::kUp;
  return controller_.Run(
      {.prepare = [&] { return controller_.store().SetAttachmentState(a.record.key, AttachState::kUp); },
       .commit = [&] { state.desired.PutAttachment(a); },
       .publish = false});
}

/// Puts port and endpoint into the switch; returns when its policy is in force.
absl::Status Attacher::Join(LiveAttachment& a, std::unique_ptr<Port> port, bool publish) {
  ControlState& state = controller_.state();
  return controller_.Run({.commit =
                              [&] {
                                a.port = state.FreePortId();
                                if (a.port.value() == state.ports.size()) state.ports.emplace_back();
                                state.ports[a.port.value()] = {.config = PortOf(a.record),
                                                               .port = std::move(port),
                                                               .role = PortRole::kPod,
                                                               .pod = a.record.pod,
                                                               .made_for_pod = true};
                                state.desired.PutAttachment(a);
                              },
                          .publish = publish});
}

/// Join with a port that is there already.
absl::Status Attacher::JoinExisting(LiveAttachment& a, bool publish) {
  ControlState& state = controller_.state();
  return controller_.Run({.prepare = [&]() -> absl::Status {
                            ASSIGN_OR_RETURN(a.port, state.FindFreePort(a.record.port));
                            // The configuration may have lowered it since the pod was attached.
                            return FitMtu(*state.ports[a.port.value()].port, 0, a.record.mtu);
                          },
                          .commit =
                              [&] {
                                PortEntry& entry = state.ports[a.port.value()];
                                entry.role = PortRole::kPod;
                                entry.pod = a.record.pod;
                                state.desired.PutAttachment(a);
                              },
                          .publish = publish});
}

}  // namespace podwire
