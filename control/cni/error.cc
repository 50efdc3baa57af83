#include "control/cni/error.h"

#include <optional>
#include <utility>

#include <absl/strings/cord.h>

#include "net/status.h"

namespace podwire::cni {
namespace {

constexpr char kCodeUrl[] = "podwire/cni-code";
constexpr char kDetailsUrl[] = "podwire/cni-details";

std::optional<std::string> Payload(const absl::Status& status, const char* url) {
  const auto cord = status.GetPayload(url);
  if (!cord.has_value()) return std::nullopt;
  return std::string(*cord);
}

}  // namespace

absl::Status Failure(int code, std::string msg, std::string details) {
  absl::Status status(absl::StatusCode::kUnknown, msg);
  status.SetPayload(kCodeUrl, absl::Cord(std::to_string(code)));
  if (!details.empty()) status.SetPayload(kDetailsUrl, absl::Cord(details));
  return status;
}

absl::Status Failure(Code code, std::string msg, std::string details) {
  return Failure(static_cast<int>(code), std::move(msg), std::move(details));
}

int CodeOf(const absl::Status& status) {
  const auto code = Payload(status, kCodeUrl);
  return code.has_value() ? std::stoi(*code) : static_cast<int>(Code::kRefused);
}

nlohmann::ordered_json ErrorJson(const std::string& cni_version, const absl::Status& status) {
  nlohmann::ordered_json json{
      {"cniVersion", cni_version}, {"code", CodeOf(status)}, {"msg", Message(status)}};
  if (auto details = Payload(status, kDetailsUrl)) json["details"] = *std::move(details);
  return json;
}

std::string Dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace podwire::cni
