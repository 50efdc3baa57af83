#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "control/attachment.h"
#include "control/vf_pool.h"

namespace podwire {

/// What the CNI plugin, or another client, asks for.
struct AttachSpec {
  AttachmentKey key;
  std::string netns;
  std::string network;
  ObjectKey pod;
  std::string pod_uid;
  AttachKind kind = AttachKind::kTap;
  std::string port;  ///< kPort: its name; kMacvlan: the trunk's, empty: the only one
  VhostUserSide vhost;
  VfRequest vf;
  MacAddr mac;       ///< of the pod's end; empty: made from the key
  uint16_t mtu = 0;  ///< 0: the network's
  /// Of a delegated IPAM plugin; empty: podwired gives one of each family that the network has.
  std::vector<InterfaceAddress> addresses;
  std::vector<PodRoute> routes;
  bool host = false;  ///< the node's own network stack; with `routes` it gets no default route

  /// A host's that names no namespace: the interface is made in podwired's own.
  bool IsInOwnNamespace() const { return host && kind == AttachKind::kTap && netns.empty(); }
};

/// InvalidArgument begins with the field and says what was expected.
absl::Status CheckSpec(const AttachSpec& s);

}  // namespace podwire
