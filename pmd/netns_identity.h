#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>

namespace podwire {

/// A network namespace as it was when a port came up, to see whether its path still leads there. An open
/// descriptor keeps a namespace alive: that others have let go of it shows in the path only.
class NetnsIdentity {
 public:
  /// `path` empty: the process's own, which does not go.
  NetnsIdentity(std::string path, const struct stat& now)
      : path_(std::move(path)), device_(now.st_dev), inode_(now.st_ino) {}

  bool InUse() const {
    if (path_.empty()) return true;
    struct stat now;
    // What merely cannot be looked at now is not gone.
    if (stat(path_.c_str(), &now) != 0) return errno != ENOENT && errno != ENOTDIR;
    return now.st_dev == device_ && now.st_ino == inode_;
  }

 private:
  std::string path_;
  dev_t device_;
  ino_t inode_;
};

}  // namespace podwire
