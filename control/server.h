#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "control/config.h"
#include "control/services.h"

namespace podwire {

/// The gRPC server: podwire's services, health and reflection.
class Server {
 public:
  /// Serves at `listen`. A UNIX socket has mode 0600 from its first moment; a stale one is replaced, one that
  /// a daemon answers at is FailedPrecondition.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ListenAddress& listen, Daemon& d);
  ~Server();
  /// Accepts no more; waits so long for calls that run, then cancels them.
  void Stop(std::chrono::milliseconds patience);

 private:
  explicit Server(EventFeed& events);
  EventFeed& events_;  // whose watchers' calls would not end by themselves
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::string socket_;  // to be removed
};

}  // namespace podwire
