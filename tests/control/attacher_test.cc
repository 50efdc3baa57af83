#include "control/attacher.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/status.h"
#include "temp_dir.h"
#include "test_node.h"

namespace podwire {
namespace {

class AttacherTest : public testing::Test {
 protected:
  TempDir dir_;
};

TEST_F(AttacherTest, AttachCheckDetach) {
  TestNode node(dir_.path());
  const auto a = node.attacher().Attach(node.Spec("c1"));
  ASSERT_TRUE(a.ok()) << Message(a.status());
  EXPECT_EQ(ToString(a->record.addresses.at(0)), "10.244.1.2/24");
  EXPECT_EQ(ToString(a->record.gateways.at(0)), "10.244.1.1");
  EXPECT_EQ(a->record.mtu, 1500);
  EXPECT_TRUE(node.attacher().Check({"c1", "eth0"}, kNetns, a->record.addresses).ok());
  EXPECT_EQ(node.attacher().Check({"c1", "eth0"}, "/other", {}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(node.attacher().Check({"c1", "eth0"}, "", {*ParseInterfaceAddress("10.9.9.9/24")}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(node.attacher().Check({"c2", "eth0"}, "", {}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(node.attacher().Attach(node.Spec("c1")).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(node.ports.open.size(), 1u) << "the duplicate made no second port";
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_FALSE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_TRUE(node.ports.open.empty());
  EXPECT_EQ(node.ports.destroyed.size(), 1u);
  EXPECT_EQ(node.forgotten, 1);
  EXPECT_EQ(node.attachments(), 0u);
  EXPECT_TRUE(node.store().LoadAttachments()->empty());
  EXPECT_EQ(node.controller().tables()->EndpointOf(*ParseIp("10.244.1.2")), nullptr);
}

TEST_F(AttacherTest, DualStackPodsHaveAnAddressOfEachFamily) {
  {
    TestNode node(dir_.path(), kDualNetwork);
    ASSERT_TRUE(node.attacher().Ready().ok());
    const auto a = node.attacher().Attach(node.Spec("c1"));
    ASSERT_TRUE(a.ok()) << Message(a.status());
    ASSERT_EQ(a->record.addresses.size(), 2u);
    EXPECT_EQ(ToString(a->record.addresses[0]), "10.244.1.2/24");
    EXPECT_EQ(ToString(a->record.addresses[1]), "fd44:0:0:1::2/64");
    ASSERT_EQ(a->record.gateways.size(), 2u);
    EXPECT_EQ(ToString(a->record.gateways[1]), "fd44:0:0:1::1");
    const PodInterface pod = InterfaceOf(a->record);
    EXPECT_EQ(ToString(pod.addresses[1]), "fd44:0:0:1::2/128");
    ASSERT_EQ(GatewayRoutes(pod).size(), 2u);
    EXPECT_EQ(ToString(GatewayRoutes(pod)[1]), "::/0");
    const auto t = node.controller().tables();
    EXPECT_EQ(t->EndpointOf(*ParseIp("10.244.1.2")), t->EndpointOf(*ParseIp("fd44:0:0:1::2")));
    EXPECT_TRUE(node.attacher().Check({"c1", "eth0"}, kNetns, a->record.addresses).ok());
  }
  TestNode node(dir_.path(), kDualNetwork);
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_NE(node.controller().tables()->EndpointOf(*ParseIp("fd44:0:0:1::2")), nullptr);
  const auto next = node.attacher().Attach(node.Spec("c2"));
  ASSERT_TRUE(next.ok()) << Message(next.status());
  EXPECT_EQ(ToString(next->record.addresses[1]), "fd44:0:0:1::3/64") << "both cursors survive";
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_EQ(node.controller().tables()->EndpointOf(*ParseIp("fd44:0:0:1::2")), nullptr);
}

TEST_F(AttacherTest, Ipv6OnlyPods) {
  TestNode node(dir_.path(), kSixNetwork);
  ASSERT_TRUE(node.attacher().Ready().ok());
  const auto a = node.attacher().Attach(node.Spec("c1"));
  ASSERT_TRUE(a.ok()) << Message(a.status());
  ASSERT_EQ(a->record.addresses.size(), 1u);
  EXPECT_EQ(ToString(a->record.addresses[0]), "fd44:0:0:1::2/64");
  AttachSpec four = node.Spec("c2");
  four.addresses = {*ParseInterfaceAddress("192.0.2.7/32")};
  const auto refused = node.attacher().Attach(four);
  ASSERT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(Message(refused.status()).find("no IPv4 subnet"), std::string::npos);
}

TEST_F(AttacherTest, DelegatedAddressesOfBothFamilies) {
  TestNode node(dir_.path(), kDualNetwork);
  AttachSpec spec = node.Spec("c1");
  spec.addresses = {*ParseInterfaceAddress("10.22.0.7/16"), *ParseInterfaceAddress("fd22::7/64"),
                    *ParseInterfaceAddress("fd44:0:0:1::99/128")};
  const auto a = node.attacher().Attach(spec);
  ASSERT_TRUE(a.ok()) << Message(a.status());
  ASSERT_EQ(a->record.gateways.size(), 2u) << "one a family";
  EXPECT_EQ(ToString(a->record.gateways[0]), "10.22.0.1");
  EXPECT_EQ(ToString(a->record.gateways[1]), "fd22::1");
  AttachSpec bad = node.Spec("c2");
  bad.addresses = {*ParseInterfaceAddress("10.22.0.8/16"), *ParseInterfaceAddress("fd22::1/64")};
  EXPECT_EQ(node.attacher().Attach(bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad.addresses[1] = *ParseInterfaceAddress("fd22::7/64");
  EXPECT_EQ(node.attacher().Attach(bad).status().code(), absl::StatusCode::kAlreadyExists);
  bad.addresses[1] = *ParseInterfaceAddress("fd22::8/64");
  EXPECT_TRUE(node.attacher().Attach(bad).ok()) << "the refused ones gave 10.22.0.8 back";
}

TEST_F(AttacherTest, AFailedAttachLeavesNothing) {
  TestNode node(dir_.path());
  node.fail_port = true;
  EXPECT_FALSE(node.attacher().Attach(node.Spec("c1")).ok());
  EXPECT_EQ(node.removed, 0) << "an interface that was there before is not ours to remove";
  node.fail_port = false;
  node.fail_set_up = true;
  EXPECT_FALSE(node.attacher().Attach(node.Spec("c1")).ok());
  EXPECT_EQ(node.removed, 1);
  EXPECT_TRUE(node.ports.open.empty());
  EXPECT_EQ(node.attachments(), 0u);
  EXPECT_TRUE(node.store().LoadAttachments()->empty());
  EXPECT_EQ(node.controller().tables()->EndpointOf(*ParseIp("10.244.1.2")), nullptr);
  node.fail_set_up = false;
  EXPECT_TRUE(node.attacher().Attach(node.Spec("c1")).ok());
  EXPECT_EQ(node.controller().Read([](const ControlState& s) { return s.slots.size(); }), 1u)
      << "slots came back";
}

TEST_F(AttacherTest, BadRequestsAreNamed) {
  TestNode node(dir_.path());
  AttachSpec spec = node.Spec("");
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec = node.Spec("c/../x");
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec = node.Spec("c1");
  spec.key.ifname = "a/b";
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec = node.Spec("c1");
  spec.netns = "";
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& name : {std::string("a/b"), std::string("a\x1b[31m"), std::string(254, 'x')}) {
    spec = node.Spec("c1");
    spec.pod.name = name;
    EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  for (const char* name : {".", ".."}) {
    spec = node.Spec("c1");
    spec.pod_uid = name;
    EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  spec = node.Spec("c1");
  spec.vhost.queues = 2;
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument) << "of a tap";
  spec.kind = AttachKind::kVhostUser;
  spec.vhost.queues = 17;
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec = node.Spec("c1");
  spec.mtu = 100;
  EXPECT_EQ(node.attacher().Attach(spec).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AttacherTest, DelegatedAddressesAreConflictChecked) {
  TestNode node(dir_.path());
  AttachSpec spec = node.Spec("c1");
  spec.addresses = {*ParseInterfaceAddress("10.22.0.7/16")};
  const auto a = node.attacher().Attach(spec);
  ASSERT_TRUE(a.ok()) << Message(a.status());
  EXPECT_TRUE(a->record.delegated_ipam);
  EXPECT_EQ(ToString(a->record.gateways.at(0)), "10.22.0.1");
  AttachSpec again = node.Spec("c2");
  again.addresses = spec.addresses;
  EXPECT_EQ(node.attacher().Attach(again).status().code(), absl::StatusCode::kAlreadyExists);
  again.addresses = {*ParseInterfaceAddress("10.22.0.1/16")};
  EXPECT_EQ(node.attacher().Attach(again).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  again.addresses = spec.addresses;
  EXPECT_TRUE(node.attacher().Attach(again).ok());
}

TEST_F(AttacherTest, AHundredAtOnceHaveAHundredAddresses) {
  TestNode node(dir_.path());
  std::mutex mutex;
  std::set<std::string> addresses;
  std::vector<std::thread> threads;
  for (int i = 0; i < 100; ++i) {
    threads.emplace_back([&, i] {
      const auto a = node.attacher().Attach(node.Spec("c" + std::to_string(i)));
      ASSERT_TRUE(a.ok()) << Message(a.status());
      const std::lock_guard lock(mutex);
      addresses.insert(ToString(a->record.addresses.at(0)));
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(addresses.size(), 100u);
  const auto collected = node.attacher().Collect("podwire", {{"c7", "eth0"}});
  ASSERT_TRUE(collected.ok());
  EXPECT_EQ(collected->size(), 99u);
  EXPECT_EQ(node.attachments(), 1u);
  EXPECT_TRUE(node.attacher().Collect("another", {})->empty());
}

TEST_F(AttacherTest, ARemovalThatFailsCanBeRetried) {
  TestNode node(dir_.path());
  ASSERT_TRUE(node.attacher().Attach(node.Spec("c1")).ok());
  node.fail_remove = true;
  EXPECT_FALSE(node.attacher().Detach({"c1", "eth0"}).ok());
  EXPECT_EQ(node.store().LoadAttachments()->size(), 1u) << "its address is not given out meanwhile";
  node.fail_remove = false;
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_EQ(node.attachments(), 0u);
}

TEST_F(AttacherTest, ARestartTakesUpWhatWasAnsweredAndUndoesTheRest) {
  {
    TestNode node(dir_.path());
    for (const char* c : {"c1", "c2", "c3", "c4"}) ASSERT_TRUE(node.attacher().Attach(node.Spec(c)).ok());
    ASSERT_TRUE(node.store().SetAttachmentState({"c2", "eth0"}, AttachState::kAdding).ok());
    ASSERT_TRUE(node.store().SetAttachmentState({"c3", "eth0"}, AttachState::kDeleting).ok());
    Attachment gone = node.store().LoadAttachments()->at(3);
    ASSERT_TRUE(node.store().RemoveAttachment(gone.key).ok());
    gone.netns = "/nonexistent/netns";
    ASSERT_TRUE(node.store().AddAttachment(gone, {}).ok());
  }
  TestNode node(dir_.path());
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_EQ(node.attachments(), 2u);
  EXPECT_EQ(node.ports.open, (std::set<std::string>{"pod-c1-eth0"}));
  EXPECT_NE(node.controller().tables()->EndpointOf(*ParseIp("10.244.1.2")), nullptr);
  const LiveAttachment c4 = node.controller().Read([](const ControlState& s) {
    return *s.desired.FindAttachment({"c4", "eth0"});
  });
  EXPECT_TRUE(c4.trouble.starts_with("gone: ")) << c4.trouble;
  EXPECT_EQ(node.attacher().Check({"c4", "eth0"}, "", {}).code(), absl::StatusCode::kFailedPrecondition);
  std::set<std::string> addresses;
  for (int i = 0; i < 10; ++i) {
    const auto a = node.attacher().Attach(node.Spec("n" + std::to_string(i)));
    ASSERT_TRUE(a.ok());
    addresses.insert(ToString(a->record.addresses.at(0).address));
  }
  EXPECT_FALSE(addresses.contains("10.244.1.2"));
  EXPECT_FALSE(addresses.contains("10.244.1.5")) << "the lost pod's address is its own until it is detached";
  EXPECT_TRUE(*node.attacher().Detach({"c4", "eth0"}));
}

AttachSpec VhostUser(const TestNode& node, const std::string& container) {
  AttachSpec spec = node.Spec(container);
  spec.kind = AttachKind::kVhostUser;
  spec.pod_uid = "uid-1";
  spec.vhost = {.client = true, .queues = 2};
  return spec;
}

TEST_F(AttacherTest, AVhostUserPodsDirectoryTellsItAll) {
  namespace fs = std::filesystem;
  const fs::path file = fs::path(dir_.path()) / "vhost/uid-1/eth0.json";
  {
    TestNode node(dir_.path());
    const auto a = node.attacher().Attach(VhostUser(node, "c1"));
    ASSERT_TRUE(a.ok()) << Message(a.status());
    EXPECT_EQ(a->record.socket, dir_.path() + "/vhost/uid-1/eth0.sock");
    const auto said = nlohmann::json::parse(std::ifstream(file));
    EXPECT_EQ(said, (nlohmann::json{{"interface", "eth0"},
                                    {"socket", "eth0.sock"},
                                    {"mode", "server"},
                                    {"queues", 2},
                                    {"mac", ToString(a->record.mac)},
                                    {"mtu", 1500},
                                    {"addresses", {"10.244.1.2/24"}},
                                    {"gateways", {"10.244.1.1"}},
                                    {"gatewayMac", ToString(a->record.gateway_mac)}}));
    EXPECT_EQ(node.attacher().Attach(VhostUser(node, "c2")).status().code(), absl::StatusCode::kAlreadyExists)
        << "the same pod's";
    EXPECT_TRUE(fs::exists(file));
    fs::remove(file);
  }
  TestNode node(dir_.path());
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_TRUE(fs::exists(file)) << "written again";
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_FALSE(fs::exists(file.parent_path()));
}

TEST_F(AttacherTest, AFailedVhostUserAttachLeavesNothing) {
  TestNode node(dir_.path());
  node.fail_port = true;
  EXPECT_FALSE(node.attacher().Attach(VhostUser(node, "c1")).ok());
  EXPECT_FALSE(std::filesystem::exists(dir_.path() + "/vhost/uid-1"));
  EXPECT_EQ(node.attachments(), 0u);
  std::filesystem::remove(dir_.path() + "/vhost");
  std::ofstream(dir_.path() + "/vhost") << "in the way";
  node.fail_port = false;
  const auto blocked = node.attacher().Attach(VhostUser(node, "c1"));
  EXPECT_NE(Message(blocked.status()).find("/vhost/uid-1"), std::string::npos) << Message(blocked.status());
  EXPECT_EQ(node.attachments(), 0u);
}

/// The pod may write there, and podwired is root.
TEST_F(AttacherTest, NothingInAVhostUserPodsDirectoryIsTrusted) {
  namespace fs = std::filesystem;
  const fs::path directory = fs::path(dir_.path()) / "vhost/uid-1",
                 precious = fs::path(dir_.path()) / "precious";
  std::ofstream(precious) << "precious";
  {
    TestNode node(dir_.path());
    ASSERT_TRUE(node.attacher().Attach(VhostUser(node, "c1")).ok());
    AttachSpec second = VhostUser(node, "c1");
    second.key.ifname = "net1";
    ASSERT_TRUE(node.attacher().Attach(second).ok());
    fs::create_symlink(precious, directory / "eth0.json.new");
    fs::create_directory(directory / "net1.json.new");
    std::ofstream(directory / "net1.json.new/file") << "in the way";
  }
  TestNode node(dir_.path());
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_EQ(fs::file_size(precious), 8u) << "no link is followed";
  fs::remove(directory / "eth0.sock");
  fs::create_directory(directory / "eth0.sock");
  fs::create_symlink(dir_.path(), directory / "away");
  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_FALSE(fs::exists(directory / "eth0.json"));
  EXPECT_TRUE(fs::exists(directory / "net1.json")) << "the other interface's";
  EXPECT_TRUE(*node.attacher().Detach({"c1", "net1"}));
  EXPECT_FALSE(fs::exists(directory));
  EXPECT_TRUE(fs::exists(precious));
}

/// A switch with a port of role none, as the configuration or Ports.Add makes it.
void AddPort(TestNode& node, const std::string& name, uint16_t mtu = 1500) {
  const PortConfig config{.name = name, .options = VdevOptions{"net_null0"}, .mtu = mtu};
  ASSERT_TRUE(node.controller()
                  .AddPort(config, std::make_unique<FakePort>(config, &node.ports), PortRole::kNone)
                  .ok());
}

AttachSpec OnPort(const TestNode& node, const std::string& container, const std::string& port) {
  AttachSpec spec = node.Spec(container);
  spec.kind = AttachKind::kPort;
  spec.netns = "";
  spec.port = port;
  return spec;
}

PortRole RoleOf(TestNode& node, const std::string& port) {
  return node.controller().Read([&](const ControlState& s) { return s.FindPort(port)->role; });
}

TEST_F(AttacherTest, APortThatIsThereBecomesThePodsAndIsGivenBack) {
  TestNode node(dir_.path());
  AddPort(node, "nic");
  AttachSpec spec = OnPort(node, "c1", "nic");
  spec.mac = *ParseMac("02:00:00:00:01:01");
  spec.addresses = {*ParseInterfaceAddress("10.244.1.20/24"), *ParseInterfaceAddress("10.244.1.21/24")};
  const auto a = node.attacher().Attach(spec);
  ASSERT_TRUE(a.ok()) << Message(a.status());
  EXPECT_EQ(a->record.port, "nic");
  EXPECT_EQ(node.ports.open, (std::set<std::string>{"nic"})) << "no port was made";
  auto tables = node.controller().tables();
  for (const char* address : {"10.244.1.20", "10.244.1.21"}) {
    const Endpoint* e = tables->EndpointOf(*ParseIp(address));
    ASSERT_NE(e, nullptr) << address;
    EXPECT_EQ(e->port, a->port);
    EXPECT_EQ(e->mac, spec.mac);
  }
  EXPECT_EQ(tables->ports[a->port.value()].role, PortRole::kPod);
  EXPECT_EQ(tables->ports[a->port.value()].peer_mac, spec.mac);
  EXPECT_TRUE(node.attacher().Check({"c1", "eth0"}, "", spec.addresses).ok());
  EXPECT_EQ(node.controller().RemovePort("nic").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(node.attacher().Attach(OnPort(node, "c2", "nic")).status().code(),
            absl::StatusCode::kFailedPrecondition)
      << "another pod has it";

  EXPECT_TRUE(*node.attacher().Detach({"c1", "eth0"}));
  EXPECT_EQ(node.attachments(), 0u);
  EXPECT_EQ(RoleOf(node, "nic"), PortRole::kNone);
  EXPECT_EQ(node.ports.open, (std::set<std::string>{"nic"}));
  EXPECT_EQ(node.removed, 0);
  EXPECT_EQ(node.forgotten, 1) << "its connections are not the next pod's";
  tables = node.controller().tables();
  EXPECT_EQ(tables->EndpointOf(*ParseIp("10.244.1.20")), nullptr);
  EXPECT_EQ(tables->ports[a->port.value()].role, PortRole::kNone);
  EXPECT_TRUE(node.attacher().Attach(OnPort(node, "c2", "nic")).ok());
  EXPECT_TRUE(*node.attacher().Detach({"c2", "eth0"}));
  EXPECT_TRUE(node.controller().RemovePort("nic").ok());
}

TEST_F(AttacherTest, PortsThatCannotBeAPodsAreRefused) {
  TestNode node(dir_.path());
  AddPort(node, "small", 1400);
  const auto attach = [&](const AttachSpec& spec) { return node.attacher().Attach(spec).status(); };
  const absl::Status missing = attach(OnPort(node, "c1", "nic"));
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(Message(missing).find("there is no port nic"), std::string::npos) << Message(missing);
  EXPECT_EQ(attach(OnPort(node, "c1", "")).code(), absl::StatusCode::kInvalidArgument);
  AttachSpec tap = node.Spec("c1");
  tap.port = "small";
  EXPECT_EQ(attach(tap).code(), absl::StatusCode::kInvalidArgument) << "a tap is made, not taken";
  AttachSpec jumbo = OnPort(node, "c1", "small");
  jumbo.mtu = 1401;
  EXPECT_EQ(attach(jumbo).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(node.attachments(), 0u);
  const auto a = node.attacher().Attach(OnPort(node, "c1", "small"));
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->record.mtu, 1400) << "no more than the port carries";
}

TEST_F(AttacherTest, OfTwoPodsAtOnceOneGetsThePort) {
  TestNode node(dir_.path());
  AddPort(node, "nic");
  std::atomic<int> attached{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      if (node.attacher().Attach(OnPort(node, "c" + std::to_string(i), "nic")).ok()) ++attached;
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(attached, 1);
  EXPECT_EQ(node.attachments(), 1u) << "the others left nothing";
  EXPECT_EQ(node.store().LoadAttachments()->size(), 1u);
}

TEST_F(AttacherTest, ARestartFindsAPortAgainIfItIsThere) {
  {
    TestNode node(dir_.path());
    AddPort(node, "configured");
    AddPort(node, "added");
    ASSERT_TRUE(node.attacher().Attach(OnPort(node, "c1", "configured")).ok());
    ASSERT_TRUE(node.attacher().Attach(OnPort(node, "c2", "added")).ok());
  }
  TestNode node(dir_.path());
  AddPort(node, "configured", 1300);
  ASSERT_TRUE(node.attacher().Recover().ok());
  EXPECT_EQ(RoleOf(node, "configured"), PortRole::kPod);
  const auto tables = node.controller().tables();
  const Endpoint* endpoint = tables->EndpointOf(*ParseIp("10.244.1.2"));
  ASSERT_NE(endpoint, nullptr);
  EXPECT_EQ(tables->adjacencies[endpoint->adjacency.value()].hop.mtu, 1300)
      << "no more than the port carries now";
  EXPECT_EQ(node.store().LoadAttachments()->at(0).mtu, 1500) << "for when it carries more again";
  EXPECT_TRUE(node.attacher().Check({"c1", "eth0"}, "", {}).ok());
  const std::string trouble = node.controller().Read([](const ControlState& s) {
    return s.desired.FindAttachment({"c2", "eth0"})->trouble;
  });
  EXPECT_TRUE(trouble.starts_with("gone: there is no port added")) << trouble;
  EXPECT_EQ(node.controller().tables()->EndpointOf(*ParseIp("10.244.1.3")), nullptr);
  EXPECT_TRUE(*node.attacher().Detach({"c2", "eth0"}));
}

TEST_F(AttacherTest, WithoutANetworkNothingIsReady) {
  TempDir dir;
  auto store = *Store::Open(dir.File("s.db"));
  Config config;
  config.node = "n";
  config.state_dir = dir.path();
  const auto tables = std::make_shared<const Tables>();
  Controller controller(config, DesiredState("n", std::nullopt),
                        {.publish = [&](std::unique_ptr<Tables>) { return tables; },
                         .tables = [&] { return tables; },
                         .forget_endpoint = [](EndpointId) {},
                         .announce_underlay = [] {}},
                        *store);
  Attacher attacher(controller,
                    {.create_port = [](const PortConfig&) -> absl::StatusOr<std::unique_ptr<Port>> {
                      return absl::InternalError("x");
                    }});
  EXPECT_EQ(attacher.Ready().code(), absl::StatusCode::kUnavailable);
  const auto a =
      attacher.Attach({.key = {"c1", "eth0"}, .netns = kNetns, .network = "x", .pod = {"dev", "p"}});
  EXPECT_EQ(a.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(a.status()).find("kube-flannel-cfg"), std::string::npos);
}

}  // namespace
}  // namespace podwire
