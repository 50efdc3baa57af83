// Attacher's part by which pods leave the switch.

#include <algorithm>

#include <spdlog/spdlog.h>

#include "control/attacher.h"
#include "control/vhost_user_files.h"
#include "net/status.h"

namespace podwire {
namespace {

/// The port has no pod any more: one that was made for it goes.
void Dismiss(PortEntry& entry, AttachKind kind) {
  if (kind != AttachKind::kPort) {
    entry.leaving = true;
    return;
  }
  entry.role = PortRole::kNone;
  entry.pod = {};
}

}  // namespace

/// Takes ports and endpoints out of the switch; returns the ports when no worker uses them any more. The
/// slots are free when their connections are forgotten. The attachments stay, with `trouble`. A port that was
/// there before stays in the switch, without a role.
std::vector<std::unique_ptr<Port>> Attacher::Leave(std::span<const AttachmentKey> keys,
                                                   const std::string& trouble) {
  ControlState& state = controller_.state();
  std::vector<std::unique_ptr<Port>> ports;
  std::vector<LiveAttachment> left;
  const auto commit = [&] {
    for (const AttachmentKey& key : keys) {
      const LiveAttachment* live = state.desired.FindAttachment(key);
      if (live == nullptr) continue;
      LiveAttachment out = *live;
      left.push_back(out);
      if (out.port != kNoPort) Dismiss(state.ports[out.port.value()], out.record.kind);
      out.port = kNoPort;
      out.slot = kNoEndpoint;
      out.trouble = trouble;
      state.desired.PutAttachment(std::move(out));
    }
  };
  const auto after = [&] {
    for (const LiveAttachment& a : left) {
      if (a.slot != kNoEndpoint && a.port != kNoPort) controller_.engine().forget_endpoint(a.slot);
    }
    controller_.Edit([&] {
      for (const LiveAttachment& a : left) {
        if (a.slot != kNoEndpoint) state.slots[a.slot.value()] = false;
        if (a.port == kNoPort || a.record.kind == AttachKind::kPort) continue;
        ports.push_back(std::move(state.ports[a.port.value()].port));
        state.ports[a.port.value()] = {};
      }
    });
  };
  const absl::Status status = controller_.Run({.commit = commit, .after = after});
  if (!status.ok()) spdlog::error("msg=\"leave\" error=\"{}\"", Message(status));
  return ports;
}

std::unique_ptr<Port> Attacher::Leave(const AttachmentKey& key, const std::string& trouble) {
  auto ports = Leave(std::span(&key, 1), trouble);
  return ports.empty() ? nullptr : std::move(ports[0]);
}

/// Removes the record and gives the addresses back.
absl::Status Attacher::Forget(const AttachmentKey& key) {
  ControlState& state = controller_.state();
  return controller_.Run({.prepare = [&] { return controller_.store().RemoveAttachment(key); },
                          .commit =
                              [&] {
                                const LiveAttachment* live = state.desired.FindAttachment(key);
                                if (live == nullptr) return;
                                for (const InterfaceAddress& a : live->record.addresses) {
                                  state.ipam.Release(a.address);
                                }
                                state.desired.RemoveAttachment(key);
                              },
                          .publish = false});
}

absl::Status Attacher::RemoveDevice(const Attachment& a, std::unique_ptr<Port> port) {
  if (a.kind == AttachKind::kPort) return absl::OkStatus();
  if (a.kind == AttachKind::kVhostUser) {
    const std::lock_guard lock(dpdk_mutex_);
    port.reset();
    return RemoveVhostUserFiles(a, /*whole_directory=*/!SharesDirectory(a));
  }
  if (port != nullptr) {
    const absl::Status destroyed = port->Destroy();
    if (!destroyed.ok())
      spdlog::warn("msg=\"destroy port\" port={} error=\"{}\"", a.port, Message(destroyed));
    port.reset();
  }
  if (a.kind == AttachKind::kVf) return RemoveVf(a);
  return wiring_.remove(a.netns, a.key.ifname, a.port);
}

absl::Status Attacher::RollBack(const LiveAttachment& a) {
  std::unique_ptr<Port> port = Leave(a.record.key, "");
  // Without a port the interface is not ours: something of that name may have been there before.
  if (port != nullptr || a.record.kind == AttachKind::kVhostUser || a.record.kind == AttachKind::kVf)
    RETURN_IF_ERROR(RemoveDevice(a.record, std::move(port)));
  return Forget(a.record.key);
}

absl::StatusOr<bool> Attacher::Detach(const AttachmentKey& key) {
  const KeyLock key_lock(*this, key);
  ControlState& state = controller_.state();
  LiveAttachment a;
  bool existed = false;
  RETURN_IF_ERROR(controller_.Run({.prepare = [&]() -> absl::Status {
                                     const LiveAttachment* live = state.desired.FindAttachment(key);
                                     if (live == nullptr) return absl::OkStatus();
                                     existed = true;
                                     a = *live;
                                     return controller_.store().SetAttachmentState(key,
                                                                                   AttachState::kDeleting);
                                   },
                                   .commit =
                                       [&] {
                                         if (!existed) return;
                                         LiveAttachment deleting = a;
                                         deleting.record.state = AttachState::kDeleting;
                                         state.desired.PutAttachment(std::move(deleting));
                                       },
                                   .publish = false}));
  if (!existed) return false;
  const std::string detaching = fmt::format("detach pod {}", ToString(a.record.pod));
  std::unique_ptr<Port> port = Leave(key, "being detached");
  RETURN_IF_ERROR(Annotate(RemoveDevice(a.record, std::move(port)), detaching));
  RETURN_IF_ERROR(Annotate(Forget(key), detaching));
  spdlog::info("msg=\"pod detached\" pod={} attachment={}", ToString(a.record.pod), ToString(key));
  return true;
}

absl::StatusOr<std::vector<AttachmentKey>> Attacher::Collect(const std::string& network,
                                                             const std::set<AttachmentKey>& valid) {
  std::vector<AttachmentKey> stale, collected;
  controller_.Read([&](const ControlState& s) {
    for (const auto& [key, a] : s.desired.attachments()) {
      if (a.record.network == network && !valid.contains(key)) stale.push_back(key);
    }
  });
  absl::Status problem;
  for (const AttachmentKey& key : stale) {
    const auto existed = Detach(key);
    if (!existed.ok()) {
      problem.Update(existed.status());
    } else if (*existed) {
      collected.push_back(key);
    }
  }
  RETURN_IF_ERROR(problem);
  return collected;
}

}  // namespace podwire
