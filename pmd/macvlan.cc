#include "pmd/macvlan.h"

#include <netlink/route/link/macvlan.h>

#include "net/status.h"
#include "pmd/netlink.h"
#include "pmd/netns.h"
#include "pmd/pod_interface.h"
#include "pmd/pod_link.h"

namespace podwire {
namespace {

/// OK and `ours` set: whether the calling thread's namespace has the port's interface already.
absl::Status FindOurs(const MacvlanOptions& o, bool& ours) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  const absl::StatusOr<RtnlLink> link = GetLink(socket.get(), o.ifname);
  if (absl::IsNotFound(link.status())) return absl::OkStatus();
  if (!link.ok()) return link.status();
  ours = LinkAlias(link->get()) == InterfaceAlias(o.port);
  if (ours) return absl::OkStatus();
  return Error(absl::StatusCode::kAlreadyExists,
               "interface {} exists and is not this port's (its alias is \"{}\")", o.ifname,
               LinkAlias(link->get()));
}

absl::Status Add(const MacvlanOptions& o, const NetnsFd& netns) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink parent, GetLink(socket.get(), o.parent));
  const RtnlLink link(rtnl_link_macvlan_alloc());
  if (link == nullptr) return Error(absl::StatusCode::kResourceExhausted, "netlink message: out of memory");
  rtnl_link_set_name(link.get(), o.ifname.c_str());
  rtnl_link_set_link(link.get(), rtnl_link_get_ifindex(parent.get()));
  rtnl_link_set_ns_fd(link.get(), netns.get());
  rtnl_link_set_addr(link.get(), MakeNlAddress(o.mac).get());
  rtnl_link_macvlan_set_mode(link.get(), rtnl_link_macvlan_str2mode("private"));
  return NlStatus(rtnl_link_add(socket.get(), link.get(), NLM_F_CREATE | NLM_F_EXCL),
                  fmt::format("make macvlan {} on {}", o.ifname, o.parent));
}

}  // namespace

absl::Status MakeMacvlan(const MacvlanOptions& options) {
  RETURN_IF_ERROR(CheckInterfaceName(options.ifname));
  ASSIGN_OR_RETURN(const NetnsFd netns, OpenNetns(options.netns));
  bool there = false;
  RETURN_IF_ERROR(RunInNetns(netns, [&] { return FindOurs(options, there); }));
  if (there) return absl::OkStatus();
  RETURN_IF_ERROR(Add(options, netns));
  return RunInNetns(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
    const absl::Status configured = ConfigurePodLink(
        socket.get(), {.ifname = options.ifname, .alias = InterfaceAlias(options.port), .mtu = options.mtu});
    if (configured.ok()) return configured;
    // Nobody could tell later whose it is.
    if (const auto link = GetLink(socket.get(), options.ifname); link.ok())
      rtnl_link_delete(socket.get(), link->get());
    return configured;
  });
}

}  // namespace podwire
