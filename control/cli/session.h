#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "control/cli/table.h"

namespace podwire::cli {

/// Exit statuses of podwire; scripts rely on them.
enum class Exit : int { kOk = 0, kRefused = 1, kUsage = 2, kUnreachable = 3 };

/// What stands before the command.
struct Options {
  std::string server = "unix:///run/podwire/podwire.sock";
  Format format = Format::kTable;
  double timeout_seconds = 10;
};

/// The connection to podwired, made at the first call.
class Session {
 public:
  explicit Session(const Options& options) : options_(options) {}

  /// One request, one response. Errors: podwired's own, or Unavailable when it is not reachable.
  template <class Service, class Request, class Response>
  absl::Status Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response, std::string* details = nullptr) {
    return Guard([&](grpc::ClientContext& context) {
      const auto stub = Service::NewStub(channel_);
      const grpc::Status status = ((*stub).*method)(&context, request, response);
      if (details != nullptr) *details = status.error_details();
      return status;
    });
  }

  /// One request, all of the stream.
  template <class Service, class Request, class Item>
  absl::StatusOr<std::vector<Item>> List(std::unique_ptr<grpc::ClientReader<Item>> (Service::Stub::*method)(
                                             grpc::ClientContext*, const Request&),
                                         const Request& request) {
    std::vector<Item> items;
    const absl::Status status = Guard([&](grpc::ClientContext& context) {
      const auto stub = Service::NewStub(channel_);
      const auto reader = ((*stub).*method)(&context, request);
      for (Item item; reader->Read(&item);) items.push_back(std::move(item));
      return reader->Finish();
    });
    if (!status.ok()) return status;
    return items;
  }

  const Options& options() const { return options_; }

 private:
  absl::Status Guard(const std::function<grpc::Status(grpc::ClientContext&)>& call);

  const Options& options_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace podwire::cli
