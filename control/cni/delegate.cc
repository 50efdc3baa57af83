#include "control/cni/delegate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "control/cni/error.h"
#include "control/cni/subprocess.h"
#include "control/cni/version.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::seconds kTimeout{30};

std::string FindProgram(const std::string& name, std::string_view path) {
  while (!path.empty()) {
    const auto end = std::min(path.find(':'), path.size());
    const std::string_view directory = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (directory.empty()) continue;
    std::string candidate = fmt::format("{}/{}", directory, name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

/// Ours, with the variables of this call in place of the runtime's.
std::vector<std::string> ChildEnvironment(Command command, const AttachmentId& id, const std::string& netns) {
  const std::array<std::pair<std::string_view, std::string>, 4> ours{{
      {"CNI_COMMAND", std::string(ToString(command))},
      {"CNI_CONTAINERID", id.container_id},
      {"CNI_IFNAME", id.ifname},
      {"CNI_NETNS", netns},
  }};
  std::vector<std::string> env;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string_view name = text.substr(0, text.find('='));
    const bool replaced = std::ranges::any_of(ours, [&](const auto& pair) { return pair.first == name; });
    if (!replaced) env.emplace_back(text);
  }
  for (const auto& [name, value] : ours) env.push_back(fmt::format("{}={}", name, value));
  return env;
}

}  // namespace

absl::StatusOr<Delegate> Delegate::Create(const NetConf& conf, const Environment& env) {
  std::string path = FindProgram(conf.ipam_type, env.path);
  if (path.empty()) {
    return Failure(
        Code::kInvalidConfig,
        fmt::format("network configuration: ipam.type: no plugin \"{}\" in CNI_PATH ({}); install it there, "
                    "or use \"podwire\"",
                    conf.ipam_type, env.path.empty() ? "not set" : env.path));
  }
  Delegate delegate(conf, env, std::move(path));
  RETURN_IF_ERROR(delegate.ChooseVersion());
  return delegate;
}

absl::Status Delegate::ChooseVersion() {
  ASSIGN_OR_RETURN(const std::string output, Run(Command::kVersion, {"dummy", "dummy"}, "dummy",
                                                 Json{{"cniVersion", conf_.cni_version}}.dump()));
  ASSIGN_OR_RETURN(const Json answer, ParseJson(output, fmt::format("answer of {} to VERSION", path_)));
  const Json* supported = Find(answer, "supportedVersions");
  int best = -1;
  if (supported != nullptr && supported->is_array()) {
    for (const Json& version : *supported) {
      const int rank = version.is_string() ? VersionRank(version.get<std::string>()) : -1;
      if (rank <= VersionRank(conf_.cni_version)) best = std::max(best, rank);
    }
  }
  if (best < 0) {
    return Failure(Code::kIncompatibleVersion, "incompatible CNI versions",
                   fmt::format("ipam plugin {} knows no version from {} to {}; it says {}", path_,
                               kVersions.front(), conf_.cni_version, output));
  }
  version_ = kVersions[static_cast<size_t>(best)];
  return absl::OkStatus();
}

/// The configuration in the delegate's version, prevResult converted; one that cannot be read is left out.
std::string Delegate::Input() const {
  Json document = conf_.document;
  Erase(document, "cniVersion");
  Erase(document, "prevResult");
  document["cniVersion"] = version_;
  if (!conf_.prev_result.is_null()) {
    const auto previous = ParseResult(conf_.prev_result, "prevResult");
    if (previous.ok()) document["prevResult"] = ToJson(*previous, version_);
  }
  return document.dump();
}

absl::StatusOr<std::string> Delegate::Run(Command command, const AttachmentId& id, const std::string& netns,
                                          const std::string& input) const {
  auto result = RunProgram(path_, ChildEnvironment(command, id, netns), input, kTimeout);
  if (!result.ok()) {
    return Failure(Code::kDelegateFailed, fmt::format("ipam plugin {}: {}", path_, Message(result.status())));
  }
  if (result->exit_status != 0) return FailureOf(result->exit_status, result->output);
  return std::move(result->output);
}

absl::Status Delegate::FailureOf(int exit_status, const std::string& output) const {
  const auto json = ParseJson(output, "error");
  const Json* code = json.ok() ? Find(*json, "code") : nullptr;
  const Json* msg = json.ok() ? Find(*json, "msg") : nullptr;
  if (code == nullptr || msg == nullptr || !code->is_number_integer() || !msg->is_string()) {
    return Failure(Code::kDelegateFailed,
                   fmt::format("ipam plugin {} failed with exit status {}", path_, exit_status), output);
  }
  const Json* details = Find(*json, "details");
  return Failure(code->get<int>(), fmt::format("ipam {}: {}", conf_.ipam_type, msg->get<std::string>()),
                 details != nullptr && details->is_string() ? details->get<std::string>() : "");
}

absl::StatusOr<Result> Delegate::Add() const {
  ASSIGN_OR_RETURN(const std::string output,
                   Run(Command::kAdd, {env_.container_id, env_.ifname}, env_.netns, Input()));
  const std::string what = fmt::format("result of ipam plugin {}", path_);
  ASSIGN_OR_RETURN(const Json json, ParseJson(output, what));
  ASSIGN_OR_RETURN(Result result, ParseResult(json, what));
  if (result.ips.empty()) return Failure(Code::kDelegateFailed, what + ": no address in it", output);
  return result;
}

absl::Status Delegate::Del(const AttachmentId& id, const std::string& netns) const {
  return Run(Command::kDel, id, netns, Input()).status();
}

absl::Status Delegate::Check() const {
  if (!AtLeast(version_, "0.4.0")) return absl::OkStatus();
  return Run(Command::kCheck, {env_.container_id, env_.ifname}, env_.netns, Input()).status();
}

absl::Status Delegate::Status() const {
  if (!AtLeast(version_, "1.1.0")) return absl::OkStatus();
  return Run(Command::kStatus, {}, "", Input()).status();
}

absl::Status Delegate::CollectGarbage() const {
  if (!AtLeast(version_, "1.1.0")) return absl::OkStatus();
  return Run(Command::kGc, {}, "", Input()).status();
}

}  // namespace podwire::cni
