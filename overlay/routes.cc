#include "overlay/routes.h"

#include <algorithm>

#include <fmt/format.h>

namespace podwire {
namespace {

const char* NameOf(IpFamily family) { return family == IpFamily::kV6 ? "IPv6" : "IPv4"; }
IpFamily Other(IpFamily family) { return family == IpFamily::kV6 ? IpFamily::kV4 : IpFamily::kV6; }

const IpAddress& PublicIp(const Node& node, IpFamily family) {
  return family == IpFamily::kV6 ? node.public_ip6 : node.public_ip;
}

const char* AnnotationOf(IpFamily family) {
  return family == IpFamily::kV6 ? "flannel.alpha.coreos.com/public-ipv6"
                                 : "flannel.alpha.coreos.com/public-ip";
}

class Planner {
 public:
  Planner(const LocalUnderlay& self, const NetConf& conf) : self_(self), conf_(conf) {}

  void AddPeer(const Node& node) {
    if (!Usable(node)) return;
    for (const IpFamily family : {IpFamily::kV4, IpFamily::kV6}) {
      if (HasPods(node, family)) AddSubnets(node, family);
      // Also of direct peers: their own table may say vxlan while DirectRouting changes.
      if (Tunnels(family) && IsCommon(node, family)) plan_.vteps.push_back(PublicIp(node, family));
    }
  }

  void AddHosts() {
    for (const IpFamily family : {IpFamily::kV4, IpFamily::kV6}) {
      if (!Has(family)) continue;
      AddHost(family, {}, AddressOf(family).prefix(), "underlay subnet");
      const IpPrefix all = IpPrefix::Make(AddressOf(family).address, 0);
      if (GatewayOf(family)) AddHost(family, *GatewayOf(family), all, "underlay gateway");
      for (const UnderlayRoute& r : self_.routes) {
        if (IsToHosts(r, family)) AddHost(family, r.gateway, r.prefix, "kernel route");
      }
    }
  }

  RoutePlan Finish() {
    std::sort(plan_.routes.begin(), plan_.routes.end(),
              [](const Route& a, const Route& b) { return a.prefix < b.prefix; });
    return std::move(plan_);
  }

 private:
  const InterfaceAddress& AddressOf(IpFamily family) const {
    return family == IpFamily::kV6 ? self_.address6 : self_.address;
  }
  const std::optional<IpAddress>& GatewayOf(IpFamily family) const {
    return family == IpFamily::kV6 ? self_.gateway6 : self_.gateway;
  }
  /// The way to an underlay address beyond the underlay's subnet.
  std::optional<IpAddress> GatewayTo(const IpAddress& remote) const {
    if (const auto& configured = GatewayOf(remote.family())) return configured;
    const UnderlayRoute* best = nullptr;
    for (const UnderlayRoute& r : self_.routes) {
      const bool longer = best == nullptr || r.prefix.length > best->prefix.length;
      if (r.prefix.address.family() == remote.family() && r.prefix.Contains(remote) && longer) best = &r;
    }
    return best == nullptr ? std::nullopt : std::optional(best->gateway);
  }
  /// Not to pods: whose are where, the nodes say.
  bool IsToHosts(const UnderlayRoute& r, IpFamily family) const {
    if (r.prefix.address.family() != family || GatewayOf(family) || r.prefix == AddressOf(family).prefix())
      return false;
    const auto is_pods = [&](const auto& network) {
      return network && network->network.address.family() == family &&
             network->network.length <= r.prefix.length && network->network.Contains(r.prefix.address);
    };
    return !is_pods(conf_.v4) && !is_pods(conf_.v6);
  }
  bool Has(IpFamily family) const { return !AddressOf(family).address.empty(); }
  /// Whether tunnel packets may have an outer header of the family.
  bool Tunnels(IpFamily outer) const {
    return conf_.backend == BackendType::kVxlan ||
           (conf_.backend == BackendType::kUdp && outer == IpFamily::kV4);
  }
  /// Pods of a family that the network has.
  bool HasPods(const Node& node, IpFamily family) const {
    const bool enabled = family == IpFamily::kV6 ? conf_.v6.has_value() : conf_.v4.has_value();
    return enabled && std::ranges::any_of(node.pod_cidrs,
                                          [&](const IpPrefix& p) { return p.address.family() == family; });
  }
  bool IsCommon(const Node& node, IpFamily family) const {
    return Has(family) && !PublicIp(node, family).empty();
  }

  void Warn(const Node& node, const std::string& why) {
    plan_.warnings.push_back(fmt::format("no route to the pods of node {}: {}", node.name, why));
  }
  void Warn(const Node& node, IpFamily family, const std::string& why) {
    if (!HasPods(node, Other(family))) return Warn(node, why);
    plan_.warnings.push_back(
        fmt::format("no route to the {} pods of node {}: {}", NameOf(family), node.name, why));
  }

  bool Usable(const Node& node) {
    if (!HasPods(node, IpFamily::kV4) && !HasPods(node, IpFamily::kV6)) return false;  // not yet
    if (node.public_ip.empty() && node.public_ip6.empty()) {
      Warn(node,
           "its address is not known (annotation flannel.alpha.coreos.com/public-ip or status.addresses "
           "InternalIP)");
      return false;
    }
    if (!node.backend_type.empty() && node.backend_type != ToString(conf_.backend)) {
      Warn(node, fmt::format("its backend is {}, this node's {}; use one for the whole cluster",
                             node.backend_type, ToString(conf_.backend)));
      return false;
    }
    if (conf_.backend == BackendType::kVxlan && node.vni && *node.vni != conf_.vni) {
      Warn(node, fmt::format("its VNI is {}, this node's {}", node.vni->value(), conf_.vni.value()));
      return false;
    }
    return true;
  }

  /// The family of the underlay by which the peer's subnets of `family` are reached; kNone: none, and why.
  IpFamily OuterFamily(const Node& node, IpFamily family) {
    if (conf_.backend == BackendType::kUdp && family == IpFamily::kV6) {
      Warn(node, family, "the udp backend carries IPv4 only; use vxlan");
      return IpFamily::kNone;
    }
    if (IsCommon(node, family)) return family;
    if (conf_.backend == BackendType::kVxlan && IsCommon(node, Other(family))) return Other(family);
    const IpFamily needed = conf_.backend == BackendType::kVxlan && !Has(family) ? Other(family) : family;
    if (Has(needed)) {
      Warn(node, family,
           fmt::format("it has no {} address on the underlay (annotation {} or status.addresses InternalIP)",
                       NameOf(needed), AnnotationOf(needed)));
    } else {
      Warn(node, family,
           fmt::format("{} needs an {} address of this node on the underlay; add one to underlay.address",
                       ToString(conf_.backend), NameOf(needed)));
    }
    return IpFamily::kNone;
  }

  void AddSubnets(const Node& node, IpFamily family) {
    const IpFamily outer = OuterFamily(node, family);
    if (outer == IpFamily::kNone) return;
    const IpAddress& remote = PublicIp(node, outer);
    const IpPrefix subnet = AddressOf(outer).prefix();
    const bool on_link = subnet.Contains(remote);
    const bool direct =
        conf_.backend == BackendType::kHostGw || (conf_.direct_routing && on_link && outer == family);
    if (conf_.backend == BackendType::kHostGw && !on_link) {
      return Warn(node, family,
                  fmt::format("host-gw needs it on the underlay's own subnet {}, but it is at {}; use vxlan",
                              ToString(subnet), ToString(remote)));
    }
    const std::optional<IpAddress> gateway = on_link ? std::nullopt : GatewayTo(remote);
    if (!on_link && !gateway) {
      return Warn(node, family,
                  fmt::format("{} is beyond the underlay subnet {} and no underlay gateway is configured",
                              ToString(remote), ToString(subnet)));
    }
    const auto kind = direct                                 ? NextHop::Kind::kDirect
                      : conf_.backend == BackendType::kVxlan ? NextHop::Kind::kVxlan
                                                             : NextHop::Kind::kUdp;
    const MacAddr& vtep_mac = outer == IpFamily::kV6 ? node.vtep_mac6 : node.vtep_mac;
    if (kind == NextHop::Kind::kVxlan && vtep_mac.empty()) {
      return Warn(node, family,
                  fmt::format("it has no VtepMAC yet (annotation flannel.alpha.coreos.com/{})",
                              outer == IpFamily::kV6 ? "backend-v6-data" : "backend-data"));
    }
    const size_t hop = AddHop({.kind = kind,
                               .node = node.name,
                               .neighbor = gateway.value_or(remote),
                               .remote = direct ? IpAddress() : remote},
                              family, vtep_mac);
    const char* how = kind == NextHop::Kind::kDirect  ? "direct"
                      : kind == NextHop::Kind::kVxlan ? "vxlan"
                                                      : "udp";
    const std::string over = outer == family ? "" : fmt::format(" over {}", NameOf(outer));
    for (const IpPrefix& cidr : node.pod_cidrs) {
      if (cidr.address.family() != family) continue;
      plan_.routes.push_back({cidr, hop, fmt::format("node {} by {}{}", node.name, how, over)});
    }
  }

  size_t AddHop(NextHop hop, IpFamily carries, const MacAddr& peer_vtep_mac) {
    const uint16_t underlay = conf_.mtu != 0 ? std::min(conf_.mtu, self_.mtu) : self_.mtu;
    const bool over_ipv6 = hop.remote.is_v6();
    switch (hop.kind) {
      case NextHop::Kind::kDirect:
        hop.mtu = self_.mtu;
        break;
      case NextHop::Kind::kVxlan:
        hop.mtu = underlay - (over_ipv6 ? kVxlanOverhead6 : kVxlanOverhead);
        break;
      case NextHop::Kind::kUdp:
        hop.mtu = underlay - kUdpOverhead;
        break;
    }
    BuildHeader(hop, {.src_mac = self_.mac,
                      .src = AddressOf(over_ipv6 ? IpFamily::kV6 : IpFamily::kV4).address,
                      .dst = hop.remote,
                      .udp_port = conf_.port,
                      .vni = conf_.vni,
                      .inner_src_mac = self_.vtep_mac,
                      .inner_dst_mac = peer_vtep_mac,
                      .carries = carries});
    plan_.next_hops.push_back(std::move(hop));
    return plan_.next_hops.size() - 1;
  }

  void AddHost(IpFamily family, const IpAddress& neighbor, const IpPrefix& prefix, const char* why) {
    const size_t hop = AddHop({.neighbor = neighbor}, family, {});
    plan_.routes.push_back({prefix, hop, why});
  }

  const LocalUnderlay& self_;
  const NetConf& conf_;
  RoutePlan plan_;
};

}  // namespace

bool TunnelsOverIpv6(const NetConf& conf, bool underlay_has_v4, bool underlay_has_v6) {
  return conf.backend == BackendType::kVxlan && underlay_has_v6 && (conf.v6 || !underlay_has_v4);
}

uint16_t PodMtu(const NetConf& conf, uint16_t underlay_mtu, bool over_ipv6) {
  const uint16_t base = conf.mtu != 0 ? std::min(conf.mtu, underlay_mtu) : underlay_mtu;
  switch (conf.backend) {
    case BackendType::kVxlan:
      return base - (over_ipv6 ? kVxlanOverhead6 : kVxlanOverhead);
    case BackendType::kHostGw:
      return base;
    case BackendType::kUdp:
      return base - kUdpOverhead;
  }
  return base;
}

RoutePlan BuildRoutes(const LocalUnderlay& self, const NetConf& conf, std::span<const Node> nodes) {
  std::vector<const Node*> peers;
  for (const Node& n : nodes) {
    if (n.name != self.node) peers.push_back(&n);
  }
  std::sort(peers.begin(), peers.end(), [](const Node* a, const Node* b) { return a->name < b->name; });
  Planner planner(self, conf);
  for (const Node* n : peers) planner.AddPeer(*n);
  planner.AddHosts();
  return planner.Finish();
}

}  // namespace podwire
