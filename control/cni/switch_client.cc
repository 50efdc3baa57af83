#include "control/cni/switch_client.h"

#include <string_view>

#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "control/client/channel.h"
#include "control/cni/error.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

constexpr std::chrono::milliseconds kPatience{2500};
constexpr std::chrono::seconds kDeadline{60};
constexpr std::chrono::seconds kUndoDeadline{10};

void SetDeadline(grpc::ClientContext& context, std::chrono::seconds after = kDeadline) {
  context.set_deadline(std::chrono::system_clock::now() + after);
}

std::string_view NameOf(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    default:
      return "error";
  }
}

/// Whether podwired may or may not have done what it was asked.
bool IsUncertain(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         status.error_code() == grpc::StatusCode::CANCELLED;
}

Code CodeFor(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
      return Code::kTryAgainLater;
    case grpc::StatusCode::ALREADY_EXISTS:
      return Code::kAlreadyAttached;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Code::kNoAddress;
    case grpc::StatusCode::NOT_FOUND:
      return Code::kUnknownContainer;
    default:
      return Code::kRefused;
  }
}

absl::Status ToFailure(const grpc::Status& status, Code code) {
  return Failure(code, status.error_message(),
                 fmt::format("podwired answered {} ({})", NameOf(status.error_code()),
                             static_cast<int>(status.error_code())));
}

absl::Status ToFailure(const grpc::Status& status) {
  return status.ok() ? absl::OkStatus() : ToFailure(status, CodeFor(status));
}

void Set(v1::AttachmentKey& key, const AttachmentId& id) {
  key.set_container_id(id.container_id);
  key.set_ifname(id.ifname);
}

}  // namespace

absl::StatusOr<SwitchClient> SwitchClient::Create(const NetConf& conf, Command command) {
  auto channel = Connect(conf.server, kPatience);
  if (channel.ok()) return SwitchClient(v1::Endpoints::NewStub(*channel));
  if (channel.status().code() == absl::StatusCode::kInvalidArgument) {
    return Failure(Code::kInvalidConfig, "network configuration: server: " + Message(channel.status()));
  }
  return Failure(command == Command::kStatus ? Code::kNotAvailable : Code::kTryAgainLater,
                 Message(channel.status()));
}

absl::StatusOr<v1::Endpoint> SwitchClient::Attach(const v1::AttachRequest& request) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::AttachResponse response;
  const grpc::Status status = stub_->Attach(&context, request, &response);
  if (status.ok()) return response.endpoint();
  if (IsUncertain(status)) {
    grpc::ClientContext undo;
    SetDeadline(undo, kUndoDeadline);
    v1::DetachRequest detach;
    *detach.mutable_key() = request.key();
    v1::DetachResponse ignored;
    // Best effort: the runtime follows a failed ADD by DEL, which does it for certain.
    (void)stub_->Detach(&undo, detach, &ignored);
  }
  return ToFailure(status);
}

absl::Status SwitchClient::Detach(const AttachmentId& id) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::DetachRequest request;
  Set(*request.mutable_key(), id);
  v1::DetachResponse response;
  const grpc::Status status = stub_->Detach(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return absl::OkStatus();
  return ToFailure(status);
}

absl::Status SwitchClient::Check(const Environment& env, const std::vector<std::string>& addresses) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::CheckRequest request;
  Set(*request.mutable_key(), {env.container_id, env.ifname});
  request.set_netns(env.netns);
  for (const auto& address : addresses) request.add_addresses(address);
  v1::CheckResponse response;
  const grpc::Status status = stub_->Check(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION)
    return ToFailure(status, Code::kCheckFailed);
  return ToFailure(status);
}

absl::StatusOr<v1::Endpoint> SwitchClient::Get(const Environment& env) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ListEndpointsRequest request;
  request.set_pod_namespace(env.pod_namespace);
  request.set_pod_name(env.pod_name);
  const auto reader = stub_->List(&context, request);
  v1::Endpoint endpoint;
  std::optional<v1::Endpoint> found;
  while (reader->Read(&endpoint)) {
    if (endpoint.key().container_id() == env.container_id && endpoint.key().ifname() == env.ifname)
      found = endpoint;
  }
  RETURN_IF_ERROR(ToFailure(reader->Finish()));
  if (found.has_value()) return *std::move(found);
  return Failure(Code::kUnknownContainer,
                 fmt::format("podwired has no attachment of container {} with interface {} for pod {}/{}",
                             env.container_id, env.ifname, env.pod_namespace, env.pod_name));
}

absl::StatusOr<std::vector<AttachmentId>> SwitchClient::Collect(const std::string& network,
                                                                const std::vector<AttachmentId>& valid) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::CollectRequest request;
  request.set_network(network);
  for (const auto& id : valid) Set(*request.add_valid(), id);
  v1::CollectResponse response;
  RETURN_IF_ERROR(ToFailure(stub_->Collect(&context, request, &response)));
  std::vector<AttachmentId> collected;
  for (const auto& key : response.collected()) collected.push_back({key.container_id(), key.ifname()});
  return collected;
}

absl::Status SwitchClient::Ready() {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ReadyResponse response;
  const grpc::Status status = stub_->Ready(&context, v1::ReadyRequest(), &response);
  return status.ok() ? absl::OkStatus() : ToFailure(status, Code::kNotAvailable);
}

}  // namespace podwire::cni
