#include "control/vf_pool.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "net/status.h"

namespace podwire {
namespace {

constexpr std::string_view kVfio = "vfio-pci";
const std::string kDevices = "/sys/bus/pci/devices/";

absl::Status NotPossible(std::string message) { return absl::FailedPreconditionError(std::move(message)); }

std::string InterfaceOf(const PciFunction& f) { return f.interfaces.empty() ? "" : f.interfaces.front(); }

/// Of the VF of this number; empty: there is none.
std::string AddressOf(const Machine& machine, const PciFunction& pf, unsigned number) {
  return machine.LinkName(fmt::format("{}{}/virtfn{}", kDevices, pf.address, number));
}

/// The VF's number, nothing if it is none of `pf`'s.
std::optional<unsigned> NumberOf(const Machine& machine, const PciFunction& pf, const std::string& address) {
  for (unsigned n = 0; n < pf.vfs; ++n) {
    if (AddressOf(machine, pf, n) == address) return n;
  }
  return std::nullopt;
}

std::optional<uint16_t> FreeVlan(const SriovPool& pool, const std::vector<VfAttachment>& taken) {
  for (uint16_t vlan = pool.first_vlan; vlan <= pool.last_vlan; ++vlan) {
    if (std::ranges::find(taken, vlan, &VfAttachment::vlan) == taken.end()) return vlan;
  }
  return std::nullopt;
}

/// As BindPciDriver takes it: the kernel's driver that the VF had; of one that had none, the kernel's choice.
std::string KernelDriver(const VfAttachment& vf) { return vf.former_driver == kVfio ? "" : vf.former_driver; }

std::string NameOf(const SriovPool& pool) { return "pool " + pool.resource; }

}  // namespace

bool VfPool::Covers(const SriovPool& pool, unsigned number) const {
  return pool.functions.empty() || std::ranges::binary_search(pool.functions, number);
}

std::string VfPool::TrunkAddress(const std::string& port) const {
  const auto found = std::ranges::find(config_.ports, port, &PortConfig::name);
  const auto* pci = found == config_.ports.end() ? nullptr : std::get_if<PciOptions>(&found->options);
  return pci == nullptr ? "" : pci->address;
}

absl::StatusOr<PciFunction> VfPool::PhysicalFunction(const SriovPool& pool) const {
  std::optional<PciFunction> pf;
  if (pool.pf_name.empty()) {
    pf = FindPciFunction(wiring_.machine, pool.pf_address);
  } else {
    for (const PciFunction& f : ListPciFunctions(wiring_.machine)) {
      if (std::ranges::find(f.interfaces, pool.pf_name) != f.interfaces.end()) pf = f;
    }
  }
  const std::string& named = pool.pf_name.empty() ? pool.pf_address : pool.pf_name;
  if (!pf) return NotPossible(fmt::format("{}: there is no PCI network function {}", NameOf(pool), named));
  if (pf->max_vfs == 0) return NotPossible(fmt::format("{}: {} has no SR-IOV", NameOf(pool), named));
  if (pf->vfs == 0) {
    return NotPossible(
        fmt::format("{}: {} has no virtual functions: echo {} > /sys/bus/pci/devices/{}/sriov_numvfs",
                    NameOf(pool), named, std::min(8u, pf->max_vfs), pf->address));
  }
  if (pf->interfaces.empty()) {
    return NotPossible(
        fmt::format("{}: {} has driver \"{}\" and no interface of the kernel's, through which its virtual "
                    "functions are set",
                    NameOf(pool), named, pf->driver));
  }
  if (pf->switchdev) {
    return NotPossible(
        fmt::format("{}: {} is in switchdev mode, whose representors podwire does not drive: devlink dev "
                    "eswitch set pci/{} mode "
                    "legacy",
                    NameOf(pool), named, pf->address));
  }
  return *pf;
}

absl::Status VfPool::CheckTrunk(const SriovPool& pool, const PciFunction& pf) const {
  const std::string address = TrunkAddress(pool.trunk);
  const auto trunk = FindPciFunction(wiring_.machine, address);
  if (trunk && trunk->physical_function == pf.address) return absl::OkStatus();
  return NotPossible(
      fmt::format("{}: trunk: port {} ({}) is no virtual function of {}: without one of the switch's own "
                  "there the NIC would carry pods' "
                  "traffic past its policy",
                  NameOf(pool), pool.trunk, address, pf.address));
}

absl::StatusOr<const SriovPool*> VfPool::FindPool(const VfRequest& request) const {
  if (config_.sriov.empty()) return NotPossible("podwired's configuration has no sriov pools");
  std::string names;
  for (const SriovPool& pool : config_.sriov) {
    names += (names.empty() ? "" : ", ") + pool.resource;
    if (!request.resource.empty() && pool.resource != request.resource) continue;
    if (request.address.empty()) {
      if (!request.resource.empty() || config_.sriov.size() == 1) return &pool;
      continue;
    }
    const auto pf = PhysicalFunction(pool);
    const auto number = pf.ok() ? NumberOf(wiring_.machine, *pf, request.address) : std::nullopt;
    if (number && Covers(pool, *number)) return &pool;
  }
  if (!request.address.empty()) {
    return InvalidArgument("device_id: {} is no virtual function of {}", request.address,
                           request.resource.empty() ? "any pool: " + names : "pool " + request.resource);
  }
  if (request.resource.empty()) return InvalidArgument("resource_name: expected one of the pools {}", names);
  return InvalidArgument("resource_name: there is no pool \"{}\": expected one of {}", request.resource,
                         names);
}

/// Empty: it is free.
std::string VfPool::WhyNotFree(const PciFunction& vf, const std::vector<VfAttachment>& taken) const {
  if (std::ranges::find(taken, vf.address, &VfAttachment::address) != taken.end()) return "a pod's";
  for (const PortConfig& port : config_.ports) {
    if (TrunkAddress(port.name) == vf.address) return "port " + port.name;
  }
  if (vf.driver == kVfio)
    return wiring_.is_group_open(vf.iommu_group) ? "in use by a process that has its IOMMU group open" : "";
  if (vf.driver.empty()) return "";
  if (vf.interfaces.empty())
    return fmt::format("driven by {} without an interface here: is it in another network namespace?",
                       vf.driver);
  for (const KernelAddress& a : wiring_.machine.addresses()) {
    // Link-local ones come by themselves.
    if (a.interface == InterfaceOf(vf) && !IsLinkLocal(a.address))
      return fmt::format("the host's: {} has address {}", a.interface, ToString(a.address));
  }
  return "";
}

absl::StatusOr<VfAttachment> VfPool::Choose(const VfRequest& request,
                                            const std::vector<VfAttachment>& taken) const {
  if (!request.driver.empty() && request.driver != kVfio)
    return InvalidArgument("vf_driver: expected \"{}\" or nothing, not \"{}\"", kVfio, request.driver);
  ASSIGN_OR_RETURN(const SriovPool* pool, FindPool(request));
  ASSIGN_OR_RETURN(const PciFunction pf, PhysicalFunction(*pool));
  RETURN_IF_ERROR(CheckTrunk(*pool, pf));
  const auto vlan = FreeVlan(*pool, taken);
  if (!vlan) {
    return NotPossible(
        fmt::format("{}: vlans: {} to {} are all in use", NameOf(*pool), pool->first_vlan, pool->last_vlan));
  }
  std::string reasons;
  for (unsigned n = 0; n < pf.vfs; ++n) {
    const std::string address = AddressOf(wiring_.machine, pf, n);
    if (!Covers(*pool, n) || address.empty() || (!request.address.empty() && address != request.address))
      continue;
    const auto vf = FindPciFunction(wiring_.machine, address);
    if (!vf) continue;
    const std::string why = WhyNotFree(*vf, taken);
    if (!why.empty()) {
      reasons += fmt::format("{}{} is {}", reasons.empty() ? "" : "; ", address, why);
      continue;
    }
    const bool vfio = request.driver == kVfio || (!request.address.empty() && vf->driver == kVfio);
    if (vfio && vf->iommu_group.empty())
      return NotPossible(fmt::format("{}: {} has no IOMMU group, which vfio-pci needs: turn the IOMMU on",
                                     NameOf(*pool), address));
    VfAttachment chosen{.resource = pool->resource,
                        .address = address,
                        .pf_address = pf.address,
                        .pf = pf.interfaces.front(),
                        .number = n,
                        .vlan = *vlan,
                        .vfio = vfio,
                        .former_driver = vf->driver,
                        .former_name = InterfaceOf(*vf)};
    if (vfio) chosen.device_files = {"/dev/vfio/vfio", "/dev/vfio/" + vf->iommu_group};
    return chosen;
  }
  return NotPossible(fmt::format("{}: no virtual function of {} is free: {}", NameOf(*pool), pf.address,
                                 reasons.empty() ? "it has none of those that the pool may take" : reasons));
}

std::string VfPool::TrunkOf(const VfAttachment& vf) const {
  const auto pool = std::ranges::find(config_.sriov, vf.resource, &SriovPool::resource);
  return pool == config_.sriov.end() ? "" : pool->trunk;
}

absl::Status VfPool::Enforce(const VfAttachment& vf, const MacAddr& mac) const {
  return wiring_.set(vf.pf, vf.number, {.mac = mac, .vlan = vf.vlan, .spoof_check = true, .trust = false});
}

absl::Status VfPool::Prepare(const VfAttachment& vf, const MacAddr& mac) const {
  RETURN_IF_ERROR(Enforce(vf, mac));
  if (vf.vfio) return wiring_.bind(vf.address, std::string(kVfio), false);
  // A driver reads the MAC when it starts.
  return wiring_.bind(vf.address, KernelDriver(vf), true);
}

absl::StatusOr<std::string> VfPool::AwaitInterface(const std::string& address) const {
  constexpr unsigned kStepMs = 20;
  for (unsigned waited = 0;; waited += kStepMs) {
    const auto f = FindPciFunction(wiring_.machine, address);
    if (f && !f->interfaces.empty()) return f->interfaces.front();
    if (waited >= wiring_.wait_ms)
      return NotPossible(
          fmt::format("{}: its driver \"{}\" has made no interface", address, f ? f->driver : ""));
    std::this_thread::sleep_for(std::chrono::milliseconds(kStepMs));
  }
}

absl::Status VfPool::Give(const VfAttachment& vf, const std::string& netns, const std::string& ifname,
                          const std::string& alias) const {
  ASSIGN_OR_RETURN(const std::string interface, AwaitInterface(vf.address));
  return wiring_.move_to(netns, interface, ifname, alias);
}

absl::Status VfPool::Release(const VfAttachment& vf, const std::string& netns,
                             const std::string& alias) const {
  const auto before = FindPciFunction(wiring_.machine, vf.address);
  if (!before) return absl::OkStatus();  // gone, and what was set with it
  if (before->driver == kVfio && wiring_.is_group_open(before->iommu_group)) {
    return NotPossible(
        fmt::format("{}: a process has it open still (/dev/vfio/{})", vf.address, before->iommu_group));
  }
  if (!vf.vfio && !alias.empty()) {
    // One that is in our namespace never left it, or is back.
    const unsigned wait = before->interfaces.empty() && !before->driver.empty() ? wiring_.wait_ms : 0;
    RETURN_IF_ERROR(wiring_.move_back(netns, alias, vf.former_name, wait));
  }
  RETURN_IF_ERROR(wiring_.bind(vf.address, vf.former_driver.empty() ? "-" : vf.former_driver, false));
  return wiring_.set(vf.pf, vf.number, VfSettings());
}

absl::Status VfPool::Start(const MacAddr& gateway_mac) const {
  for (const SriovPool& pool : config_.sriov) {
    ASSIGN_OR_RETURN(const PciFunction pf, PhysicalFunction(pool));
    RETURN_IF_ERROR(CheckTrunk(pool, pf));
    const auto number = NumberOf(wiring_.machine, pf, TrunkAddress(pool.trunk));
    if (!number)
      return NotPossible(fmt::format("{}: trunk {} is no virtual function", NameOf(pool), pool.trunk));
    RETURN_IF_ERROR(Annotate(wiring_.set(pf.interfaces.front(), *number, {.mac = gateway_mac}),
                             NameOf(pool) + ": trunk"));
  }
  return absl::OkStatus();
}

void VfPool::Reconcile(const std::vector<VfAttachment>& taken) const {
  for (const SriovPool& pool : config_.sriov) {
    const auto pf = PhysicalFunction(pool);
    if (!pf.ok()) continue;
    for (unsigned n = 0; n < pf->vfs; ++n) {
      const std::string address = AddressOf(wiring_.machine, *pf, n);
      const auto settings = wiring_.read(pf->interfaces.front(), n);
      if (!Covers(pool, n) || !settings.ok() || settings->vlan < pool.first_vlan ||
          settings->vlan > pool.last_vlan)
        continue;
      const auto vf = FindPciFunction(wiring_.machine, address);
      // Not what some process or namespace still has: without its VLAN it would reach what it may not.
      if (!vf || !WhyNotFree(*vf, taken).empty()) continue;
      const VfAttachment lost{.address = address,
                              .pf = pf->interfaces.front(),
                              .number = n,
                              .former_driver = vf->driver,
                              .former_name = InterfaceOf(*vf)};
      const absl::Status status = Release(lost, "", "");
      spdlog::warn(
          "msg=\"a virtual function had a pod's VLAN and no pod\" device={} vlan={} pool={} outcome=\"{}\"",
          address, settings->vlan, pool.resource, status.ok() ? "reset" : Message(status));
    }
  }
}

}  // namespace podwire
