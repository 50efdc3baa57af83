#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace podwire::cni {

enum class Command { kAdd, kDel, kCheck, kGc, kStatus, kVersion };

/// What the runtime passes beside the configuration: the CNI_* variables.
struct Environment {
  Command command = Command::kVersion;
  std::string container_id;
  std::string netns;  // path; empty for GC and STATUS, possibly for DEL
  std::string ifname;
  std::string path;  // directories of plugins, separated by ':'
  // Of CNI_ARGS; empty when the runtime does not say.
  std::string pod_namespace;
  std::string pod_name;
  std::string pod_uid;
};

/// getenv, or a test's table. nullptr: not set.
using GetEnv = std::function<const char*(const char* name)>;

/// Reads and checks the variables that the command needs. Errors: code 4, naming the variable.
absl::StatusOr<Environment> ReadEnvironment(const GetEnv& get);

/// "ADD" and so on.
std::string_view ToString(Command command);

/// The specification's rule: alphanumeric first, then alphanumerics, '_', '.', '-'.
bool IsIdentifier(std::string_view text);

}  // namespace podwire::cni
