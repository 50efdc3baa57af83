#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "control/cni/config.h"
#include "control/cni/environment.h"
#include "endpoints.grpc.pb.h"

namespace podwire::cni {

/// podwired's side of the plugin: each call is one request; errors carry CNI codes (control/cni/error.h).
class SwitchClient {
 public:
  /// Waits 2.5 s for podwired. Failing that, code 11 (try again later), or code 50 for STATUS.
  static absl::StatusOr<SwitchClient> Create(const NetConf& conf, Command command);

  /// `request.key` is attached when this returns. If it is not known whether podwired did it, it is undone.
  absl::StatusOr<v1::Endpoint> Attach(const v1::AttachRequest& request);
  /// Something unknown is no error.
  absl::Status Detach(const AttachmentId& id);
  /// Verifies `env`'s attachment; `addresses` are those it should have (CIDR).
  absl::Status Check(const Environment& env, const std::vector<std::string>& addresses);
  /// What podwired knows about `env`'s attachment; code 3 if nothing.
  absl::StatusOr<v1::Endpoint> Get(const Environment& env);
  /// Detaches all attachments of the network but the valid ones; returns those it detached.
  absl::StatusOr<std::vector<AttachmentId>> Collect(const std::string& network,
                                                    const std::vector<AttachmentId>& valid);
  /// OK if ADD can be served; code 50 if not.
  absl::Status Ready();

 private:
  explicit SwitchClient(std::unique_ptr<v1::Endpoints::Stub> stub) : stub_(std::move(stub)) {}
  std::unique_ptr<v1::Endpoints::Stub> stub_;
};

}  // namespace podwire::cni
