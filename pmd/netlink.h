#pragma once

#include <memory>
#include <optional>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/route.h>

#include "net/address.h"

namespace podwire {

template <auto kFree>
struct NlFree {
  template <class T>
  void operator()(T* object) const noexcept {
    kFree(object);
  }
};
using NlSocket = std::unique_ptr<nl_sock, NlFree<nl_socket_free>>;
using NlCache = std::unique_ptr<nl_cache, NlFree<nl_cache_free>>;
using NlAddress = std::unique_ptr<nl_addr, NlFree<nl_addr_put>>;
using NlMessage = std::unique_ptr<nl_msg, NlFree<nlmsg_free>>;
using RtnlLink = std::unique_ptr<rtnl_link, NlFree<rtnl_link_put>>;
using RtnlAddr = std::unique_ptr<rtnl_addr, NlFree<rtnl_addr_put>>;
using RtnlRoute = std::unique_ptr<rtnl_route, NlFree<rtnl_route_put>>;
using RtnlNeigh = std::unique_ptr<rtnl_neigh, NlFree<rtnl_neigh_put>>;

/// A libnl result (negative: an error) as a status that says what was tried.
absl::Status NlStatus(int result, const std::string& what);

/// A route netlink socket of the calling thread's network namespace.
absl::StatusOr<NlSocket> ConnectNetlink();

/// The link as the kernel has it now; NotFound when there is none of this name.
absl::StatusOr<RtnlLink> GetLink(nl_sock* socket, const std::string& ifname);

/// The link's hardware address; empty when it has none of six bytes.
MacAddr LinkMac(rtnl_link* link);

/// The link's alias; empty when it has none.
std::string LinkAlias(rtnl_link* link);

/// `address`, as a prefix of `length` bits.
NlAddress MakeNlAddress(const IpAddress& address, uint8_t length);
NlAddress MakeNlAddress(const MacAddr& mac);

/// The opposite. Empty when it is null or has not six bytes.
MacAddr MacOf(nl_addr* address);
/// An address with its prefix's length; of no bytes: all zero. nullopt: null, or of another family.
std::optional<InterfaceAddress> PrefixOf(nl_addr* address);

/// Same family, prefix length and prefix bits; an address of no bytes is the family's default prefix.
bool SamePrefix(nl_addr* a, const IpAddress& address, uint8_t length);

/// Whether `match` holds for one of the cache's objects.
template <class Object, class Match>
bool Any(nl_cache* cache, Match match) {
  for (nl_object* o = nl_cache_get_first(cache); o != nullptr; o = nl_cache_get_next(o)) {
    if (match(reinterpret_cast<Object*>(o))) return true;
  }
  return false;
}

}  // namespace podwire
