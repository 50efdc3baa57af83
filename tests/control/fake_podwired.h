#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "endpoints.grpc.pb.h"
#include "flows.grpc.pb.h"
#include "inspect.grpc.pb.h"
#include "objects.grpc.pb.h"
#include "ports.grpc.pb.h"
#include "workers.grpc.pb.h"

namespace grpc {
class Server;
}

namespace podwire {

/// What the fake answers, and what it was asked. Set before, read after a program runs: they never overlap.
struct FakeState {
  std::vector<v1::Object> objects;
  std::vector<v1::Endpoint> endpoints;  // Attach adds, Detach and Collect remove
  std::vector<v1::Port> ports;
  std::vector<v1::Device> devices;
  std::vector<v1::RouteEntry> routes;
  std::vector<v1::Flow> flows;
  std::vector<v1::Connection> connections;
  std::vector<v1::WorkerStatus> workers;
  v1::Status status;
  v1::Counters counters;
  v1::Drops drops;
  std::vector<v1::DropRecord> drop_records;
  bool watch_goes_on = false;  // after these, until the caller ends it
  v1::Explanation explanation;
  v1::ApplyResponse apply_response;
  v1::DeleteResponse delete_response;
  grpc::Status fault;  // of every call but Detach, if not OK

  v1::ApplyRequest apply;
  v1::DeleteRequest deletion;
  v1::FlowFilter filter;
  v1::WatchDropsRequest drop_filter;
  v1::ExplainRequest explain;
  v1::AttachRequest attach;
  v1::CheckRequest check;
  v1::CollectRequest collect;
  v1::Port added_port;
  std::string removed_port;
  v1::AddWorkerRequest added_worker;
  uint32_t removed_worker = 0;
  v1::SetWorkerModeRequest worker_mode;
  std::vector<std::string> calls;  // "Attach", "Detach c1/eth0"
};

/// podwired's API without a switch, in this process, on a socket of its own.
class FakePodwired {
 public:
  FakePodwired();
  ~FakePodwired();
  FakePodwired(const FakePodwired&) = delete;
  FakePodwired& operator=(const FakePodwired&) = delete;

  void Start();
  void Stop();
  const std::string& directory() const { return directory_; }  // a temporary one, removed at the end
  std::string server() const { return "unix://" + directory_ + "/podwire.sock"; }
  FakeState state;

 private:
  struct Services;
  std::string directory_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> server_;
};

struct Outcome {
  int exit_status = 0;
  std::string output;
};

/// Runs a shell script; standard error goes to the output as well if `with_stderr`.
Outcome RunScript(const std::string& script, bool with_stderr = true);
/// Runs a program without arguments.
Outcome RunWith(const std::string& path, const std::vector<std::string>& env, const std::string& input);

}  // namespace podwire
