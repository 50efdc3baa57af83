#include "pmd/macvlan.h"

#include <string_view>

#include <netlink/errno.h>
#include <netlink/route/link/macvlan.h>

#include "net/status.h"
#include "pmd/netlink.h"
#include "pmd/netns.h"
#include "pmd/pod_interface.h"
#include "pmd/pod_link.h"

namespace podwire {
namespace {

/// What of the name is in the pod's namespace already.
enum class Found : uint8_t {
  kNothing,
  kOurs,   ///< as it is to be
  kStale,  ///< this port's, but on another trunk or in another mode, or made and never named
};

uint32_t PrivateMode() { return static_cast<uint32_t>(rtnl_link_macvlan_str2mode("private")); }

bool IsMacvlanOn(rtnl_link* link, int parent) {
  const char* type = rtnl_link_get_type(link);
  return type != nullptr && std::string_view(type) == "macvlan" && rtnl_link_get_link(link) == parent;
}

/// In the calling thread's namespace; removes what is kStale.
absl::Status Find(const MacvlanOptions& o, int parent, Found& found) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  const absl::StatusOr<RtnlLink> link = GetLink(socket.get(), o.ifname);
  if (absl::IsNotFound(link.status())) return absl::OkStatus();
  if (!link.ok()) return link.status();
  const bool named = LinkAlias(link->get()) == InterfaceAlias(o.port);
  const bool on_trunk = IsMacvlanOn(link->get(), parent);
  // podwired may have ended between making it and naming it.
  const bool unnamed = LinkAlias(link->get()).empty() && on_trunk && LinkMac(link->get()) == o.mac;
  if (!named && !unnamed) {
    return Error(
        absl::StatusCode::kAlreadyExists,
        "interface {} exists and is not this port's (its alias is \"{}\"): remove it or take another name",
        o.ifname, LinkAlias(link->get()));
  }
  const bool good = named && on_trunk && rtnl_link_macvlan_get_mode(link->get()) == PrivateMode();
  found = good ? Found::kOurs : Found::kStale;
  if (good) return absl::OkStatus();
  return NlStatus(rtnl_link_delete(socket.get(), link->get()), fmt::format("remove interface {}", o.ifname));
}

absl::Status Add(const MacvlanOptions& o, nl_sock* socket, int parent, const NetnsFd& netns) {
  const RtnlLink link(rtnl_link_macvlan_alloc());
  if (link == nullptr) return Error(absl::StatusCode::kResourceExhausted, "netlink message: out of memory");
  rtnl_link_set_name(link.get(), o.ifname.c_str());
  rtnl_link_set_link(link.get(), parent);
  rtnl_link_set_ns_fd(link.get(), netns.get());
  rtnl_link_set_addr(link.get(), MakeNlAddress(o.mac).get());
  rtnl_link_macvlan_set_mode(link.get(), PrivateMode());
  const int result = rtnl_link_add(socket, link.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (result == -NLE_OPNOTSUPP)
    return Error(absl::StatusCode::kFailedPrecondition, "this kernel has no macvlan: modprobe macvlan");
  return NlStatus(result, fmt::format("make macvlan {} on {}", o.ifname, o.parent));
}

}  // namespace

absl::Status MakeMacvlan(const MacvlanOptions& options) {
  RETURN_IF_ERROR(CheckInterfaceName(options.ifname));
  ASSIGN_OR_RETURN(const NetnsFd netns, OpenNetns(options.netns));
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink parent, GetLink(socket.get(), options.parent));
  const int parent_index = rtnl_link_get_ifindex(parent.get());
  Found found = Found::kNothing;
  RETURN_IF_ERROR(RunInNetns(netns, [&] { return Find(options, parent_index, found); }));
  if (found == Found::kOurs) return absl::OkStatus();
  RETURN_IF_ERROR(Add(options, socket.get(), parent_index, netns));
  return RunInNetns(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const NlSocket in_pod, ConnectNetlink());
    const absl::Status configured = ConfigurePodLink(
        in_pod.get(), {.ifname = options.ifname, .alias = InterfaceAlias(options.port), .mtu = options.mtu});
    if (configured.ok()) return configured;
    // Nobody could tell later whose it is.
    if (const auto link = GetLink(in_pod.get(), options.ifname); link.ok())
      rtnl_link_delete(in_pod.get(), link->get());
    return configured;
  });
}

}  // namespace podwire
