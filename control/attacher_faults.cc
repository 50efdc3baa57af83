// Attacher's part for what happens to pods' interfaces behind its back.

#include <spdlog/spdlog.h>

#include "control/attacher.h"
#include "net/status.h"

namespace podwire {
namespace {

/// Attachments for which `want` holds.
template <class Want>
std::vector<AttachmentKey> KeysOf(const Controller& controller, Want want) {
  std::vector<AttachmentKey> keys;
  controller.Read([&](const ControlState& s) {
    for (const auto& [key, a] : s.desired.attachments()) {
      if (want(a, s)) keys.push_back(key);
    }
  });
  return keys;
}

/// Why the pod's interface is no more; empty: it is there, or is not ours to look after.
std::string DeathOf(const LiveAttachment& a, const ControlState& s) {
  const bool made = a.record.state == AttachState::kUp && HasInterface(a.record.kind) && a.port != kNoPort;
  return made ? s.ports[a.port.value()].port->Vanished() : "";
}

}  // namespace

void Attacher::BuryDead() {
  const auto dead = KeysOf(
      controller_, [](const LiveAttachment& a, const ControlState& s) { return !DeathOf(a, s).empty(); });
  for (const AttachmentKey& key : dead) MournIf(key, DeathOf);
}

void Attacher::CloseTrunk(const std::string& trunk, const std::string& why,
                          const std::function<void()>& close) {
  const std::unique_lock trunk_lock(trunks_);
  const auto reason = [&](const LiveAttachment& a, const ControlState&) {
    const bool member = a.record.trunk == trunk && a.port != kNoPort;
    return member ? fmt::format("its trunk {} is gone: {}", trunk, why) : std::string();
  };
  const auto members = KeysOf(
      controller_, [&](const LiveAttachment& a, const ControlState& s) { return !reason(a, s).empty(); });
  for (const AttachmentKey& key : members) MournIf(key, reason);
  close();
}

void Attacher::RegainTrunk(const std::string& trunk) {
  const auto waiting = KeysOf(controller_, [&](const LiveAttachment& a, const ControlState&) {
    return a.record.trunk == trunk && a.record.state == AttachState::kUp && a.port == kNoPort;
  });
  for (const AttachmentKey& key : waiting) Revive(key);
}

/// Mourns the attachment if `why`, asked again when nobody else works on it, still gives a reason.
void Attacher::MournIf(const AttachmentKey& key,
                       const std::function<std::string(const LiveAttachment&, const ControlState&)>& why) {
  const KeyLock key_lock(*this, key);
  LiveAttachment a;
  const std::string reason = controller_.Read([&](const ControlState& s) {
    const LiveAttachment* live = s.desired.FindAttachment(key);
    if (live == nullptr) return std::string();
    a = *live;
    return why(a, s);
  });
  if (!reason.empty()) Mourn(a, absl::NotFoundError(reason));
}

/// Gives a mourned attachment its port and interface again.
void Attacher::Revive(const AttachmentKey& key) {
  const KeyLock key_lock(*this, key);
  ControlState& state = controller_.state();
  LiveAttachment a;
  const absl::Status status = controller_.Run({.prepare = [&]() -> absl::Status {
                                                 const LiveAttachment* live =
                                                     state.desired.FindAttachment(key);
                                                 if (live == nullptr || live->port != kNoPort)
                                                   return absl::NotFoundError("detached meanwhile");
                                                 a = *live;
                                                 a.trouble.clear();
                                                 ASSIGN_OR_RETURN(a.slot, state.FreeSlot());
                                                 return absl::OkStatus();
                                               },
                                               .commit =
                                                   [&] {
                                                     if (a.slot.value() == state.slots.size())
                                                       state.slots.push_back(false);
                                                     state.slots[a.slot.value()] = true;
                                                     state.desired.PutAttachment(a);
                                                   },
                                               .publish = false});
  if (!status.ok()) return;
  Reopen(a);
  if (a.port == kNoPort) return;
  const absl::Status up = controller_.Run({});
  if (const absl::Status set = up.ok() ? SetUpInterface(a.record) : up; !set.ok()) return Mourn(a, set);
  spdlog::info("msg=\"pod taken up again\" pod={} attachment={}", ToString(a.record.pod), ToString(key));
}

}  // namespace podwire
