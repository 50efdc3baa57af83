#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include "control/attacher.h"
#include "control/controller.h"
#include "control/event_feed.h"
#include "inspect.pb.h"
#include "pmd/mempool.h"
#include "switch/offload_manager.h"
#include "switch/switch.h"

namespace podwire {

/// What the services work on; all of it outlives them.
struct Daemon {
  Controller& controller;
  Attacher& attacher;
  Switch& sw;
  EventFeed& events;
  OffloadManager* offload = nullptr;  ///< nullptr: switched off
  MbufPools* pools = nullptr;         ///< for ports added at run time
  std::string hugepages;              ///< for status
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

/// With `offload`, no rule of it outlives a publication that would not give it again.
Engine EngineOf(Switch& s, OffloadManager* offload = nullptr);

/// One file a service; the API is in proto/podwire/v1.
std::unique_ptr<grpc::Service> MakeObjectsService(Daemon& d);
std::unique_ptr<grpc::Service> MakeEndpointsService(Daemon& d);
std::unique_ptr<grpc::Service> MakePortsService(Daemon& d);
std::unique_ptr<grpc::Service> MakeFlowsService(Daemon& d);
std::unique_ptr<grpc::Service> MakeInspectService(Daemon& d);
std::unique_ptr<grpc::Service> MakeWorkersService(Daemon& d);

/// For Inspect and Workers; of every worker that runs.
std::vector<v1::WorkerStatus> WorkerStatuses(Switch& sw);

/// At most `limit` bytes of a UTF-8 text, then "...".
std::string Shorten(std::string text, size_t limit);

/// The same code (they agree) and the message, cut to what every gRPC client takes.
grpc::Status ToGrpc(const absl::Status& s);

/// "namespace/name" of the endpoint in a slot; empty: none.
std::string PodOf(const Tables& t, EndpointId id);

}  // namespace podwire
