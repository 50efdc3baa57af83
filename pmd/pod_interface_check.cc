#include <net/if.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <absl/strings/str_join.h>

#include "net/status.h"
#include "pmd/netlink.h"
#include "pmd/netns.h"
#include "pmd/pod_interface.h"

namespace podwire {
namespace {

/// Compares a pod's interface with what it should be, in the calling thread's namespace.
class Checker {
 public:
  explicit Checker(const PodInterface& pod) : pod_(pod) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(socket_, ConnectNetlink());
    absl::StatusOr<RtnlLink> link = GetLink(socket_.get(), pod_.ifname);
    if (absl::IsNotFound(link.status())) return Error(kDiffers, "interface {} missing", pod_.ifname);
    RETURN_IF_ERROR(link.status());
    ifindex_ = rtnl_link_get_ifindex(link->get());
    CheckLink(link->get());
    RETURN_IF_ERROR(CheckAddresses());
    RETURN_IF_ERROR(CheckRoutes());
    RETURN_IF_ERROR(CheckNeighbours());
    if (differences_.empty()) return absl::OkStatus();
    return Error(kDiffers, "interface {}: {}", pod_.ifname, absl::StrJoin(differences_, "; "));
  }

 private:
  static constexpr absl::StatusCode kDiffers = absl::StatusCode::kFailedPrecondition;

  void CheckLink(rtnl_link* link) {
    if ((rtnl_link_get_flags(link) & IFF_UP) == 0) differences_.push_back("is down");
    if (const MacAddr mac = LinkMac(link); mac != pod_.mac) {
      differences_.push_back(fmt::format("MAC is {}, not {}", ToString(mac), ToString(pod_.mac)));
    }
    if (const unsigned mtu = rtnl_link_get_mtu(link); mtu != pod_.mtu) {
      differences_.push_back(fmt::format("MTU is {}, not {}", mtu, pod_.mtu));
    }
  }

  absl::Status CheckAddresses() {
    nl_cache* raw = nullptr;
    RETURN_IF_ERROR(NlStatus(rtnl_addr_alloc_cache(socket_.get(), &raw), "list addresses"));
    const NlCache cache(raw);
    for (const InterfaceAddress& a : pod_.addresses) {
      const bool found = Any<rtnl_addr>(cache.get(), [&](rtnl_addr* have) {
        return rtnl_addr_get_ifindex(have) == ifindex_ &&
               SamePrefix(rtnl_addr_get_local(have), a.address, a.length);
      });
      if (!found) differences_.push_back(fmt::format("address {} missing", ToString(a)));
    }
    return absl::OkStatus();
  }

  bool HasRoute(nl_cache* cache, const IpPrefix& destination, const IpAddress* gateway) const {
    return Any<rtnl_route>(cache, [&](rtnl_route* route) {
      if (rtnl_route_get_table(route) != RT_TABLE_MAIN || rtnl_route_get_nnexthops(route) != 1 ||
          !SamePrefix(rtnl_route_get_dst(route), destination.address, destination.length)) {
        return false;
      }
      rtnl_nexthop* hop = rtnl_route_nexthop_n(route, 0);
      if (rtnl_route_nh_get_ifindex(hop) != ifindex_) return false;
      nl_addr* via = rtnl_route_nh_get_gateway(hop);
      return gateway == nullptr ? via == nullptr : SamePrefix(via, *gateway, gateway->bits());
    });
  }

  absl::Status CheckRoutes() {
    nl_cache* raw = nullptr;
    RETURN_IF_ERROR(NlStatus(rtnl_route_alloc_cache(socket_.get(), AF_UNSPEC, 0, &raw), "list routes"));
    const NlCache cache(raw);
    for (const PodGateway& gateway : pod_.gateways) {
      const IpPrefix self = IpPrefix::Make(gateway.address, gateway.address.bits());
      if (!HasRoute(cache.get(), self, nullptr)) {
        differences_.push_back(fmt::format("link route to gateway {} missing", ToString(gateway.address)));
      }
      for (const IpPrefix& destination : GatewayRoutes(pod_)) {
        if (destination.address.family() != gateway.address.family()) continue;
        if (!HasRoute(cache.get(), destination, &gateway.address)) {
          differences_.push_back(
              fmt::format("route {} via {} missing", ToString(destination), ToString(gateway.address)));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckNeighbours() {
    nl_cache* raw = nullptr;
    RETURN_IF_ERROR(NlStatus(rtnl_neigh_alloc_cache(socket_.get(), &raw), "list neighbours"));
    const NlCache cache(raw);
    for (const PodGateway& gateway : pod_.gateways) {
      const NlAddress mac = MakeNlAddress(gateway.mac);
      const bool found = Any<rtnl_neigh>(cache.get(), [&](rtnl_neigh* have) {
        nl_addr* lladdr = rtnl_neigh_get_lladdr(have);
        return rtnl_neigh_get_ifindex(have) == ifindex_ && lladdr != nullptr &&
               (rtnl_neigh_get_state(have) & NUD_PERMANENT) != 0 &&
               SamePrefix(rtnl_neigh_get_dst(have), gateway.address, gateway.address.bits()) &&
               nl_addr_get_len(lladdr) == sizeof(MacAddr) &&
               std::memcmp(nl_addr_get_binary_addr(lladdr), gateway.mac.bytes.data(), sizeof(MacAddr)) == 0;
      });
      if (!found) {
        differences_.push_back(fmt::format("permanent neighbour {} at {} missing", ToString(gateway.address),
                                           ToString(gateway.mac)));
      }
    }
    return absl::OkStatus();
  }

  const PodInterface& pod_;
  NlSocket socket_;
  int ifindex_ = 0;
  std::vector<std::string> differences_;
};

}  // namespace

absl::Status CheckPodInterface(const PodInterface& pod) {
  const absl::StatusOr<NetnsFd> netns = OpenNetns(pod.netns);
  if (!netns.ok()) return Error(absl::StatusCode::kFailedPrecondition, "{}", Message(netns.status()));
  return RunInNetns(*netns, [&] { return Checker(pod).Run(); });
}

}  // namespace podwire
