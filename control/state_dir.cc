#include "control/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "net/status.h"

namespace podwire {
namespace {

std::string HolderOf(int fd) {
  char text[32] = {};
  const ssize_t n = pread(fd, text, sizeof text - 1, 0);
  std::string pid(text, n > 0 ? static_cast<size_t>(n) : 0);
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid.empty() ? "another process" : "process " + pid;
}

}  // namespace

absl::StatusOr<StateDir> StateDir::Lock(const std::string& path) {
  std::error_code error;
  const bool created = std::filesystem::create_directories(path, error);
  if (error) return ErrnoError(error.value(), "state directory {}", path);
  if (created && chmod(path.c_str(), 0700) != 0) return ErrnoError(errno, "state directory {}: chmod", path);
  const std::string file = path + "/lock";
  Fd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (fd.get() < 0) return ErrnoError(errno, "state directory: open {}", file);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(errno, "state directory: lock {}", file);
    return Error(
        absl::StatusCode::kFailedPrecondition,
        "state directory {} is in use by {} (a podwired that runs already): stop it or give this one "
        "another stateDir",
        path, HolderOf(fd.get()));
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoError(errno, "state directory: write {}", file);
  }
  return StateDir(path, std::move(fd));
}

}  // namespace podwire
