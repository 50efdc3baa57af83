#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include "control/services.h"
#include "inspect.pb.h"

namespace podwire {

// Inspect's calls about drops.

grpc::Status GetDrops(Daemon& d, const v1::DropsRequest& request, v1::Drops& out);

/// Returns when the caller has gone or podwired ends. InvalidArgument names a field of the filter.
grpc::Status WatchDrops(Daemon& d, grpc::ServerContext& context, const v1::WatchDropsRequest& request,
                        grpc::ServerWriter<v1::DropRecord>& writer);

absl::StatusOr<EventFilter> ParseDropFilter(const v1::WatchDropsRequest& request);
v1::DropRecord ToProto(const NamedEvent& e);

}  // namespace podwire
