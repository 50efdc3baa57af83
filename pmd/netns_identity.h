#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>

#include <absl/status/statusor.h>

#include "pmd/netns.h"

namespace podwire {

/// A network namespace as it was when a port came up, to see whether its path still leads there. An open
/// descriptor keeps a namespace alive: that others have let go of it shows in the path only.
class NetnsIdentity {
 public:
  /// That of `netns`, which `path` led to; empty: the process's own, which does not go.
  static absl::StatusOr<NetnsIdentity> Of(const NetnsFd& netns, const std::string& path);

  bool InUse() const;

 private:
  NetnsIdentity(std::string path, const struct stat& now)
      : path_(std::move(path)), device_(now.st_dev), inode_(now.st_ino) {}

  std::string path_;
  dev_t device_;
  ino_t inode_;
};

}  // namespace podwire
