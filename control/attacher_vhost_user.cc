// Attacher's part about vhost-user pods' directories.

#include <algorithm>
#include <filesystem>

#include "control/attacher.h"
#include "control/vhost_user_files.h"
#include "net/status.h"

namespace podwire {

/// Strand only. AlreadyExists while the same pod is attached in another container.
absl::Status Attacher::CheckSocketIsFree(const Attachment& a) const {
  for (const auto& [key, other] : controller_.state().desired.attachments()) {
    if (other.record.socket != a.socket) continue;
    return Error(absl::StatusCode::kAlreadyExists,
                 "container {} of the same pod has an interface {}: detach it first", key.container_id,
                 key.ifname);
  }
  return absl::OkStatus();
}

absl::Status Attacher::DescribeVhostUser(const Attachment& a) {
  const std::lock_guard lock(dpdk_mutex_);  // or the directory may go when another interface of the pod does
  return WriteVhostUserFiles(a);
}

/// Whether another attachment's socket is where this one's is. Version 0.1 had all in one directory.
bool Attacher::SharesDirectory(const Attachment& a) const {
  namespace fs = std::filesystem;
  const fs::path directory = fs::path(a.socket).parent_path();
  if (directory == fs::path(controller_.config().state_dir) / "vhost") return true;
  return controller_.Read([&](const ControlState& s) {
    return std::ranges::any_of(s.desired.attachments(), [&](const auto& entry) {
      const auto& [key, other] = entry;
      return key != a.key && !other.record.socket.empty() &&
             fs::path(other.record.socket).parent_path() == directory;
    });
  });
}

}  // namespace podwire
