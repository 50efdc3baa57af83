#include "overlay/routes.h"

#include <algorithm>

#include <fmt/format.h>

namespace podwire {
namespace {

class Planner {
 public:
  Planner(const LocalUnderlay& self, const NetConf& conf) : self_(self), conf_(conf) {}

  void AddPeer(const Node& node) {
    if (!Usable(node)) return;
    const bool on_link = self_.address.prefix().Contains(node.public_ip);
    const bool direct = conf_.backend == BackendType::kHostGw || (conf_.direct_routing && on_link);
    if (conf_.backend == BackendType::kHostGw && !on_link) {
      return Warn(node,
                  fmt::format("host-gw needs it on the underlay's own subnet {}, but it is at {}; use vxlan",
                              ToString(self_.address.prefix()), ToString(node.public_ip)));
    }
    if (!on_link && !self_.gateway) {
      return Warn(node,
                  fmt::format("{} is beyond the underlay subnet {} and no underlay gateway is configured",
                              ToString(node.public_ip), ToString(self_.address.prefix())));
    }
    const auto kind = direct                                 ? NextHop::Kind::kDirect
                      : conf_.backend == BackendType::kVxlan ? NextHop::Kind::kVxlan
                                                             : NextHop::Kind::kUdp;
    if (kind == NextHop::Kind::kVxlan && node.vtep_mac.empty()) {
      return Warn(node, "it has no VtepMAC yet (annotation flannel.alpha.coreos.com/backend-data)");
    }
    const size_t hop = AddHop(node, kind, on_link);
    const char* how = kind == NextHop::Kind::kDirect  ? "direct"
                      : kind == NextHop::Kind::kVxlan ? "vxlan"
                                                      : "udp";
    for (const IpPrefix& cidr : node.pod_cidrs) {
      if (cidr.address.is_v4())
        plan_.routes.push_back({cidr, hop, fmt::format("node {} by {}", node.name, how)});
    }
    // Also of direct peers: their own table may say vxlan while DirectRouting changes.
    if (conf_.backend != BackendType::kHostGw) plan_.vteps.push_back(node.public_ip);
  }

  void AddHosts() {
    NextHop connected{.neighbor = {}, .mtu = self_.mtu};
    BuildHeader(connected, {.src_mac = self_.mac});
    plan_.next_hops.push_back(connected);
    plan_.routes.push_back({self_.address.prefix(), plan_.next_hops.size() - 1, "underlay subnet"});
    if (!self_.gateway) return;
    NextHop gateway{.neighbor = *self_.gateway, .mtu = self_.mtu};
    BuildHeader(gateway, {.src_mac = self_.mac});
    plan_.next_hops.push_back(gateway);
    plan_.routes.push_back({IpPrefix::Make(Ipv4{}, 0), plan_.next_hops.size() - 1, "underlay gateway"});
  }

  RoutePlan Finish() {
    std::sort(plan_.routes.begin(), plan_.routes.end(),
              [](const Route& a, const Route& b) { return a.prefix < b.prefix; });
    return std::move(plan_);
  }

 private:
  void Warn(const Node& node, const std::string& why) {
    plan_.warnings.push_back(fmt::format("no route to the pods of node {}: {}", node.name, why));
  }

  bool Usable(const Node& node) {
    if (node.pod_cidrs.empty()) return false;  // has no pods yet
    if (node.public_ip.empty()) {
      Warn(node,
           "its address is not known (annotation flannel.alpha.coreos.com/public-ip or status.addresses "
           "InternalIP)");
      return false;
    }
    if (!node.public_ip.is_v4()) {
      Warn(node, fmt::format("its underlay address {} is not IPv4", ToString(node.public_ip)));
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

  size_t AddHop(const Node& node, NextHop::Kind kind, bool on_link) {
    NextHop hop{.kind = kind, .node = node.name, .neighbor = on_link ? node.public_ip : *self_.gateway};
    const uint16_t underlay = conf_.mtu != 0 ? std::min(conf_.mtu, self_.mtu) : self_.mtu;
    switch (kind) {
      case NextHop::Kind::kDirect:
        hop.mtu = self_.mtu;
        break;
      case NextHop::Kind::kVxlan:
        hop.mtu = underlay - kVxlanOverhead;
        break;
      case NextHop::Kind::kUdp:
        hop.mtu = underlay - kUdpOverhead;
        break;
    }
    if (kind != NextHop::Kind::kDirect) hop.remote = node.public_ip;
    BuildHeader(hop, {.src_mac = self_.mac,
                      .src = self_.address.address.v4(),
                      .dst = node.public_ip.v4(),
                      .udp_port = conf_.port,
                      .vni = conf_.vni,
                      .inner_src_mac = self_.vtep_mac,
                      .inner_dst_mac = node.vtep_mac});
    plan_.next_hops.push_back(std::move(hop));
    return plan_.next_hops.size() - 1;
  }

  const LocalUnderlay& self_;
  const NetConf& conf_;
  RoutePlan plan_;
};

}  // namespace

uint16_t PodMtu(const NetConf& conf, uint16_t underlay_mtu) {
  const uint16_t base = conf.mtu != 0 ? std::min(conf.mtu, underlay_mtu) : underlay_mtu;
  switch (conf.backend) {
    case BackendType::kVxlan:
      return base - kVxlanOverhead;
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
