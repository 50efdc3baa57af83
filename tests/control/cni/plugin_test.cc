// The program podwire-cni against a fake podwired: as runtimes run it, what they recorded included.

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/control/fake_podwired.h"

namespace podwire {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kPlugins[] = "/usr/lib/cni";

struct Call {
  int exit_status = 0;
  json answer;  // null if there is none
  int code() const { return answer.is_object() ? answer.value("code", 0) : 0; }
  std::string msg() const { return answer.is_object() ? answer.value("msg", "") : ""; }
};

class CniPlugin : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    fake_.Start();
  }

  json Config(const json& changes = json::object()) const {
    json config = {{"cniVersion", "1.0.0"}, {"name", "net"}, {"type", "podwire"}, {"server", fake_.server()}};
    config.merge_patch(changes);
    return config;
  }

  json HostLocal() const {
    return {{"ipam",
             {{"type", "host-local"},
              {"dataDir", fake_.directory() + "/ipam"},
              {"ranges", {{{{"subnet", "10.77.0.0/24"}}}, {{{"subnet", "fd77::/64"}}}}},
              {"routes", {{{"dst", "0.0.0.0/0"}}, {{"dst", "192.0.2.0/24"}, {"gw", "10.77.0.9"}}}}}}};
  }

  /// Files of host-local, one an address.
  size_t Reserved() const {
    size_t n = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(fake_.directory() + "/ipam/net", error)) {
      n += entry.path().filename().string().starts_with("10.") ? 1 : 0;
    }
    return n;
  }

  static Call Run(const std::map<std::string, std::string>& variables, const std::string& input) {
    std::vector<std::string> env;
    for (const auto& [name, value] : variables) env.push_back(name + "=" + value);
    const Outcome outcome = RunWith(PODWIRE_CNI, env, input);
    Call call{outcome.exit_status, nullptr};
    if (!outcome.output.empty()) call.answer = json::parse(outcome.output);
    return call;
  }

  static std::map<std::string, std::string> Variables(const std::string& command,
                                                      const std::string& id = "c1") {
    return {{"CNI_COMMAND", command},
            {"CNI_CONTAINERID", id},
            {"CNI_NETNS", "/run/netns/podwire-none"},
            {"CNI_IFNAME", "eth0"},
            {"CNI_PATH", kPlugins},
            {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web;K8S_POD_UID=u1"}};
  }

  static Call Run(const std::string& command, const json& config, const std::string& id = "c1") {
    return Run(Variables(command, id), config.dump());
  }

  FakePodwired fake_;
};

TEST_F(CniPlugin, AddTellsPodwiredThePodAndAnswersInEachVersion) {
  int n = 0;
  for (const char* version : {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const std::string id = "c" + std::to_string(++n);
    const Call call =
        Run("ADD", Config({{"cniVersion", version}, {"mtu", 1400}, {"dns", {{"domain", "d"}}}}), id);
    ASSERT_EQ(call.exit_status, 0) << call.answer;
    json interface = {{"name", "eth0"}, {"mac", "0a:58:0a:f4:01:07"}, {"sandbox", "/run/netns/podwire-none"}};
    json ip = {{"address", "10.244.1.7/24"}, {"gateway", "10.244.1.1"}, {"interface", 0}};
    if (version[0] == '0') ip["version"] = "4";
    if (version == std::string("1.1.0")) interface["mtu"] = 1400;
    EXPECT_EQ(call.answer, (json{{"cniVersion", version},
                                 {"interfaces", {interface}},
                                 {"ips", {ip}},
                                 {"routes", {{{"dst", "0.0.0.0/0"}, {"gw", "10.244.1.1"}}}},
                                 {"dns", {{"domain", "d"}}}}));
    EXPECT_EQ(fake_.state.attach.key().container_id(), id);
  }
  EXPECT_EQ(fake_.state.attach.pod_namespace(), "demo");
  EXPECT_EQ(fake_.state.attach.pod_name(), "web");
  EXPECT_EQ(fake_.state.attach.pod_uid(), "u1");
  EXPECT_EQ(fake_.state.attach.network(), "net");
  EXPECT_EQ(fake_.state.attach.attach(), "tap");
  EXPECT_EQ(fake_.state.attach.addresses_size(), 0);
}

TEST_F(CniPlugin, VhostUserNamesItsSocket) {
  const Call call = Run("ADD", Config({{"cniVersion", "1.1.0"}, {"attach", "vhost-user"}}));
  EXPECT_EQ(call.answer["interfaces"][0]["socketPath"], "/run/podwire/vhost/c1.sock");
  EXPECT_EQ(fake_.state.attach.attach(), "vhost-user");
  EXPECT_FALSE(fake_.state.attach.vhost_client());
  EXPECT_EQ(fake_.state.attach.queues(), 0u);
  Run("ADD", Config({{"attach", "vhost-user"}, {"vhostUser", {{"mode", "client"}, {"queues", 4}}}}));
  EXPECT_TRUE(fake_.state.attach.vhost_client());
  EXPECT_EQ(fake_.state.attach.queues(), 4u);
}

TEST_F(CniPlugin, AddKeepsWhatPluginsBeforeItMade) {
  const json previous = {{"interfaces", {{{"name", "a"}}, {{"name", "b"}}}},
                         {"ips", {{{"address", "192.0.2.1/24"}, {"interface", 1}}}}};
  const Call call = Run("ADD", Config({{"prevResult", previous}}));
  ASSERT_EQ(call.exit_status, 0) << call.answer;
  EXPECT_EQ(call.answer["interfaces"][2]["name"], "eth0");
  EXPECT_EQ(call.answer["ips"][0]["interface"], 1);
  EXPECT_EQ(call.answer["ips"][1]["interface"], 2);
}

TEST_F(CniPlugin, SecondAddIsAnErrorAndDelIsNot) {
  ASSERT_EQ(Run("ADD", Config()).exit_status, 0);
  const Call second = Run("ADD", Config());
  EXPECT_EQ(second.exit_status, 1);
  EXPECT_EQ(second.code(), 101);
  EXPECT_EQ(second.answer["cniVersion"], "1.0.0");
  ASSERT_EQ(fake_.state.endpoints.size(), 1u);
  for (int i = 0; i < 2; ++i) {
    const Call call = Run("DEL", Config());
    EXPECT_EQ(call.exit_status, 0) << call.answer;
    EXPECT_TRUE(call.answer.is_null());
  }
  auto variables = Variables("DEL", "never-added");
  variables["CNI_NETNS"] = "";
  EXPECT_EQ(Run(variables, Config().dump()).exit_status, 0);
}

TEST_F(CniPlugin, TheHostsOwnNetnsIsRefused) {
  auto variables = Variables("ADD");
  variables["CNI_NETNS"] = "/proc/self/ns/net";
  const Call call = Run(variables, Config().dump());
  EXPECT_EQ(call.code(), 8);
  EXPECT_THAT(fake_.state.calls, Not(Contains("Attach")));
}

TEST_F(CniPlugin, PodwiredsErrorsHaveTheirCodes) {
  const std::vector<std::pair<grpc::StatusCode, int>> codes = {
      {grpc::StatusCode::UNAVAILABLE, 11},          {grpc::StatusCode::RESOURCE_EXHAUSTED, 102},
      {grpc::StatusCode::ALREADY_EXISTS, 101},      {grpc::StatusCode::INVALID_ARGUMENT, 100},
      {grpc::StatusCode::FAILED_PRECONDITION, 100}, {grpc::StatusCode::INTERNAL, 100}};
  for (const auto& [status, code] : codes) {
    fake_.state.fault = {status, "the reason"};
    const Call call = Run("ADD", Config());
    EXPECT_EQ(call.exit_status, 1);
    EXPECT_EQ(call.code(), code) << status;
    EXPECT_EQ(call.msg(), "the reason");
  }
}

TEST_F(CniPlugin, AnUncertainAddIsUndone) {
  fake_.state.fault = {grpc::StatusCode::UNAVAILABLE, "gone in the middle"};
  EXPECT_EQ(Run("ADD", Config()).code(), 11);
  EXPECT_THAT(fake_.state.calls, ElementsAre("Attach", "Detach c1/eth0"));
  fake_.state.calls.clear();
  fake_.state.fault = {grpc::StatusCode::ALREADY_EXISTS, "there is one"};
  EXPECT_EQ(Run("ADD", Config()).code(), 101);
  EXPECT_THAT(fake_.state.calls, ElementsAre("Attach"));
}

TEST_F(CniPlugin, WithoutPodwired) {
  fake_.Stop();
  for (const char* command : {"ADD", "DEL"}) {
    const Call call = Run(command, Config());
    EXPECT_EQ(call.exit_status, 1);
    EXPECT_EQ(call.code(), 11) << command;
    EXPECT_THAT(call.msg(), HasSubstr("podwired is not reachable at " + fake_.server()));
    EXPECT_THAT(call.msg(), HasSubstr("is podwired running"));
  }
  EXPECT_EQ(Run("STATUS", Config({{"cniVersion", "1.1.0"}})).code(), 50);
  EXPECT_EQ(Run("VERSION", Config()).exit_status, 0);
}

TEST_F(CniPlugin, AddWaitsForPodwiredThatIsStarting) {
  fake_.Stop();
  std::thread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    fake_.Start();
  });
  const Call call = Run("ADD", Config());
  later.join();
  EXPECT_EQ(call.exit_status, 0) << call.answer;
}

TEST_F(CniPlugin, StatusTellsWhetherAddCanBeServed) {
  EXPECT_EQ(Run("STATUS", Config({{"cniVersion", "1.1.0"}})).exit_status, 0);
  fake_.state.fault = {grpc::StatusCode::UNAVAILABLE, "no subnet yet"};
  const Call call = Run("STATUS", Config({{"cniVersion", "1.1.0"}}));
  EXPECT_EQ(call.code(), 50);
  EXPECT_EQ(call.msg(), "no subnet yet");
}

TEST_F(CniPlugin, CommandsComeWithTheirVersions) {
  EXPECT_EQ(Run("CHECK", Config({{"cniVersion", "0.3.1"}})).code(), 1);
  EXPECT_EQ(Run("GC", Config()).code(), 1);
  EXPECT_EQ(Run("STATUS", Config()).code(), 1);
  EXPECT_EQ(Run("ADD", Config({{"cniVersion", "9.9.9"}})).code(), 1);
  const Call version = Run({{"CNI_COMMAND", "VERSION"}}, R"({"cniVersion": "1.0.0"})");
  EXPECT_EQ(version.answer["cniVersion"], "1.0.0");
  EXPECT_EQ(version.answer["supportedVersions"], (json{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}));
  EXPECT_EQ(Run({{"CNI_COMMAND", "VERSION"}}, "").answer["cniVersion"], "1.1.0");
}

TEST_F(CniPlugin, BadConfigurationsChangeNothing) {
  EXPECT_EQ(Run("ADD", Config({{"mtu", "big"}})).code(), 7);
  EXPECT_EQ(Run(Variables("ADD"), "{").code(), 6);
  EXPECT_EQ(Run("ADD", Config({{"server", "nowhere"}})).code(), 7);
  EXPECT_EQ(Run("ADD", Config({{"ipam", {{"type", "no-such-plugin"}}}})).code(), 7);
  EXPECT_EQ(Run({}, Config().dump()).code(), 4);
  EXPECT_THAT(fake_.state.calls, Not(Contains("Attach")));
}

TEST_F(CniPlugin, CheckComparesWithPrevResult) {
  const json previous = Run("ADD", Config()).answer;
  EXPECT_EQ(Run("CHECK", Config({{"prevResult", previous}})).exit_status, 0);
  EXPECT_THAT(fake_.state.check.addresses(), ElementsAre("10.244.1.7/24"));
  EXPECT_EQ(Run("CHECK", Config()).code(), 7);
  json other_mac = previous, other_gateway = previous, other_interface = previous;
  other_mac["interfaces"][0]["mac"] = "02:00:00:00:00:01";
  other_gateway["ips"][0]["gateway"] = "10.244.1.2";
  other_interface["interfaces"][0]["name"] = "eth1";
  const Call mac = Run("CHECK", Config({{"prevResult", other_mac}}));
  EXPECT_EQ(mac.code(), 103);
  EXPECT_THAT(mac.msg(),
              HasSubstr("the MAC address is 0a:58:0a:f4:01:07, prevResult says 02:00:00:00:00:01"));
  EXPECT_EQ(Run("CHECK", Config({{"prevResult", other_gateway}})).code(), 103);
  EXPECT_EQ(Run("CHECK", Config({{"prevResult", other_interface}})).code(), 7);
  fake_.state.fault = {grpc::StatusCode::FAILED_PRECONDITION, "address is missing"};
  EXPECT_EQ(Run("CHECK", Config({{"prevResult", previous}})).code(), 103);
  fake_.state.fault = {grpc::StatusCode::NOT_FOUND, "unknown"};
  EXPECT_EQ(Run("CHECK", Config({{"prevResult", previous}})).code(), 3);
}

TEST_F(CniPlugin, GarbageIsWhatIsNotListed) {
  for (const char* id : {"c1", "c2", "c3"}) ASSERT_EQ(Run("ADD", Config(), id).exit_status, 0);
  const json gc = {{"cniVersion", "1.1.0"}};
  EXPECT_EQ(Run("GC", Config(gc)).exit_status, 0);
  EXPECT_EQ(fake_.state.endpoints.size(), 3u) << "no list: nothing is garbage";
  json listed = gc;
  listed["cni.dev/valid-attachments"] = {{{"containerID", "c2"}, {"ifname", "eth0"}}};
  EXPECT_EQ(Run("GC", Config(listed)).exit_status, 0);
  ASSERT_EQ(fake_.state.endpoints.size(), 1u);
  EXPECT_EQ(fake_.state.endpoints[0].key().container_id(), "c2");
  EXPECT_EQ(fake_.state.collect.network(), "net");
  listed["cni.dev/valid-attachments"] = json::array();
  EXPECT_EQ(Run("GC", Config(listed)).exit_status, 0);
  EXPECT_TRUE(fake_.state.endpoints.empty());
}

TEST_F(CniPlugin, HostLocalGivesAndTakesBack) {
  const Call call = Run("ADD", Config(HostLocal()));
  ASSERT_EQ(call.exit_status, 0) << call.answer;
  EXPECT_EQ(call.answer["ips"][0]["address"], "10.77.0.2/24");
  EXPECT_EQ(call.answer["ips"][1]["address"], "fd77::2/64");
  EXPECT_EQ(call.answer["ips"][1]["gateway"], "fd77::1");
  EXPECT_THAT(fake_.state.attach.addresses(), ElementsAre("10.77.0.2/24", "fd77::2/64"));
  ASSERT_EQ(fake_.state.attach.routes_size(), 1) << "the default route is the switch's own";
  EXPECT_EQ(fake_.state.attach.routes(0).dst(), "192.0.2.0/24");
  EXPECT_EQ(Reserved(), 1u);
  json with_previous = HostLocal();
  with_previous["prevResult"] = call.answer;
  EXPECT_EQ(Run("CHECK", Config(with_previous)).exit_status, 0);
  EXPECT_EQ(Run("DEL", Config(with_previous)).exit_status, 0);
  EXPECT_EQ(Reserved(), 0u);
  const Call gone = Run("CHECK", Config(with_previous));
  EXPECT_EQ(gone.exit_status, 1);
}

TEST_F(CniPlugin, HostLocalIsCalledInAVersionThatItKnows) {
  json config = HostLocal();
  config["cniVersion"] = "1.1.0";
  const Call call = Run("ADD", Config(config));
  ASSERT_EQ(call.exit_status, 0) << call.answer;
  EXPECT_EQ(call.answer["cniVersion"], "1.1.0");
  config["cni.dev/valid-attachments"] = json::array();
  EXPECT_EQ(Run("GC", Config(config)).exit_status, 0);
  EXPECT_EQ(Reserved(), 0u) << "it has no GC: each collected attachment is released by DEL";
  config["cniVersion"] = "0.3.0";
  EXPECT_EQ(Run("ADD", Config(config)).answer["ips"][0]["version"], "4");
}

TEST_F(CniPlugin, FailedAddGivesTheDelegatesAddressBack) {
  fake_.state.fault = {grpc::StatusCode::INVALID_ARGUMENT, "netns: no such file"};
  EXPECT_EQ(Run("ADD", Config(HostLocal())).code(), 100);
  EXPECT_EQ(Reserved(), 0u);
  fake_.Stop();
  EXPECT_EQ(Run("ADD", Config(HostLocal())).code(), 11);
  EXPECT_EQ(Reserved(), 0u);
}

TEST_F(CniPlugin, DelWithoutPodwiredKeepsTheAddress) {
  ASSERT_EQ(Run("ADD", Config(HostLocal())).exit_status, 0);
  fake_.Stop();
  EXPECT_EQ(Run("DEL", Config(HostLocal())).code(), 11);
  EXPECT_EQ(Reserved(), 1u) << "the switch may still use it";
  fake_.Start();
  EXPECT_EQ(Run("DEL", Config(HostLocal())).exit_status, 0);
  EXPECT_EQ(Reserved(), 0u);
}

TEST_F(CniPlugin, DelegatesErrorsArePassedOn) {
  json config = HostLocal();
  config["ipam"]["ranges"] = {{{{"subnet", "10.77.0.0/30"}}}};
  ASSERT_EQ(Run("ADD", Config(config), "c1").exit_status, 0);
  const Call full = Run("ADD", Config(config), "c2");
  EXPECT_EQ(full.exit_status, 1);
  EXPECT_THAT(full.msg(), HasSubstr("ipam host-local: "));
  EXPECT_THAT(full.msg(), HasSubstr("no IP addresses available"));
  const std::string broken = fake_.directory() + "/broken";
  std::ofstream(broken) << "#!/bin/sh\necho nonsense\nexit 3\n";
  std::filesystem::permissions(broken, std::filesystem::perms::owner_all);
  auto variables = Variables("ADD", "c3");
  variables["CNI_PATH"] = fake_.directory();
  const Call failed = Run(variables, Config({{"ipam", {{"type", "broken"}}}}).dump());
  EXPECT_EQ(failed.code(), 104);
  EXPECT_THAT(failed.msg(), HasSubstr("failed with exit status 3"));
}

TEST_F(CniPlugin, LogsOneLineACall) {
  const std::string log = fake_.directory() + "/log";
  const json config = Config({{"logFile", log}});
  Run("ADD", config);
  Run("ADD", config);
  Run("DEL", Config({{"logFile", log}, {"logLevel", "error"}}));
  std::ifstream file(log);
  std::string first, second, third;
  std::getline(file, first);
  std::getline(file, second);
  EXPECT_FALSE(std::getline(file, third));
  EXPECT_THAT(first, HasSubstr("level=info command=ADD container=c1 ifname=eth0 pod=demo/web"));
  EXPECT_THAT(second, HasSubstr("level=error"));
  EXPECT_THAT(second, HasSubstr("\"code\":101"));
}

/// Replays what a runtime was recorded to call its plugin with; prevResult is ours instead of the recorded
/// plugin's.
class CniRecord : public CniPlugin, public testing::WithParamInterface<std::string> {};

TEST_P(CniRecord, HasTheRecordedExitStatus) {
  std::ifstream file(std::string(PODWIRE_CNI_RECORDS) + "/" + GetParam() + ".json");
  const json calls = json::parse(file);
  ASSERT_FALSE(calls.empty());
  std::map<std::string, json> results;
  int step = 0;
  for (const json& call : calls) {
    SCOPED_TRACE(++step);
    auto variables = call["env"].get<std::map<std::string, std::string>>();
    variables["CNI_PATH"] = kPlugins;
    const std::string id = variables["CNI_CONTAINERID"];
    json input = call["stdin"];
    input["server"] = fake_.server();
    if (input.contains("ipam")) input["ipam"]["dataDir"] = fake_.directory() + "/ipam";
    if (input.contains("prevResult")) input["prevResult"] = results[id];
    if (input.contains("prevResult") && step % 2 == 0) input["prevResult"]["dns"] = json::object();
    const Call done = Run(variables, input.dump());
    EXPECT_EQ(done.exit_status, call["rc"].get<int>()) << variables["CNI_COMMAND"] << done.answer;
    if (variables["CNI_COMMAND"] == "ADD" && done.exit_status == 0) results[id] = done.answer;
  }
  EXPECT_TRUE(fake_.state.endpoints.empty());
}

INSTANTIATE_TEST_SUITE_P(Runtimes, CniRecord,
                         testing::Values("cnitool-1.1.0", "containerd-1.6", "podman-4.3"),
                         [](const auto& record) {
                           std::string name = record.param;
                           std::erase_if(name, [](unsigned char c) { return !std::isalnum(c); });
                           return name;
                         });

}  // namespace
}  // namespace podwire
