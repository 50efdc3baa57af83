#include "control/cli/session.h"

#include <chrono>

#include <fmt/format.h>

#include "control/client/channel.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

/// A daemon that is just starting is waited for, no longer than a person notices.
constexpr std::chrono::milliseconds kPatience{400};

absl::Status ToStatus(const grpc::Status& status, const Options& options) {
  if (status.ok()) return absl::OkStatus();
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Error(absl::StatusCode::kDeadlineExceeded,
                 "podwired at {} gave no answer in {} s; a longer --timeout may help", options.server,
                 options.timeout_seconds);
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    return Error(absl::StatusCode::kUnavailable, "podwired at {}: {}", options.server,
                 status.error_message());
  }
  return Error(static_cast<absl::StatusCode>(status.error_code()), "{}", status.error_message());
}

}  // namespace

absl::Status Session::Guard(const std::function<grpc::Status(grpc::ClientContext&)>& call) {
  if (channel_ == nullptr) {
    ASSIGN_OR_RETURN(channel_, Connect(options_.server, kPatience));
  }
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::milliseconds>(
                           std::chrono::duration<double>(options_.timeout_seconds)));
  return ToStatus(call(context), options_);
}

}  // namespace podwire::cli
