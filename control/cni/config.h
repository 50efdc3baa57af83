#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>

namespace podwire::cni {

/// A container and its interface, as GC names them.
struct AttachmentId {
  std::string container_id;
  std::string ifname;
  bool operator==(const AttachmentId&) const = default;
};

/// The network configuration that comes on standard input.
struct NetConf {
  std::string cni_version;  // one of kVersions
  std::string name;
  std::string server = "unix:///run/podwire/podwire.sock";
  std::string attach = "tap";  // or "vhost-user", "macvlan", "vf"
  std::string resource_name;   // vf.resourceName: the pool; empty: the only one, or that of device_id
  std::string vf_driver;       // vf.deviceDriver: "vfio-pci", or empty
  std::string device_id;       // with attach "vf": the VF that a device plugin chose; empty: podwired does
  std::string
      device_info;    // runtimeConfig.CNIDeviceInfoFile: where Multus wants it; empty: where podwire puts it
  std::string trunk;  // macvlan: the port's name; empty: the only one
  bool vhost_client = false;   // vhostUser.mode "client": podwired connects to the pod's socket
  uint32_t queues = 0;         // vhostUser.queues; 0: not said
  uint32_t mtu = 0;            // 0: the network's
  std::string ipam_type;       // empty: podwired gives the address; else the plugin to delegate to
  std::string log_file;        // empty: no log
  bool log_debug = false;      // logLevel "debug": the configuration as well
  bool log_successes = true;   // not with logLevel "warn" or "error"
  nlohmann::json dns;          // object, or null
  nlohmann::json prev_result;  // object, or null
  /// GC's list of what is in use; without one nothing may be collected.
  std::optional<std::vector<AttachmentId>> valid_attachments;
  nlohmann::json document;  // as it came, for a delegate
};

/// The value of `key` in `object`, matched exactly or, failing that, without regard to case; nullptr if there
/// is none.
const nlohmann::json* Find(const nlohmann::json& object, std::string_view key);

/// Removes every spelling of `key`.
void Erase(nlohmann::json& object, std::string_view key);

/// The cniVersion that the text asks for, "" if it has none: for the answer to a document with other faults.
std::string PeekVersion(std::string_view text);

/// Errors: code 6 (no JSON), 1 (cniVersion missing or unknown), 7 (names the key, what is wrong and the
/// cure).
absl::StatusOr<NetConf> ParseNetConf(std::string_view text);

/// JSON of at most 16 MB and 64 levels. Code 6 with `what` and the parser's words if it is not.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view what);

}  // namespace podwire::cni
