#include "pmd/ethdev_port.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <rte_errno.h>
#include <rte_ethdev.h>

#include "net/status.h"
#include "pmd/eal_log.h"
#include "pmd/vhost_peer.h"

namespace podwire {
namespace {

constexpr uint16_t kRxDescriptors = 1024;
constexpr uint16_t kTxDescriptors = 1024;
constexpr uint64_t kWantedTx =
    RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
constexpr uint64_t kWantedRx = RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
/// Hardware segmentation rewrites the IP checksum of each frame too.
constexpr uint64_t kTso = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM |
                          RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
constexpr uint64_t kRssTypes = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP;

/// What was tried, errno's text, and DPDK's own words if it logged some.
absl::Status EthdevError(int rc, const EalLogCapture& capture, const std::string& tried) {
  const std::string said = capture.Text();
  absl::Status status = ErrnoError(-rc, "{}", tried);
  return said.empty() ? status : absl::Status(status.code(), Message(status) + ": " + said);
}

rte_eth_conf DeviceConfig(const rte_eth_dev_info& info, uint16_t rx_queues, uint16_t mtu) {
  rte_eth_conf conf{};
  conf.rxmode.mtu = mtu;
  conf.rxmode.offloads = info.rx_offload_capa & kWantedRx;
  if (mtu + RTE_ETHER_HDR_LEN > kSmallRoom)
    conf.rxmode.offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
  conf.txmode.offloads = info.tx_offload_capa & kWantedTx;
  if ((info.tx_offload_capa & kTso) == kTso) conf.txmode.offloads |= kTso;
  if (rx_queues > 1 && (info.flow_type_rss_offloads & kRssTypes) != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    // Of tunnelled packets by the inner headers where the device can; else the outer source port tells flows
    // apart (RFC 7348 section 5).
    conf.rx_adv_conf.rss_conf.rss_hf =
        info.flow_type_rss_offloads & (kRssTypes | RTE_ETH_RSS_LEVEL_INNERMOST);
  }
  return conf;
}

}  // namespace

EthdevPort::EthdevPort(const PortConfig& config, EthdevDevice device, const MbufPools& pools)
    : Port(config), pools_(pools), device_(std::move(device)) {}

EthdevPort::~EthdevPort() = default;

absl::StatusOr<std::unique_ptr<EthdevPort>> EthdevPort::Create(const PortConfig& config,
                                                               const EthdevOptions& options,
                                                               const PortContext& context) {
  absl::StatusOr<EthdevDevice> device = EthdevDevice::Probe(options.devargs);
  if (!device.ok()) return Annotate(device.status(), "port " + config.name);
  auto port = std::unique_ptr<EthdevPort>(new EthdevPort(config, *std::move(device), context.pools));
  if (absl::Status s = port->Configure(options, context); !s.ok()) return Annotate(s, "port " + config.name);
  return port;
}

absl::Status EthdevPort::Configure(const EthdevOptions& options, const PortContext& context) {
  rte_eth_dev_info info;
  if (const int rc = rte_eth_dev_info_get(device_.port(), &info); rc != 0)
    return ErrnoError(-rc, "rte_eth_dev_info_get");
  if (mtu() < info.min_mtu || mtu() > info.max_mtu) {
    return InvalidArgument("mtu {} is outside the device's {} to {}", mtu(), info.min_mtu, info.max_mtu);
  }
  rx_queues_ = std::min(options.rx_queues, info.max_rx_queues);
  tx_queues_ = std::min({options.tx_queues, context.workers, info.max_tx_queues});
  if (rx_queues_ == 0 || tx_queues_ == 0) {
    return InvalidArgument("the device has {} receive and {} transmit queues: one of each is needed",
                           info.max_rx_queues, info.max_tx_queues);
  }
  is_vhost_ = std::strcmp(info.driver_name, "net_vhost") == 0;
  // A vhost-user peer may enable fewer queues at any time.
  tx_is_shared_ = tx_queues_ < context.workers || (is_vhost_ && context.workers > 1);
  rx_ = std::make_unique<RxQueue[]>(rx_queues_);
  tx_ = std::make_unique<TxQueue[]>(tx_queues_);
  rte_eth_conf conf = DeviceConfig(info, rx_queues_, mtu());
  tx_offloads_ = conf.txmode.offloads;
  usable_tx_queues_ = tx_queues_;
  if (is_vhost_) {
    ASSIGN_OR_RETURN(peer_, VhostPeer::Watch(device_.port(), tx_queues_, tx_offloads_, usable_tx_queues_));
  }
  // Whether the driver has interrupts, and the machine a vector for each queue, only trying can tell.
  if (options.vlan_filter) conf.rxmode.offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_VLAN_FILTER;
  filters_vlans_ = (conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_VLAN_FILTER) != 0;
  conf.intr_conf.rxq = 1;
  if (Start(conf).ok()) {
    FindInterrupts();
  } else {
    conf.intr_conf.rxq = 0;
    RETURN_IF_ERROR(Start(conf));
  }
  if (peer_ != nullptr) peer_->Refresh();
  watch_ = std::make_unique<DeviceWatch>(*info.device);
  return SetMode(options);
}

absl::Status EthdevPort::Start(const rte_eth_conf& conf) {
  const EalLogCapture capture;
  if (const int rc = rte_eth_dev_configure(device_.port(), rx_queues_, tx_queues_, &conf); rc != 0)
    return EthdevError(rc, capture, "rte_eth_dev_configure");
  return StartQueues(capture);
}

absl::Status EthdevPort::StartQueues(const EalLogCapture& capture) {
  const uint16_t id = device_.port();
  const int socket = rte_eth_dev_socket_id(id);
  uint16_t rx_descriptors = kRxDescriptors;
  uint16_t tx_descriptors = kTxDescriptors;
  rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx_descriptors, &tx_descriptors);
  for (uint16_t q = 0; q < rx_queues_; ++q) {
    const int rc = rte_eth_rx_queue_setup(id, q, rx_descriptors, static_cast<unsigned>(socket), nullptr,
                                          &pools_.small());
    if (rc != 0) return EthdevError(rc, capture, fmt::format("rte_eth_rx_queue_setup {}", q));
  }
  for (uint16_t q = 0; q < tx_queues_; ++q) {
    const int rc = rte_eth_tx_queue_setup(id, q, tx_descriptors, static_cast<unsigned>(socket), nullptr);
    if (rc != 0) return EthdevError(rc, capture, fmt::format("rte_eth_tx_queue_setup {}", q));
  }
  if (const int rc = rte_eth_dev_start(id); rc != 0) return EthdevError(rc, capture, "rte_eth_dev_start");
  return absl::OkStatus();
}

absl::Status EthdevPort::SetMode(const EthdevOptions& options) {
  if (options.mac) RETURN_IF_ERROR(SetMac(*options.mac));
  const int rc = options.promiscuous ? rte_eth_promiscuous_enable(device_.port()) : 0;
  return rc == 0 || rc == -ENOTSUP ? absl::OkStatus() : ErrnoError(-rc, "rte_eth_promiscuous_enable");
}

absl::Status EthdevPort::SetMac(const MacAddr& mac) {
  rte_ether_addr address;
  std::memcpy(address.addr_bytes, mac.bytes.data(), mac.bytes.size());
  const int rc = rte_eth_dev_default_mac_addr_set(device_.port(), &address);
  if (rc != 0 && rc != -ENOTSUP) return ErrnoError(-rc, "rte_eth_dev_default_mac_addr_set {}", ToString(mac));
  mac_ = mac;
  return absl::OkStatus();
}

MacAddr EthdevPort::mac() const {
  if (mac_) return *mac_;
  rte_ether_addr address{};
  MacAddr mac;
  if (rte_eth_macaddr_get(device_.port(), &address) == 0)
    std::memcpy(mac.bytes.data(), address.addr_bytes, mac.bytes.size());
  return mac;
}

FlowEngine* EthdevPort::flow_engine() {
  if (!std::exchange(asked_for_flow_engine_, true)) flow_engine_ = MakeRteFlowEngine(device_.port());
  return flow_engine_.get();
}

std::string EthdevPort::Vanished() const { return watch_->removed() ? "its device is being removed" : ""; }

bool EthdevPort::link_up() const {
  rte_eth_link link{};
  return !watch_->removed() && rte_eth_link_get_nowait(device_.port(), &link) == 0 &&
         link.link_status == RTE_ETH_LINK_UP;
}

absl::Status EthdevPort::SetVlan(uint16_t vlan, bool on) {
  if (!filters_vlans_) return absl::OkStatus();
  const int rc = rte_eth_dev_vlan_filter(device_.port(), vlan, on ? 1 : 0);
  if (rc != 0) return ErrnoError(-rc, "rte_eth_dev_vlan_filter {} {}", vlan, on ? "on" : "off");
  // Linux's igb makes the VLAN that a VF has asked for last the one with which all that it sends is tagged,
  // on top of the frame's own tag; that of VLAN 0 is none.
  const int untagged = rte_eth_dev_vlan_filter(device_.port(), 0, 1);
  return untagged == 0 ? absl::OkStatus() : ErrnoError(-untagged, "rte_eth_dev_vlan_filter 0 on");
}

PortStats EthdevPort::Stats() const {
  PortStats s;
  for (uint16_t q = 0; q < rx_queues_; ++q) {
    s.rx_packets += rx_[q].packets.load(std::memory_order_relaxed);
    s.rx_bytes += rx_[q].bytes.load(std::memory_order_relaxed);
  }
  for (uint16_t q = 0; q < tx_queues_; ++q) {
    s.tx_packets += tx_[q].packets.load(std::memory_order_relaxed);
    s.tx_bytes += tx_[q].bytes.load(std::memory_order_relaxed);
    s.tx_segments += tx_[q].segments.load(std::memory_order_relaxed);
    s.tx_errors += tx_[q].errors.load(std::memory_order_relaxed);
  }
  rte_eth_stats device{};
  if (rte_eth_stats_get(device_.port(), &device) == 0) {
    s.rx_missed = device.imissed;
    s.rx_errors = device.ierrors + device.rx_nombuf;
    // net_vhost counts there what TxBurst has left to the caller.
    if (!is_vhost_) s.tx_errors += device.oerrors;
  }
  return s;
}

}  // namespace podwire
