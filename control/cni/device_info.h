#pragma once

#include <string>
#include <vector>

#include <absl/status/status.h>
#include <nlohmann/json.hpp>

#include "control/cni/config.h"

namespace podwire::cni {

/// The PCI function behind an interface.
struct PciDevice {
  std::string address;
  std::string physical_function;
  std::vector<std::string> files;  // that a program needs to drive it itself
};

/// The file that tells the pod's programs which device is behind an interface (the Network Plumbing Working
/// Group's device information specification 1.1.0): runtimeConfig.CNIDeviceInfoFile, else
/// /var/run/k8s.cni.cncf.io/devinfo/cni/NETWORK-CONTAINERID-IFNAME-device.json.
std::string DeviceInfoFile(const NetConf& conf, const AttachmentId& id);

/// Its content.
nlohmann::ordered_json DeviceInfo(const PciDevice& device);

/// Code 5 (I/O) when it cannot be written.
absl::Status WriteDeviceInfo(const NetConf& conf, const AttachmentId& id, const PciDevice& device);
/// If there is one.
void RemoveDeviceInfo(const NetConf& conf, const AttachmentId& id);

}  // namespace podwire::cni
