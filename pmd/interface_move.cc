#include "pmd/interface_move.h"

#include <net/if.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "net/status.h"
#include "pmd/netlink.h"
#include "pmd/netns.h"

namespace podwire {
namespace {

/// Index of the interface with this alias in the socket's namespace; 0: there is none.
absl::StatusOr<int> FindByAlias(nl_sock* socket, const std::string& alias) {
  nl_cache* raw = nullptr;
  RETURN_IF_ERROR(NlStatus(rtnl_link_alloc_cache(socket, AF_UNSPEC, &raw), "list interfaces"));
  const NlCache cache(raw);
  int found = 0;
  Any<rtnl_link>(cache.get(), [&](rtnl_link* link) {
    if (LinkAlias(link) == alias) found = rtnl_link_get_ifindex(link);
    return found != 0;
  });
  return found;
}

absl::Status Change(nl_sock* socket, int ifindex, rtnl_link* change, const std::string& what) {
  const RtnlLink link(rtnl_link_alloc());
  rtnl_link_set_ifindex(link.get(), ifindex);
  return NlStatus(rtnl_link_change(socket, link.get(), change, 0), what);
}

absl::Status SetDown(nl_sock* socket, int ifindex) {
  const RtnlLink change(rtnl_link_alloc());
  rtnl_link_unset_flags(change.get(), IFF_UP);
  return Change(socket, ifindex, change.get(), "set the interface down");
}

absl::Status Move(nl_sock* socket, int ifindex, const NetnsFd& to, const std::string& name) {
  RETURN_IF_ERROR(SetDown(socket, ifindex));
  const RtnlLink change(rtnl_link_alloc());
  rtnl_link_set_ns_fd(change.get(), to.get());
  if (!name.empty()) rtnl_link_set_name(change.get(), name.c_str());
  return Change(socket, ifindex, change.get(),
                fmt::format("move the interface{}", name.empty() ? "" : " as " + name));
}

absl::Status SetAlias(nl_sock* socket, int ifindex, const std::string& alias) {
  const RtnlLink change(rtnl_link_alloc());
  rtnl_link_set_ifalias(change.get(), alias.c_str());
  return Change(socket, ifindex, change.get(), "set the interface's alias");
}

/// Gives the interface that has come back the name that it had before.
absl::Status Restore(nl_sock* socket, int ifindex, const std::string& name) {
  RETURN_IF_ERROR(SetDown(socket, ifindex));
  if (!name.empty() && if_nametoindex(name.c_str()) == 0) {
    const RtnlLink change(rtnl_link_alloc());
    rtnl_link_set_name(change.get(), name.c_str());
    RETURN_IF_ERROR(Change(socket, ifindex, change.get(), "name the interface " + name));
  }
  return SetAlias(socket, ifindex, "");
}

}  // namespace

absl::Status MoveInterfaceTo(const std::string& netns, const std::string& ifname, const std::string& name,
                             const std::string& alias) {
  ASSIGN_OR_RETURN(const NetnsFd to, OpenNetns(netns));
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), ifname));
  const int ifindex = rtnl_link_get_ifindex(link.get());
  // First, so that it is found wherever it is when this is interrupted.
  RETURN_IF_ERROR(SetAlias(socket.get(), ifindex, alias));
  const absl::Status moved = Move(socket.get(), ifindex, to, name);
  if (moved.ok()) return moved;
  // The kernel may have moved it and then refused the name.
  MoveInterfaceBack(netns, alias, ifname, 0).IgnoreError();
  return Annotate(moved, fmt::format("interface {} to {}", ifname, netns));
}

absl::Status MoveInterfaceBack(const std::string& netns, const std::string& alias, const std::string& name,
                               unsigned wait_ms) {
  constexpr std::chrono::milliseconds kStep(20);
  const absl::StatusOr<NetnsFd> home = OpenNetns("");
  if (!home.ok()) return home.status();
  const absl::StatusOr<NetnsFd> from = OpenNetns(netns);
  if (from.ok()) {
    RETURN_IF_ERROR(RunInNetns(*from, [&]() -> absl::Status {
      ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
      ASSIGN_OR_RETURN(const int ifindex, FindByAlias(socket.get(), alias));
      if (ifindex == 0) return absl::OkStatus();
      // A name that nothing has at home, where the interface is called as it was afterwards.
      return Move(socket.get(), ifindex, *home, fmt::format("pwvf{}", ifindex));
    }));
  }
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  for (std::chrono::milliseconds waited(0);; waited += kStep) {
    ASSIGN_OR_RETURN(const int ifindex, FindByAlias(socket.get(), alias));
    if (ifindex != 0) return Restore(socket.get(), ifindex, name);
    if (from.ok() || waited.count() >= wait_ms) return absl::OkStatus();
    std::this_thread::sleep_for(kStep);
  }
}

}  // namespace podwire
