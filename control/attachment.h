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
  kVf,         ///< a virtual function of an SR-IOV NIC; the switch has its frames by a trunk
};
/// "tap", "vhost-user", "port", "macvlan", "vf".
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

/// Of kVf: the virtual function, and what must be known to give it back as it was.
struct VfAttachment {
  std::string resource;    ///< the pool's name
  std::string address;     ///< "0000:03:02.1"
  std::string pf_address;  ///< its physical function's
  std::string pf;          ///< that one's interface
  unsigned number = 0;     ///< which of the PF's
  uint16_t vlan = 0;       ///< its port VLAN, its own on that NIC
  bool vfio = false;       ///< the pod drives it by vfio-pci; else the kernel does, in the pod's namespace
  std::vector<std::string> device_files{};  ///< with vfio: what the pod needs
  std::string former_driver{};
  std::string former_name{};  ///< of its interface
  bool operator==(const VfAttachment&) const = default;
};

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
  std::string trunk;   ///< macvlan, vf: the name of the port that carries it
  VhostUserSide vhost;
  VfAttachment vf;
  bool host = false;  ///< no pod: the node's own network stack
  bool operator==(const Attachment&) const = default;
};

/// The same of an attachment: a VF may be the pod's to drive.
inline bool HasInterface(const Attachment& a) {
  return a.kind == AttachKind::kVf ? !a.vf.vfio : HasInterface(a.kind);
}

/// As stored: one line of JSON, the key and the state apart.
std::string ToJson(const Attachment& a);
absl::StatusOr<Attachment> AttachmentFromJson(const std::string& text);

}  // namespace podwire
