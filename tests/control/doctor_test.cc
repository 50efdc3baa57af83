// Machines made of files: what the checks of `podwire doctor` find there, and what they say to do.

#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/doctor/checks.h"
#include "control/machine/pci_functions.h"
#include "tests/control/temp_dir.h"

namespace podwire::doctor {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

class Doctor : public testing::Test {
 protected:
  void SetUp() override {
    machine_.root = dir_.path();
    machine_.has_socket_family = [this](int) { return has_sockets_; };
    machine_.addresses = [this] { return addresses_; };
  }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(dir_.path() + path).parent_path());
    std::ofstream(dir_.path() + path) << text << "\n";
  }
  void Link(const std::string& path, const std::string& target) {
    fs::create_directories(fs::path(dir_.path() + path).parent_path());
    fs::create_symlink(target, dir_.path() + path);
  }
  void Directory(const std::string& path) { fs::create_directories(dir_.path() + path); }

  Config ConfigOf(const std::string& text) {
    auto config = ParseConfig(text);
    EXPECT_TRUE(config.ok()) << config.status();
    return *std::move(config);
  }
  /// A node with a netdev uplink that podwired would be glad of.
  Config NetdevConfig(const std::string& underlay = R"("port": "up", "address": "192.0.2.1/24")") {
    Write("/sys/class/net/eth1/operstate", "up");
    Write("/sys/class/net/eth1/mtu", "1500");
    return ConfigOf(R"({"node": "a", "ports": [{"name": "up", "kind": "netdev", "interface": "eth1"}],
      "underlay": {)" +
                    underlay + R"(}, "network": {"Network": "10.244.0.0/16", "EnableIPv6": true,
      "IPv6Network": "fd44::/48", "Backend": {"Type": "vxlan"}}})");
  }
  Config PciConfig() {
    return ConfigOf(R"({"node": "a", "lcores": {"workers": [2]},
      "ports": [{"name": "up", "kind": "pci", "address": "0000:03:02.1"}]})");
  }
  /// A virtual function of an SR-IOV NIC, with its driver.
  void AddFunctions(const std::string& driver) {
    const std::string pf = "/sys/bus/pci/devices/0000:03:00.0", vf = "/sys/bus/pci/devices/0000:03:02.1";
    Write(pf + "/class", "0x020000");
    Write(pf + "/vendor", "0x8086");
    Write(pf + "/device", "0x1521");
    Write(pf + "/sriov_totalvfs", "8");
    Write(pf + "/sriov_numvfs", "4");
    Link(pf + "/driver", "../../../../bus/pci/drivers/igb");
    Directory(pf + "/net/eth2");
    Write(vf + "/class", "0x020000");
    Write(vf + "/numa_node", "1");
    Link(vf + "/physfn", "../0000:03:00.0");
    Link(vf + "/iommu_group", "../../../../kernel/iommu_groups/7");
    if (!driver.empty()) Link(vf + "/driver", "../../../../bus/pci/drivers/" + driver);
    Directory("/sys/kernel/iommu_groups/7/devices/0000:03:02.1");
    Directory("/sys/bus/pci/drivers/vfio-pci");
  }

  static auto Is(Result result, const std::string& check, const std::string& found,
                 const std::string& cure = "") {
    return AllOf(Field("result", &Finding::result, result), Field("check", &Finding::check, check),
                 Field("found", &Finding::found, HasSubstr(found)),
                 Field("cure", &Finding::cure,
                       cure.empty() ? testing::Matcher<std::string>(IsEmpty())
                                    : testing::Matcher<std::string>(HasSubstr(cure))));
  }

  TempDir dir_;
  Machine machine_;
  bool has_sockets_ = true;
  std::vector<KernelAddress> addresses_;
};

TEST_F(Doctor, CpuLists) {
  EXPECT_THAT(ParseCpuList("0-2,5"), ElementsAre(0, 1, 2, 5));
  EXPECT_THAT(ParseCpuList("3"), ElementsAre(3));
  for (const char* bad : {"", "x", "2-1", "1-", "1;2", "99999999999"})
    EXPECT_THAT(ParseCpuList(bad), IsEmpty()) << bad;
}

TEST_F(Doctor, WhatCannotBeReadIsNothing) {
  Directory("/sys/class/net/eth1/phys_switch_id");
  EXPECT_EQ(machine_.Read("/sys/class/net/eth1/phys_switch_id"), std::nullopt);
  EXPECT_EQ(machine_.Read("/none"), std::nullopt);
  Write("/number", " 12");
  EXPECT_EQ(machine_.ReadNumber("/number"), 12u);
  Write("/number", "12x");
  EXPECT_EQ(machine_.ReadNumber("/number"), std::nullopt);
}

TEST_F(Doctor, Hugepages) {
  Config config;
  Write("/proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable:    2048000 kB");
  EXPECT_THAT(CheckMemory(machine_, config),
              ElementsAre(Is(Result::kWarn, "hugepages", "0 MB free of 0 MB",
                             "echo 256 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
                          Is(Result::kPass, "memory", "2000 MB")));
  Write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "300");
  Write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "100");
  config.hugepages = "on";
  EXPECT_THAT(CheckMemory(machine_, config),
              ElementsAre(Is(Result::kFail, "hugepages", "200 MB free of 600 MB", "echo 456 > /sys/")));
  Write("/proc/7/comm", "podwired");
  config.memory_mb = 400;
  EXPECT_THAT(CheckMemory(machine_, config), ElementsAre(Is(Result::kPass, "hugepages", "a podwired runs")));
  config.memory_mb = 200;
  EXPECT_THAT(CheckMemory(machine_, config), ElementsAre(Is(Result::kPass, "hugepages", "200 MB free")));
  config.hugepages = "off";
  EXPECT_THAT(CheckMemory(machine_, config), ElementsAre(Is(Result::kPass, "hugepages", "configured off"),
                                                         Is(Result::kPass, "memory", "2000 MB")));
}

TEST_F(Doctor, TooLittleMemory) {
  Config config;
  config.hugepages = "off";
  Write("/proc/meminfo", "MemAvailable: 204800 kB");
  EXPECT_THAT(CheckMemory(machine_, config), ElementsAre(Is(Result::kPass, "hugepages", "off"),
                                                         Is(Result::kFail, "memory", "200 MB", "memoryMb")));
}

TEST_F(Doctor, Instructions) {
  Write("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse4_2 popcnt avx2 constant_tsc nonstop_tsc\n");
  EXPECT_THAT(CheckCpus(machine_, Config()),
              ElementsAre(Is(Result::kPass, "instructions", "AVX2"), Is(Result::kPass, "clock", "one pace")));
  Write("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse4_1\n");
  EXPECT_THAT(CheckCpus(machine_, Config()),
              ElementsAre(Is(Result::kFail, "instructions", "no SSE4.2", "CPU model"),
                          Is(Result::kWarn, "clock", "TSC", "invtsc")));
}

TEST_F(Doctor, WorkersCpus) {
  Write("/sys/devices/system/cpu/online", "0-3");
  Write("/sys/devices/system/cpu/isolated", "");
  Write("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave");
  Write("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3");
  Config config;
  config.control_lcore = 0;
  config.workers = {{.cpu = 1}, {.cpu = 9}, {.cpu = 2}, {.cpu = 3, .mode = WorkerMode::kPoll}, {.cpu = 0}};
  EXPECT_THAT(
      CheckCpus(machine_, config),
      ElementsAre(Is(Result::kPass, "CPU 1", "worker's"),
                  Is(Result::kFail, "CPU 9", "online are 0-3", "lcores.workers"),
                  Is(Result::kWarn, "CPU 2", "powersave", "echo performance >"),
                  Is(Result::kWarn, "CPU 3", "polls", "isolcpus=3"), Is(Result::kPass, "CPU 0", "worker's"),
                  Is(Result::kWarn, "CPU 3", "shares a core (hyper-threads) with CPU 1", "one worker"),
                  Is(Result::kWarn, "CPU 0", "lcores.control", "another CPU")));
  Write("/sys/devices/system/cpu/isolated", "3");
  config.workers = {{.cpu = 3, .mode = WorkerMode::kPoll}};
  EXPECT_THAT(CheckCpus(machine_, config), ElementsAre(Is(Result::kPass, "CPU 3", "worker's")));
}

TEST_F(Doctor, Kernel) {
  Write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64");
  Write("/dev/net/tun", "");
  EXPECT_THAT(CheckKernel(machine_, Config()),
              ElementsAre(Is(Result::kPass, "kernel", "6.1.0"), Is(Result::kPass, "tun", "/dev/net/tun")));
  fs::remove(dir_.path() + "/dev/net/tun");
  has_sockets_ = false;
  EXPECT_THAT(CheckKernel(machine_, NetdevConfig()),
              ElementsAre(Is(Result::kWarn, "kernel", "one by one", "6.2"),
                          Is(Result::kFail, "tun", "no /dev/net/tun", "modprobe tun"),
                          Is(Result::kFail, "AF_PACKET", "none", "modprobe af_packet"),
                          Is(Result::kFail, "IPv6", "has not", "ipv6.disable=1")));
  has_sockets_ = true;
  Write("/proc/sys/kernel/osrelease", "6.18.2");
  Write("/dev/net/tun", "");
  Write("/proc/net/if_inet6", "");
  Write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
  EXPECT_THAT(CheckKernel(machine_, NetdevConfig()),
              ElementsAre(Is(Result::kPass, "kernel", "6.18.2"), Is(Result::kPass, "tun", ""),
                          Is(Result::kWarn, "IPv6", "off", "disable_ipv6=0")));
  Write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0");
  machine_.is_root = false;
  EXPECT_THAT(
      CheckKernel(machine_, NetdevConfig()),
      ElementsAre(Is(Result::kWarn, "user", "not root", "as root"), Is(Result::kPass, "kernel", "6.18.2"),
                  Is(Result::kPass, "tun", ""), Is(Result::kPass, "IPv6", "on")));
}

TEST_F(Doctor, ReadsPciFunctions) {
  AddFunctions("vfio-pci");
  Write("/sys/bus/pci/devices/0000:00:1f.0/class", "0x060100");
  const PciFunction pf{.address = "0000:03:00.0",
                       .id = "8086:1521",
                       .driver = "igb",
                       .interfaces = {"eth2"},
                       .vfs = 4,
                       .max_vfs = 8};
  const PciFunction vf{.address = "0000:03:02.1",
                       .driver = "vfio-pci",
                       .physical_function = "0000:03:00.0",
                       .numa_node = 1,
                       .iommu_group = "7"};
  EXPECT_THAT(ListPciFunctions(machine_), ElementsAre(pf, vf));
  Write("/sys/class/net/eth2/phys_switch_id", "98f2b300");
  EXPECT_TRUE(FindPciFunction(machine_, "0000:03:00.0")->switchdev);
  EXPECT_FALSE(FindPciFunction(machine_, "0000:09:00.0").has_value());
}

TEST_F(Doctor, PciIsOptionalWithoutPciPorts) {
  EXPECT_THAT(CheckPci(machine_, Config()), ElementsAre(Is(Result::kPass, "IOMMU", "only pci ports need it"),
                                                        Is(Result::kPass, "vfio", "only pci ports need it")));
}

TEST_F(Doctor, PciPorts) {
  EXPECT_THAT(CheckPci(machine_, PciConfig()),
              ElementsAre(Is(Result::kFail, "IOMMU", "none", "intel_iommu=on"),
                          Is(Result::kFail, "vfio", "no driver", "modprobe vfio-pci"),
                          Is(Result::kFail, "port up", "there is no PCI device 0000:03:02.1", "lspci")));
  Write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y");
  EXPECT_THAT(CheckPci(machine_, PciConfig())[0], Is(Result::kWarn, "IOMMU", "unsafe", "intel_iommu=on"));
  AddFunctions("igbvf");
  Directory("/sys/bus/pci/devices/0000:03:02.1/net/eth5");
  EXPECT_THAT(
      CheckPci(machine_, PciConfig()),
      ElementsAre(Is(Result::kPass, "IOMMU", "1 groups"), Is(Result::kPass, "vfio", "there"),
                  Is(Result::kPass, "NIC", "0000:03:00.0 (eth2), igb, 4 of 8 virtual functions, legacy mode"),
                  Is(Result::kFail, "port up", "driver igbvf, and is the host's eth5",
                     "dpdk-devbind.py --bind=vfio-pci")));
}

TEST_F(Doctor, MellanoxStaysWithItsDriver) {
  AddFunctions("mlx5_core");
  EXPECT_THAT(CheckPci(machine_, PciConfig()),
              ElementsAre(Is(Result::kPass, "IOMMU", "1 groups"), Is(Result::kPass, "vfio", "there"),
                          Is(Result::kPass, "NIC", "0000:03:00.0"),
                          Is(Result::kPass, "port up", "0000:03:02.1 is with mlx5_core")));
}

TEST_F(Doctor, PciPortsPlace) {
  AddFunctions("vfio-pci");
  EXPECT_THAT(CheckPci(machine_, PciConfig()).back(),
              Is(Result::kPass, "port up", "0000:03:02.1 is with vfio-pci"));
  Write("/sys/devices/system/node/node1/cpulist", "4-7");
  EXPECT_THAT(CheckPci(machine_, PciConfig()).back(),
              Is(Result::kWarn, "port up", "NUMA node 1, the worker on CPU 2 is not", "node1/cpulist"));
  Directory("/sys/kernel/iommu_groups/7/devices/0000:03:02.2");
  Link("/sys/bus/pci/devices/0000:03:02.2/driver", "../../../../bus/pci/drivers/igbvf");
  EXPECT_THAT(CheckPci(machine_, PciConfig()).back(),
              Is(Result::kFail, "port up", "shares IOMMU group 7 with 0000:03:02.2 (igbvf)", "as well"));
}

TEST_F(Doctor, NetdevUplink) {
  const Config config = NetdevConfig();
  EXPECT_THAT(CheckNetwork(machine_, config),
              ElementsAre(Is(Result::kPass, "port up", "eth1 is up"),
                          Is(Result::kPass, "MTU", "underlay 1500, pods 1450")));
  addresses_ = {
      {"eth1", *ParseIp("192.0.2.1")}, {"eth1", *ParseIp("fe80::1")}, {"eth0", *ParseIp("192.0.2.7")}};
  EXPECT_THAT(CheckNetwork(machine_, config)[0],
              Is(Result::kFail, "port up", "the kernel has 192.0.2.1 on eth1",
                 "ip addr flush dev eth1, or share it"));
  Write("/sys/class/net/eth1/operstate", "down");
  EXPECT_THAT(CheckNetwork(machine_, config)[0],
              Is(Result::kFail, "port up", "eth1 is down", "ip link set eth1 up"));
  fs::remove_all(dir_.path() + "/sys/class/net/eth1");
  EXPECT_THAT(CheckNetwork(machine_, config)[0],
              Is(Result::kFail, "port up", "no interface eth1", "ip link"));
}

TEST_F(Doctor, AnUplinkThatTheKernelKeepsHasItsAddress) {
  Config config = NetdevConfig();
  config.underlay->shared = true;
  EXPECT_THAT(CheckNetwork(machine_, config)[0],
              Is(Result::kFail, "port up", "eth1 is shared with the kernel, which has no address on it",
                 "ip addr add"));
  addresses_ = {{"eth1", *ParseIp("192.0.2.1")}};
  EXPECT_THAT(CheckNetwork(machine_, config)[0], Is(Result::kPass, "port up", "eth1 is up"));
  addresses_ = {{"eth1", *ParseIp("192.0.2.9")}, {"eth0", *ParseIp("192.0.2.1")}};
  EXPECT_THAT(
      CheckNetwork(machine_, config)[0],
      Is(Result::kFail, "port up", "192.0.2.1, which the kernel has not on eth1", "underlay.address"));
}

TEST_F(Doctor, Mtu) {
  const Config larger = NetdevConfig(R"("port": "up", "address": "192.0.2.1/24", "mtu": 9000)");
  EXPECT_THAT(
      CheckNetwork(machine_, larger)[1],
      Is(Result::kFail, "MTU", "\"underlay.mtu\" is 9000, port up takes 1500", "ip link set eth1 mtu 9000"));
  const Config small = NetdevConfig(R"("port": "up", "address": "2001:db8::1/64", "mtu": 1300)");
  EXPECT_THAT(CheckNetwork(machine_, small)[1],
              Is(Result::kFail, "MTU", "underlay 1300, pods 1230: IPv6 needs 1280", "MTU of 1350"));
}

TEST_F(Doctor, Cni) {
  EXPECT_THAT(
      CheckCni(machine_, Config()),
      ElementsAre(Is(Result::kWarn, "CNI plugin", "no program", "install -D build/podwire-cni"),
                  Is(Result::kWarn, "CNI configuration", "none in /etc/cni/net.d", "05-podwire.conflist"),
                  Is(Result::kPass, "other CNI", "no interface")));
  Write("/opt/cni/bin/podwire", "");
  fs::permissions(dir_.path() + "/opt/cni/bin/podwire", fs::perms::owner_all);
  Write("/etc/cni/net.d/README", "none of a runtime's");
  Write("/etc/cni/net.d/10-flannel.conflist",
        R"({"name": "x", "plugins": [{"type": "flannel"}, {"type": "portmap"}]})");
  EXPECT_THAT(
      CheckCni(machine_, Config())[1],
      Is(Result::kWarn, "CNI configuration", "10-flannel.conflist (flannel) attaches pods", "05-podwire"));
  Write("/etc/cni/net.d/20-podwire.conf", R"({"name": "podwire", "type": "podwire"})");
  EXPECT_THAT(CheckCni(machine_, Config())[1],
              Is(Result::kFail, "CNI configuration", "take 10-flannel.conflist (flannel)",
                 "10-flannel.conflist.off"));
  Write("/etc/cni/net.d/00-multus.conf", R"({"name": "m", "type": "multus"})");
  EXPECT_THAT(CheckCni(machine_, Config())[1],
              Is(Result::kPass, "CNI configuration", "00-multus.conf (multus)"));
  fs::remove(dir_.path() + "/etc/cni/net.d/00-multus.conf");
  Write("/etc/cni/net.d/05-podwire.conflist", R"({"name": "podwire", "plugins": [{"type": "podwire"}]})");
  EXPECT_THAT(CheckCni(machine_, Config()),
              ElementsAre(Is(Result::kPass, "CNI plugin", "/opt/cni/bin/podwire"),
                          Is(Result::kPass, "CNI configuration", "05-podwire.conflist (podwire)"),
                          Is(Result::kPass, "other CNI", "no interface")));
}

TEST_F(Doctor, OtherPluginsInterfaces) {
  for (const char* name : {"lo", "cali12345", "cali67890", "flannel.1", "cni0"})
    Directory(std::string("/sys/class/net/") + name);
  const Findings findings = CheckCni(machine_, Config());
  EXPECT_THAT(std::vector(findings.begin() + 2, findings.end()),
              ElementsAre(Is(Result::kWarn, "other CNI", "flannel has flannel.1", "ip link del flannel.1"),
                          Is(Result::kWarn, "other CNI", "cni0", "ip link del cni0"),
                          Is(Result::kWarn, "other CNI", "Calico has cali12345 and 1 more", "calico-node")));
}

/// Whatever the files hold, no check fails by itself.
TEST_F(Doctor, NonsenseInFiles) {
  for (const char* path :
       {"/proc/cpuinfo", "/proc/meminfo", "/proc/sys/kernel/osrelease", "/sys/devices/system/cpu/online",
        "/sys/kernel/mm/hugepages/hugepages-xkB/nr_hugepages", "/etc/cni/net.d/1.conf",
        "/etc/cni/net.d/2.conflist"})
    Write(path, "\xff{[\nflags");
  EXPECT_THAT(CheckAll(machine_, PciConfig()), testing::Not(IsEmpty()));
}

}  // namespace
}  // namespace podwire::doctor
