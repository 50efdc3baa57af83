#include "pmd/netns_identity.h"

#include <cerrno>

#include "net/status.h"

namespace podwire {

absl::StatusOr<NetnsIdentity> NetnsIdentity::Of(const NetnsFd& netns, const std::string& path) {
  struct stat now;
  if (fstat(netns.get(), &now) < 0) return ErrnoError(errno, "stat network namespace {}", path);
  return NetnsIdentity(path, now);
}

bool NetnsIdentity::InUse() const {
  if (path_.empty()) return true;
  struct stat now;
  // What merely cannot be looked at now is not gone.
  if (stat(path_.c_str(), &now) != 0) return errno != ENOENT && errno != ENOTDIR;
  return now.st_dev == device_ && now.st_ino == inode_;
}

}  // namespace podwire
