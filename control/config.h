#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <nlohmann/json_fwd.hpp>

#include "control/sriov_config.h"
#include "net/address.h"
#include "overlay/net_conf.h"
#include "pmd/port.h"
#include "switch/timeouts.h"
#include "switch/worker_mode.h"

namespace podwire {

inline constexpr uint16_t kMinMtu = 576;
inline constexpr uint16_t kMaxMtu = 65535;

/// Where the API is served.
struct ListenAddress {
  std::string unix_path;  ///< absolute; empty: TCP
  std::string host;       ///< a loopback address
  uint16_t port = 0;
  /// As gRPC takes it: "unix:/run/x.sock", "127.0.0.1:5000".
  std::string grpc() const;
};

/// "unix:///run/podwire/podwire.sock" or "tcp:127.0.0.1:5000".
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

struct UnderlayConfig {
  std::string port;             ///< one of Config::ports
  InterfaceAddress address;     ///< IPv4; empty: none
  IpAddress gateway;            ///< empty: none
  uint16_t mtu = 0;             ///< 0: the port's
  InterfaceAddress address6{};  ///< IPv6; empty: none
  IpAddress gateway6{};         ///< may be link-local
  /// The kernel keeps the port's interface and has the addresses. None here: its own, found at start.
  bool shared = false;
  /// Neighbours whose MAC is fixed: nobody asks for them and no answer changes them.
  std::vector<std::pair<IpAddress, MacAddr>> neighbors{};
};

struct WorkerConfig {
  unsigned cpu = 0;
  WorkerMode mode = WorkerMode::kAdaptive;
  bool operator==(const WorkerConfig&) const = default;
};

/// Where verdicts on new connections go that a namespace wants logged (its annotation).
struct PolicyLogConfig {
  std::string file = "policy.log";  ///< in the state directory
  uint32_t max_mb = 16;             ///< of one file, before the next is begun
  uint32_t files = 4;               ///< in all; the oldest goes
};

/// What NICs may do by rules of their own.
struct OffloadConfig {
  std::string mode = "off";  ///< off, drop, auto
  uint32_t rules = 1024;     ///< of all ports
  uint32_t install_pps = 10000, keep_pps = 1000;
  uint32_t hold_seconds = 10;
  bool enabled() const { return mode != "off"; }
};

/// podwired's configuration file (docs/configuration.md).
struct Config {
  std::string node;
  std::string state_dir = "/var/lib/podwire";
  ListenAddress listen{.unix_path = "/run/podwire/podwire.sock"};
  std::vector<WorkerConfig> workers{{.cpu = 1}};  ///< lcores.workers
  uint16_t max_workers = 0;                       ///< 0: as many as CPUs, 16 at most
  unsigned control_lcore = 0;
  uint32_t memory_mb = 512;
  std::string hugepages = "auto";  ///< auto, on, off
  uint32_t connections = 262144;
  uint32_t embryonic_connections = 0;  ///< 0: a quarter of `connections`
  Timeouts timeouts;
  std::vector<PortConfig> ports;
  std::optional<UnderlayConfig> underlay;
  std::vector<SriovPool> sriov;
  std::optional<NetConf> network;  ///< an applied kube-flannel-cfg overrides it
  MacAddr gateway_mac;             ///< that pods see as their gateway's; empty: made from the node's name
  std::string host_interface;      ///< the node's own way into the pods' network; empty: none
  std::string log_level = "info";
  PolicyLogConfig policy_log;
  OffloadConfig offload;
};

/// InvalidArgument begins with the path of the key ("ports[1].kind: ...") and says what was expected.
absl::StatusOr<Config> ParseConfig(std::string_view text);
/// The same of a file, whose name then comes first.
absl::StatusOr<Config> LoadConfig(const std::string& file);

/// A netdev whose interface stays the kernel's.
bool IsShared(const PortConfig& port);
/// A port that carries pods: a tap of that option, or the switch's function of an sriov pool.
bool IsTrunk(const PortConfig& port);
/// That of the underlay's port; empty unless it is one.
std::string SharedInterface(const Config& config);
/// Whether this can be a node's address on the underlay; InvalidArgument says why not.
absl::Status CheckUnderlayAddress(const InterfaceAddress& address);

/// A string that is the MAC address of one station, not of a group and not all zero.
absl::StatusOr<MacAddr> ReadUnicastMac(const nlohmann::json& value);

/// One item of `ports`; `path` is its own, for messages.
absl::StatusOr<PortConfig> ParsePort(const nlohmann::json& value, const std::string& path);
/// The kind-specific keys as ParsePort takes them, as text: {"interface": "eth1"}.
std::vector<std::pair<std::string, std::string>> PortOptions(const PortConfig& port);
/// The opposite, from text ("queues": "2"); messages name `options.KEY`.
absl::StatusOr<PortConfig> ParsePortOptions(const std::string& name, const std::string& kind, uint16_t mtu,
                                            const std::vector<std::pair<std::string, std::string>>& options);

}  // namespace podwire
