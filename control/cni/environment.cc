#include "control/cni/environment.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include <fmt/format.h>

#include "control/cni/error.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

constexpr std::array<std::pair<std::string_view, Command>, 6> kCommands{{
    {"ADD", Command::kAdd},
    {"DEL", Command::kDel},
    {"CHECK", Command::kCheck},
    {"GC", Command::kGc},
    {"STATUS", Command::kStatus},
    {"VERSION", Command::kVersion},
}};

constexpr size_t kIfNameSize = 16;  // IFNAMSIZ, the final zero included

bool IsInterfaceName(std::string_view name) {
  if (name.empty() || name.size() >= kIfNameSize || name == "." || name == "..") return false;
  return std::ranges::none_of(name, [](unsigned char c) { return c == '/' || c == ':' || std::isspace(c); });
}

absl::StatusOr<Command> ParseCommand(const char* text) {
  if (text == nullptr || *text == '\0') {
    return Failure(Code::kInvalidEnvironment, "CNI_COMMAND is not set",
                   "podwire-cni is run by a container runtime; set CNI_COMMAND to ADD, DEL, CHECK, GC, "
                   "STATUS or VERSION");
  }
  for (const auto& [name, command] : kCommands) {
    if (name == text) return command;
  }
  return Failure(
      Code::kInvalidEnvironment,
      fmt::format("CNI_COMMAND: unknown command \"{}\"; known are ADD, DEL, CHECK, GC, STATUS, VERSION",
                  text));
}

void TakeArgument(std::string_view key, std::string_view value, Environment& env) {
  if (key == "K8S_POD_NAMESPACE") env.pod_namespace = value;
  if (key == "K8S_POD_NAME") env.pod_name = value;
  if (key == "K8S_POD_UID") env.pod_uid = value;
}

/// "K=V;K=V" in any order. Keys that we do not know are the runtime's or another plugin's, with or without
/// IgnoreUnknown.
absl::Status ParseArguments(std::string_view args, Environment& env) {
  while (!args.empty()) {
    const auto end = std::min(args.find(';'), args.size());
    const std::string_view pair = args.substr(0, end);
    args.remove_prefix(std::min(end + 1, args.size()));
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return Failure(Code::kInvalidEnvironment,
                     fmt::format("CNI_ARGS: \"{}\" is not KEY=VALUE; pairs are separated by ';'", pair));
    }
    TakeArgument(pair.substr(0, equals), pair.substr(equals + 1), env);
  }
  return absl::OkStatus();
}

absl::Status CheckVariables(const Environment& env) {
  const bool netns_needed = env.command == Command::kAdd || env.command == Command::kCheck;
  std::string missing;
  const auto need = [&](const std::string& value, std::string_view name) {
    if (value.empty()) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", name);
  };
  need(env.container_id, "CNI_CONTAINERID");
  need(env.ifname, "CNI_IFNAME");
  if (netns_needed) need(env.netns, "CNI_NETNS");
  if (!missing.empty()) {
    return Failure(
        Code::kInvalidEnvironment,
        fmt::format("{} needs environment variables that are not set: {}", ToString(env.command), missing));
  }
  if (!IsIdentifier(env.container_id)) {
    return Failure(
        Code::kInvalidEnvironment,
        fmt::format("CNI_CONTAINERID: \"{}\" is not an identifier (letters, digits, '_', '.', '-')",
                    env.container_id));
  }
  if (!IsInterfaceName(env.ifname)) {
    return Failure(
        Code::kInvalidEnvironment,
        fmt::format("CNI_IFNAME: \"{}\" is not an interface name (1 to 15 characters without '/', ':' or "
                    "space)",
                    env.ifname));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view ToString(Command command) {
  for (const auto& [name, value] : kCommands) {
    if (value == command) return name;
  }
  return "?";
}

bool IsIdentifier(std::string_view text) {
  if (text.empty() || !std::isalnum(static_cast<unsigned char>(text[0]))) return false;
  return std::ranges::all_of(
      text, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

absl::StatusOr<Environment> ReadEnvironment(const GetEnv& get) {
  Environment env;
  ASSIGN_OR_RETURN(env.command, ParseCommand(get("CNI_COMMAND")));
  const auto read = [&](const char* name) {
    const char* value = get(name);
    return std::string(value == nullptr ? "" : value);
  };
  env.container_id = read("CNI_CONTAINERID");
  env.netns = read("CNI_NETNS");
  env.ifname = read("CNI_IFNAME");
  env.path = read("CNI_PATH");
  // What the other commands are given here is empty (STATUS, GC) or made up (podman's VERSION): not looked
  // at.
  if (env.command == Command::kAdd || env.command == Command::kDel || env.command == Command::kCheck) {
    RETURN_IF_ERROR(CheckVariables(env));
    RETURN_IF_ERROR(ParseArguments(read("CNI_ARGS"), env));
  }
  return env;
}

}  // namespace podwire::cni
