#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <rte_mbuf.h>

#include "net/address.h"
#include "pmd/mempool.h"

namespace podwire {

class FlowEngine;

enum class PortKind : uint8_t { kTap, kNetdev, kVhostUser, kPci, kVdev, kTrunkMember };

/// "tap", "netdev", "vhost-user", "pci", "vdev", "trunk-member".
std::string_view ToString(PortKind kind);
/// Of a kind that people can ask for, which a trunk's member is not. InvalidArgument that lists them when
/// `text` is none.
absl::StatusOr<PortKind> ParsePortKind(std::string_view text);

/// A kernel pod's interface: a TAP device with virtio-net headers. The open port keeps its network namespace
/// alive; when `netns` no longer leads there, link_up() is false and the port is to be destroyed.
struct TapOptions {
  std::string netns;             ///< path of the network namespace it lives in; empty: podwired's own
  std::string ifname = "eth0";   ///< up to 15 bytes
  std::optional<MacAddr> mac{};  ///< of the pod's end; none: the kernel's choice
  bool persistent = true;  ///< the device survives this process (kill -9 included); Destroy() removes it
  bool trunk = false;      ///< pods' macvlans are made on it
};
/// How frames of an interface that the kernel keeps reach podwire.
enum class SharedMode : uint8_t {
  kAuto,  ///< AF_XDP if that is zero-copy, else AF_PACKET
  kAfXdp,
  kAfPacket
};
/// "auto", "af_xdp", "af_packet".
std::string_view ToString(SharedMode mode);

/// An existing kernel interface, by AF_PACKET as a whole or shared with the kernel.
struct NetdevOptions {
  std::string interface;
  /// The interface stays the kernel's, with its addresses: the port gets what SetTunnel and SetPodSubnets
  /// say.
  bool shared = false;
  SharedMode mode = SharedMode::kAuto;  ///< of a shared one
  uint16_t queues = 0;                  ///< of AF_XDP: must be as many as the interface has; 0: not checked
};
/// A vhost-user socket for a virtio-user pod or a virtual machine.
struct VhostUserOptions {
  std::string socket_path;  ///< up to 107 bytes
  uint16_t queues = 1;      ///< queue pairs
  bool client = false;      ///< connect to the peer's socket (and reconnect) instead of listening
};
/// A device bound to vfio-pci.
struct PciOptions {
  std::string address;       ///< "0000:03:02.1"
  uint16_t queues = 1;       ///< receive queues; at most what the device has
  bool promiscuous = false;  ///< receive frames for other MACs too
  bool trunk = false;        ///< pods' virtual functions are its members: their VLANs are let in one by one
};
/// Any DPDK virtual device.
struct VdevOptions {
  std::string devargs;  ///< "net_null0,size=64"
  uint16_t queues = 1;  ///< each way; at most what the device has
  /// The port's own, which the device is told where it can be; none: the device's.
  std::optional<MacAddr> mac{};
};
class Port;
inline constexpr uint16_t kMaxVlan = 4094;

/// A pod's share of a port that carries many, told apart by VLAN or by the pod's MAC.
struct TrunkMemberOptions {
  std::string trunk_name{};
  Port* trunk = nullptr;  ///< that port; outlives the member
  MacAddr mac{};          ///< the pod's
  uint16_t vlan = 0;      ///< 1 to kMaxVlan; 0: untagged, told by the MAC
  /// The pod's interface: its network namespace's path and its name. Without it the member has vanished.
  std::string netns{};
  std::string ifname{};  ///< empty: not looked after
};

struct PortConfig {
  std::string name;  ///< unique in the process
  /// Decides the kind, in the order of PortKind.
  std::variant<TapOptions, NetdevOptions, VhostUserOptions, PciOptions, VdevOptions, TrunkMemberOptions>
      options;
  uint16_t mtu = 1500;  ///< L3 bytes; a netdev keeps its own

  PortKind kind() const { return static_cast<PortKind>(options.index()); }
};

struct PortContext {
  MbufPools& pools;
  uint16_t workers = 1;  ///< threads that transmit: TxBurst queues are 0..workers-1
};

/// The overlay's tunnel as a port may know it: what is sent to one of these addresses and the UDP port.
struct UdpTunnel {
  Ipv4 address;  ///< 0: none
  uint16_t port_be = 0;
  bool vxlan = true;  ///< else bare IPv4 packets
  Ipv6 address6{};    ///< ::: none

  bool enabled() const { return port_be != 0; }
  bool operator==(const UdpTunnel&) const = default;
};

/// Counters since the port came up. Frames as the switch sees them: a super-packet is one packet.
struct PortStats {
  uint64_t rx_packets = 0;
  uint64_t rx_bytes = 0;
  uint64_t rx_missed = 0;   ///< lost before the switch: no room in the ring or socket
  uint64_t rx_errors = 0;   ///< malformed at the device, or no mbuf for them
  uint64_t tx_packets = 0;  ///< taken by TxBurst and handed to the device
  uint64_t tx_bytes = 0;
  uint64_t tx_segments = 0;  ///< frames that software segmentation made of super-packets
  uint64_t tx_errors = 0;    ///< taken by TxBurst and lost: device refused, no mbuf for a segment, malformed
};

/// A way in and out of the switch. RxBurst and TxBurst run on workers and never block; the rest is the
/// control thread's. Destroying a port closes it and frees all it holds; no worker may use it any more by
/// then.
class Port {
 public:
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// Up to `n` received frames, each with OffloadOf() set; they are the caller's. One thread a queue.
  virtual uint16_t RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept = 0;

  /// Sends up to `n` frames, owns the first `returned` of them (as rte_eth_tx_burst); the others stay the
  /// caller's. Work named by OffloadOf() is passed on, or done in software here. The order of the mbufs in
  /// the array may change; that of a connection's packets does not. `queue` is the worker's index.
  virtual uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept = 0;

  /// A descriptor that epoll reports readable while frames wait for RxBurst; -1: must be polled.
  virtual int rx_fd() const { return -1; }
  /// Of a port without rx_fd(): a descriptor, for epoll with EPOLLET, that tells of a frame in this queue
  /// while it is armed; -1: the queue must be polled.
  virtual int rx_interrupt_fd(uint16_t) const { return -1; }
  /// Has the device tell of the queue's next frame. It may not tell of those that have come before: look once
  /// more afterwards. False: not now, poll. The thread that has the queue, before it sleeps.
  virtual bool ArmRx(uint16_t) noexcept { return false; }
  /// Ends that.
  virtual void DisarmRx(uint16_t) noexcept {}
  /// Receive queues: RxBurst takes 0..rx_queues()-1.
  virtual uint16_t rx_queues() const { return 1; }
  /// The device has fewer transmit queues than there are workers: TxBurst takes a short lock a burst.
  virtual bool tx_is_shared() const { return false; }
  /// Of the switch's end where the ends differ; empty if it has none.
  virtual MacAddr mac() const = 0;
  /// False also when the device vanished.
  virtual bool link_up() const = 0;
  /// Why there is no device any more, and none will come back to this object ("interface eth1 was removed");
  /// empty while there is one.
  virtual std::string Vanished() const { return {}; }
  /// Any thread.
  virtual PortStats Stats() const = 0;
  /// Tells the port of the tunnel that ends behind it, {} of none; ports that could join its packets do.
  /// Control thread.
  virtual void SetTunnel(const UdpTunnel&) {}
  /// Tells a port that shares its interface with the kernel which addresses are this node's pods. Control
  /// thread.
  virtual void SetPodSubnets(std::span<const IpPrefix>) {}
  /// For people, how it does its work where there is a choice: "af_xdp, native, zero-copy". Any thread.
  virtual std::string how() const { return {}; }
  /// What applies rules to packets before RxBurst gives them; nullptr: nothing. The port's.
  virtual FlowEngine* flow_engine() { return nullptr; }
  /// Of a trunk whose device filters: whether frames with this tag come in. Control thread.
  virtual absl::Status SetVlan(uint16_t, bool) { return absl::OkStatus(); }
  /// Removes what would outlive the process (a persistent tap); the port is dead afterwards.
  virtual absl::Status Destroy() { return absl::OkStatus(); }

  const std::string& name() const { return name_; }
  PortKind kind() const { return kind_; }
  /// L3 bytes.
  uint16_t mtu() const { return mtu_; }

 protected:
  Port(const PortConfig& config) : name_(config.name), kind_(config.kind()), mtu_(config.mtu) {}
  void set_mtu(uint16_t mtu) { mtu_ = mtu; }

 private:
  std::string name_;
  PortKind kind_;
  uint16_t mtu_;
};

/// Brings a port up (control thread; workers may run). On failure nothing is left behind: no device, socket
/// file or memory. InvalidArgument: options that cannot work; FailedPrecondition: the machine is not ready,
/// with the cure. `context.pools` must outlive the port.
absl::StatusOr<std::unique_ptr<Port>> CreatePort(const PortConfig& config, const PortContext& context);

}  // namespace podwire
