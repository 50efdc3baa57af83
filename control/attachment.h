#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
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

/// How the pod is connected.
enum class AttachKind : uint8_t {
  kTap,        ///< an interface of the kernel, made in the pod's namespace
  kVhostUser,  ///< a socket that podwired makes
  kPort,       ///< a port that is there already and stays when the pod goes
  kMacvlan,    ///< an interface of the kernel, a macvlan on a trunk of podwired's
};
/// "tap", "vhost-user", "port", "macvlan".
std::string_view ToString(AttachKind kind);
/// InvalidArgument that lists the kinds when `text` is none.
absl::StatusOr<AttachKind> ParseAttachKind(std::string_view text);

/// Whether the pod gets an interface of the kernel's in its network namespace.
inline bool HasInterface(AttachKind kind) { return kind == AttachKind::kTap || kind == AttachKind::kMacvlan; }

/// Of kVhostUser.
struct VhostUserSide {
  bool client = false;  ///< podwired connects to the pod's socket, and again when it went; else it listens
  uint16_t queues = 1;  ///< queue pairs that the pod may use, up to kMaxVhostQueues
  bool operator==(const VhostUserSide&) const = default;
};
inline constexpr uint16_t kMaxVhostQueues = 16;

/// What outlives podwired of a pod's attachment.
struct Attachment {
  AttachmentKey key;
  AttachState state = AttachState::kAdding;
  std::string netns;
  std::string network;  ///< the CNI configuration's name
  ObjectKey pod;
  std::string pod_uid;
  AttachKind kind = AttachKind::kTap;
  std::string port;  ///< the switch's port name
  MacAddr mac;       ///< of the pod's end
  MacAddr gateway_mac;
  std::vector<InterfaceAddress> addresses;  ///< with the node subnet's prefix length
  std::vector<IpAddress> gateways;          ///< one a family
  std::vector<PodRoute> routes;
  uint16_t mtu = 1500;
  bool delegated_ipam = false;
  std::string socket;  ///< vhost-user
  std::string trunk;   ///< macvlan: the name of the port that carries it
  VhostUserSide vhost;
  bool host = false;  ///< no pod: the node's own network stack
  bool operator==(const Attachment&) const = default;
};

/// As stored: one line of JSON, the key and the state apart.
std::string ToJson(const Attachment& a);
absl::StatusOr<Attachment> AttachmentFromJson(const std::string& text);

}  // namespace podwire
