#pragma once

#include <functional>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "control/attachment.h"
#include "control/config.h"
#include "control/machine/machine.h"
#include "control/machine/pci_functions.h"
#include "pmd/interface_move.h"
#include "pmd/pci_driver.h"
#include "pmd/vf_settings.h"

namespace podwire {

/// What a pod asks for.
struct VfRequest {
  std::string resource;  ///< of a pool; empty: of the one that there is, or that has `address`
  std::string address;   ///< this VF and no other, as a device plugin has chosen it; empty: any that is free
  std::string
      driver;  ///< "vfio-pci": the pod drives it itself; empty: by the kernel, unless `address` is vfio-pci's
  bool operator==(const VfRequest&) const = default;
};

/// How VFs are reached; tests put their own in.
struct VfWiring {
  Machine machine = Machine::Own();
  std::function<absl::StatusOr<VfSettings>(const std::string& pf, unsigned vf)> read = ReadVf;
  std::function<absl::Status(const std::string& pf, unsigned vf, const VfSettings&)> set = SetVf;
  std::function<absl::Status(const std::string& address, const std::string& driver, bool anew)> bind =
      BindPciDriver;
  std::function<bool(const std::string& iommu_group)> is_group_open = IsVfioGroupOpen;
  std::function<absl::Status(const std::string& netns, const std::string& ifname, const std::string& name,
                             const std::string& alias)>
      move_to = MoveInterfaceTo;
  std::function<absl::Status(const std::string& netns, const std::string& alias, const std::string& name,
                             unsigned wait_ms)>
      move_back = MoveInterfaceBack;
  unsigned wait_ms = 5000;  ///< for a driver to make its interface, for the kernel to bring one back
};

/// The pods' virtual functions: which are free, and what is done to one when it becomes a pod's and when it
/// is nobody's again. What is taken is the caller's to remember: attachments record it before anything is
/// changed. Any thread.
class VfPool {
 public:
  VfPool(const Config& config, VfWiring wiring = {}) : config_(config), wiring_(std::move(wiring)) {}

  /// A free VF with a VLAN that none of `taken` has. InvalidArgument names what is wrong with the request;
  /// FailedPrecondition says what the NIC lacks, or why each VF is not free.
  absl::StatusOr<VfAttachment> Choose(const VfRequest& request, const std::vector<VfAttachment>& taken) const;
  /// Name of the switch's port that has its frames; empty: its pool is not in the configuration any more.
  std::string TrunkOf(const VfAttachment& vf) const;
  /// MAC and VLAN by the PF, spoof check on, trust off; the driver that it is to have.
  absl::Status Prepare(const VfAttachment& vf, const MacAddr& mac) const;
  /// Only what the PF enforces: of one that is a pod's already.
  absl::Status Enforce(const VfAttachment& vf, const MacAddr& mac) const;
  /// Moves its interface into the pod's namespace.
  absl::Status Give(const VfAttachment& vf, const std::string& netns, const std::string& ifname,
                    const std::string& alias) const;
  /// The opposite of Prepare and Give, from wherever they were: interface, driver and settings are as of one
  /// that is nobody's. FailedPrecondition while a process has it open.
  absl::Status Release(const VfAttachment& vf, const std::string& netns, const std::string& alias) const;
  /// At start: the switch's own functions get `gateway_mac`, by which pods send to them; VFs that have a VLAN
  /// of a pool and are none of `taken` (of a podwired whose state is lost) are released.
  absl::Status Start(const MacAddr& gateway_mac) const;
  void Reconcile(const std::vector<VfAttachment>& taken) const;

 private:
  absl::StatusOr<PciFunction> PhysicalFunction(const SriovPool& pool) const;
  absl::Status CheckTrunk(const SriovPool& pool, const PciFunction& pf) const;
  absl::StatusOr<const SriovPool*> FindPool(const VfRequest& request) const;
  std::string WhyNotFree(const PciFunction& vf, const std::vector<VfAttachment>& taken) const;
  absl::StatusOr<std::string> AwaitInterface(const std::string& address) const;
  std::string TrunkAddress(const std::string& port) const;
  bool Covers(const SriovPool& pool, unsigned number) const;

  const Config& config_;
  const VfWiring wiring_;
};

}  // namespace podwire
