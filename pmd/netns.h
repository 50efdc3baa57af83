#pragma once

#include <string>

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "pmd/fd.h"

namespace podwire {

/// An open network namespace: it lives at least as long as this does.
class NetnsFd {
 public:
  explicit NetnsFd(Fd fd) : fd_(std::move(fd)) {}
  int get() const { return fd_.get(); }

 private:
  Fd fd_;
};

/// Opens a network namespace by its path (/run/netns/NAME, /proc/PID/ns/net); empty: this process's own.
/// NotFound when there is no such file, InvalidArgument when it is not a network namespace.
absl::StatusOr<NetnsFd> OpenNetns(const std::string& path);

/// Runs `fn` inside the namespace, on a helper thread that ends with it; the calling thread waits and stays
/// in its own. Sockets and /proc/sys/net opened by `fn` are the namespace's. Control thread only.
absl::Status RunInNetns(const NetnsFd& netns, absl::FunctionRef<absl::Status()> fn);

/// OpenNetns and RunInNetns in one; an empty path runs `fn` right here.
absl::Status RunInNetns(const std::string& path, absl::FunctionRef<absl::Status()> fn);

}  // namespace podwire
