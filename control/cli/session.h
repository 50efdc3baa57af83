#pragma once

#include <functional>
#include <memory>
#include <mutex>
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

  /// One request, the items of the stream as they come, without a time limit. `began`: podwired has taken the
  /// request. `on_item` returns false to end it; so does Cancel. Both ends are OK.
  template <class Service, class Request, class Item>
  absl::Status Watch(std::unique_ptr<grpc::ClientReader<Item>> (Service::Stub::*method)(grpc::ClientContext*,
                                                                                        const Request&),
                     const Request& request, const std::function<bool()>& began,
                     const std::function<bool(const Item&)>& on_item) {
    return GuardWatch([&](grpc::ClientContext& context) {
      const auto stub = Service::NewStub(channel_);
      const auto reader = ((*stub).*method)(&context, request);
      reader->WaitForInitialMetadata();
      Item item;
      bool goes_on = began();
      while (goes_on && reader->Read(&item)) goes_on = on_item(item);
      if (!goes_on) Cancel();
      return reader->Finish();
    });
  }
  /// Ends a Watch, also one to come. Any thread.
  void Cancel();

  const Options& options() const { return options_; }

 private:
  absl::Status Connected();
  absl::Status Guard(const std::function<grpc::Status(grpc::ClientContext&)>& call);
  absl::Status GuardWatch(const std::function<grpc::Status(grpc::ClientContext&)>& call);

  const Options& options_;
  std::mutex mutex_;                         // what follows
  grpc::ClientContext* watching_ = nullptr;  // a Watch's
  bool cancelled_ = false;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace podwire::cli
