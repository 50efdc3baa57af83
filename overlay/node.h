#pragma once

#include <map>
#include <optional>
#include <span>
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
  /// Annotations public-ip-overwrite, public-ip; public-ipv6-overwrite, public-ipv6; else the first status
  /// InternalIP of the family. May be empty.
  IpAddress public_ip, public_ip6;
  std::string backend_type;     ///< annotation; empty: not said
  MacAddr vtep_mac, vtep_mac6;  ///< of backend-data, backend-v6-data; may be empty
  std::optional<Vni> vni;       ///< of either
  std::map<std::string, std::string, std::less<>> labels;
  std::vector<IpAddress> addresses;  ///< status: InternalIP and ExternalIP

  bool operator==(const Node&) const = default;
};

/// Reads a v1 Node with flannel's annotations. InvalidArgument names the field's path.
absl::StatusOr<Node> ParseNode(const nlohmann::json& object);

/// A node's addresses on the underlay, at most one a family.
struct PublicIps {
  IpAddress v4, v6;
};

/// What flannel wants to find on our Node object: annotations by name. Each family's only if there is an
/// address of it; both families' tunnels end at the same VtepMAC.
std::map<std::string, std::string> OwnAnnotations(const NetConf& conf, const PublicIps& ips,
                                                  const MacAddr& vtep_mac);

/// The text of /run/flannel/subnet.env. `subnets`: at most one a family, each with the gateway's address in
/// it.
std::string SubnetEnv(const NetConf& conf, std::span<const InterfaceAddress> subnets, uint16_t pod_mtu);

}  // namespace podwire
