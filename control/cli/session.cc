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

absl::Status Session::Connected() {
  if (channel_ == nullptr) {
    ASSIGN_OR_RETURN(channel_, Connect(options_.server, kPatience));
  }
  return absl::OkStatus();
}

absl::Status Session::Guard(const std::function<grpc::Status(grpc::ClientContext&)>& call) {
  RETURN_IF_ERROR(Connected());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::milliseconds>(
                           std::chrono::duration<double>(options_.timeout_seconds)));
  return ToStatus(call(context), options_);
}

absl::Status Session::GuardWatch(const std::function<grpc::Status(grpc::ClientContext&)>& call) {
  RETURN_IF_ERROR(Connected());
  grpc::ClientContext context;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return absl::OkStatus();
    watching_ = &context;
  }
  const grpc::Status status = call(context);
  const std::lock_guard lock(mutex_);
  watching_ = nullptr;
  return cancelled_ ? absl::OkStatus() : ToStatus(status, options_);
}

void Session::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (watching_ != nullptr) watching_->TryCancel();
}

}  // namespace podwire::cli
