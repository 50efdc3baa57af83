#pragma once

#include <string>

#include <absl/status/status.h>

namespace podwire {

/// Moves an interface of the calling thread's network namespace into the one at `netns`, where it is called
/// `name` and has `alias`, by which it is known again. It is down there. AlreadyExists: the name is taken
/// there.
absl::Status MoveInterfaceTo(const std::string& netns, const std::string& ifname, const std::string& name,
                             const std::string& alias);

/// Brings the interface with `alias` back from `netns`, whatever it is called there, down, without alias, as
/// `name` (empty, or taken by now: a name that is free). OK when there is none, or no namespace: the kernel
/// itself brings a dead namespace's devices back, which is awaited for `wait_ms`.
absl::Status MoveInterfaceBack(const std::string& netns, const std::string& alias, const std::string& name,
                               unsigned wait_ms);

}  // namespace podwire
