#include "control/cni/device_info.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

#include "control/cni/error.h"

namespace podwire::cni {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kDirectory = "/var/run/k8s.cni.cncf.io/devinfo/cni";

}  // namespace

std::string DeviceInfoFile(const NetConf& conf, const AttachmentId& id) {
  if (!conf.device_info.empty()) return conf.device_info;
  return fmt::format("{}/{}-{}-{}-device.json", kDirectory, conf.name, id.container_id, id.ifname);
}

nlohmann::ordered_json DeviceInfo(const PciDevice& device) {
  nlohmann::ordered_json pci{{"pci-address", device.address}};
  if (!device.physical_function.empty()) pci["pf-pci-address"] = device.physical_function;
  // Not of the specification, whose readers pass over what they do not know.
  if (!device.files.empty()) pci["device-files"] = device.files;
  return {{"type", "pci"}, {"version", "1.1.0"}, {"pci", pci}};
}

absl::Status WriteDeviceInfo(const NetConf& conf, const AttachmentId& id, const PciDevice& device) {
  const fs::path file = DeviceInfoFile(conf, id);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  std::ofstream out(file, std::ios::trunc);
  out << DeviceInfo(device).dump() << "\n";
  out.close();
  if (!error && out) return absl::OkStatus();
  return Failure(Code::kIo, fmt::format("device information file {}: cannot be written", file.string()),
                 error ? error.message() : "");
}

void RemoveDeviceInfo(const NetConf& conf, const AttachmentId& id) {
  if (conf.attach != "vf") return;
  std::error_code ignored;
  fs::remove(DeviceInfoFile(conf, id), ignored);
}

}  // namespace podwire::cni
