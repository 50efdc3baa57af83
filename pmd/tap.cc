#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>

#include "net/status.h"
#include "pmd/netlink.h"
#include "pmd/netns.h"
#include "pmd/netns_identity.h"
#include "pmd/pod_interface.h"
#include "pmd/pod_link.h"
#include "pmd/port_kinds.h"
#include "pmd/vnet_port.h"

namespace podwire {
namespace {

/// A burst ends with the packet that reaches this: a few super-packets stay in the cache between read and
/// write, and leave big mbufs for other ports.
constexpr uint32_t kBurstBytes = 65536;

class TapPort : public VnetPort {
 public:
  TapPort(const PortConfig& config, const PortContext& context, Fd fd, NetnsIdentity netns)
      : VnetPort(config, context, std::move(fd)), netns_(std::move(netns)) {
    // A pod's stack takes a local sender's word, and a forwarder's computes it.
    completes_any_checksum_ = true;
    coalesces_ = true;
  }

  uint16_t RxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    uint16_t count = 0;
    uint32_t bytes = 0;
    while (count < n && bytes < kBurstBytes && slot_.Arm(pools())) {
      const ssize_t len = readv(fd(), slot_.iov().data(), static_cast<int>(slot_.iov().size()));
      if (len < 0) {
        ReadFailed(errno);
        break;
      }
      rte_mbuf* m = slot_.Take(static_cast<size_t>(len));
      if (m != nullptr) bytes += m->pkt_len;
      Received(m, mbufs, count);
      if (m == nullptr) break;
    }
    return count;
  }

  MacAddr mac() const override { return {}; }

  bool link_up() const override {
    if (gone() || !netns_.InUse()) return false;
    pollfd p = {.fd = fd(), .events = POLLOUT, .revents = 0};
    // A tap is writable while its interface is up, and in error when it has none any more.
    return poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
  }

  std::string Vanished() const override {
    if (!netns_.InUse()) return "its network namespace is no more";
    pollfd p = {.fd = fd(), .events = 0, .revents = 0};
    const bool removed = gone() || (poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0);
    return removed ? "its interface was removed" : "";
  }

  absl::Status Destroy() override {
    const bool removed = gone() || ioctl(fd(), TUNSETPERSIST, 0) == 0 || errno == EBADFD;
    if (!removed) return ErrnoError(errno, "port {}: remove its tap", name());
    MarkGone();
    return absl::OkStatus();
  }

 protected:
  int Write(std::span<mmsghdr> frames) noexcept override {
    for (size_t i = 0; i < frames.size(); ++i) {
      const msghdr& frame = frames[i].msg_hdr;
      if (writev(fd(), frame.msg_iov, static_cast<int>(frame.msg_iovlen)) < 0) {
        return i == 0 ? -errno : static_cast<int>(i);
      }
    }
    return static_cast<int>(frames.size());
  }
  bool MeansGone(int error) const noexcept override { return error == EBADFD; }

 private:
  const NetnsIdentity netns_;
  VnetRxSlot slot_;
};

/// Pods' interfaces carry nothing before it is up. It has no addresses: the kernel has nothing to say on it.
absl::Status RaiseTrunk(const std::string& ifname, uint16_t mtu) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), ifname));
  return SetUpPodInterface({.ifname = ifname, .mac = LinkMac(link.get()), .mtu = mtu});
}

/// Opens or makes the tap, in the calling thread's network namespace.
class TapOpener {
 public:
  TapOpener(const PortConfig& config, const TapOptions& options)
      : options_(options), mtu_(config.mtu), alias_(InterfaceAlias(config.name)) {}

  absl::StatusOr<Fd> Open() {
    ASSIGN_OR_RETURN(socket_, ConnectNetlink());
    absl::StatusOr<RtnlLink> existing = GetLink(socket_.get(), options_.ifname);
    if (!existing.ok() && !absl::IsNotFound(existing.status())) return existing.status();
    if (existing.ok()) RETURN_IF_ERROR(CheckOurs(existing->get()));
    const bool create = !existing.ok();
    ASSIGN_OR_RETURN(Fd fd, Attach(create));
    PodLink link{.ifname = options_.ifname, .alias = alias_, .mtu = mtu_, .trunk = options_.trunk};
    // Setting a MAC, even the same one, makes the kernel forget the pod's neighbours.
    const MacAddr before = create ? MacAddr{} : LinkMac(existing->get());
    if (options_.mac.has_value() && *options_.mac != before) link.mac = *options_.mac;
    RETURN_IF_ERROR(ConfigurePodLink(socket_.get(), link));
    if (options_.trunk) RETURN_IF_ERROR(RaiseTrunk(options_.ifname, mtu_));
    RETURN_IF_ERROR(ConfigureTap(fd.get()));
    return fd;
  }

 private:
  absl::Status CheckOurs(rtnl_link* link) const {
    const std::string alias = LinkAlias(link);
    if (alias == alias_) return absl::OkStatus();
    return Error(absl::StatusCode::kAlreadyExists,
                 "interface {} exists and is not this port's (its alias is \"{}\"): ip link del {}, or take "
                 "another name",
                 options_.ifname, alias, options_.ifname);
  }

  absl::StatusOr<Fd> Attach(bool create) const {
    Fd fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd.valid()) return ErrnoError(errno, "open /dev/net/tun");
    ifreq request = {};
    options_.ifname.copy(request.ifr_name, IFNAMSIZ - 1);
    const int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (create ? IFF_TUN_EXCL : 0);
    request.ifr_flags = static_cast<int16_t>(flags);
    if (ioctl(fd.get(), TUNSETIFF, &request) == 0) return fd;
    if (errno == EBUSY && !create) {
      return Error(absl::StatusCode::kFailedPrecondition, "tap {} is in use by another process",
                   options_.ifname);
    }
    return ErrnoError(errno, "{} tap {}", create ? "create" : "attach to", options_.ifname);
  }

  absl::Status ConfigureTap(int fd) const {
    int header_len = sizeof(VnetHeader);
    if (ioctl(fd, TUNSETVNETHDRSZ, &header_len) < 0) {
      return ErrnoError(errno, "tap {}: TUNSETVNETHDRSZ", options_.ifname);
    }
    if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) < 0) {
      return ErrnoError(errno, "tap {}: TUNSETOFFLOAD", options_.ifname);
    }
    // Last: until here a failure closes the descriptor, and a new device goes with it.
    if (ioctl(fd, TUNSETPERSIST, options_.persistent ? 1 : 0) < 0) {
      return ErrnoError(errno, "tap {}: TUNSETPERSIST", options_.ifname);
    }
    return absl::OkStatus();
  }

  const TapOptions& options_;
  const uint16_t mtu_;
  const std::string alias_;
  NlSocket socket_;
};

}  // namespace

PortOr CreateTapPort(const PortConfig& config, const TapOptions& options, const PortContext& context) {
  RETURN_IF_ERROR(CheckInterfaceName(options.ifname));
  if (options.mac.has_value() && (options.mac->empty() || (options.mac->bytes[0] & 1) != 0)) {
    return InvalidArgument("{} is not a unicast MAC address", ToString(*options.mac));
  }
  ASSIGN_OR_RETURN(const NetnsFd netns, OpenNetns(options.netns));
  ASSIGN_OR_RETURN(NetnsIdentity identity, NetnsIdentity::Of(netns, options.netns));
  Fd fd;
  RETURN_IF_ERROR(RunInNetns(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(fd, TapOpener(config, options).Open());
    return absl::OkStatus();
  }));
  return std::make_unique<TapPort>(config, context, std::move(fd), std::move(identity));
}

}  // namespace podwire
