// Attacher's part about virtual functions of SR-IOV NICs.

#include "control/attacher.h"
#include "net/status.h"

namespace podwire {

/// Strand, or a reader of the state.
std::vector<VfAttachment> Attacher::TakenVfs() const {
  std::vector<VfAttachment> taken;
  for (const auto& [key, a] : controller_.state().desired.attachments()) {
    if (a.record.kind == AttachKind::kVf) taken.push_back(a.record.vf);
  }
  return taken;
}

/// Strand only. From the record on the VF is nobody else's.
absl::Status Attacher::TakeVf(const AttachSpec& spec, Attachment& a) const {
  if (wiring_.vfs == nullptr) return absl::FailedPreconditionError("podwired has no sriov pools");
  ASSIGN_OR_RETURN(a.vf, wiring_.vfs->Choose(spec.vf, TakenVfs()));
  a.trunk = wiring_.vfs->TrunkOf(a.vf);
  ASSIGN_OR_RETURN(const PortEntry* trunk, controller_.state().FindTrunk(a.trunk));
  return FitMtu(*trunk->port, spec.mtu, a.mtu);
}

absl::Status Attacher::SetTrunkVlan(const Attachment& a, bool on) {
  const std::lock_guard lock(dpdk_mutex_);
  return controller_.Read([&](const ControlState& s) -> absl::Status {
    const auto trunk = s.FindTrunk(a.trunk);
    if (trunk.ok()) return (*trunk)->port->SetVlan(a.vf.vlan, on);
    return on ? trunk.status() : absl::OkStatus();
  });
}

/// What is done once in a VF's life as a pod's.
absl::Status Attacher::GiveVf(const Attachment& a) {
  RETURN_IF_ERROR(wiring_.vfs->Prepare(a.vf, a.mac));
  if (a.vf.vfio) return absl::OkStatus();
  return wiring_.vfs->Give(a.vf, a.netns, a.key.ifname, InterfaceAlias(a.port));
}

/// What is to be so as long as it is a pod's, also after a restart.
absl::Status Attacher::SetUpVf(const Attachment& a) {
  if (wiring_.vfs == nullptr) return absl::FailedPreconditionError("podwired has no sriov pools");
  RETURN_IF_ERROR(wiring_.vfs->Enforce(a.vf, a.mac));
  return SetTrunkVlan(a, true);
}

absl::Status Attacher::RemoveVf(const Attachment& a) {
  RETURN_IF_ERROR(SetTrunkVlan(a, false));
  if (wiring_.vfs == nullptr) return absl::FailedPreconditionError("podwired has no sriov pools");
  return wiring_.vfs->Release(a.vf, a.netns, InterfaceAlias(a.port));
}

}  // namespace podwire
