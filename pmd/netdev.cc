#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>

#include <rte_ether.h>
#include <rte_ip.h>

#include "net/status.h"
#include "pmd/netdev_info.h"
#include "pmd/pod_interface.h"
#include "pmd/port_kinds.h"
#include "pmd/shared_netdev.h"
#include "pmd/udp_super_packet.h"
#include "pmd/uplink_filter.h"
#include "pmd/vnet_port.h"

namespace podwire {
namespace {

constexpr int kSocketBytes = 16 << 20;
constexpr uint16_t kReadBurst = 16;  // each holds a big mbuf

/// The kernel's word on a UDP datagram is of its own checksum; nobody has looked at one in a packet inside.
void ForgetUdpVerdict(rte_mbuf& m) {
  constexpr uint16_t kProtocol4 = sizeof(rte_ether_hdr) + offsetof(rte_ipv4_hdr, next_proto_id);
  constexpr uint16_t kProtocol6 = sizeof(rte_ether_hdr) + offsetof(rte_ipv6_hdr, proto);
  if (m.data_len <= kProtocol4) return;
  const bool v6 = rte_pktmbuf_mtod(&m, const rte_ether_hdr*)->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6);
  const auto* frame = rte_pktmbuf_mtod(&m, const uint8_t*);
  if (frame[v6 ? kProtocol6 : kProtocol4] == IPPROTO_UDP) OffloadOf(m).flags &= ~Offload::kDataValid;
}

class NetdevPort : public VnetPort {
 public:
  /// `filter`: of an interface that the kernel keeps; `reason`: why not by AF_XDP.
  NetdevPort(const PortConfig& config, const PortContext& context, Fd socket, const NetdevInfo& netdev,
             std::unique_ptr<UplinkFilter> filter, std::string reason)
      : VnetPort(config, context, std::move(socket)),
        netdev_(netdev),
        filter_(std::move(filter)),
        reason_(std::move(reason)) {
    set_mtu(netdev.mtu);
    takes_bundles_ = true;
  }

  uint16_t RxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    if (taken_ == read_) Read(std::min(n, kReadBurst));
    uint16_t count = 0;
    while (count < n && (splitter_.busy() || taken_ < read_)) {
      if (!splitter_.busy() && !TakeFrame(mbufs, count)) continue;
      if (splitter_.busy()) Received(splitter_.Next(pools()), mbufs, count);
    }
    return count;
  }

  void SetTunnel(const UdpTunnel& tunnel) override {
    const auto words = std::bit_cast<TunnelWords>(tunnel);
    for (size_t i = 0; i < words.size(); ++i) tunnel_[i].store(words[i], std::memory_order_relaxed);
    if (filter_ != nullptr) filter_->SetTunnel(tunnel);
  }
  void SetPodSubnets(std::span<const IpPrefix> subnets) override {
    if (filter_ != nullptr) filter_->SetPodSubnets(subnets);
  }
  std::string how() const override {
    if (filter_ == nullptr) return "";
    return reason_.empty() ? "af_packet" : fmt::format("af_packet ({})", reason_);
  }

  MacAddr mac() const override { return netdev_.mac; }

  bool link_up() const override { return !gone() && HasLink(fd(), netdev_.ifindex); }

  std::string Vanished() const override {
    return filter_ == nullptr ? VanishedNetdev(fd(), netdev_.ifindex) : VanishedShared(fd(), netdev_);
  }

  PortStats Stats() const override {
    PortStats stats = VnetPort::Stats();
    tpacket_stats since = {};  // reading them clears them
    socklen_t len = sizeof since;
    if (getsockopt(fd(), SOL_PACKET, PACKET_STATISTICS, &since, &len) == 0) missed_ += since.tp_drops;
    stats.rx_missed = missed_;
    return stats;
  }

 protected:
  int Write(std::span<mmsghdr> frames) noexcept override {
    const int sent = sendmmsg(fd(), frames.data(), static_cast<unsigned>(frames.size()), MSG_DONTWAIT);
    return sent < 0 ? -errno : sent;
  }

  /// An interface that is merely down gives the same error as one that is no more.
  bool MeansGone(int error) const noexcept override {
    if (error != ENETDOWN && error != ENXIO && error != ENODEV) return false;
    sockaddr_ll address = {};
    socklen_t len = sizeof address;
    const int result = getsockname(fd(), reinterpret_cast<sockaddr*>(&address), &len);
    return result == 0 && address.sll_ifindex != netdev_.ifindex;
  }

 private:
  using TunnelWords = std::array<uint64_t, sizeof(UdpTunnel) / sizeof(uint64_t)>;
  static_assert(sizeof(TunnelWords) == sizeof(UdpTunnel));

  UdpTunnel tunnel() const noexcept {
    TunnelWords words;
    for (size_t i = 0; i < words.size(); ++i) words[i] = tunnel_[i].load(std::memory_order_relaxed);
    return std::bit_cast<UdpTunnel>(words);
  }

  void Read(uint16_t n) noexcept {
    read_ = taken_ = 0;
    std::array<mmsghdr, kReadBurst> frames;
    const unsigned room = Arm(frames, n);
    if (room == 0) return;
    const int got = recvmmsg(fd(), frames.data(), room, MSG_DONTWAIT, nullptr);
    if (got < 0) return ReadFailed(errno);
    read_ = static_cast<uint16_t>(got);
    for (uint16_t i = 0; i < read_; ++i) {
      const bool whole = (frames[i].msg_hdr.msg_flags & MSG_TRUNC) == 0;
      lengths_[i] = whole ? frames[i].msg_len : 0;
    }
  }

  /// Takes the next frame that was read: into mbufs[count], or into the splitter. False: neither, and an
  /// error.
  bool TakeFrame(rte_mbuf** mbufs, uint16_t& count) noexcept {
    rte_mbuf* m = slots_[taken_].Take(lengths_[taken_]);
    ++taken_;
    if (m != nullptr) ForgetUdpVerdict(*m);
    UdpSuperPacket super;
    if (m != nullptr && OffloadOf(*m).gso_type == GsoType::kUdp) {
      if (!UdpSuperPacket::Find(*m, super)) {
        rte_pktmbuf_free(m);
        m = nullptr;
      } else if (!JoinTunnel(*m, super, tunnel())) {
        splitter_.Start(m, super);
        return true;
      }
    }
    Received(m, mbufs, count);
    return m != nullptr;
  }

  unsigned Arm(std::span<mmsghdr> frames, unsigned n) noexcept {
    unsigned i = 0;
    for (; i < n && slots_[i].Arm(pools()); ++i) {
      const std::span<iovec> iov = slots_[i].iov();
      frames[i].msg_hdr = {};
      frames[i].msg_hdr.msg_iov = iov.data();
      frames[i].msg_hdr.msg_iovlen = iov.size();
    }
    return i;
  }

  const NetdevInfo netdev_;
  const std::unique_ptr<UplinkFilter> filter_;
  const std::string reason_;
  /// In words, for an atomic value of this size has a lock. To see half of a new one does no harm: what is
  /// not known to be to the tunnel is cut up, and what was joined is looked at again by the switch.
  std::array<std::atomic<uint64_t>, std::tuple_size_v<TunnelWords>> tunnel_{};
  std::array<VnetRxSlot, kReadBurst> slots_;
  std::array<unsigned, kReadBurst> lengths_;  ///< of the frames in them, bytes; 0: cut off
  uint16_t read_ = 0;                         ///< slots filled by the last read
  uint16_t taken_ = 0;                        ///< those of them handed on
  UdpSplitter splitter_;
  mutable std::atomic<uint64_t> missed_{0};
};

/// Refuses frames of a VLAN: the kernel takes the tag out of the bytes, so they would look like ours.
absl::Status RefuseVlans(int socket) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0xfff, 0, 1),  // VLAN 0: a priority only
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  const sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) {
    return ErrnoError(errno, "SO_ATTACH_FILTER");
  }
  return absl::OkStatus();
}

absl::Status SetOption(int socket, int level, int option, int value, const char* shown) {
  if (setsockopt(socket, level, option, &value, sizeof value) < 0) return ErrnoError(errno, "{}", shown);
  return absl::OkStatus();
}

absl::Status Configure(int socket, int ifindex, UplinkFilter* filter) {
  RETURN_IF_ERROR(SetOption(socket, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"));
  RETURN_IF_ERROR(SetOption(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING"));
  RETURN_IF_ERROR(SetOption(socket, SOL_SOCKET, SO_RCVBUFFORCE, kSocketBytes, "SO_RCVBUFFORCE"));
  RETURN_IF_ERROR(SetOption(socket, SOL_SOCKET, SO_SNDBUFFORCE, kSocketBytes, "SO_SNDBUFFORCE"));
  RETURN_IF_ERROR(filter == nullptr ? RefuseVlans(socket) : filter->FilterSocket(socket));
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = ifindex;
  if (bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return ErrnoError(errno, "bind");
  return absl::OkStatus();
}

}  // namespace

PortOr CreatePacketPort(const PortConfig& config, const PortContext& context, const std::string& interface,
                        std::unique_ptr<UplinkFilter> filter, std::string reason) {
  // Protocol 0: nothing arrives before everything is set.
  Fd fd(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "AF_PACKET socket (CAP_NET_RAW needed)");
  ASSIGN_OR_RETURN(const NetdevInfo netdev, FindNetdev(fd.get(), interface));
  if (filter == nullptr) UplinkFilter::RemoveLeftovers(netdev);
  RETURN_IF_ERROR(Annotate(Configure(fd.get(), netdev.ifindex, filter.get()), "interface " + interface));
  return std::make_unique<NetdevPort>(config, context, std::move(fd), netdev, std::move(filter),
                                      std::move(reason));
}

PortOr CreateNetdevPort(const PortConfig& config, const NetdevOptions& options, const PortContext& context) {
  RETURN_IF_ERROR(CheckInterfaceName(options.interface));
  if (options.shared) return CreateSharedNetdevPort(config, options, context);
  return CreatePacketPort(config, context, options.interface, nullptr, "");
}

}  // namespace podwire
