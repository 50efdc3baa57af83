#include "pmd/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <thread>

#include "net/status.h"

namespace podwire {

absl::StatusOr<NetnsFd> OpenNetns(const std::string& path) {
  const std::string& shown = path.empty() ? std::string("/proc/thread-self/ns/net") : path;
  // O_NONBLOCK: a FIFO or a device given by mistake must not hold the control thread.
  Fd fd(open(shown.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, "open network namespace {}", shown);
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return InvalidArgument("{} is not a network namespace", shown);
  }
  return NetnsFd(std::move(fd));
}

absl::Status RunInNetns(const NetnsFd& netns, absl::FunctionRef<absl::Status()> fn) {
  absl::Status result;
  std::thread helper([&] {
    result = setns(netns.get(), CLONE_NEWNET) == 0 ? fn() : ErrnoError(errno, "enter network namespace");
  });
  helper.join();
  return result;
}

absl::Status RunInNetns(const std::string& path, absl::FunctionRef<absl::Status()> fn) {
  if (path.empty()) return fn();
  ASSIGN_OR_RETURN(const NetnsFd netns, OpenNetns(path));
  return RunInNetns(netns, fn);
}

}  // namespace podwire
