#include "pmd/pod_interface.h"

#include <fcntl.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "net/status.h"
#include "pmd/netlink.h"
#include "pmd/netns.h"

namespace podwire {
namespace {

constexpr uint32_t kNoDad = IFA_F_NODAD;
/// Of routes that an earlier interface of the pod has too: by it first.
constexpr uint32_t kSecondMetric = 4096;

/// What was done, undone in reverse order unless Keep() is called.
class Undo {
 public:
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
  }
  void Add(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void Keep() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

/// Writes a sysctl of the calling thread's namespace. A kernel without IPv6 has none of these: OK then.
absl::Status WriteIpv6Sysctl(const std::string& ifname, std::string_view key, std::string_view value) {
  const std::string path = fmt::format("/proc/sys/net/ipv6/conf/{}/{}", ifname, key);
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "open {}", path);
  if (write(fd.get(), value.data(), value.size()) < 0)
    return ErrnoError(errno, "write {} to {}", value, path);
  return absl::OkStatus();
}

bool HasFamily(const PodInterface& pod, IpFamily family) {
  return std::any_of(pod.addresses.begin(), pod.addresses.end(),
                     [&](const InterfaceAddress& a) { return a.address.family() == family; });
}

absl::Status ConfigureIpv6(const PodInterface& pod) {
  if (!HasFamily(pod, IpFamily::kV6)) return WriteIpv6Sysctl(pod.ifname, "disable_ipv6", "1");
  using Setting = std::pair<std::string_view, std::string_view>;
  for (const auto& [key, value] : {Setting{"disable_ipv6", "0"}, Setting{"accept_ra", "0"},
                                   Setting{"autoconf", "0"}, Setting{"accept_dad", "0"}}) {
    RETURN_IF_ERROR(WriteIpv6Sysctl(pod.ifname, key, value));
  }
  return absl::OkStatus();
}

/// Configures one pod interface, in the calling thread's namespace.
class Configurator {
 public:
  explicit Configurator(const PodInterface& pod) : pod_(pod) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(socket_, ConnectNetlink());
    RETURN_IF_ERROR(BringUp("lo", [](rtnl_link*) {}));
    ASSIGN_OR_RETURN(const RtnlLink before, GetLink(socket_.get(), pod_.ifname));
    ifindex_ = rtnl_link_get_ifindex(before.get());
    RETURN_IF_ERROR(ConfigureIpv6(pod_));
    RETURN_IF_ERROR(ChangeLink(before.get()));
    for (const InterfaceAddress& address : pod_.addresses) RETURN_IF_ERROR(AddAddress(address));
    for (const PodGateway& gateway : pod_.gateways) {
      RETURN_IF_ERROR(AddNeighbour(gateway));
      RETURN_IF_ERROR(AddRoute(IpPrefix::Make(gateway.address, gateway.address.bits()), nullptr));
    }
    for (const IpPrefix& destination : GatewayRoutes(pod_)) RETURN_IF_ERROR(AddGatewayRoute(destination));
    undo_.Keep();
    return absl::OkStatus();
  }

 private:
  template <class Edit>
  absl::Status BringUp(const std::string& ifname, Edit edit) {
    ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket_.get(), ifname));
    const RtnlLink change(rtnl_link_alloc());
    rtnl_link_set_flags(change.get(), IFF_UP);
    edit(change.get());
    return NlStatus(rtnl_link_change(socket_.get(), link.get(), change.get(), 0),
                    fmt::format("bring interface {} up", ifname));
  }

  absl::Status ChangeLink(rtnl_link* before) {
    const uint32_t old_mtu = rtnl_link_get_mtu(before);
    const MacAddr old_mac = LinkMac(before);
    const bool was_up = (rtnl_link_get_flags(before) & IFF_UP) != 0;
    undo_.Add([this, old_mtu, old_mac, was_up] {
      const RtnlLink link(rtnl_link_alloc());
      const RtnlLink change(rtnl_link_alloc());
      rtnl_link_set_ifindex(link.get(), ifindex_);
      rtnl_link_set_mtu(change.get(), old_mtu);
      if (!old_mac.empty()) rtnl_link_set_addr(change.get(), MakeNlAddress(old_mac).get());
      if (!was_up) rtnl_link_unset_flags(change.get(), IFF_UP);
      rtnl_link_change(socket_.get(), link.get(), change.get(), 0);
    });
    return BringUp(pod_.ifname, [&](rtnl_link* change) {
      if (pod_.mtu != old_mtu) rtnl_link_set_mtu(change, pod_.mtu);
      if (pod_.mac != old_mac) rtnl_link_set_addr(change, MakeNlAddress(pod_.mac).get());
    });
  }

  absl::Status AddAddress(const InterfaceAddress& a) {
    RtnlAddr address(rtnl_addr_alloc());
    rtnl_addr_set_ifindex(address.get(), ifindex_);
    rtnl_addr_set_local(address.get(), MakeNlAddress(a.address, a.length).get());
    if (a.address.is_v6()) rtnl_addr_set_flags(address.get(), kNoDad);
    const int result = rtnl_addr_add(socket_.get(), address.get(), NLM_F_CREATE | NLM_F_EXCL);
    if (result == -NLE_EXIST) return absl::OkStatus();
    RETURN_IF_ERROR(NlStatus(result, fmt::format("add address {} to {}", ToString(a), pod_.ifname)));
    undo_.Add([this, held = std::shared_ptr<rtnl_addr>(std::move(address))] {
      rtnl_addr_delete(socket_.get(), held.get(), 0);
    });
    return absl::OkStatus();
  }

  absl::Status AddNeighbour(const PodGateway& gateway) {
    RtnlNeigh neighbour(rtnl_neigh_alloc());
    rtnl_neigh_set_ifindex(neighbour.get(), ifindex_);
    rtnl_neigh_set_dst(neighbour.get(), MakeNlAddress(gateway.address, gateway.address.bits()).get());
    rtnl_neigh_set_lladdr(neighbour.get(), MakeNlAddress(gateway.mac).get());
    rtnl_neigh_set_state(neighbour.get(), NUD_PERMANENT);
    const int result = rtnl_neigh_add(socket_.get(), neighbour.get(), NLM_F_CREATE | NLM_F_REPLACE);
    RETURN_IF_ERROR(NlStatus(result, fmt::format("neighbour {} at {} on {}", ToString(gateway.address),
                                                 ToString(gateway.mac), pod_.ifname)));
    undo_.Add([this, held = std::shared_ptr<rtnl_neigh>(std::move(neighbour))] {
      rtnl_neigh_delete(socket_.get(), held.get(), 0);
    });
    return absl::OkStatus();
  }

  absl::Status AddGatewayRoute(const IpPrefix& destination) {
    const auto gateway = std::find_if(pod_.gateways.begin(), pod_.gateways.end(), [&](const PodGateway& g) {
      return g.address.family() == destination.address.family();
    });
    if (gateway == pod_.gateways.end()) return InvalidArgument("route {}: no gateway", ToString(destination));
    return AddRoute(destination, &gateway->address);
  }

  /// `gateway` null: on the link itself.
  absl::Status AddRoute(const IpPrefix& destination, const IpAddress* gateway) {
    const bool v4 = destination.address.is_v4();
    RtnlRoute route(rtnl_route_alloc());
    rtnl_route_set_family(route.get(), v4 ? AF_INET : AF_INET6);
    rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
    rtnl_route_set_protocol(route.get(), RTPROT_STATIC);
    rtnl_route_set_type(route.get(), RTN_UNICAST);
    rtnl_route_set_scope(route.get(), gateway == nullptr && v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
    rtnl_route_set_dst(route.get(), MakeNlAddress(destination.address, destination.length).get());
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    rtnl_route_nh_set_ifindex(hop, ifindex_);
    if (gateway != nullptr) {
      rtnl_route_nh_set_gateway(hop, MakeNlAddress(*gateway, gateway->bits()).get());
      rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
    }
    rtnl_route_add_nexthop(route.get(), hop);
    int result = rtnl_route_add(socket_.get(), route.get(), NLM_F_CREATE | NLM_F_EXCL);
    if (result == -NLE_EXIST) {
      ASSIGN_OR_RETURN(const bool taken, TakenByOther(destination));
      if (taken) {
        rtnl_route_set_priority(route.get(), kSecondMetric + static_cast<uint32_t>(ifindex_));
        result = rtnl_route_add(socket_.get(), route.get(), NLM_F_CREATE | NLM_F_EXCL);
      }
    }
    const bool existed = result == -NLE_EXIST;
    if (existed) result = rtnl_route_add(socket_.get(), route.get(), NLM_F_CREATE | NLM_F_REPLACE);
    const std::string via = gateway == nullptr ? "" : " via " + ToString(*gateway);
    RETURN_IF_ERROR(
        NlStatus(result, fmt::format("route {}{} dev {}", ToString(destination), via, pod_.ifname)));
    if (existed) return absl::OkStatus();
    undo_.Add([this, held = std::shared_ptr<rtnl_route>(std::move(route))] {
      rtnl_route_delete(socket_.get(), held.get(), 0);
    });
    return absl::OkStatus();
  }

  /// Whether the route there is another interface's of the pod. That one stays, for when ours goes.
  absl::StatusOr<bool> TakenByOther(const IpPrefix& destination) {
    nl_cache* raw = nullptr;
    RETURN_IF_ERROR(NlStatus(rtnl_route_alloc_cache(socket_.get(), AF_UNSPEC, 0, &raw), "list routes"));
    const NlCache cache(raw);
    return Any<rtnl_route>(cache.get(), [&](rtnl_route* route) {
      return rtnl_route_get_table(route) == RT_TABLE_MAIN && rtnl_route_get_nnexthops(route) == 1 &&
             rtnl_route_get_priority(route) == 0 &&
             SamePrefix(rtnl_route_get_dst(route), destination.address, destination.length) &&
             rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, 0)) != ifindex_;
    });
  }

  const PodInterface& pod_;
  NlSocket socket_;
  int ifindex_ = 0;
  Undo undo_;  // last: its steps use the members above
};

absl::Status CheckInput(const PodInterface& pod) {
  RETURN_IF_ERROR(CheckInterfaceName(pod.ifname));
  if (pod.mac.empty() || (pod.mac.bytes[0] & 1) != 0) {
    return InvalidArgument("{} is not a unicast MAC address", ToString(pod.mac));
  }
  for (const InterfaceAddress& a : pod.addresses) {
    if (a.address.empty() || a.length > a.address.bits())
      return InvalidArgument("bad address {}", ToString(a));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckInterfaceName(const std::string& name) {
  const auto bad = [](unsigned char c) { return c == '/' || c == ':' || c == '%' || c <= ' ' || c == 127; };
  if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." ||
      std::any_of(name.begin(), name.end(), bad)) {
    return InvalidArgument("'{}' cannot be an interface name: 1 to {} bytes, no '/', ':', '%' or white space",
                           name, IFNAMSIZ - 1);
  }
  return absl::OkStatus();
}

std::vector<IpPrefix> GatewayRoutes(const PodInterface& pod) {
  if (!pod.routes.empty()) return pod.routes;
  std::vector<IpPrefix> out;
  for (const PodGateway& gateway : pod.gateways) out.push_back(IpPrefix::Make(gateway.address, 0));
  return out;
}

absl::Status SetUpPodInterface(const PodInterface& pod) {
  RETURN_IF_ERROR(CheckInput(pod));
  return RunInNetns(pod.netns, [&] { return Configurator(pod).Run(); });
}

absl::StatusOr<bool> InterfaceExists(const std::string& netns, const std::string& ifname) {
  bool exists = false;
  RETURN_IF_ERROR(RunInNetns(netns, [&] {
    exists = if_nametoindex(ifname.c_str()) != 0;
    return exists || errno == ENODEV ? absl::OkStatus() : ErrnoError(errno, "interface {}", ifname);
  }));
  return exists;
}

std::string InterfaceAlias(const std::string& port) { return "podwire " + port; }

absl::Status RemoveInterface(const std::string& netns, const std::string& ifname, const std::string& port) {
  absl::Status status = RunInNetns(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
    ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), ifname));
    if (LinkAlias(link.get()) != InterfaceAlias(port)) return absl::OkStatus();
    return NlStatus(rtnl_link_delete(socket.get(), link.get()), fmt::format("remove interface {}", ifname));
  });
  // An unmounted /run/netns/NAME that is still there is a plain file.
  const bool gone = absl::IsNotFound(status) || !OpenNetns(netns).ok();
  return gone ? absl::OkStatus() : status;
}

}  // namespace podwire
