#include "control/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "documents.h"
#include "endpoints.grpc.pb.h"
#include "flows.grpc.pb.h"
#include "inspect.grpc.pb.h"
#include "net/status.h"
#include "objects.grpc.pb.h"
#include "pmd/eal.h"
#include "ports.grpc.pb.h"
#include "temp_dir.h"
#include "workers.grpc.pb.h"

namespace podwire {
namespace {

constexpr const char* kPod = R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"far","namespace":"dev"},
    "spec":{"nodeName":"node-b"},"status":{"podIP":"10.244.2.7"}})";

/// The whole daemon but its pods' interfaces: a real switch with one worker, served at a socket.
class ServerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto eal = InitEal({.file_prefix = "podwire-test-" + std::to_string(getpid()),
                              .memory_mb = 96,
                              .hugepages = HugepageUse::kOff,
                              .telemetry = false});
    ASSERT_TRUE(eal.ok()) << Message(eal.status());
    auto pools = MbufPools::Create({.name = "t", .small_count = 2048, .big_count = 64, .cache = 32});
    ASSERT_TRUE(pools.ok()) << Message(pools.status());
    pools_ = pools->release();
  }
  static void TearDownTestSuite() {
    delete pools_;
    ShutdownEal();
  }

  void SetUp() override {
    ASSERT_NE(pools_, nullptr);
    config_.node = "node-a";
    config_.state_dir = dir_.path();
    config_.listen.unix_path = dir_.File("sub/api.sock");
    store_ = *Store::Open(dir_.File("state.db"));
    auto sw =
        Switch::Create({.workers = {{.cpu = 0}}, .max_workers = 2, .max_connections = 1024, .pools = pools_});
    ASSERT_TRUE(sw.ok()) << Message(sw.status());
    switch_ = *std::move(sw);
    controller_ = std::make_unique<Controller>(config_, DesiredState("node-a", std::nullopt),
                                               EngineOf(*switch_), *store_);
    ASSERT_TRUE(controller_->Load().ok());
    attacher_ = std::make_unique<Attacher>(*controller_, PodWiring{.create_port = [](const PortConfig& c) {
      return CreatePort(c, {.pools = *pools_});
    }});
    policy_log_ = std::make_unique<PolicyLog>(PolicyLogConfig(), dir_.path(), "node-a");
    events_ = std::make_unique<EventFeed>(*controller_, EventSourceOf(*switch_), *policy_log_);
    events_->Start();
    daemon_ = std::make_unique<Daemon>(Daemon{.controller = *controller_,
                                              .attacher = *attacher_,
                                              .sw = *switch_,
                                              .events = *events_,
                                              .pools = pools_});
    auto server = Server::Start(config_.listen, *daemon_);
    ASSERT_TRUE(server.ok()) << Message(server.status());
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(config_.listen.grpc(), grpc::InsecureChannelCredentials());
  }
  void TearDown() override {
    server_.reset();
    if (controller_ != nullptr) controller_->ReleasePorts();
  }

  grpc::Status Apply(const std::vector<std::string>& documents, v1::ApplyResponse* response = nullptr) {
    v1::ApplyRequest request;
    for (const std::string& d : documents) request.add_json(d);
    v1::ApplyResponse ignored;
    grpc::ClientContext context;
    return v1::Objects::NewStub(channel_)->Apply(&context, request,
                                                 response == nullptr ? &ignored : response);
  }

  static inline MbufPools* pools_ = nullptr;
  TempDir dir_;
  Config config_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Switch> switch_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Attacher> attacher_;
  std::unique_ptr<PolicyLog> policy_log_;
  std::unique_ptr<EventFeed> events_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(ServerTest, TheSocketIsItsOwnersOnly) {
  struct stat st {};
  ASSERT_EQ(stat(config_.listen.unix_path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  const auto second = Server::Start(config_.listen, *daemon_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(second.status()).find("a daemon answers"), std::string::npos);
  server_.reset();
  EXPECT_NE(stat(config_.listen.unix_path.c_str(), &st), 0) << "removed at the end";
}

TEST_F(ServerTest, AStaleSocketIsReplacedAndAFileIsNot) {
  ListenAddress stale{.unix_path = dir_.File("stale.sock")};
  sockaddr_un address{.sun_family = AF_UNIX};
  stale.unix_path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(fd);
  EXPECT_TRUE(Server::Start(stale, *daemon_).ok());
  const ListenAddress file{.unix_path = dir_.File("file")};
  std::ofstream(file.unix_path) << "x";
  EXPECT_EQ(Server::Start(file, *daemon_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(access(file.unix_path.c_str(), F_OK), 0);
}

TEST_F(ServerTest, ObjectsComeBackAndBadOnesHaveDetails) {
  v1::ApplyResponse applied;
  ASSERT_TRUE(Apply({kNamespace, kPod}, &applied).ok());
  ASSERT_EQ(applied.changes_size(), 2);
  EXPECT_EQ(applied.changes(1).change(), v1::CREATED);
  const grpc::Status bad = Apply({kNamespace, R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"B"}})"});
  EXPECT_EQ(bad.error_code(), grpc::INVALID_ARGUMENT);
  v1::ApplyErrors errors;
  ASSERT_TRUE(errors.ParseFromString(bad.error_details()));
  ASSERT_EQ(errors.errors_size(), 1);
  EXPECT_EQ(errors.errors(0).document(), 1u);
  EXPECT_EQ(errors.errors(0).field(), "metadata.name");

  const std::string name(100'000, 'B');
  const std::vector<std::string> many(
      100, R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name + R"("}})");
  const grpc::Status refused = Apply(many);
  EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT) << "not an answer too long for a client";
  EXPECT_THAT(refused.error_message(), testing::StartsWith("document 1: Pod default/BB"));
  ASSERT_TRUE(errors.ParseFromString(refused.error_details()));
  EXPECT_THAT(errors.errors().rbegin()->message(), testing::EndsWith(" more problems"));

  const auto stub = v1::Objects::NewStub(channel_);
  v1::ListObjectsRequest request;
  request.set_kind("po");
  grpc::ClientContext context;
  const auto reader = stub->List(&context, request);
  v1::Object object;
  ASSERT_TRUE(reader->Read(&object));
  EXPECT_EQ(object.name(), "far");
  EXPECT_FALSE(reader->Read(&object));
  EXPECT_TRUE(reader->Finish().ok());
  request.set_name("nobody");
  grpc::ClientContext missing;
  EXPECT_EQ(stub->List(&missing, request)->Finish().error_code(), grpc::NOT_FOUND);
}

TEST_F(ServerTest, InspectsWithoutPorts) {
  ASSERT_TRUE(Apply({kNamespace, kPod}).ok());
  const auto stub = v1::Inspect::NewStub(channel_);
  v1::Status status;
  grpc::ClientContext c1;
  ASSERT_TRUE(stub->GetStatus(&c1, {}, &status).ok());
  ASSERT_EQ(status.connection_tables_size(), 2);
  uint64_t capacity = 0;
  for (const v1::ConnectionTable& table : status.connection_tables()) {
    EXPECT_EQ(table.embryonic_budget(), 256u) << "a quarter of the connections";
    EXPECT_GE(table.capacity(), 1024u) << "each family has as many as are configured";
    EXPECT_EQ(table.connections(), 0u);
    EXPECT_EQ(table.embryonic(), 0u);
    capacity += table.capacity();
  }
  EXPECT_EQ(status.connection_tables(0).family(), "IPv4");
  EXPECT_EQ(status.connection_tables(1).family(), "IPv6");
  EXPECT_EQ(status.connection_capacity(), capacity) << "the totals are sums, like the connections";
  EXPECT_EQ(status.embryonic_budget(), 512u);
  EXPECT_EQ(status.node(), "node-a");
  EXPECT_EQ(status.workers_size(), 1);
  EXPECT_EQ(status.pods(), 1u);
  EXPECT_EQ(status.network(), "");
  v1::Counters counters;
  grpc::ClientContext c2;
  ASSERT_TRUE(stub->GetCounters(&c2, {}, &counters).ok());
  EXPECT_EQ(counters.received() + counters.generated(),
            counters.sent() + counters.dropped() + counters.consumed() + counters.queued());
  v1::ExplainRequest explain;
  explain.set_from("dev/nobody");
  explain.set_to("dev/far");
  v1::Explanation explanation;
  grpc::ClientContext c3;
  const grpc::Status none = stub->Explain(&c3, explain, &explanation);
  EXPECT_EQ(none.error_code(), grpc::NOT_FOUND);
  EXPECT_NE(none.error_message().find("dev/nobody"), std::string::npos);
  explain.set_from("10.244.9.9");
  grpc::ClientContext c4;
  ASSERT_TRUE(stub->Explain(&c4, explain, &explanation).ok());
  EXPECT_EQ(explanation.verdict(), "denied");
  EXPECT_EQ(explanation.dst(), "10.244.2.7");
  explain.set_protocol("tpc");
  grpc::ClientContext c5;
  EXPECT_EQ(stub->Explain(&c5, explain, &explanation).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(ServerTest, ExplainsManyInTheirOrder) {
  ASSERT_TRUE(Apply({kNamespace, kPod}).ok());
  const auto stub = v1::Inspect::NewStub(channel_);
  v1::ExplainManyRequest request;
  for (const char* from : {"10.244.9.9", "10.244.9.8"}) {
    v1::ExplainRequest& query = *request.add_queries();
    query.set_from(from);
    query.set_to("dev/far");
    query.set_port(80);
  }
  v1::Explanation answer;
  grpc::ClientContext c1;
  const auto reader = stub->ExplainMany(&c1, request);
  ASSERT_TRUE(reader->Read(&answer));
  EXPECT_EQ(answer.src(), "10.244.9.9");
  EXPECT_EQ(answer.verdict(), "denied");
  ASSERT_TRUE(reader->Read(&answer));
  EXPECT_EQ(answer.src(), "10.244.9.8");
  EXPECT_FALSE(reader->Read(&answer));
  EXPECT_TRUE(reader->Finish().ok());

  request.mutable_queries(1)->set_from("dev/nobody");
  grpc::ClientContext c2;
  const auto bad = stub->ExplainMany(&c2, request);
  EXPECT_FALSE(bad->Read(&answer)) << "all or nothing";
  const grpc::Status status = bad->Finish();
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_NE(status.error_message().find("queries[1]: from: there is no pod dev/nobody"), std::string::npos)
      << status.error_message();
}

TEST_F(ServerTest, ExplainsByTheFamilyOfBothEnds) {
  ASSERT_TRUE(
      Apply({kNamespace, R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"far","namespace":"dev"},
      "spec":{"nodeName":"node-b"},"status":{"podIP":"10.244.2.7","podIPs":[{"ip":"10.244.2.7"},{"ip":"fd44::7"}]}})"})
          .ok());
  const auto stub = v1::Inspect::NewStub(channel_);
  const auto explain = [&](const char* from, const char* to, const char* protocol, v1::Explanation& answer) {
    v1::ExplainRequest request;
    request.set_from(from);
    request.set_to(to);
    request.set_protocol(protocol);
    grpc::ClientContext context;
    return stub->Explain(&context, request, &answer);
  };
  v1::Explanation answer;
  ASSERT_TRUE(explain("fd44::9", "dev/far", "icmp", answer).ok());
  EXPECT_EQ(answer.dst(), "fd44::7");
  EXPECT_THAT(answer.summary(), testing::StartsWith("icmpv6 from fd44::9 to fd44::7"));
  ASSERT_TRUE(explain("dev/far", "10.244.9.9", "icmp", answer).ok());
  EXPECT_EQ(answer.src(), "10.244.2.7");
  EXPECT_THAT(answer.summary(), testing::StartsWith("icmp from"));
  const grpc::Status none = explain("fd44::9", "10.244.9.9", "tcp", answer);
  EXPECT_EQ(none.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(none.error_message(), testing::HasSubstr("no address family in common"));
}

TEST_F(ServerTest, PortsAtRunTime) {
  const auto stub = v1::Ports::NewStub(channel_);
  v1::AddPortRequest add;
  add.mutable_port()->set_name("null");
  add.mutable_port()->set_kind("vdev");
  v1::AddPortResponse added;
  grpc::ClientContext c1;
  EXPECT_EQ(stub->Add(&c1, add, &added).error_code(), grpc::INVALID_ARGUMENT) << "devargs are missing";
  (*add.mutable_port()->mutable_options())["devargs"] = "net_ring0";
  grpc::ClientContext c2;
  const grpc::Status ok = stub->Add(&c2, add, &added);
  ASSERT_TRUE(ok.ok()) << ok.error_message();
  EXPECT_EQ(added.port().role(), "none");
  grpc::ClientContext c3;
  EXPECT_EQ(stub->Add(&c3, add, &added).error_code(), grpc::ALREADY_EXISTS);
  v1::RemovePortRequest remove;
  remove.set_name("null");
  v1::RemovePortResponse removed;
  grpc::ClientContext c4;
  EXPECT_TRUE(stub->Remove(&c4, remove, &removed).ok());
  grpc::ClientContext c5;
  EXPECT_EQ(stub->Remove(&c5, remove, &removed).error_code(), grpc::NOT_FOUND);
}

TEST_F(ServerTest, WorkersAtRunTime) {
  const auto stub = v1::Workers::NewStub(channel_);
  const auto list = [&] {
    std::vector<v1::WorkerStatus> workers;
    grpc::ClientContext context;
    const auto reader = stub->List(&context, {});
    for (v1::WorkerStatus w; reader->Read(&w);) workers.push_back(w);
    EXPECT_TRUE(reader->Finish().ok());
    return workers;
  };
  ASSERT_EQ(list().size(), 1u);
  EXPECT_EQ(list()[0].mode(), "adaptive");
  v1::WorkerStatus worker;
  v1::SetWorkerModeRequest mode;
  mode.set_mode("poll");
  grpc::ClientContext c1;
  ASSERT_TRUE(stub->SetMode(&c1, mode, &worker).ok());
  EXPECT_EQ(worker.mode(), "poll");
  mode.set_mode("lazy");
  grpc::ClientContext c2;
  EXPECT_EQ(stub->SetMode(&c2, mode, &worker).error_code(), grpc::INVALID_ARGUMENT);
  v1::AddWorkerRequest add;
  grpc::ClientContext c3;
  EXPECT_EQ(stub->Add(&c3, add, &worker).error_code(), grpc::ALREADY_EXISTS) << "CPU 0 has one";
  add.set_cpu(1000);
  grpc::ClientContext c4;
  EXPECT_EQ(stub->Add(&c4, add, &worker).error_code(), grpc::INVALID_ARGUMENT);
  v1::RemoveWorkerRequest remove;
  v1::RemoveWorkerResponse removed;
  grpc::ClientContext c5;
  EXPECT_EQ(stub->Remove(&c5, remove, &removed).error_code(), grpc::FAILED_PRECONDITION) << "the last";
  remove.set_worker(70000);
  grpc::ClientContext c6;
  EXPECT_EQ(stub->Remove(&c6, remove, &removed).error_code(), grpc::NOT_FOUND);
  if (std::thread::hardware_concurrency() < 2) return;
  add.set_cpu(1);
  add.set_mode("poll");
  grpc::ClientContext c7;
  const grpc::Status ok = stub->Add(&c7, add, &worker);
  ASSERT_TRUE(ok.ok()) << ok.error_message();
  EXPECT_EQ(worker.worker(), 1u);
  EXPECT_EQ(worker.lcore(), 1u);
  EXPECT_EQ(list().size(), 2u);
  remove.set_worker(0);
  grpc::ClientContext c8;
  ASSERT_TRUE(stub->Remove(&c8, remove, &removed).ok());
  ASSERT_EQ(list().size(), 1u);
  EXPECT_EQ(list()[0].worker(), 1u);
}

TEST_F(ServerTest, EndpointsAndFlowsRefuseBadRequests) {
  const auto endpoints = v1::Endpoints::NewStub(channel_);
  v1::ReadyResponse ready;
  grpc::ClientContext c1;
  EXPECT_EQ(endpoints->Ready(&c1, {}, &ready).error_code(), grpc::UNAVAILABLE);
  v1::AttachRequest attach;
  attach.mutable_key()->set_container_id("c1");
  attach.mutable_key()->set_ifname("eth0");
  attach.set_netns("/run/netns/none");
  v1::AttachResponse attached;
  grpc::ClientContext c2;
  EXPECT_EQ(endpoints->Attach(&c2, attach, &attached).error_code(), grpc::FAILED_PRECONDITION);
  attach.add_addresses("10.0.0.1");
  grpc::ClientContext c3;
  EXPECT_NE(endpoints->Attach(&c3, attach, &attached).error_message().find("addresses[0]"),
            std::string::npos);
  attach.clear_addresses();
  attach.set_attach("pigeon");
  grpc::ClientContext c7;
  EXPECT_NE(endpoints->Attach(&c7, attach, &attached)
                .error_message()
                .find("attach: expected tap, vhost-user, port, macvlan or vf"),
            std::string::npos);
  attach.set_attach("port");
  attach.set_port("nic");
  attach.set_mac("ff:ff:ff:ff:ff:ff");
  grpc::ClientContext c8;
  EXPECT_NE(endpoints->Attach(&c8, attach, &attached).error_message().find("mac: "), std::string::npos);
  attach.set_mac("");
  v1::DetachResponse detached;
  v1::DetachRequest detach;
  grpc::ClientContext c4;
  EXPECT_TRUE(endpoints->Detach(&c4, detach, &detached).ok()) << "something unknown is no error";
  EXPECT_FALSE(detached.existed());
  const auto flows = v1::Flows::NewStub(channel_);
  v1::FlowFilter filter;
  grpc::ClientContext c5;
  EXPECT_TRUE(flows->ListConnections(&c5, filter)->Finish().ok());
  filter.set_verdict("maybe");
  grpc::ClientContext c6;
  EXPECT_EQ(flows->ListFlows(&c6, filter)->Finish().error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(ServerTest, DropsAreWatchedUntilTheCallerOrTheServerEnds) {
  const auto stub = v1::Inspect::NewStub(channel_);
  {
    grpc::ClientContext context;
    const auto reader = stub->WatchDrops(&context, v1::WatchDropsRequest());
    reader->WaitForInitialMetadata();
    context.TryCancel();
    v1::DropRecord record;
    EXPECT_FALSE(reader->Read(&record));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  grpc::ClientContext context;
  const auto reader = stub->WatchDrops(&context, v1::WatchDropsRequest());
  reader->WaitForInitialMetadata();
  const auto begin = std::chrono::steady_clock::now();
  server_->Stop(std::chrono::seconds(30));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15))
      << "a watcher does not keep it";
  v1::DropRecord record;
  EXPECT_FALSE(reader->Read(&record));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, AFilterOfDropsThatMakesNoSenseIsNamed) {
  const auto refused = [&](const std::function<void(v1::WatchDropsRequest&)>& edit) {
    v1::WatchDropsRequest request;
    edit(request);
    grpc::ClientContext context;
    const auto reader = v1::Inspect::NewStub(channel_)->WatchDrops(&context, request);
    v1::DropRecord record;
    EXPECT_FALSE(reader->Read(&record));
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(refused([](auto& r) { r.set_reason("none"); }), testing::HasSubstr("reason: "));
  EXPECT_THAT(refused([](auto& r) { r.set_reason("bad luck"); }), testing::HasSubstr("bad luck"));
  EXPECT_THAT(refused([](auto& r) { r.set_address("10.0.0.0/33"); }), testing::HasSubstr("address: "));
  EXPECT_THAT(refused([](auto& r) { r.set_port(65536); }), testing::HasSubstr("port: "));
  EXPECT_THAT(refused([](auto& r) { r.set_protocol("ipx"); }), testing::HasSubstr("protocol: "));
}

}  // namespace
}  // namespace podwire
