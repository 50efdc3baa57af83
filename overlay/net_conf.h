#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json_fwd.hpp>

#include "net/address.h"
#include "net/id.h"

namespace podwire {

enum class BackendType : uint8_t { kVxlan, kHostGw, kUdp };
std::string_view ToString(BackendType type);  ///< as net-conf.json spells it: vxlan, host-gw, udp

/// How one family's network is cut into the nodes' subnets.
struct SubnetLayout {
  IpPrefix network;
  uint8_t subnet_length = 24;
  IpAddress subnet_min, subnet_max;  ///< first and last subnet given out

  auto operator<=>(const SubnetLayout&) const = default;
};

/// flannel's net-conf.json with its defaults filled in.
struct NetConf {
  std::optional<SubnetLayout> v4;  ///< Network, SubnetLen, SubnetMin, SubnetMax
  std::optional<SubnetLayout> v6;  ///< IPv6Network...; only with EnableIPv6
  BackendType backend = BackendType::kUdp;
  Vni vni{1};                             ///< vxlan only, else the default
  uint16_t port = 8472;                   ///< UDP destination of tunnel packets, host order; not host-gw
  bool direct_routing = false;            ///< vxlan only, else false
  uint16_t mtu = 0;                       ///< Backend.MTU; 0: from the underlay
  std::vector<std::string> unknown_keys;  ///< ignored, as flannel's reader does

  bool operator==(const NetConf&) const = default;
};

/// Reads net-conf.json by flannel's rules: keys match whatever their case, later ones win; SubnetLen,
/// SubnetMin and SubnetMax have flannel's defaults and bounds. InvalidArgument names the field and what it
/// should be.
absl::StatusOr<NetConf> ParseNetConf(const nlohmann::json& document);
absl::StatusOr<NetConf> ParseNetConfText(std::string_view text);

/// The net-conf of a v1 ConfigMap kube-flannel-cfg: data["net-conf.json"]. Errors begin with the field's path
/// there.
absl::StatusOr<NetConf> ParseNetConfConfigMap(const nlohmann::json& config_map);

/// As net-conf.json, one line, defaults written out.
std::string ToString(const NetConf& conf);

}  // namespace podwire
