#include "control/build_tables.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>

#include "net/status.h"
#include "overlay/routes.h"
#include "overlay/subnet_plan.h"

namespace podwire {
namespace {

constexpr uint16_t kIpv6MinMtu = 1280;  // RFC 8200 section 5

/// What one call builds, step by step.
class Builder {
 public:
  explicit Builder(const TablesInput& in) : in_(in), t_(std::make_unique<Tables>()) {}

  TablesResult Build() {
    t_->policy = in_.policy;
    FillLocal();
    FillPorts();
    FillEndpoints();
    FillRoutes();
    return {std::move(t_), std::move(warnings_)};
  }

 private:
  void FillLocal() {
    LocalNode& l = t_->local;
    l.name = in_.state.node();
    l.gateway_mac = in_.gateway_mac.empty() ? GatewayMac(l.name) : in_.gateway_mac;
    l.vtep_mac = VtepMac(in_.state);
    for (const IpPrefix& subnet : in_.state.SubnetsOf(l.name).List()) {
      AddGateway(GatewayOf(subnet));
      l.pod_subnets.push_back(subnet);
      t_->fib.Set(subnet, {.kind = RouteKind::kSubnetLocal, .why = "this node's pod subnet"});
    }
    l.pod_mtu = PodMtu(in_.state, in_.underlay, in_.ports);
    if (in_.underlay == nullptr) return;
    l.underlay_address = in_.underlay->address.address;
    l.underlay_length = in_.underlay->address.length;
    l.underlay_address6 = in_.underlay->address6.address;
    l.underlay_length6 = in_.underlay->address6.length;
    l.underlay_is_shared = in_.underlay->shared;
    if (l.underlay_is_shared) LeaveToKernel();
    for (size_t i = 0; i < in_.ports.size(); ++i) {
      if (in_.ports[i].role != PortRole::kUnderlay || in_.ports[i].port == nullptr) continue;
      l.underlay_port = PortId(static_cast<uint16_t>(i));
      l.underlay_mac = in_.ports[i].mac;
    }
  }

  /// What pods send to the node's own underlay addresses goes to the host's endpoint, if there is one.
  void LeaveToKernel() {
    for (const IpAddress& a : UnderlayAddresses()) {
      t_->fib.Set(IpPrefix::Make(a, a.bits()),
                  {.kind = RouteKind::kSubnetLocal, .why = "the kernel's: pods reach it with hostInterface"});
    }
  }

  std::vector<IpAddress> UnderlayAddresses() const {
    std::vector<IpAddress> addresses;
    for (const IpAddress& a : {t_->local.underlay_address, t_->local.underlay_address6}) {
      if (!a.empty()) addresses.push_back(a);
    }
    return addresses;
  }

  void AddGateway(const IpAddress& a) {
    auto& gateways = t_->local.gateways;
    if (std::ranges::find(gateways, a) == gateways.end()) gateways.push_back(a);
  }

  void FillPorts() {
    t_->ports.resize(in_.ports.size());
    for (size_t i = 0; i < in_.ports.size(); ++i) {
      const PortView& p = in_.ports[i];
      if (p.port == nullptr) continue;
      PortSlot& slot = t_->ports[i];
      slot.port = p.port;
      slot.role = p.role;
      slot.name = p.name;
      slot.own_mac = p.role == PortRole::kPod ? t_->local.gateway_mac : p.mac;
    }
    FillTrunks();
  }

  void FillTrunks() {
    std::map<std::string, std::shared_ptr<TrunkMembers>> trunks;
    for (size_t i = 0; i < in_.ports.size(); ++i) {
      const PortView& p = in_.ports[i];
      if (p.port == nullptr || p.share == nullptr) continue;
      auto& members = trunks[p.share->trunk_name];
      if (members == nullptr) members = std::make_shared<TrunkMembers>();
      members->Add(PortId(static_cast<uint16_t>(i)), static_cast<TrunkMember&>(*p.port), p.share->mac,
                   p.share->vlan);
    }
    for (PortSlot& slot : t_->ports) {
      if (const auto trunk = trunks.find(slot.name); trunk != trunks.end()) slot.members = trunk->second;
    }
  }

  void FillEndpoints() {
    KeepVersions();
    for (const auto& [key, a] : in_.state.attachments()) {
      if (a.port == kNoPort || a.slot == kNoEndpoint) continue;
      FillEndpoint(a);
    }
  }

  /// A slot's version outlives its owner: the next one must not be taken for it.
  void KeepVersions() {
    size_t slots = in_.previous.endpoints.size();
    for (const auto& [key, a] : in_.state.attachments()) {
      if (a.slot != kNoEndpoint) slots = std::max<size_t>(slots, a.slot.value() + 1);
    }
    t_->endpoints.resize(slots);
    for (size_t i = 0; i < in_.previous.endpoints.size(); ++i) {
      t_->endpoints[i].version = in_.previous.endpoints[i].version;
    }
  }

  void FillEndpoint(const LiveAttachment& a) {
    Endpoint& e = t_->endpoints[a.slot.value()];
    e.id = a.slot;
    e.is_host = a.record.host;
    e.port = a.port;
    e.mac = a.record.mac;
    e.pod = a.record.pod;
    for (const InterfaceAddress& address : a.record.addresses) e.addresses.push_back(address.address);
    if (e.is_host && t_->local.underlay_is_shared) {
      for (const IpAddress& own : UnderlayAddresses()) e.addresses.push_back(own);
    }
    for (const IpAddress& address : e.addresses) t_->endpoint_by_address[address] = a.slot;
    for (const IpAddress& gateway : a.record.gateways) AddGateway(gateway);
    if (const EndpointPolicy* policy = in_.policy->Find(a.record.pod); policy != nullptr) e.policy = *policy;
    if (!IsSameAsBefore(e)) ++e.version;
    e.policy_log = in_.state.PolicyLogOf(e.pod.ns);
    t_->logs_policy = t_->logs_policy || e.policy_log != PolicyLogLevel::kOff;
    e.adjacency = AddDelivery(a);
    PortSlot& slot = t_->ports[a.port.value()];
    slot.endpoint = a.slot;
    slot.peer_mac = a.record.mac;
  }

  bool IsSameAsBefore(const Endpoint& e) const {
    const Endpoint* before = in_.previous.EndpointAt(e.id);
    return before != nullptr && before->policy.fingerprint == e.policy.fingerprint &&
           before->is_host == e.is_host && before->pod == e.pod && before->addresses == e.addresses &&
           before->mac == e.mac;
  }

  NextHopId AddDelivery(const LiveAttachment& a) {
    Adjacency adjacency{.port = a.port, .to_endpoint = true, .endpoint = a.slot};
    adjacency.hop.kind = NextHop::Kind::kDirect;
    // Its port may have come back with less.
    adjacency.hop.mtu = std::min(a.record.mtu, in_.ports[a.port.value()].mtu);
    BuildHeader(adjacency.hop, {.src_mac = t_->local.gateway_mac, .dst_mac = a.record.mac});
    return Add(std::move(adjacency));
  }

  NextHopId Add(Adjacency adjacency) {
    t_->adjacencies.push_back(std::move(adjacency));
    return NextHopId(static_cast<uint32_t>(t_->adjacencies.size() - 1));
  }

  void FillRoutes() {
    const LocalNode& l = t_->local;
    const NetConf* conf = in_.state.network();
    if (conf != nullptr && conf->v6 && l.pod_mtu < kIpv6MinMtu) {
      warnings_.push_back(
          fmt::format("pods have MTU {}, but IPv6 needs {}: raise underlay.mtu", l.pod_mtu, kIpv6MinMtu));
    }
    if (in_.underlay == nullptr || l.underlay_port == kNoPort || conf == nullptr) return;
    CheckOwnNode();
    LocalUnderlay self{.node = l.name,
                       .address = in_.underlay->address,
                       .mtu = UnderlayMtu(in_.underlay, in_.ports),
                       .mac = l.underlay_mac,
                       .vtep_mac = l.vtep_mac,
                       .address6 = in_.underlay->address6};
    if (!in_.underlay->gateway.empty()) self.gateway = in_.underlay->gateway;
    if (!in_.underlay->gateway6.empty()) self.gateway6 = in_.underlay->gateway6;
    self.routes = in_.kernel_routes;
    RoutePlan plan = BuildRoutes(self, *conf, NodesWithSubnets());
    const auto first = static_cast<uint32_t>(t_->adjacencies.size());
    for (NextHop& hop : plan.next_hops) Add({.hop = std::move(hop), .port = l.underlay_port});
    for (const Route& r : plan.routes) {
      if (t_->fib.FindExact(r.prefix) != nullptr) continue;  // our own subnet
      t_->fib.Set(r.prefix, {.next_hop = NextHopId(first + static_cast<uint32_t>(r.next_hop)), .why = r.why});
    }
    for (const IpAddress& vtep : plan.vteps) t_->vteps.Insert(vtep);
    warnings_.insert(warnings_.end(), plan.warnings.begin(), plan.warnings.end());
    FillTunnel(*conf);
  }

  void FillTunnel(const NetConf& conf) {
    LocalNode& l = t_->local;
    l.vni = conf.vni;
    l.tunnel_port_be = htons(conf.port);
    l.tunnel_is_vxlan = conf.backend == BackendType::kVxlan;
    l.tunnel_enabled = conf.backend != BackendType::kHostGw;
  }

  /// Peers with the subnets planned for them in place of a missing podCIDR.
  std::vector<Node> NodesWithSubnets() const {
    std::vector<Node> nodes;
    for (const auto& [name, node] : in_.state.nodes()) {
      nodes.push_back(node);
      const PodSubnets cidrs = PodCidrsOf(node);
      for (const IpPrefix& subnet : in_.state.SubnetsOf(name).List()) {
        if (!cidrs.Of(subnet.address.family())) nodes.back().pod_cidrs.push_back(subnet);
      }
    }
    return nodes;
  }

  /// What our Node object tells the peers must be what is configured here.
  void CheckOwnNode() {
    const Node* self = in_.state.self();
    if (self == nullptr) return;
    CheckPublicIp(*self, "public-ip", self->public_ip, in_.underlay->address.address);
    CheckPublicIp(*self, "public-ipv6", self->public_ip6, in_.underlay->address6.address);
    if (!self->vtep_mac6.empty() && self->vtep_mac6 != t_->local.vtep_mac) {
      warnings_.push_back(
          fmt::format("node {}: its Node object has VtepMAC {} in backend-v6-data, but {} in backend-data: "
                      "podwire has one for both, and peers will send to the former",
                      self->name, ToString(self->vtep_mac6), ToString(t_->local.vtep_mac)));
    }
  }

  void CheckPublicIp(const Node& self, const char* annotation, const IpAddress& says, const IpAddress& own) {
    if (says.empty() || own.empty() || says == own) return;
    warnings_.push_back(
        fmt::format("node {}: its Node object says {} {}, but underlay.address is {}: peers "
                    "will send to the former",
                    self.name, annotation, ToString(says), ToString(own)));
  }

  const TablesInput& in_;
  std::unique_ptr<Tables> t_;
  std::vector<std::string> warnings_;
};

}  // namespace

TablesResult BuildTables(const TablesInput& input) { return Builder(input).Build(); }

MacAddr GatewayMac(const std::string& node) { return DeriveMac("gateway " + node); }

MacAddr GatewayMac(const Config& config) {
  return config.gateway_mac.empty() ? GatewayMac(config.node) : config.gateway_mac;
}

MacAddr VtepMac(const DesiredState& state) {
  const Node* self = state.self();
  if (self != nullptr && !self->vtep_mac.empty()) return self->vtep_mac;
  if (self != nullptr && !self->vtep_mac6.empty()) return self->vtep_mac6;
  return DeriveMac("vtep " + state.node());
}

uint16_t PodMtu(const DesiredState& state, const UnderlayConfig* underlay, std::span<const PortView> ports) {
  const uint16_t mtu = UnderlayMtu(underlay, ports);
  const NetConf* conf = state.network();
  if (conf == nullptr) return mtu;
  const bool over_ipv6 = underlay != nullptr && TunnelsOverIpv6(*conf, !underlay->address.address.empty(),
                                                                !underlay->address6.address.empty());
  return PodMtu(*conf, mtu, over_ipv6);
}

uint16_t UnderlayMtu(const UnderlayConfig* underlay, std::span<const PortView> ports) {
  constexpr uint16_t kDefault = 1500;
  if (underlay == nullptr) return kDefault;
  if (underlay->mtu != 0) return underlay->mtu;
  for (const PortView& p : ports) {
    if (p.role == PortRole::kUnderlay) return p.mtu;  // also while it has no device
  }
  return kDefault;
}

}  // namespace podwire
