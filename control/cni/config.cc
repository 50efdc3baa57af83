#include "control/cni/config.h"

#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <strings.h>

#include "control/cni/environment.h"
#include "control/cni/error.h"
#include "control/cni/version.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxBytes = 16u << 20;
constexpr int kMaxDepth = 64;
constexpr uint32_t kMinMtu = 576;
constexpr uint32_t kMaxMtu = 65535;

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

absl::Status Invalid(std::string_view key, std::string_view expected, const Json& got) {
  std::string value = Dump(got);
  constexpr size_t kShown = 80;
  if (value.size() > kShown) value = value.substr(0, kShown) + "...";
  return Failure(Code::kInvalidConfig,
                 fmt::format("network configuration: {}: must be {}, got {}", key, expected, value));
}

/// Reads an optional string; null counts as absent.
absl::Status ReadString(const Json& doc, std::string_view key, std::string& out) {
  const Json* value = Find(doc, key);
  if (value == nullptr || value->is_null()) return absl::OkStatus();
  if (!value->is_string()) return Invalid(key, "a string", *value);
  out = value->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadObject(const Json& doc, std::string_view key, Json& out) {
  const Json* value = Find(doc, key);
  if (value == nullptr || value->is_null()) return absl::OkStatus();
  if (!value->is_object()) return Invalid(key, "an object", *value);
  out = *value;
  return absl::OkStatus();
}

absl::Status ReadVersion(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadString(doc, "cniVersion", conf.cni_version));
  if (VersionRank(conf.cni_version) >= 0) return absl::OkStatus();
  const std::string what =
      conf.cni_version.empty() ? "has no cniVersion" : fmt::format("has cniVersion \"{}\"", conf.cni_version);
  return Failure(Code::kIncompatibleVersion, "incompatible CNI versions",
                 fmt::format("the network configuration {}; podwire-cni speaks {}", what, VersionList()));
}

absl::Status ReadName(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadString(doc, "name", conf.name));
  if (conf.name.empty()) {
    return Failure(Code::kInvalidConfig, "network configuration: name: missing; give the network a name");
  }
  if (!IsIdentifier(conf.name)) {
    return Invalid("name", "an identifier (letters, digits, '_', '.', '-', a letter or digit first)",
                   conf.name);
  }
  return absl::OkStatus();
}

absl::Status ReadMtu(const Json& doc, NetConf& conf) {
  const Json* value = Find(doc, "mtu");
  if (value == nullptr || value->is_null()) return absl::OkStatus();
  const std::string expected =
      fmt::format("a number from {} to {}, or 0 for the network's", kMinMtu, kMaxMtu);
  if (!value->is_number_unsigned()) return Invalid("mtu", expected, *value);
  const auto mtu = value->get<uint64_t>();
  if (mtu != 0 && (mtu < kMinMtu || mtu > kMaxMtu)) return Invalid("mtu", expected, *value);
  conf.mtu = static_cast<uint32_t>(mtu);
  return absl::OkStatus();
}

absl::Status ReadVhostUser(const Json& doc, NetConf& conf) {
  Json vhost;
  RETURN_IF_ERROR(ReadObject(doc, "vhostUser", vhost));
  if (vhost.is_null()) return absl::OkStatus();
  if (conf.attach != "vhost-user")
    return Invalid("vhostUser", fmt::format("nothing with attach \"{}\"", conf.attach), vhost);
  if (const Json* mode = Find(vhost, "mode"); mode != nullptr) {
    if (*mode != "server" && *mode != "client")
      return Invalid("vhostUser.mode", "\"server\" or \"client\"", *mode);
    conf.vhost_client = *mode == "client";
  }
  if (const Json* queues = Find(vhost, "queues"); queues != nullptr) {
    constexpr uint32_t kMaxQueues = 16;
    if (!queues->is_number_unsigned() || *queues < 1u || *queues > kMaxQueues)
      return Invalid("vhostUser.queues", fmt::format("a number from 1 to {}", kMaxQueues), *queues);
    conf.queues = queues->get<uint32_t>();
  }
  return absl::OkStatus();
}

absl::Status ReadTrunk(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadString(doc, "trunk", conf.trunk));
  if (conf.trunk.empty() || conf.attach == "macvlan") return absl::OkStatus();
  return Invalid("trunk", fmt::format("nothing with attach \"{}\"", conf.attach), conf.trunk);
}

/// What Multus says of the device that a device plugin has given to the pod: `deviceID`, by the runtime's
/// configuration or beside it. Another kind of attachment has no use for it.
absl::Status ReadDevice(const Json& doc, NetConf& conf) {
  Json runtime;
  RETURN_IF_ERROR(ReadObject(doc, "runtimeConfig", runtime));
  if (runtime.is_object()) {
    RETURN_IF_ERROR(ReadString(runtime, "CNIDeviceInfoFile", conf.device_info));
    RETURN_IF_ERROR(ReadString(runtime, "deviceID", conf.device_id));
  }
  RETURN_IF_ERROR(ReadString(doc, "deviceID", conf.device_id));
  if (!conf.device_info.empty() && conf.device_info[0] != '/')
    return Invalid("runtimeConfig.CNIDeviceInfoFile", "an absolute path", conf.device_info);
  return absl::OkStatus();
}

absl::Status ReadVf(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadDevice(doc, conf));
  Json vf;
  RETURN_IF_ERROR(ReadObject(doc, "vf", vf));
  if (vf.is_null()) return absl::OkStatus();
  if (conf.attach != "vf") return Invalid("vf", fmt::format("nothing with attach \"{}\"", conf.attach), vf);
  if (const Json* name = Find(vf, "resourceName"); name != nullptr) {
    if (!name->is_string()) return Invalid("vf.resourceName", "the name of a pool of podwired's", *name);
    conf.resource_name = name->get<std::string>();
  }
  if (const Json* driver = Find(vf, "deviceDriver"); driver != nullptr) {
    if (*driver != "vfio-pci" && *driver != "")
      return Invalid("vf.deviceDriver", "\"vfio-pci\", or nothing for an interface of the kernel's", *driver);
    conf.vf_driver = driver->get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status ReadIpam(const Json& doc, NetConf& conf) {
  Json ipam;
  RETURN_IF_ERROR(ReadObject(doc, "ipam", ipam));
  if (ipam.is_null()) return absl::OkStatus();
  std::string type;
  const Json* value = Find(ipam, "type");
  if (value != nullptr && !value->is_null()) {
    if (!value->is_string()) return Invalid("ipam.type", "a string", *value);
    type = value->get<std::string>();
  }
  if (type == "podwire") type.clear();
  if (type.find('/') != std::string::npos || type.find('\0') != std::string::npos || type == "." ||
      type == "..") {
    return Invalid("ipam.type", "the name of a plugin in CNI_PATH, or \"podwire\"", type);
  }
  conf.ipam_type = std::move(type);
  return absl::OkStatus();
}

absl::Status ReadLog(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadString(doc, "logFile", conf.log_file));
  std::string level = "info";
  RETURN_IF_ERROR(ReadString(doc, "logLevel", level));
  if (level != "debug" && level != "info" && level != "warn" && level != "error") {
    return Invalid("logLevel", "\"debug\", \"info\", \"warn\" or \"error\"", level);
  }
  conf.log_debug = level == "debug";
  conf.log_successes = level == "debug" || level == "info";
  return absl::OkStatus();
}

absl::Status ReadDns(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadObject(doc, "dns", conf.dns));
  if (conf.dns.is_null()) return absl::OkStatus();
  const Json* domain = Find(conf.dns, "domain");
  if (domain != nullptr && !domain->is_string()) return Invalid("dns.domain", "a string", *domain);
  for (const char* key : {"nameservers", "search", "options"}) {
    const Json* list = Find(conf.dns, key);
    if (list == nullptr || list->is_null()) continue;
    const std::string name = fmt::format("dns.{}", key);
    if (!list->is_array()) return Invalid(name, "a list of strings", *list);
    for (const Json& item : *list) {
      if (!item.is_string()) return Invalid(name, "a list of strings", *list);
    }
  }
  return absl::OkStatus();
}

/// libcni sends the specification's key and an older one with the same content.
absl::Status ReadValidAttachments(const Json& doc, NetConf& conf) {
  for (const char* key : {"cni.dev/valid-attachments", "cni.dev/attachments"}) {
    const Json* list = Find(doc, key);
    if (list == nullptr || list->is_null()) continue;
    if (!list->is_array()) return Invalid(key, "a list of {containerID, ifname}", *list);
    std::vector<AttachmentId> valid;
    for (const Json& item : *list) {
      const Json* id = item.is_object() ? Find(item, "containerID") : nullptr;
      const Json* ifname = item.is_object() ? Find(item, "ifname") : nullptr;
      if (id == nullptr || ifname == nullptr || !id->is_string() || !ifname->is_string()) {
        return Invalid(fmt::format("{}[{}]", key, valid.size()),
                       "{\"containerID\": string, \"ifname\": string}", item);
      }
      valid.push_back({id->get<std::string>(), ifname->get<std::string>()});
    }
    conf.valid_attachments = std::move(valid);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status ReadKeys(const Json& doc, NetConf& conf) {
  RETURN_IF_ERROR(ReadVersion(doc, conf));
  RETURN_IF_ERROR(ReadName(doc, conf));
  RETURN_IF_ERROR(ReadString(doc, "server", conf.server));
  if (conf.server.empty())
    return Invalid("server", "podwired's address, like unix:///run/podwire/podwire.sock", "");
  RETURN_IF_ERROR(ReadString(doc, "attach", conf.attach));
  if (conf.attach != "tap" && conf.attach != "vhost-user" && conf.attach != "macvlan" &&
      conf.attach != "vf") {
    return Invalid("attach", "\"tap\", \"vhost-user\", \"macvlan\" or \"vf\"", conf.attach);
  }
  RETURN_IF_ERROR(ReadVhostUser(doc, conf));
  RETURN_IF_ERROR(ReadTrunk(doc, conf));
  RETURN_IF_ERROR(ReadVf(doc, conf));
  RETURN_IF_ERROR(ReadMtu(doc, conf));
  RETURN_IF_ERROR(ReadIpam(doc, conf));
  RETURN_IF_ERROR(ReadLog(doc, conf));
  RETURN_IF_ERROR(ReadDns(doc, conf));
  RETURN_IF_ERROR(ReadObject(doc, "prevResult", conf.prev_result));
  return ReadValidAttachments(doc, conf);
}

}  // namespace

const Json* Find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  if (const auto it = object.find(std::string(key)); it != object.end()) return &*it;
  for (auto it = object.begin(); it != object.end(); ++it) {
    if (EqualsIgnoringCase(it.key(), key)) return &*it;
  }
  return nullptr;
}

void Erase(Json& object, std::string_view key) {
  for (auto it = object.begin(); it != object.end();) {
    it = EqualsIgnoringCase(it.key(), key) ? object.erase(it) : std::next(it);
  }
}

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what) {
  if (text.size() > kMaxBytes) {
    return Failure(Code::kDecode, fmt::format("{}: longer than {} MB", what, kMaxBytes >> 20));
  }
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) throw std::length_error(fmt::format("nested deeper than {} levels", kMaxDepth));
    return true;
  };
  try {
    return Json::parse(text, limit_depth);
  } catch (const std::exception& e) {
    return Failure(Code::kDecode, fmt::format("{}: not valid JSON", what), e.what());
  }
}

std::string PeekVersion(std::string_view text) {
  const auto doc = ParseJson(text, "network configuration");
  if (!doc.ok()) return "";
  const Json* version = Find(*doc, "cniVersion");
  return version != nullptr && version->is_string() ? version->get<std::string>() : "";
}

absl::StatusOr<NetConf> ParseNetConf(std::string_view text) {
  NetConf conf;
  ASSIGN_OR_RETURN(conf.document, ParseJson(text, "network configuration"));
  if (!conf.document.is_object()) return Invalid("(whole)", "a JSON object", conf.document);
  RETURN_IF_ERROR(ReadKeys(conf.document, conf));
  return conf;
}

}  // namespace podwire::cni
