#pragma once

#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

namespace podwire {

/// XDP programs on an interface of the calling thread's network namespace. Ours is known by its name, so that
/// one which a killed podwired has left is replaced, and nobody else's is.

/// FailedPrecondition: somebody else's is there.
absl::Status CheckXdpProgram(int ifindex, std::string_view own_name);

/// Puts the program in, into the driver if it can, else before the kernel's stack. True: into the driver.
/// FailedPrecondition: somebody else's is there.
absl::StatusOr<bool> AttachXdpProgram(int ifindex, int program_fd, std::string_view own_name);

/// Takes ours out, if it is there.
void DetachXdpProgram(int ifindex, std::string_view own_name);

}  // namespace podwire
