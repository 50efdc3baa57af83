// The plugin's parts that need no podwired: environment, configuration, results, errors, running programs.

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/cni/config.h"
#include "control/cni/device_info.h"
#include "control/cni/environment.h"
#include "control/cni/error.h"
#include "control/cni/result.h"
#include "control/cni/subprocess.h"
#include "control/cni/version.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

absl::StatusOr<Environment> Read(const Variables& variables) {
  return ReadEnvironment([&](const char* name) -> const char* {
    const auto it = variables.find(name);
    return it == variables.end() ? nullptr : it->second.c_str();
  });
}

Variables AddVariables() {
  return {{"CNI_COMMAND", "ADD"},
          {"CNI_CONTAINERID", "c1"},
          {"CNI_NETNS", "/run/netns/x"},
          {"CNI_IFNAME", "eth0"}};
}

/// The code and message of a bad configuration: `changes` merged into a good one, null removes.
std::string ConfigError(const std::string& changes, int code = 7) {
  json document = {{"cniVersion", "1.0.0"}, {"name", "net"}, {"type", "podwire"}};
  document.merge_patch(json::parse(changes));
  const auto conf = ParseNetConf(document.dump());
  if (conf.ok()) return "no error";
  EXPECT_EQ(CodeOf(conf.status()), code) << conf.status();
  return Message(conf.status());
}

NetConf Config(const std::string& changes) {
  json document = {{"cniVersion", "1.0.0"}, {"name", "net"}, {"type", "podwire"}};
  document.merge_patch(json::parse(changes));
  auto conf = ParseNetConf(document.dump());
  EXPECT_TRUE(conf.ok()) << conf.status();
  return conf.ok() ? *std::move(conf) : NetConf();
}

TEST(CniConfig, VirtualFunctions) {
  const NetConf conf = Config(R"({"attach": "vf", "vf": {"resourceName": "fast", "deviceDriver": "vfio-pci"},
      "deviceID": "0000:01:10.2", "runtimeConfig": {"CNIDeviceInfoFile": "/run/x.json", "deviceID": "0000:01:10.9"}})");
  EXPECT_EQ(conf.resource_name, "fast");
  EXPECT_EQ(conf.vf_driver, "vfio-pci");
  EXPECT_EQ(conf.device_id, "0000:01:10.2");
  EXPECT_EQ(DeviceInfoFile(conf, {"c1", "net1"}), "/run/x.json");
  EXPECT_EQ(DeviceInfoFile(Config(R"({"attach": "vf"})"), {"c1", "net1"}),
            "/var/run/k8s.cni.cncf.io/devinfo/cni/net-c1-net1-device.json");
  EXPECT_THAT(ConfigError(R"({"vf": {}})"), HasSubstr("vf: must be nothing with attach \"tap\""));
  EXPECT_THAT(ConfigError(R"({"attach": "vf", "vf": 1})"), HasSubstr("vf: must be an object"));
  EXPECT_THAT(ConfigError(R"({"attach": "vf", "vf": {"resourceName": 1}})"),
              HasSubstr("vf.resourceName: must be"));
  EXPECT_THAT(ConfigError(R"({"attach": "vf", "vf": {"deviceDriver": "uio"}})"),
              HasSubstr("vf.deviceDriver: must be"));
  EXPECT_THAT(ConfigError(R"({"attach": "vf", "deviceID": 1})"), HasSubstr("deviceID: must be a string"));
  EXPECT_THAT(ConfigError(R"({"attach": "vf", "runtimeConfig": {"CNIDeviceInfoFile": "x"}})"),
              HasSubstr("an absolute path"));
}

/// As the specification's example, with what podwire adds.
TEST(CniDeviceInfo, IsTheSpecifications) {
  EXPECT_EQ(
      DeviceInfo({.address = "0000:01:10.2", .physical_function = "0000:01:00.0"}).dump(),
      R"({"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.2","pf-pci-address":"0000:01:00.0"}})");
  EXPECT_EQ(
      DeviceInfo({.address = "0000:01:10.2", .files = {"/dev/vfio/vfio", "/dev/vfio/7"}}).dump(),
      R"({"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.2","device-files":["/dev/vfio/vfio","/dev/vfio/7"]}})");
}

TEST(CniDeviceInfo, IsWrittenAndRemoved) {
  const std::string directory = testing::TempDir() + "podwire-devinfo";
  NetConf conf = Config(R"({"attach": "vf"})");
  conf.device_info = directory + "/a/x.json";
  ASSERT_TRUE(WriteDeviceInfo(conf, {"c1", "eth0"}, {.address = "0000:01:10.2"}).ok());
  EXPECT_EQ(json::parse(std::ifstream(conf.device_info))["pci"]["pci-address"], "0000:01:10.2");
  RemoveDeviceInfo(conf, {"c1", "eth0"});
  EXPECT_FALSE(std::filesystem::exists(conf.device_info));
  conf.device_info = "/proc/none/x.json";
  EXPECT_EQ(CodeOf(WriteDeviceInfo(conf, {"c1", "eth0"}, {})), 5);
  std::filesystem::remove_all(directory);
}

TEST(CniEnvironment, ArgumentsComeInAnyOrder) {
  for (const char* args : {"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web-1;K8S_POD_UID=u-1",
                           "K8S_POD_UID=u-1;X=;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=demo;"}) {
    Variables variables = AddVariables();
    variables["CNI_ARGS"] = args;
    const auto env = Read(variables);
    ASSERT_TRUE(env.ok()) << env.status();
    EXPECT_EQ(env->pod_namespace, "demo");
    EXPECT_EQ(env->pod_name, "web-1");
    EXPECT_EQ(env->pod_uid, "u-1");
  }
}

TEST(CniEnvironment, FaultsNameTheVariable) {
  const auto message = [](const Variables& changes) {
    Variables variables = AddVariables();
    for (const auto& [name, value] : changes) variables[name] = value;
    const auto env = Read(variables);
    EXPECT_FALSE(env.ok());
    EXPECT_EQ(CodeOf(env.status()), 4);
    return Message(env.status());
  };
  EXPECT_THAT(message({{"CNI_COMMAND", ""}}), HasSubstr("CNI_COMMAND is not set"));
  EXPECT_THAT(message({{"CNI_COMMAND", "add"}}), HasSubstr("unknown command \"add\""));
  EXPECT_THAT(message({{"CNI_CONTAINERID", ""}, {"CNI_NETNS", ""}}), HasSubstr("CNI_CONTAINERID, CNI_NETNS"));
  EXPECT_THAT(message({{"CNI_CONTAINERID", "../x"}}), HasSubstr("CNI_CONTAINERID: \"../x\""));
  EXPECT_THAT(message({{"CNI_CONTAINERID", "-x"}}), HasSubstr("CNI_CONTAINERID"));
  for (const char* bad : {"sixteen-letters-", "a/b", "a b", "a:b", ".", ".."}) {
    EXPECT_THAT(message({{"CNI_IFNAME", bad}}), HasSubstr("CNI_IFNAME")) << bad;
  }
  EXPECT_THAT(message({{"CNI_ARGS", "IgnoreUnknown=1;junk"}}),
              HasSubstr("CNI_ARGS: \"junk\" is not KEY=VALUE"));
}

TEST(CniEnvironment, EachCommandNeedsItsOwnVariables) {
  EXPECT_TRUE(Read({{"CNI_COMMAND", "STATUS"}, {"CNI_CONTAINERID", ""}}).ok());
  EXPECT_TRUE(Read({{"CNI_COMMAND", "GC"}}).ok());
  EXPECT_TRUE(Read({{"CNI_COMMAND", "VERSION"}, {"CNI_NETNS", "dummy"}, {"CNI_IFNAME", "dummy"}}).ok());
  EXPECT_TRUE(
      Read({{"CNI_COMMAND", "DEL"}, {"CNI_CONTAINERID", "c"}, {"CNI_IFNAME", "eth0"}, {"CNI_NETNS", ""}})
          .ok());
  EXPECT_FALSE(Read({{"CNI_COMMAND", "CHECK"}, {"CNI_CONTAINERID", "c"}, {"CNI_IFNAME", "eth0"}}).ok());
}

TEST(CniConfig, DefaultsAndKeys) {
  const NetConf plain = Config("{}");
  EXPECT_EQ(plain.server, "unix:///run/podwire/podwire.sock");
  EXPECT_EQ(plain.attach, "tap");
  EXPECT_EQ(plain.mtu, 0u);
  EXPECT_EQ(plain.ipam_type, "");
  EXPECT_FALSE(plain.valid_attachments.has_value());
  const NetConf full =
      Config(R"({"server": "10.0.0.1:7000", "attach": "vhost-user", "mtu": 9000, "logFile": "/tmp/x",
      "logLevel": "debug", "ipam": {"type": "host-local"}, "dns": {"nameservers": ["10.0.0.2"]}, "bridge": "ignored",
      "args": {"cni": {}}, "runtimeConfig": {"portMappings": []}, "capabilities": {"x": true}})");
  EXPECT_EQ(full.server, "10.0.0.1:7000");
  EXPECT_EQ(full.attach, "vhost-user");
  EXPECT_EQ(full.mtu, 9000u);
  EXPECT_EQ(full.ipam_type, "host-local");
  EXPECT_TRUE(full.log_debug);
  EXPECT_EQ(full.dns["nameservers"][0], "10.0.0.2");
  EXPECT_EQ(Config(R"({"ipam": {"type": "podwire"}})").ipam_type, "");
  EXPECT_EQ(Config(R"({"ipam": {}})").ipam_type, "");
}

TEST(CniConfig, KeysAreMatchedWithoutRegardToCase) {
  const auto conf = ParseNetConf(R"({"CNIVERSION": "0.4.0", "Name": "n", "type": "podwire", "MTU": 1400,
      "PrevResult": {"IPs": [{"Address": "10.0.0.2/24"}]}, "ipam": {"Type": "x"}})");
  ASSERT_TRUE(conf.ok()) << conf.status();
  EXPECT_EQ(conf->cni_version, "0.4.0");
  EXPECT_EQ(conf->mtu, 1400u);
  EXPECT_EQ(conf->ipam_type, "x");
  const auto previous = ParseResult(conf->prev_result, "prevResult");
  ASSERT_TRUE(previous.ok()) << previous.status();
  EXPECT_EQ(previous->ips[0].address, "10.0.0.2/24");
}

TEST(CniConfig, FaultsNameTheKeyAndTheCure) {
  EXPECT_THAT(ConfigError(R"({"mtu": "1500"})"), HasSubstr("mtu: must be a number from 576 to 65535"));
  for (const char* bad : {"575", "65536", "-1", "1500.5", "4294968796", "true"}) {
    EXPECT_THAT(ConfigError(fmt::format(R"({{"mtu": {}}})", bad)), HasSubstr("mtu: must be")) << bad;
  }
  EXPECT_THAT(ConfigError(R"({"vhostUser": {}})"),
              HasSubstr("vhostUser: must be nothing with attach \"tap\""));
  EXPECT_THAT(ConfigError(R"({"attach": "vhost-user", "vhostUser": 1})"),
              HasSubstr("vhostUser: must be an object"));
  EXPECT_THAT(ConfigError(R"({"attach": "vhost-user", "vhostUser": {"mode": "both"}})"),
              HasSubstr("vhostUser.mode: must be \"server\" or \"client\", got \"both\""));
  for (const char* queues : {"0", "17", "-1", "\"2\"", "1.5"}) {
    EXPECT_THAT(
        ConfigError(fmt::format(R"({{"attach": "vhost-user", "vhostUser": {{"queues": {}}}}})", queues)),
        HasSubstr("vhostUser.queues: must be a number from 1 to 16"))
        << queues;
  }
  EXPECT_THAT(ConfigError(R"({"attach": "veth"})"),
              HasSubstr("attach: must be \"tap\", \"vhost-user\", \"macvlan\" or \"vf\", got \"veth\""));
  EXPECT_THAT(ConfigError(R"({"name": null})"), HasSubstr("name: missing"));
  EXPECT_THAT(ConfigError(R"({"name": "a/b"})"), HasSubstr("name: must be an identifier"));
  EXPECT_THAT(ConfigError(R"({"server": 5})"), HasSubstr("server: must be a string, got 5"));
  EXPECT_THAT(ConfigError(R"({"ipam": "host-local"})"), HasSubstr("ipam: must be an object"));
  EXPECT_THAT(ConfigError(R"({"ipam": {"type": "../../bin/sh"}})"),
              HasSubstr("ipam.type: must be the name of a plugin"));
  EXPECT_THAT(ConfigError(R"({"ipam": {"type": 3}})"), HasSubstr("ipam.type: must be a string"));
  EXPECT_THAT(ConfigError(R"({"dns": {"nameservers": "10.0.0.1"}})"),
              HasSubstr("dns.nameservers: must be a list"));
  EXPECT_THAT(ConfigError(R"({"logLevel": "loud"})"), HasSubstr("logLevel: must be"));
  EXPECT_THAT(ConfigError(R"({"prevResult": []})"), HasSubstr("prevResult: must be an object"));
  EXPECT_THAT(ConfigError(R"({"cni.dev/valid-attachments": [{"containerID": "a"}]})"),
              HasSubstr("cni.dev/valid-attachments[0]: must be"));
  EXPECT_THAT(ConfigError(R"({"cniVersion": "0.2.0"})", 1), HasSubstr("incompatible CNI versions"));
  EXPECT_THAT(ConfigError(R"({"cniVersion": null})", 1), HasSubstr("incompatible CNI versions"));
}

TEST(CniConfig, WhatIsNoJsonIsCode6) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("{\"a\": 1} x"),
                                  std::string("{\"a\": \"\xff\"}"), std::string(100000, '[')}) {
    const auto conf = ParseNetConf(text);
    ASSERT_FALSE(conf.ok());
    EXPECT_EQ(CodeOf(conf.status()), 6) << text.substr(0, 20);
  }
  EXPECT_EQ(CodeOf(ParseNetConf("[]").status()), 7);
}

TEST(CniConfig, ValidAttachmentsOfEitherName) {
  const char* list = R"({"cni.dev/%s": [{"containerID": "c1", "ifname": "eth0"}]})";
  for (const char* name : {"valid-attachments", "attachments"}) {
    std::string changes = list;
    changes.replace(changes.find("%s"), 2, name);
    const NetConf conf = Config(changes);
    ASSERT_TRUE(conf.valid_attachments.has_value());
    EXPECT_THAT(*conf.valid_attachments, testing::ElementsAre(AttachmentId{"c1", "eth0"}));
  }
  EXPECT_TRUE(Config(R"({"cni.dev/valid-attachments": []})").valid_attachments->empty());
}

TEST(CniResult, EachVersionHasItsSpelling) {
  const Result result{.interfaces = {{"eth0", "0a:58:00:00:00:01", "/run/netns/x", 1450, "/s"}},
                      .ips = {{"10.0.0.2/24", "10.0.0.1", 0}, {"fd00::2/64", "", 0}},
                      .routes = {{"0.0.0.0/0", "10.0.0.1"}},
                      .dns = json{{"search", {"local"}}}};
  for (const auto version : kVersions) {
    const auto out = ToJson(result, version);
    EXPECT_EQ(out["cniVersion"], version);
    EXPECT_EQ(out["ips"][0].contains("version"), !AtLeast(version, "1.0.0")) << version;
    EXPECT_EQ(out["interfaces"][0].contains("mtu"), AtLeast(version, "1.1.0")) << version;
    EXPECT_EQ(out["interfaces"][0].contains("socketPath"), AtLeast(version, "1.1.0")) << version;
    EXPECT_EQ(out["ips"][1]["interface"], 0);
    EXPECT_FALSE(out["ips"][1].contains("gateway"));
    const auto back = ParseResult(json::parse(out.dump()), "result");
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(ToJson(*back, "0.3.1"), ToJson(result, "0.3.1"));
  }
  EXPECT_EQ(ToJson(result, "0.4.0")["ips"][1]["version"], "6");
}

TEST(CniResult, FaultsNameTheirPlace) {
  const auto message = [](const char* text) {
    const auto result = ParseResult(json::parse(text), "prevResult");
    EXPECT_EQ(CodeOf(result.status()), 6) << text;
    return Message(result.status());
  };
  EXPECT_EQ(message(R"({"ips": [{"address": "10.0.0.2"}]})"),
            "prevResult: ips[0].address: must be an address like 10.244.1.7/24");
  EXPECT_THAT(message(R"({"ips": [{"address": "10.0.0.2/24", "interface": -1}]})"),
              HasSubstr("ips[0].interface"));
  EXPECT_THAT(message(R"({"ips": [{"address": "10.0.0.2/24", "interface": 4294967296}]})"),
              HasSubstr("ips[0].interface"));
  EXPECT_THAT(message(R"({"ips": [7]})"), HasSubstr("ips[0]: must be an object"));
  EXPECT_THAT(message(R"({"routes": [{"dst": "default"}]})"), HasSubstr("routes[0].dst"));
  EXPECT_THAT(message(R"({"interfaces": {}})"), HasSubstr("interfaces: must be a list"));
  EXPECT_THAT(message("[]"), HasSubstr("prevResult: must be an object"));
}

TEST(CniError, IsTheSpecificationsObject) {
  EXPECT_EQ(Dump(ErrorJson("1.0.0", Failure(Code::kTryAgainLater, "later", "why"))),
            R"({"cniVersion":"1.0.0","code":11,"msg":"later","details":"why"})");
  EXPECT_EQ(Dump(ErrorJson("0.3.1", absl::InternalError("\xff"))),
            "{\"cniVersion\":\"0.3.1\",\"code\":100,\"msg\":\"\xEF\xBF\xBD\"}");
}

TEST(CniSubprocess, PassesInputOutputEnvironmentAndStatus) {
  const std::string large(300000, 'x');  // more than a pipe holds, both ways
  const auto echo = RunProgram("/bin/cat", {}, large, std::chrono::seconds(10));
  ASSERT_TRUE(echo.ok()) << echo.status();
  EXPECT_EQ(echo->output, large);
  const auto script = RunProgram("/bin/sh", {"X=7"}, "echo $X $HOME; exit 3", std::chrono::seconds(10));
  ASSERT_TRUE(script.ok()) << script.status();
  EXPECT_EQ(script->output, "7\n");
  EXPECT_EQ(script->exit_status, 3);
  EXPECT_EQ(RunProgram("/bin/sh", {}, "kill -9 $$", std::chrono::seconds(10))->exit_status, 128 + 9);
  EXPECT_EQ(RunProgram("/nonexistent", {}, "", std::chrono::seconds(1)).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(CniSubprocess, EndsWhatDoesNotAnswer) {
  const auto result = RunProgram("/bin/sh", {}, "exec sleep 60", std::chrono::milliseconds(100));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace podwire::cni
