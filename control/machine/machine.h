#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace podwire {

/// An address that the kernel has on an interface.
struct KernelAddress {
  std::string interface;
  IpAddress address;
};

/// What a machine tells of itself: files below a root, and what only the kernel's answers tell. Nothing here
/// changes anything. Tests put their own root and answers in.
struct Machine {
  std::string root;  ///< put before each path; empty: this machine
  std::function<bool(int family)> has_socket_family;
  std::function<std::vector<KernelAddress>()> addresses;
  bool is_root = true;  ///< whoever asks may see everything

  /// The machine that this runs on.
  static Machine Own();

  bool Exists(const std::string& path) const;
  /// The file's text without blanks at its ends; nothing where it cannot be read.
  std::optional<std::string> Read(const std::string& path) const;
  /// The same as a number.
  std::optional<uint64_t> ReadNumber(const std::string& path) const;
  /// Names in a directory, sorted; none where there is no such directory.
  std::vector<std::string> List(const std::string& directory) const;
  /// The last part of what a symbolic link points to; empty: there is none.
  std::string LinkName(const std::string& path) const;
  /// A file that whoever runs this may execute.
  bool IsProgram(const std::string& path) const;
};

/// The members of the kernel's "0-2,5"; what is no such list has none.
std::vector<unsigned> ParseCpuList(std::string_view list);

}  // namespace podwire
