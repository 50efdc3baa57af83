#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/vf_pool.h"
#include "tests/control/temp_dir.h"

namespace podwire {

inline constexpr const char* kVfConfig = R"({"node": "a", "ports": [
    {"name": "nic0", "kind": "pci", "address": "0000:01:10.0"}, {"name": "up", "kind": "netdev", "interface": "eth9"}],
  "sriov": [{"resourceName": "fast", "pfName": "eth0#0-4", "trunk": "nic0", "vlans": "100-102"}]})";

/// A NIC with six VFs: number 0 is the switch's own, 1 and 2 are igbvf's, 3 is vfio-pci's, 4 has no driver, 5
/// is in no pool.
class VfMachine {
 public:
  VfMachine() {
    const std::string pf = "/sys/bus/pci/devices/0000:01:00.0";
    Function("0000:01:00.0", "igb", "eth0");
    Write(pf + "/sriov_totalvfs", "7");
    Write(pf + "/sriov_numvfs", "6");
    const char* drivers[] = {"vfio-pci", "igbvf", "igbvf", "vfio-pci", "", "igbvf"};
    for (int n = 0; n < 6; ++n) {
      const std::string address = "0000:01:10." + std::to_string(n);
      const std::string driver = drivers[n];
      Function(address, driver, driver == "igbvf" ? "vf" + std::to_string(n) : "");
      Link("/sys/bus/pci/devices/" + address + "/physfn", "../0000:01:00.0");
      Link("/sys/bus/pci/devices/" + address + "/iommu_group",
           "../../../iommu_groups/" + std::to_string(20 + n));
      Link(pf + "/virtfn" + std::to_string(n), "../" + address);
    }
    Load(kVfConfig);
  }

  void Load(const std::string& text) {
    config_ = ParseConfig(text).value();
    VfWiring wiring;
    wiring.machine.root = dir_.path();
    wiring.machine.addresses = [this] { return addresses_; };
    wiring.read = [this](const std::string&, unsigned n) { return set_[n]; };
    wiring.set = [this](const std::string& pf, unsigned n, const VfSettings& s) -> absl::Status {
      EXPECT_EQ(pf, "eth0");
      if (fail_set_) return absl::FailedPreconditionError("the NIC's driver cannot");
      set_[n] = s;
      return absl::OkStatus();
    };
    wiring.bind = [this](const std::string& address, const std::string& driver, bool anew) {
      done_.push_back(fmt::format("bind {} \"{}\"{}", address, driver, anew ? " anew" : ""));
      return absl::OkStatus();
    };
    wiring.is_group_open = [this](const std::string& group) { return open_groups_.contains(group); };
    wiring.move_to = [this](const std::string& netns, const std::string& ifname, const std::string& name,
                            const std::string& alias) {
      done_.push_back(fmt::format("move {} to {} as {} ({})", ifname, netns, name, alias));
      return absl::OkStatus();
    };
    wiring.move_back = [this](const std::string& netns, const std::string& alias, const std::string& name,
                              unsigned) {
      done_.push_back(fmt::format("move {} back from {} as {}", alias, netns, name));
      return absl::OkStatus();
    };
    wiring.wait_ms = 0;
    pool_ = std::make_unique<VfPool>(config_, wiring);
  }

  void Function(const std::string& address, const std::string& driver, const std::string& interface) {
    const std::string path = "/sys/bus/pci/devices/" + address;
    Write(path + "/class", "0x020000");
    if (!driver.empty()) Link(path + "/driver", "../../drivers/" + driver);
    if (!interface.empty()) std::filesystem::create_directories(dir_.path() + path + "/net/" + interface);
  }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(dir_.path() + path).parent_path());
    std::ofstream(dir_.path() + path) << text << "\n";
  }
  void Link(const std::string& path, const std::string& target) {
    std::filesystem::create_directories(std::filesystem::path(dir_.path() + path).parent_path());
    std::filesystem::create_symlink(target, dir_.path() + path);
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(dir_.path() + path); }

  TempDir dir_;
  Config config_;
  std::unique_ptr<VfPool> pool_;
  std::vector<KernelAddress> addresses_;
  std::map<unsigned, VfSettings> set_;
  std::set<std::string> open_groups_;
  std::vector<std::string> done_;
  bool fail_set_ = false;
};

}  // namespace podwire
