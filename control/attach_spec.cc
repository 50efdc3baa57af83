#include "control/attach_spec.h"

#include <algorithm>
#include <cctype>

#include "control/config.h"
#include "net/status.h"
#include "pmd/pod_interface.h"

namespace podwire {
namespace {

constexpr size_t kLongestKey = 128;
constexpr size_t kLongestName = 253;

/// Kubernetes' names and podman's container names, which go into logs, tables and paths as they are.
absl::Status CheckName(const std::string& field, const std::string& name) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  const bool is_path = name == "." || name == "..";
  if (name.size() <= kLongestName && std::ranges::all_of(name, plain) && !is_path) return absl::OkStatus();
  return InvalidArgument("{}: expected at most {} letters, digits, '-', '_' and '.'", field, kLongestName);
}

}  // namespace

absl::Status CheckSpec(const AttachSpec& s) {
  if (s.key.container_id.empty())
    return InvalidArgument("key.container_id: expected CNI_CONTAINERID, not nothing");
  if (s.key.container_id.size() > kLongestKey)
    return InvalidArgument("key.container_id: longer than {}", kLongestKey);
  RETURN_IF_ERROR(CheckName("key.container_id", s.key.container_id));
  RETURN_IF_ERROR(CheckName("pod_namespace", s.pod.ns));
  RETURN_IF_ERROR(CheckName("pod_name", s.pod.name));
  RETURN_IF_ERROR(CheckName("pod_uid", s.pod_uid));
  RETURN_IF_ERROR(CheckName("network", s.network));
  RETURN_IF_ERROR(Annotate(CheckInterfaceName(s.key.ifname), "key.ifname"));
  if (s.kind == AttachKind::kPort && s.port.empty())
    return InvalidArgument("port: expected a port's name with attach \"port\"");
  if (s.kind != AttachKind::kPort && s.kind != AttachKind::kMacvlan && !s.port.empty())
    return InvalidArgument("port: expected with attach \"port\" or \"macvlan\" only");
  const bool needs_netns = HasInterface(s.kind) || (s.kind == AttachKind::kVf && s.vf.driver.empty());
  if (needs_netns && !s.IsInOwnNamespace() && !s.netns.starts_with('/')) {
    return InvalidArgument("netns: expected the absolute path of a network namespace, not \"{}\"", s.netns);
  }
  if (s.vhost.queues < 1 || s.vhost.queues > kMaxVhostQueues)
    return InvalidArgument("queues: expected 1 to {}, not {}", kMaxVhostQueues, s.vhost.queues);
  if (s.kind != AttachKind::kVhostUser && s.vhost != VhostUserSide())
    return InvalidArgument("queues, vhost_client: expected with attach \"vhost-user\" only");
  if (s.kind != AttachKind::kVf && s.vf != VfRequest())
    return InvalidArgument("resource_name, device_id, vf_driver: expected with attach \"vf\" only");
  if (s.mtu != 0 && s.mtu < kMinMtu) return InvalidArgument("mtu: expected {} to {}", kMinMtu, kMaxMtu);
  return absl::OkStatus();
}

}  // namespace podwire
