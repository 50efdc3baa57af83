#include "tests/control/fake_podwired.h"

#include <cstdlib>
#include <filesystem>
#include <thread>

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include "control/cni/subprocess.h"

namespace podwire {
namespace {

bool Same(const v1::AttachmentKey& a, const v1::AttachmentKey& b) {
  return a.container_id() == b.container_id() && a.ifname() == b.ifname();
}

template <class Item>
grpc::Status Stream(const FakeState& state, const std::vector<Item>& items,
                    grpc::ServerWriter<Item>* writer) {
  if (!state.fault.ok()) return state.fault;
  for (const Item& item : items) writer->Write(item);
  return grpc::Status::OK;
}

template <class Message>
grpc::Status Answer(const FakeState& state, const Message& message, Message* response) {
  if (state.fault.ok()) *response = message;
  return state.fault;
}

struct ObjectsService : v1::Objects::Service {
  explicit ObjectsService(FakeState& s) : state(s) {}
  grpc::Status Apply(grpc::ServerContext*, const v1::ApplyRequest* request,
                     v1::ApplyResponse* response) override {
    state.apply = *request;
    return Answer(state, state.apply_response, response);
  }
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                      v1::DeleteResponse* response) override {
    state.deletion = *request;
    return Answer(state, state.delete_response, response);
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListObjectsRequest* request,
                    grpc::ServerWriter<v1::Object>* writer) override {
    if (!state.fault.ok()) return state.fault;
    bool found = false;
    for (const auto& object : state.objects) {
      if (object.kind() != request->kind()) continue;
      if (!request->namespace_().empty() && object.namespace_() != request->namespace_()) continue;
      if (!request->name().empty() && object.name() != request->name()) continue;
      writer->Write(object);
      found = true;
    }
    if (found || request->name().empty()) return grpc::Status::OK;
    return {grpc::StatusCode::NOT_FOUND, request->kind() + " " + request->name() + " not found"};
  }
  FakeState& state;
};

struct EndpointsService : v1::Endpoints::Service {
  explicit EndpointsService(FakeState& s) : state(s) {}
  grpc::Status Attach(grpc::ServerContext*, const v1::AttachRequest* request,
                      v1::AttachResponse* response) override {
    state.calls.emplace_back("Attach");
    state.attach = *request;
    if (!state.fault.ok()) return state.fault;
    for (const auto& endpoint : state.endpoints) {
      if (Same(endpoint.key(), request->key())) return {grpc::StatusCode::ALREADY_EXISTS, "already attached"};
    }
    v1::Endpoint endpoint;
    *endpoint.mutable_key() = request->key();
    endpoint.set_netns(request->netns());
    endpoint.set_network(request->network());
    endpoint.set_pod_namespace(request->pod_namespace());
    endpoint.set_pod_name(request->pod_name());
    endpoint.set_mac("0a:58:0a:f4:01:07");
    endpoint.set_mtu(request->mtu() == 0 ? 1450 : request->mtu());
    *endpoint.mutable_addresses() = request->addresses();
    if (request->addresses().empty()) endpoint.add_addresses("10.244.1.7/24");
    endpoint.add_gateways("10.244.1.1");
    endpoint.add_gateways("fd77::1");
    *endpoint.mutable_routes() = request->routes();
    if (request->attach() == "vhost-user") endpoint.set_socket("/run/podwire/vhost/c1.sock");
    state.endpoints.push_back(endpoint);
    *response->mutable_endpoint() = endpoint;
    return grpc::Status::OK;
  }
  grpc::Status Detach(grpc::ServerContext*, const v1::DetachRequest* request,
                      v1::DetachResponse* response) override {
    state.calls.push_back("Detach " + request->key().container_id() + "/" + request->key().ifname());
    const auto removed =
        std::erase_if(state.endpoints, [&](const v1::Endpoint& e) { return Same(e.key(), request->key()); });
    response->set_existed(removed > 0);
    return grpc::Status::OK;
  }
  grpc::Status Check(grpc::ServerContext*, const v1::CheckRequest* request, v1::CheckResponse*) override {
    state.check = *request;
    return state.fault;
  }
  grpc::Status Collect(grpc::ServerContext*, const v1::CollectRequest* request,
                       v1::CollectResponse* response) override {
    state.calls.emplace_back("Collect");
    state.collect = *request;
    if (!state.fault.ok()) return state.fault;
    std::erase_if(state.endpoints, [&](const v1::Endpoint& endpoint) {
      for (const auto& key : request->valid()) {
        if (Same(key, endpoint.key())) return false;
      }
      *response->add_collected() = endpoint.key();
      return true;
    });
    return grpc::Status::OK;
  }
  grpc::Status Ready(grpc::ServerContext*, const v1::ReadyRequest*, v1::ReadyResponse*) override {
    return state.fault;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListEndpointsRequest* request,
                    grpc::ServerWriter<v1::Endpoint>* writer) override {
    std::vector<v1::Endpoint> wanted = state.endpoints;
    std::erase_if(wanted, [&](const v1::Endpoint& e) {
      return (!request->pod_namespace().empty() && e.pod_namespace() != request->pod_namespace()) ||
             (!request->pod_name().empty() && e.pod_name() != request->pod_name());
    });
    return Stream(state, wanted, writer);
  }
  FakeState& state;
};

struct PortsService : v1::Ports::Service {
  explicit PortsService(FakeState& s) : state(s) {}
  grpc::Status Add(grpc::ServerContext*, const v1::AddPortRequest* request,
                   v1::AddPortResponse* response) override {
    state.added_port = request->port();
    *response->mutable_port() = request->port();
    return state.fault;
  }
  grpc::Status Remove(grpc::ServerContext*, const v1::RemovePortRequest* request,
                      v1::RemovePortResponse*) override {
    state.removed_port = request->name();
    return state.fault;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListPortsRequest*,
                    grpc::ServerWriter<v1::Port>* writer) override {
    return Stream(state, state.ports, writer);
  }
  grpc::Status ListDevices(grpc::ServerContext*, const v1::ListDevicesRequest*,
                           grpc::ServerWriter<v1::Device>* writer) override {
    return Stream(state, state.devices, writer);
  }
  FakeState& state;
};

struct FlowsService : v1::Flows::Service {
  explicit FlowsService(FakeState& s) : state(s) {}
  grpc::Status ListFlows(grpc::ServerContext*, const v1::FlowFilter* filter,
                         grpc::ServerWriter<v1::Flow>* writer) override {
    state.filter = *filter;
    return Stream(state, state.flows, writer);
  }
  grpc::Status ListConnections(grpc::ServerContext*, const v1::FlowFilter* filter,
                               grpc::ServerWriter<v1::Connection>* writer) override {
    state.filter = *filter;
    return Stream(state, state.connections, writer);
  }
  FakeState& state;
};

struct InspectService : v1::Inspect::Service {
  explicit InspectService(FakeState& s) : state(s) {}
  grpc::Status GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status* response) override {
    return Answer(state, state.status, response);
  }
  grpc::Status ListRoutes(grpc::ServerContext*, const v1::RoutesRequest*,
                          grpc::ServerWriter<v1::RouteEntry>* writer) override {
    return Stream(state, state.routes, writer);
  }
  grpc::Status GetCounters(grpc::ServerContext*, const v1::CountersRequest*,
                           v1::Counters* response) override {
    return Answer(state, state.counters, response);
  }
  grpc::Status GetDrops(grpc::ServerContext*, const v1::DropsRequest*, v1::Drops* response) override {
    return Answer(state, state.drops, response);
  }
  grpc::Status WatchDrops(grpc::ServerContext* context, const v1::WatchDropsRequest* request,
                          grpc::ServerWriter<v1::DropRecord>* writer) override {
    state.drop_filter = *request;
    const grpc::Status status = Stream(state, state.drop_records, writer);
    while (status.ok() && state.watch_goes_on && !context->IsCancelled())
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return status;
  }
  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::Explanation* response) override {
    state.explain = *request;
    return Answer(state, state.explanation, response);
  }
  FakeState& state;
};

struct WorkersService : v1::Workers::Service {
  explicit WorkersService(FakeState& s) : state(s) {}
  grpc::Status List(grpc::ServerContext*, const v1::ListWorkersRequest*,
                    grpc::ServerWriter<v1::WorkerStatus>* writer) override {
    return Stream(state, state.workers, writer);
  }
  grpc::Status Add(grpc::ServerContext*, const v1::AddWorkerRequest* request,
                   v1::WorkerStatus* response) override {
    state.added_worker = *request;
    response->set_worker(4);
    response->set_lcore(request->cpu());
    return state.fault;
  }
  grpc::Status Remove(grpc::ServerContext*, const v1::RemoveWorkerRequest* request,
                      v1::RemoveWorkerResponse*) override {
    state.removed_worker = request->worker();
    return state.fault;
  }
  grpc::Status SetMode(grpc::ServerContext*, const v1::SetWorkerModeRequest* request,
                       v1::WorkerStatus* response) override {
    state.worker_mode = *request;
    response->set_worker(request->worker());
    response->set_mode(request->mode());
    return state.fault;
  }
  FakeState& state;
};

}  // namespace

struct FakePodwired::Services {
  explicit Services(FakeState& state)
      : objects(state), endpoints(state), ports(state), flows(state), inspect(state), workers(state) {}
  ObjectsService objects;
  EndpointsService endpoints;
  PortsService ports;
  FlowsService flows;
  InspectService inspect;
  WorkersService workers;
};

FakePodwired::FakePodwired() : services_(std::make_unique<Services>(state)) {
  std::string path = std::filesystem::temp_directory_path() / "podwire-test-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << path;
  directory_ = path;
}

FakePodwired::~FakePodwired() {
  Stop();
  std::filesystem::remove_all(directory_);
}

void FakePodwired::Start() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(server(), grpc::InsecureServerCredentials());
  builder.RegisterService(&services_->objects);
  builder.RegisterService(&services_->endpoints);
  builder.RegisterService(&services_->ports);
  builder.RegisterService(&services_->flows);
  builder.RegisterService(&services_->inspect);
  builder.RegisterService(&services_->workers);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
}

void FakePodwired::Stop() {
  if (server_ != nullptr) server_->Shutdown();
  server_.reset();
}

Outcome RunWith(const std::string& path, const std::vector<std::string>& env, const std::string& input) {
  auto result = cni::RunProgram(path, env, input, std::chrono::seconds(60));
  if (!result.ok()) {
    ADD_FAILURE() << path << ": " << result.status();
    return {-1, ""};
  }
  return {result->exit_status, result->output};
}

Outcome RunScript(const std::string& script, bool with_stderr) {
  return RunWith("/bin/bash", {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
                 (with_stderr ? "exec 2>&1\n" : "exec 2>/dev/null\n") + script + "\n");
}

}  // namespace podwire
