#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json_fwd.hpp>

#include "net/address.h"
#include "net/id.h"
#include "overlay/net_conf.h"

namespace podwire {

inline constexpr std::string_view kFlannelAnnotation = "flannel.alpha.coreos.com/";

/// A cluster node as the overlay sees it.
struct Node {
  std::string name;
  std::vector<IpPrefix> pod_cidrs;  ///< spec.podCIDRs, else spec.podCIDR; may be empty
  IpAddress public_ip;  ///< annotation public-ip-overwrite, public-ip, else status InternalIP; may be empty
  std::string backend_type;  ///< annotation; empty: not said
  MacAddr vtep_mac;          ///< of backend-data; may be empty
  std::optional<Vni> vni;    ///< of backend-data

  bool operator==(const Node&) const = default;
};

/// Reads a v1 Node with flannel's annotations. InvalidArgument names the field's path.
absl::StatusOr<Node> ParseNode(const nlohmann::json& object);

/// What flannel wants to find on our Node object: annotations by name.
std::map<std::string, std::string> OwnAnnotations(const NetConf& conf, const IpAddress& public_ip,
                                                  const MacAddr& vtep_mac);

/// The text of /run/flannel/subnet.env. `subnet` with the gateway's address in it.
std::string SubnetEnv(const NetConf& conf, const InterfaceAddress& subnet, uint16_t pod_mtu);

}  // namespace podwire
