#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "pmd/fd.h"

namespace podwire {

/// The state directory, made if it is missing (mode 0700), locked for this process as long as this lives. The
/// lock is the kernel's: a kill -9 releases it.
class StateDir {
 public:
  /// FailedPrecondition when another podwired holds it; the message names the directory and that process.
  static absl::StatusOr<StateDir> Lock(const std::string& path);
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  StateDir(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  Fd lock_;
};

}  // namespace podwire
