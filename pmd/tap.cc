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
#include "pmd/pod_interface.h"
#include "pmd/port_kinds.h"
#include "pmd/vnet_port.h"

namespace podwire {
namespace {

/// Largest frame that the kernel may give us unsegmented: an encapsulation of up to 84 bytes around it still
/// has lengths of 16 bits.
constexpr uint32_t kGsoMaxSize = 65400;

/// Most segments of a super-packet: with 22 bytes more each (VXLAN and an inner Ethernet header) they fit
/// into one UDP super-packet (TunnelBundle), and need not go as a full one and a rest.
constexpr uint32_t MaxSegments(uint16_t mtu) { return std::max(1u, (65535u - 20 - 8) / (mtu + 22u)); }

/// A burst ends with the packet that reaches this: a few super-packets stay in the cache between read and
/// write, and leave big mbufs for other ports.
constexpr uint32_t kBurstBytes = 65536;

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};

FileId IdOf(const struct stat& s) { return {.device = s.st_dev, .inode = s.st_ino}; }

class TapPort : public VnetPort {
 public:
  TapPort(const PortConfig& config, const PortContext& context, Fd fd, FileId netns)
      : VnetPort(config, context, std::move(fd)),
        netns_path_(std::get<TapOptions>(config.options).netns),
        netns_(netns) {
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
    if (gone() || !NetnsInUse()) return false;
    pollfd p = {.fd = fd(), .events = POLLOUT, .revents = 0};
    // A tap is writable while its interface is up, and in error when it has none any more.
    return poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
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
  /// Our descriptor keeps the namespace, and so the tap, alive: that others let go of it shows in the path
  /// only.
  bool NetnsInUse() const {
    struct stat now;
    return netns_path_.empty() || (stat(netns_path_.c_str(), &now) == 0 && IdOf(now) == netns_);
  }

  const std::string netns_path_;
  const FileId netns_;
  VnetRxSlot slot_;
};

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
    RETURN_IF_ERROR(ConfigureLink(create ? MacAddr{} : LinkMac(existing->get())));
    RETURN_IF_ERROR(ConfigureTap(fd.get()));
    return fd;
  }

 private:
  absl::Status CheckOurs(rtnl_link* link) const {
    const std::string alias = LinkAlias(link);
    if (alias == alias_) return absl::OkStatus();
    return Error(absl::StatusCode::kAlreadyExists,
                 "interface {} exists and is not this port's (its alias is \"{}\")", options_.ifname, alias);
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

  /// MAC, MTU, alias; libnl 3.7 cannot set the GSO limits, so the message is made by hand.
  absl::Status ConfigureLink(const MacAddr& before) {
    const NlMessage message(nlmsg_alloc_simple(RTM_NEWLINK, 0));
    const ifinfomsg info = {.ifi_family = AF_UNSPEC};
    bool fits = message != nullptr &&
                nlmsg_append(message.get(), const_cast<ifinfomsg*>(&info), sizeof info, NLMSG_ALIGNTO) == 0;
    fits = fits && nla_put_string(message.get(), IFLA_IFNAME, options_.ifname.c_str()) == 0 &&
           nla_put(message.get(), IFLA_IFALIAS, static_cast<int>(alias_.size()), alias_.c_str()) == 0 &&
           nla_put_u32(message.get(), IFLA_MTU, mtu_) == 0 &&
           nla_put_u32(message.get(), IFLA_GSO_MAX_SIZE, kGsoMaxSize) == 0 &&
           nla_put_u32(message.get(), IFLA_GSO_MAX_SEGS, MaxSegments(mtu_)) == 0;
    // Setting a MAC, even the same one, makes the kernel forget the pod's neighbours.
    if (fits && options_.mac.has_value() && *options_.mac != before) {
      fits = nla_put(message.get(), IFLA_ADDRESS, sizeof(MacAddr), options_.mac->bytes.data()) == 0;
    }
    if (!fits) return Error(absl::StatusCode::kResourceExhausted, "netlink message: out of memory");
    nlmsg_hdr(message.get())->nlmsg_flags |= NLM_F_ACK;
    int result = nl_send_auto(socket_.get(), message.get());
    if (result >= 0) result = nl_wait_for_ack(socket_.get());
    return NlStatus(result, fmt::format("set tap {}'s MAC, MTU {} and GSO limits", options_.ifname, mtu_));
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
  struct stat id;
  if (fstat(netns.get(), &id) < 0) return ErrnoError(errno, "stat network namespace {}", options.netns);
  Fd fd;
  RETURN_IF_ERROR(RunInNetns(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(fd, TapOpener(config, options).Open());
    return absl::OkStatus();
  }));
  return std::make_unique<TapPort>(config, context, std::move(fd), IdOf(id));
}

}  // namespace podwire
