#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "acl/model.h"
#include "net/address.h"

namespace podwire {

/// What CNI calls an attachment: a container and the name of its interface.
struct AttachmentKey {
  std::string container_id;
  std::string ifname;
  auto operator<=>(const AttachmentKey&) const = default;
};
/// "CONTAINER/IFNAME", the container cut to 12 characters as people know it from their runtimes.
std::string ToString(const AttachmentKey& key);

/// A route of a pod besides the default one.
struct PodRoute {
  IpPrefix dst;
  IpAddress via;  ///< empty: the gateway
  bool operator==(const PodRoute&) const = default;
};

enum class AttachState : uint8_t {
  kAdding,    ///< recorded, not answered: rolled back at the next start
  kUp,        ///< answered with success
  kDeleting,  ///< being removed: removed at the next start
};

/// What outlives podwired of a pod's attachment.
struct Attachment {
  AttachmentKey key;
  AttachState state = AttachState::kAdding;
  std::string netns;
  std::string network;  ///< the CNI configuration's name
  ObjectKey pod;
  std::string pod_uid;
  bool vhost_user = false;  ///< else a tap
  std::string port;         ///< the switch's port name
  MacAddr mac;              ///< of the pod's end
  MacAddr gateway_mac;
  std::vector<InterfaceAddress> addresses;  ///< with the node subnet's prefix length
  std::vector<IpAddress> gateways;          ///< one a family
  std::vector<PodRoute> routes;
  uint16_t mtu = 1500;
  bool delegated_ipam = false;
  std::string socket;  ///< vhost-user
  bool operator==(const Attachment&) const = default;
};

/// As stored: one line of JSON, the key and the state apart.
std::string ToJson(const Attachment& a);
absl::StatusOr<Attachment> AttachmentFromJson(const std::string& text);

}  // namespace podwire
