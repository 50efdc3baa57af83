#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>
#include <grpcpp/channel.h>

namespace podwire {

/// gRPC's name of a server given as "unix:PATH", "unix:///PATH", "/PATH", "HOST:PORT" or "tcp:HOST:PORT".
/// InvalidArgument for anything else.
absl::StatusOr<std::string> ServerTarget(std::string_view server);

/// A channel that is connected. Tries for `patience`; then Unavailable, which names the address, the reason
/// and the cure. A socket that another start of podwired will make is waited for like one that refuses.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(std::string_view server,
                                                       std::chrono::milliseconds patience);

}  // namespace podwire
