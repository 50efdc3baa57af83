#include "control/kernel_underlay.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <netlink/msg.h>
#include <netlink/object.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <spdlog/spdlog.h>

#include "control/kernel_table.h"
#include "net/status.h"

namespace podwire {
namespace {

constexpr int kEventBytes = 1 << 20;  // of the socket: a storm of events fits
/// Neighbours that the kernel is asked for at a time and has not found yet, lest a pod that tries every
/// address of the subnet fill the host's table. The switch asks again.
constexpr size_t kMaxAsks = 128;
constexpr std::chrono::seconds kAskEnds(10);  // the kernel gives up long before; its word may have been lost
constexpr std::chrono::milliseconds kReadPeriod(100);
/// The states in which the kernel itself would send to the neighbour.
constexpr int kUsable = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
/// Those that it does not look after by itself.
constexpr int kNeedsAsking = NUD_NONE | NUD_STALE | NUD_FAILED | NUD_INCOMPLETE;

bool IsUsable(const auto& neighbor) { return (neighbor.state & kUsable) != 0; }

IpAddress AddressOf(rtnl_neigh* neighbor) {
  nl_addr* dst = rtnl_neigh_get_dst(neighbor);
  if (dst == nullptr || nl_addr_get_len(dst) == 0) return {};
  const auto prefix = PrefixOf(dst);
  return prefix ? prefix->address : IpAddress();
}

}  // namespace

absl::StatusOr<std::unique_ptr<KernelUnderlay>> KernelUnderlay::Start(const std::string& interface,
                                                                      KernelUnderlayClient client) {
  std::unique_ptr<KernelUnderlay> self(new KernelUnderlay(interface, std::move(client)));
  RETURN_IF_ERROR(Annotate(self->Open(), "interface " + interface));
  self->thread_ = std::thread([p = self.get()] { p->Loop(); });
  return self;
}

absl::Status KernelUnderlay::Open() {
  ASSIGN_OR_RETURN(requests_, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(requests_.get(), interface_));
  ifindex_ = rtnl_link_get_ifindex(link.get());
  ASSIGN_OR_RETURN(events_, ConnectNetlink());
  nl_socket_disable_seq_check(events_.get());
  nl_socket_set_nonblocking(events_.get());
  if (setsockopt(nl_socket_get_fd(events_.get()), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBytes,
                 sizeof kEventBytes) < 0)
    return ErrnoError(errno, "netlink buffer");
  nl_socket_modify_cb(
      events_.get(), NL_CB_VALID, NL_CB_CUSTOM,
      [](nl_msg* message, void* self) {
        const auto take = [](nl_object* object, void* to) {
          static_cast<KernelUnderlay*>(to)->TakeObject(object);
        };
        nl_msg_parse(message, take, self);
        return int{NL_OK};
      },
      this);
  // Before the dumps: nothing falls in between.
  const int joined = nl_socket_add_memberships(events_.get(), RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE,
                                               RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK, RTNLGRP_NONE);
  RETURN_IF_ERROR(NlStatus(joined, "follow the kernel's neighbours, routes and links"));
  stop_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_.valid()) return ErrnoError(errno, "eventfd");
  RETURN_IF_ERROR(DumpNeighbors());
  ASSIGN_OR_RETURN(routes_, ReadKernelRoutes(interface_));
  client_.set_routes(routes_);
  return absl::OkStatus();
}

KernelUnderlay::~KernelUnderlay() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void KernelUnderlay::Loop() {
  pthread_setname_np(pthread_self(), "pw-underlay");
  pollfd fds[] = {{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                  {.fd = nl_socket_get_fd(events_.get()), .events = POLLIN, .revents = 0},
                  {.fd = client_.request_fd, .events = POLLIN, .revents = 0}};
  while (true) {
    if (poll(fds, std::size(fds), ReadDirty()) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0) TakeEvents();
    if (fds[2].revents != 0) client_.take_requests([this](const IpAddress& a) { Resolve(a); });
  }
}

/// Reads again what is not as the kernel has it, but not more often than each kReadPeriod. Returns when to
/// look again: milliseconds, -1: when something comes.
int KernelUnderlay::ReadDirty() {
  const Clock::time_point now = Clock::now();
  if ((routes_dirty_ || neighbors_dirty_) && now >= next_read_) {
    next_read_ = now + kReadPeriod;
    if (neighbors_dirty_) ReloadNeighbors();
    if (routes_dirty_) UpdateRoutes();
  }
  if (!routes_dirty_ && !neighbors_dirty_) return -1;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(next_read_ - now).count());
}

/// What is there now.
void KernelUnderlay::TakeEvents() {
  int result = 0;
  while ((result = nl_recvmsgs_default(events_.get())) >= 0) {
  }
  if (result == -NLE_AGAIN) return;
  routes_dirty_ = neighbors_dirty_ = true;  // some were lost (ENOBUFS)
}

/// From the beginning.
void KernelUnderlay::ReloadNeighbors() {
  const auto before = neighbors_;
  if (const absl::Status status = DumpNeighbors(); !status.ok()) {
    spdlog::warn("msg=\"the kernel's neighbours\" error=\"{}\"", Message(status));
    return;
  }
  neighbors_dirty_ = false;
  for (const IpAddress& address : client_.neighbors()) {
    const auto it = neighbors_.find(address);
    const auto old = before.find(address);
    if (it == neighbors_.end() && old != before.end() && IsUsable(old->second)) {
      AskAnew(address, old->second.mac);
    } else {
      client_.set_neighbor(address,
                           it != neighbors_.end() && IsUsable(it->second) ? it->second.mac : MacAddr{});
    }
  }
}

void KernelUnderlay::TakeObject(nl_object* object) {
  switch (nl_object_get_msgtype(object)) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return TakeNeighbor(reinterpret_cast<rtnl_neigh*>(object),
                          nl_object_get_msgtype(object) == RTM_DELNEIGH);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      routes_dirty_ = true;
      return;
    case RTM_NEWLINK:
      return TakeLink(reinterpret_cast<rtnl_link*>(object));
    default:
      return;
  }
}

/// The interface may have been removed, and there is another one of its name.
void KernelUnderlay::TakeLink(rtnl_link* link) {
  const char* name = rtnl_link_get_name(link);
  if (name == nullptr || interface_ != name || rtnl_link_get_ifindex(link) == ifindex_) return;
  ifindex_ = rtnl_link_get_ifindex(link);
  neighbors_.clear();
  routes_dirty_ = neighbors_dirty_ = true;
}

void KernelUnderlay::TakeNeighbor(rtnl_neigh* neighbor, bool removed) {
  const IpAddress address = AddressOf(neighbor);
  if (rtnl_neigh_get_ifindex(neighbor) != ifindex_ || address.empty()) return;
  if ((rtnl_neigh_get_flags(neighbor) & NTF_PROXY) != 0) return;  // whom the kernel answers for
  const auto it = neighbors_.find(address);
  const Neighbor old = it == neighbors_.end() ? Neighbor{} : it->second;
  const Neighbor now{.state = rtnl_neigh_get_state(neighbor), .mac = MacOf(rtnl_neigh_get_lladdr(neighbor))};
  if (removed) {
    asked_.erase(address);
    if (IsUsable(old) && IsOfSwitch(address)) return AskAnew(address, old.mac);
    neighbors_.erase(address);
    return client_.set_neighbor(address, {});
  }
  if (IsUsable(now) || (now.state & NUD_FAILED) != 0) {
    asked_.erase(address);
  } else if (IsUsable(old)) {
    return;  // asked anew
  }
  neighbors_[address] = now;
  client_.set_neighbor(address, IsUsable(now) ? now.mac : MacAddr{});
}

bool KernelUnderlay::IsOfSwitch(const IpAddress& address) const {
  const std::vector<IpAddress> all = client_.neighbors();
  return std::ranges::find(all, address) != all.end();
}

/// The kernel forgets neighbours that it does not send to itself, and all when the interface's MAC changes.
/// One that the switch deals with keeps its MAC until the kernel has looked.
void KernelUnderlay::AskAnew(const IpAddress& address, const MacAddr& mac) {
  neighbors_[address] = {.state = NUD_STALE, .mac = mac};
  if (AskKernel(address)) return;
  neighbors_.erase(address);
  client_.set_neighbor(address, {});
}

absl::Status KernelUnderlay::DumpNeighbors() {
  nl_cache* list = nullptr;
  RETURN_IF_ERROR(NlStatus(rtnl_neigh_alloc_cache(requests_.get(), &list), "list neighbours"));
  const NlCache cache(list);
  neighbors_.clear();
  for (nl_object* o = nl_cache_get_first(list); o != nullptr; o = nl_cache_get_next(o)) {
    auto* neighbor = reinterpret_cast<rtnl_neigh*>(o);
    const IpAddress address = AddressOf(neighbor);
    if (rtnl_neigh_get_ifindex(neighbor) != ifindex_ || address.empty()) continue;
    neighbors_[address] = {.state = rtnl_neigh_get_state(neighbor),
                           .mac = MacOf(rtnl_neigh_get_lladdr(neighbor))};
  }
  return absl::OkStatus();
}

void KernelUnderlay::UpdateRoutes() {
  auto routes = ReadKernelRoutes(interface_);
  if (!routes.ok()) return spdlog::warn("msg=\"the kernel's routes\" error=\"{}\"", Message(routes.status()));
  routes_dirty_ = false;
  if (*routes == routes_) return;
  routes_ = *routes;
  client_.set_routes(*std::move(routes));
}

/// A worker sends to `address` and has no MAC, or an old one. What the kernel looks after it tells of by
/// events; else it is told that the neighbour is in use, and resolves it.
void KernelUnderlay::Resolve(const IpAddress& address) {
  const auto it = neighbors_.find(address);
  const Neighbor known = it == neighbors_.end() ? Neighbor{} : it->second;
  if (IsUsable(known)) client_.set_neighbor(address, known.mac);
  if (known.state != NUD_NONE && (known.state & kNeedsAsking) == 0) return;
  if (IsUsable(known)) {
    AskKernel(address);
  } else if (MayAsk(address) && !AskKernel(address)) {
    asked_.erase(address);
  }
}

/// For one that may not be there. True: counted in asked_.
bool KernelUnderlay::MayAsk(const IpAddress& address) {
  const Clock::time_point now = Clock::now();
  if (asked_.size() >= kMaxAsks && !asked_.contains(address)) {
    absl::erase_if(asked_, [now](const auto& ask) { return now - ask.second > kAskEnds; });
    if (asked_.size() >= kMaxAsks) return false;
  }
  asked_[address] = now;
  return true;
}

/// False: the kernel refuses.
bool KernelUnderlay::AskKernel(const IpAddress& address) {
  const RtnlNeigh neighbor(rtnl_neigh_alloc());
  const NlAddress dst = MakeNlAddress(address, address.bits());
  rtnl_neigh_set_ifindex(neighbor.get(), ifindex_);
  rtnl_neigh_set_family(neighbor.get(), address.is_v4() ? AF_INET : AF_INET6);
  rtnl_neigh_set_dst(neighbor.get(), dst.get());
  rtnl_neigh_set_flags(neighbor.get(), NTF_USE);
  const int result = rtnl_neigh_add(requests_.get(), neighbor.get(), NLM_F_CREATE);
  if (result >= 0) return true;
  spdlog::debug("msg=\"ask the kernel for a neighbour\" address={} error=\"{}\"", ToString(address),
                nl_geterror(result));
  return false;
}

}  // namespace podwire
