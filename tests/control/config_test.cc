#include "control/config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;

json Good() {
  return json::parse(R"({
    "node": "node-a", "stateDir": "/var/lib/podwire", "listen": "unix:///run/podwire/podwire.sock",
    "lcores": {"workers": [1, {"cpu": 2, "mode": "poll"}], "maxWorkers": 4, "control": 0}, "memoryMb": 256, "hugepages": "off", "connections": 4096,
    "embryonicConnections": 512,
    "timeouts": {"tcpEstablished": 3600, "icmp": 5},
    "ports": [
      {"name": "uplink", "kind": "netdev", "interface": "eth0", "mtu": 1400},
      {"name": "host", "kind": "tap", "interface": "pw0", "netns": "/run/netns/x", "mac": "02:00:00:00:00:01"},
      {"name": "vm", "kind": "vhost-user", "socket": "/run/vm.sock", "queues": 2},
      {"name": "vf", "kind": "pci", "address": "0000:03:02.1"},
      {"name": "null", "kind": "vdev", "devargs": "net_null0,size=64", "mac": "02:00:00:00:00:04"}],
    "underlay": {"port": "uplink", "address": "192.0.2.1/24", "gateway": "192.0.2.254", "mtu": 1400,
      "neighbors": {"192.0.2.7": "02:00:00:00:00:07"}},
    "gatewayMac": "02:00:00:00:00:0a", "hostInterface": "podwire0",
    "network": {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}},
    "policyLog": {"file": "verdicts.log", "maxMB": 2, "files": 3},
    "offload": {"mode": "drop", "rules": 8, "installPps": 5000, "keepPps": 50, "holdSeconds": 3},
    "logLevel": "debug"})");
}

std::string ErrorOf(const json& document) {
  const auto c = ParseConfig(document.dump());
  return c.ok() ? "ok" : Message(c.status());
}

TEST(ConfigTest, ReadsEveryKey) {
  const auto c = ParseConfig(Good().dump());
  ASSERT_TRUE(c.ok()) << Message(c.status());
  EXPECT_EQ(c->node, "node-a");
  EXPECT_EQ(c->offload.mode, "drop");
  EXPECT_TRUE(c->offload.enabled());
  EXPECT_EQ(c->offload.rules, 8u);
  EXPECT_EQ(c->offload.install_pps, 5000u);
  EXPECT_EQ(c->offload.keep_pps, 50u);
  EXPECT_EQ(c->offload.hold_seconds, 3u);
  EXPECT_EQ(c->listen.unix_path, "/run/podwire/podwire.sock");
  EXPECT_EQ(c->workers, (std::vector<WorkerConfig>{{.cpu = 1}, {.cpu = 2, .mode = WorkerMode::kPoll}}));
  EXPECT_EQ(c->max_workers, 4);
  EXPECT_EQ(c->memory_mb, 256u);
  EXPECT_EQ(c->hugepages, "off");
  EXPECT_EQ(c->connections, 4096u);
  EXPECT_EQ(c->embryonic_connections, 512u);
  EXPECT_EQ(c->host_interface, "podwire0");
  EXPECT_EQ(c->policy_log.file, "verdicts.log");
  EXPECT_EQ(c->policy_log.max_mb, 2u);
  EXPECT_EQ(c->policy_log.files, 3u);
  EXPECT_EQ(c->timeouts.tcp_established, 3600u);
  EXPECT_EQ(c->timeouts.icmp, 5u);
  EXPECT_EQ(c->timeouts.udp_new, 30u);
  ASSERT_EQ(c->ports.size(), 5u);
  EXPECT_EQ(std::get<NetdevOptions>(c->ports[0].options).interface, "eth0");
  EXPECT_EQ(c->ports[0].mtu, 1400);
  EXPECT_EQ(std::get<TapOptions>(c->ports[1].options).netns, "/run/netns/x");
  EXPECT_FALSE(std::get<TapOptions>(c->ports[1].options).persistent);
  EXPECT_EQ(std::get<VhostUserOptions>(c->ports[2].options).queues, 2);
  EXPECT_EQ(std::get<PciOptions>(c->ports[3].options).address, "0000:03:02.1");
  EXPECT_EQ(std::get<VdevOptions>(c->ports[4].options).devargs, "net_null0,size=64");
  ASSERT_TRUE(c->underlay);
  EXPECT_EQ(ToString(c->underlay->gateway), "192.0.2.254");
  EXPECT_EQ(
      c->underlay->neighbors,
      (std::vector<std::pair<IpAddress, MacAddr>>{{*ParseIp("192.0.2.7"), *ParseMac("02:00:00:00:00:07")}}));
  EXPECT_EQ(ToString(c->gateway_mac), "02:00:00:00:00:0a");
  EXPECT_EQ(ToString(*std::get<VdevOptions>(c->ports[4].options).mac), "02:00:00:00:00:04");
  ASSERT_TRUE(c->network);
  EXPECT_EQ(c->network->backend, BackendType::kVxlan);
}

TEST(ConfigTest, AnUnderlayOfBothFamilies) {
  json document = Good();
  document["underlay"] = {{"port", "uplink"},
                          {"address", {"192.0.2.1/24", "2001:db8::1/64"}},
                          {"gateway", {"192.0.2.254", "fe80::1"}},
                          {"neighbors",
                           {{"192.0.2.7", "02:00:00:00:00:07"},
                            {"2001:db8::7", "02:00:00:00:00:07"},
                            {"fe80::1", "02:00:00:00:00:08"}}}};
  auto c = ParseConfig(document.dump());
  ASSERT_TRUE(c.ok()) << Message(c.status());
  EXPECT_EQ(ToString(c->underlay->address), "192.0.2.1/24");
  EXPECT_EQ(ToString(c->underlay->address6), "2001:db8::1/64");
  EXPECT_EQ(ToString(c->underlay->gateway), "192.0.2.254");
  EXPECT_EQ(ToString(c->underlay->gateway6), "fe80::1");
  EXPECT_EQ(c->underlay->neighbors.size(), 3u);
  document["underlay"] = {{"port", "uplink"}, {"address", "2001:db8::1/127"}, {"gateway", "2001:db8::"}};
  c = ParseConfig(document.dump());
  ASSERT_TRUE(c.ok()) << Message(c.status());
  EXPECT_TRUE(c->underlay->address.address.empty());
  EXPECT_EQ(ToString(c->underlay->gateway6), "2001:db8::") << "a /127 has no anycast address (RFC 6164)";
}

TEST(ConfigTest, ANodeNameIsEnough) {
  const auto c = ParseConfig(R"({"node": "n"})");
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(c->listen.grpc(), "unix:/run/podwire/podwire.sock");
  EXPECT_FALSE(c->underlay);
  EXPECT_EQ(c->connections, 262144u);
  EXPECT_EQ(c->embryonic_connections, 0u) << "the switch takes a quarter";
}

TEST(ConfigTest, BothAddressesOfA31AreHosts) {
  json document = Good();
  document["underlay"] = {{"port", "uplink"},
                          {"address", "192.0.2.1/31"},
                          {"gateway", "192.0.2.0"},
                          {"neighbors", {{"192.0.2.0", "02:00:00:00:00:07"}}}};
  const auto c = ParseConfig(document.dump());
  ASSERT_TRUE(c.ok()) << Message(c.status());
  EXPECT_EQ(c->underlay->neighbors.size(), 1u);
}

struct BadCase {
  const char* pointer;  // JSON pointer of what is replaced or added
  const char* value;
  const char* path;      // the message's beginning
  const char* expected;  // and a part of it
};

class BadConfigTest : public testing::TestWithParam<BadCase> {};

TEST_P(BadConfigTest, NamesThePathAndWhatWasExpected) {
  json document = Good();
  document[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  const std::string error = ErrorOf(document);
  EXPECT_TRUE(error.starts_with(std::string(GetParam().path) + ": ")) << error;
  EXPECT_NE(error.find(GetParam().expected), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(
    Keys, BadConfigTest,
    testing::Values(
        BadCase{"/nod", "1", "nod", "unknown key"}, BadCase{"/node", "5", "node", "a string"},
        BadCase{"/node", "\"Node_A\"", "node", "DNS name"},
        BadCase{"/stateDir", "\"x\"", "stateDir", "absolute"},
        BadCase{"/hostInterface", "\"a/b\"", "hostInterface", "interface name"},
        BadCase{"/hostInterface", "7", "hostInterface", "a string"},
        BadCase{"/stateDir", "{}", "stateDir", "a string, not an object"},
        BadCase{"/listen", "\"http://x\"", "listen", "unix:///PATH"},
        BadCase{"/listen", "\"unix://x\"", "listen", "absolute"},
        BadCase{"/listen", "\"tcp:127.0.0.1:0\"", "listen", "1 to 65535"},
        BadCase{"/listen", "\"tcp:192.0.2.1:5000\"", "listen", "no TLS"},
        BadCase{"/listen", "\"tcp:0.0.0.0:5000\"", "listen", "no TLS"},
        BadCase{"/gatewayMac", "\"02:00:00\"", "gatewayMac", "02:00:00"},
        BadCase{"/gatewayMac", "\"01:00:5e:00:00:01\"", "gatewayMac", "no station's"},
        BadCase{"/gatewayMac", "5", "gatewayMac", "a MAC address"},
        BadCase{"/ports/4/mac", "\"00:00:00:00:00:00\"", "ports[4].mac", "no station's"},
        BadCase{"/underlay/neighbors", "[]", "underlay.neighbors", "an object"},
        BadCase{"/underlay/neighbors", R"({"198.51.100.1":"02:00:00:00:00:07"})",
                "underlay.neighbors[\"198.51.100.1\"]", "no other node's"},
        BadCase{"/underlay/neighbors", R"({"192.0.2.x":"02:00:00:00:00:07"})",
                "underlay.neighbors[\"192.0.2.x\"]", "192.0.2.x"},
        BadCase{"/underlay/neighbors", R"({"192.0.2.0":"02:00:00:00:00:07"})",
                "underlay.neighbors[\"192.0.2.0\"]", "network or broadcast address"},
        BadCase{"/underlay/neighbors", R"({"192.0.2.255":"02:00:00:00:00:07"})",
                "underlay.neighbors[\"192.0.2.255\"]", "network or broadcast address"},
        BadCase{"/underlay/neighbors", R"({"192.0.2.7":"7"})", "underlay.neighbors[\"192.0.2.7\"]", "7"},
        BadCase{"/listen", "1", "listen", "a string"}, BadCase{"/lcores", "[1]", "lcores", "an object"},
        BadCase{"/lcores/workers", "1", "lcores.workers", "an array"},
        BadCase{"/lcores/workers", "[]", "lcores.workers", "at least one"},
        BadCase{"/lcores/workers", "[1,1]", "lcores.workers[1]", "twice"},
        BadCase{"/lcores/workers", "[1,\"2\"]", "lcores.workers[1]", "CPU number"},
        BadCase{"/lcores/workers", "[1024]", "lcores.workers[0]", "0 to 1023"},
        BadCase{"/lcores/workers", R"([{"mode": "poll"}])", "lcores.workers[0].cpu", "the number of"},
        BadCase{"/lcores/workers", R"([{"cpu": 1, "mode": "busy"}])", "lcores.workers[0].mode",
                "adaptive, poll"},
        BadCase{"/lcores/workers", R"([{"cpu": 1, "node": 1}])", "lcores.workers[0].node", "unknown key"},
        BadCase{"/lcores/workers", "[1,{\"cpu\": 1}]", "lcores.workers[1]", "twice"},
        BadCase{"/offload", "true", "offload", "an object"},
        BadCase{"/offload/mode", "\"on\"", "offload.mode", "off, drop, auto"},
        BadCase{"/offload/rules", "0", "offload.rules", "from 1"},
        BadCase{"/offload/installPps", "99", "offload.installPps", "from 100"},
        BadCase{"/offload/keepPps", "5001", "offload.keepPps", "to 5000"},
        BadCase{"/offload/budget", "5", "offload.budget", "unknown key"},
        BadCase{"/policyLog/file", "\"../x.log\"", "policyLog.file", "a file name"},
        BadCase{"/policyLog/file", "\"podwire.db\"", "policyLog.file", "ends in .log"},
        BadCase{"/policyLog/maxMB", "0", "policyLog.maxMB", "1"},
        BadCase{"/policyLog/files", "101", "policyLog.files", "100"},
        BadCase{"/lcores/maxWorkers", "1", "lcores.maxWorkers", "less than"},
        BadCase{"/lcores/maxWorkers", "65", "lcores.maxWorkers", "to 64"},
        BadCase{"/lcores/control", "-1", "lcores.control", "whole number"},
        BadCase{"/lcores/main", "1", "lcores.main", "unknown key"},
        BadCase{"/memoryMb", "10", "memoryMb", "from 64"},
        BadCase{"/memoryMb", "1.5", "memoryMb", "whole number"},
        BadCase{"/hugepages", "true", "hugepages", "auto, on, off"},
        BadCase{"/hugepages", "\"yes\"", "hugepages", "auto, on, off"},
        BadCase{"/connections", "-1", "connections", "whole number"},
        BadCase{"/embryonicConnections", "63", "embryonicConnections", "from 64"},
        BadCase{"/embryonicConnections", "4097", "embryonicConnections", "to 4096"},
        BadCase{"/timeouts", "5", "timeouts", "an object"},
        BadCase{"/timeouts/tcp", "5", "timeouts.tcp", "unknown key"},
        BadCase{"/timeouts/icmp", "0", "timeouts.icmp", "from 1"},
        BadCase{"/ports", "{}", "ports", "an array"}, BadCase{"/ports/0", "1", "ports[0]", "an object"},
        BadCase{"/ports/1/kind", "\"veth\"", "ports[1].kind", "tap, netdev"},
        BadCase{"/ports/1/name", "\"uplink\"", "ports[1].name", "another port's name"},
        BadCase{"/ports/1/name", "\"a b\"", "ports[1].name", "letters"},
        BadCase{"/ports/0/mtu", "575", "ports[0].mtu", "from 576 to 65535"},
        BadCase{"/ports/0/mtu", "65536", "ports[0].mtu", "from 576 to 65535"},
        BadCase{"/ports/0/socket", "\"/x\"", "ports[0].socket", "unknown key"},
        BadCase{"/ports/0/interface", "\"\"", "ports[0].interface", "kernel interface"},
        BadCase{"/ports/1/mac", "\"02:00\"", "ports[1].mac", "MAC address"},
        BadCase{"/ports/1/netns", "\"pod\"", "ports[1].netns", "absolute path"},
        BadCase{"/ports/2/queues", "0", "ports[2].queues", "from 1"},
        BadCase{"/ports/2/socket", "\"vm.sock\"", "ports[2].socket", "absolute path"},
        BadCase{"/ports/3/address", "3", "ports[3].address", "a string"},
        BadCase{"/ports/4/devargs", "\"\"", "ports[4].devargs", "virtual device"},
        BadCase{"/underlay", "\"uplink\"", "underlay", "an object"},
        BadCase{"/underlay/port", "\"nope\"", "underlay.port", "no port in ports"},
        BadCase{"/ports/0", R"({"name": "uplink", "kind": "tap", "interface": "t0", "trunk": true})",
                "underlay.port", "is a trunk for pods"},
        BadCase{
            "/ports/0",
            R"({"name": "uplink", "kind": "tap", "interface": "t0", "trunk": true, "netns": "/run/netns/x"})",
            "ports[0].netns", "expected none for a trunk"},
        BadCase{"/underlay/address", "\"192.0.2.1\"", "underlay.address", "prefix length"},
        BadCase{"/underlay/address", "\"192.0.2.1/7\"", "underlay.address", "from 8 to 31"},
        BadCase{"/underlay/address", "\"192.0.2.0/24\"", "underlay.address", "network or broadcast"},
        BadCase{"/underlay/address", "[]", "underlay.address", "array of one a family"},
        BadCase{"/underlay/address", "[1]", "underlay.address", "array of one a family"},
        BadCase{"/underlay/address", "[\"192.0.2.1/24\",\"192.0.2.2/24\"]", "underlay.address",
                "one a family"},
        BadCase{"/underlay/address", "\"2001:db8::1/128\"", "underlay.address", "from 16 to 127"},
        BadCase{"/underlay/address", "\"2001:db8::/64\"", "underlay.address", "routers' anycast"},
        BadCase{"/underlay/address", "\"fe80::1/64\"", "underlay.address", "link-local"},
        BadCase{"/underlay/address", "\"ff02::1/64\"", "underlay.address", "unicast"},
        BadCase{"/underlay/address", "\"224.0.0.1/24\"", "underlay.address", "unicast"},
        BadCase{"/underlay/gateway", "\"fe80::1\"", "underlay.gateway", "no IPv6 address"},
        BadCase{"/underlay/gateway", "[\"192.0.2.2\",\"192.0.2.3\"]", "underlay.gateway", "one a family"},
        BadCase{"/underlay/neighbors", R"({"2001:db8::7":"02:00:00:00:00:07"})",
                "underlay.neighbors[\"2001:db8::7\"]", "no IPv6 address"},
        BadCase{"/underlay/gateway", "\"198.51.100.1\"", "underlay.gateway", "not in 192.0.2.0/24"},
        BadCase{"/underlay/gateway", "\"192.0.2.255\"", "underlay.gateway", "network or broadcast"},
        BadCase{"/underlay/gateway", "\"192.0.2.1\"", "underlay.gateway", "own address"},
        BadCase{"/underlay/mtu", "100", "underlay.mtu", "from 576"},
        BadCase{"/underlay/vlan", "1", "underlay.vlan", "unknown key"},
        BadCase{"/network", "\"x\"", "network", "net-conf object"},
        BadCase{"/network/SubnetLen", "40", "network", "SubnetLen"},
        BadCase{"/network/Backend/Type", "\"ipip\"", "network", "ipip"},
        BadCase{"/logLevel", "\"loud\"", "logLevel", "info"}));

TEST(ConfigTest, MissingKeysAreNamed) {
  json document = Good();
  document["ports"][0].erase("interface");
  EXPECT_TRUE(ErrorOf(document).starts_with("ports[0].interface: missing")) << ErrorOf(document);
  document = Good();
  document["ports"][1].erase("kind");
  EXPECT_TRUE(ErrorOf(document).starts_with("ports[1].kind: missing"));
  document = Good();
  document["underlay"].erase("address");
  EXPECT_TRUE(ErrorOf(document).starts_with("underlay.address: missing"));
  EXPECT_TRUE(ErrorOf(json::object()).starts_with("node: missing"));
}

TEST(ConfigTest, AnInterfaceThatTheKernelKeeps) {
  json document = Good();
  json& port = document["ports"][0];
  port["shared"] = true;
  auto c = ParseConfig(document.dump());
  ASSERT_TRUE(c.ok()) << Message(c.status());
  EXPECT_TRUE(c->underlay->shared);
  EXPECT_EQ(SharedInterface(*c), "eth0");
  EXPECT_EQ(std::get<NetdevOptions>(c->ports[0].options).mode, SharedMode::kAuto);
  port["mode"] = "af_xdp";
  port["queues"] = 4;
  document["underlay"] = {{"port", "uplink"}};
  c = ParseConfig(document.dump());
  ASSERT_TRUE(c.ok()) << Message(c.status());
  const auto& netdev = std::get<NetdevOptions>(c->ports[0].options);
  EXPECT_EQ(netdev.mode, SharedMode::kAfXdp);
  EXPECT_EQ(netdev.queues, 4);
  EXPECT_TRUE(c->underlay->address.address.empty()) << "the kernel's, to be found at start";
  const auto again = ParsePortOptions("uplink", "netdev", 1500, PortOptions(c->ports[0]));
  ASSERT_TRUE(again.ok()) << Message(again.status());
  EXPECT_EQ(PortOptions(*again), PortOptions(c->ports[0]));

  document["underlay"]["gateway"] = "192.0.2.254";
  EXPECT_EQ(ErrorOf(document), "underlay.gateway: expected with underlay.address only");
  document["underlay"].erase("gateway");
  port["mode"] = "xdp";
  EXPECT_TRUE(ErrorOf(document).starts_with("ports[0].mode: expected one of auto, af_xdp, af_packet"))
      << ErrorOf(document);
  port["mode"] = "af_packet";
  port["shared"] = false;
  EXPECT_EQ(ErrorOf(document), "ports[0].mode: expected with \"shared\": true only");
  port = json::parse(R"({"name": "uplink", "kind": "netdev", "interface": "eth0"})");
  EXPECT_TRUE(ErrorOf(document).starts_with("underlay.address: missing")) << ErrorOf(document);
  document = Good();
  document["ports"].push_back(
      {{"name", "more"}, {"kind", "netdev"}, {"interface", "eth1"}, {"shared", true}});
  EXPECT_TRUE(ErrorOf(document).starts_with("ports[5].shared: only the underlay's port"))
      << ErrorOf(document);
}

TEST(ConfigTest, BadSyntaxAndRepeatedKeysAreRefused) {
  EXPECT_NE(Message(ParseConfig("{\"node\": ").status()).find("line 1"), std::string::npos);
  EXPECT_NE(Message(ParseConfig(R"({"node":"a","node":"b"})").status()).find("\"node\" is given twice"),
            std::string::npos);
  EXPECT_FALSE(ParseConfig("").ok());
  EXPECT_FALSE(ParseConfig(std::string(100000, '[')).ok());
  EXPECT_EQ(LoadConfig("/nonexistent.json").status().code(), absl::StatusCode::kNotFound);
}

TEST(ConfigTest, PortOptionsGoBothWays) {
  const auto c = ParseConfig(Good().dump());
  ASSERT_TRUE(c.ok());
  for (const PortConfig& port : c->ports) {
    const auto again =
        ParsePortOptions(port.name, std::string(ToString(port.kind())), port.mtu, PortOptions(port));
    ASSERT_TRUE(again.ok()) << Message(again.status());
    EXPECT_EQ(PortOptions(*again), PortOptions(port));
    EXPECT_EQ(again->kind(), port.kind());
  }
  EXPECT_FALSE(ParsePortOptions("x", "vhost-user", 0, {{"socket", "/x"}, {"queues", "two"}}).ok());
  EXPECT_FALSE(ParsePortOptions("x", "netdev", 0, {{"interface", "eth0"}, {"name", "y"}}).ok());
}

}  // namespace
}  // namespace podwire
