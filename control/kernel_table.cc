#include "control/kernel_table.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "net/status.h"
#include "pmd/netlink.h"

namespace podwire {
namespace {

struct Via {
  IpAddress gateway;
  uint32_t metric = 0;
};

/// The first of a route's gateways on the interface.
std::optional<Via> ViaOf(rtnl_route* route, int ifindex) {
  for (int i = 0; i < rtnl_route_get_nnexthops(route); ++i) {
    rtnl_nexthop* hop = rtnl_route_nexthop_n(route, i);
    if (rtnl_route_nh_get_ifindex(hop) != ifindex) continue;
    const auto gateway = PrefixOf(rtnl_route_nh_get_gateway(hop));
    if (gateway) return Via{gateway->address, rtnl_route_get_priority(route)};
  }
  return std::nullopt;
}

std::string Shown(const std::vector<InterfaceAddressState>& addresses) {
  std::string text;
  for (const InterfaceAddressState& a : addresses) {
    if (!IsLinkLocal(a.address.address)) text += (text.empty() ? "" : ", ") + ToString(a.address);
  }
  return text.empty() ? "none" : text;
}

}  // namespace

absl::StatusOr<std::vector<InterfaceAddressState>> ReadKernelAddresses(const std::string& interface) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), interface));
  nl_cache* list = nullptr;
  RETURN_IF_ERROR(NlStatus(rtnl_addr_alloc_cache(socket.get(), &list), "list addresses"));
  const NlCache cache(list);
  std::vector<InterfaceAddressState> found;
  for (nl_object* o = nl_cache_get_first(list); o != nullptr; o = nl_cache_get_next(o)) {
    auto* address = reinterpret_cast<rtnl_addr*>(o);
    if (rtnl_addr_get_ifindex(address) != rtnl_link_get_ifindex(link.get())) continue;
    const auto own = PrefixOf(rtnl_addr_get_local(address));
    if (!own) continue;
    InterfaceAddress with_length = *own;
    with_length.length = static_cast<uint8_t>(rtnl_addr_get_prefixlen(address));
    constexpr unsigned kPassing = IFA_F_TENTATIVE | IFA_F_DEPRECATED | IFA_F_DADFAILED | IFA_F_TEMPORARY;
    const bool lasting =
        rtnl_addr_get_scope(address) == RT_SCOPE_UNIVERSE && (rtnl_addr_get_flags(address) & kPassing) == 0;
    found.push_back({with_length, lasting});
  }
  return found;
}

absl::StatusOr<std::vector<UnderlayRoute>> ReadKernelRoutes(const std::string& interface) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), interface));
  nl_cache* list = nullptr;
  RETURN_IF_ERROR(NlStatus(rtnl_route_alloc_cache(socket.get(), AF_UNSPEC, 0, &list), "list routes"));
  const NlCache cache(list);
  std::map<IpPrefix, Via> best;
  for (nl_object* o = nl_cache_get_first(list); o != nullptr; o = nl_cache_get_next(o)) {
    auto* route = reinterpret_cast<rtnl_route*>(o);
    if (rtnl_route_get_table(route) != RT_TABLE_MAIN || rtnl_route_get_type(route) != RTN_UNICAST) continue;
    const auto dst = PrefixOf(rtnl_route_get_dst(route));
    const auto via = ViaOf(route, rtnl_link_get_ifindex(link.get()));
    if (!dst || !via || via->gateway.family() != dst->address.family()) continue;
    const auto [it, added] = best.try_emplace(dst->prefix(), *via);
    if (!added && via->metric < it->second.metric) it->second = *via;
  }
  std::vector<UnderlayRoute> routes;
  for (const auto& [prefix, via] : best) routes.push_back({prefix, via.gateway});
  if (routes.size() > kMaxKernelRoutes) {
    std::ranges::stable_sort(routes, {}, [](const UnderlayRoute& r) { return r.prefix.length; });
    routes.resize(kMaxKernelRoutes);
    std::ranges::sort(routes, {}, &UnderlayRoute::prefix);
  }
  return routes;
}

absl::Status ResolveUnderlayAddresses(UnderlayConfig& underlay, const std::string& interface,
                                      const std::vector<InterfaceAddressState>& addresses) {
  for (const InterfaceAddress& own : {underlay.address, underlay.address6}) {
    const bool has = own.address.empty() ||
                     std::ranges::find(addresses, own, &InterfaceAddressState::address) != addresses.end();
    if (has) continue;
    return Error(absl::StatusCode::kFailedPrecondition,
                 "underlay.address: {} is not {}'s, which is shared with the kernel and has {}: leave the "
                 "key out, or give one of those with a subnet (/32 and /128 are not supported)",
                 ToString(own), interface, Shown(addresses));
  }
  if (!underlay.address.address.empty() || !underlay.address6.address.empty()) return absl::OkStatus();
  for (const InterfaceAddressState& a : addresses) {
    if (!a.lasting || !CheckUnderlayAddress(a.address).ok()) continue;
    InterfaceAddress& own = a.address.address.is_v6() ? underlay.address6 : underlay.address;
    if (own.address.empty()) own = a.address;
  }
  if (!underlay.address.address.empty() || !underlay.address6.address.empty()) return absl::OkStatus();
  const auto lone = std::ranges::find_if(addresses, [](const InterfaceAddressState& a) {
    return a.lasting && a.address.length == a.address.address.bits() && !IsLinkLocal(a.address.address);
  });
  if (lone != addresses.end()) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        "underlay: {} is shared with the kernel, and its address {} has no subnet, as some clouds give "
        "them: that is not supported",
        interface, ToString(lone->address));
  }
  return Error(absl::StatusCode::kFailedPrecondition,
               "underlay: {} is shared with the kernel, but has no address there by which other nodes could "
               "reach this "
               "one (it has {}): ip addr add ADDRESS/LENGTH dev {}, or start podwired when DHCP is done "
               "(network-online.target)",
               interface, Shown(addresses), interface);
}

std::vector<IpAddress> LostAddresses(const UnderlayConfig& underlay,
                                     const std::vector<InterfaceAddressState>& addresses) {
  std::vector<IpAddress> lost;
  for (const IpAddress& own : {underlay.address.address, underlay.address6.address}) {
    const auto is_it = [&](const InterfaceAddressState& a) { return a.address.address == own; };
    if (!own.empty() && std::ranges::none_of(addresses, is_it)) lost.push_back(own);
  }
  return lost;
}

}  // namespace podwire
