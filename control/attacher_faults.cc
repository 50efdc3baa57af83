// Attacher's part for what happens to pods' interfaces behind its back.

#include <list>
#include <map>

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
  const bool made = a.record.state == AttachState::kUp && HasInterface(a.record) && a.port != kNoPort;
  return made ? s.ports[a.port.value()].port->Vanished() : "";
}

}  // namespace

void Attacher::BuryDead() {
  const auto dead = KeysOf(
      controller_, [](const LiveAttachment& a, const ControlState& s) { return !DeathOf(a, s).empty(); });
  if (!dead.empty()) Bury(dead, DeathOf);
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
  if (!members.empty()) Bury(members, reason);
  close();
}

void Attacher::RegainTrunk(const std::string& trunk) {
  const auto waiting = KeysOf(controller_, [&](const LiveAttachment& a, const ControlState&) {
    return a.record.trunk == trunk && a.record.state == AttachState::kUp && a.port == kNoPort;
  });
  std::list<KeyLock> locks;
  std::vector<LiveAttachment> alive;
  for (const AttachmentKey& key : waiting) {
    locks.emplace_back(*this, key);
    LiveAttachment a;
    if (Revive(key, a)) alive.push_back(std::move(a));
  }
  if (alive.empty()) return;
  const absl::Status published = controller_.Run({});
  for (const LiveAttachment& a : alive) {
    if (const absl::Status up = published.ok() ? SetUpInterface(a.record) : published; !up.ok()) {
      Mourn(a, up);
    } else {
      spdlog::info("msg=\"pod taken up again\" pod={} attachment={}", ToString(a.record.pod),
                   ToString(a.record.key));
    }
  }
}

/// Those for which `why`, asked again when nobody else works on them, still gives a reason leave the switch,
/// in one publication for all of the same reason.
void Attacher::Bury(const std::vector<AttachmentKey>& keys,
                    const std::function<std::string(const LiveAttachment&, const ControlState&)>& why) {
  std::list<KeyLock> locks;
  for (const AttachmentKey& key : keys) locks.emplace_back(*this, key);
  std::map<std::string, std::vector<AttachmentKey>> by_reason;
  controller_.Read([&](const ControlState& s) {
    for (const AttachmentKey& key : keys) {
      const LiveAttachment* live = s.desired.FindAttachment(key);
      const std::string reason = live == nullptr ? "" : why(*live, s);
      if (reason.empty()) continue;
      by_reason[reason].push_back(key);
      spdlog::warn("msg=\"pod gone\" pod={} attachment={} why=\"{}\"", ToString(live->record.pod),
                   ToString(key), reason);
    }
  });
  for (const auto& [reason, gone] : by_reason) Leave(gone, "gone: " + reason);
}

/// Gives a buried attachment its port again, not yet published. False: it is not to have one.
bool Attacher::Revive(const AttachmentKey& key, LiveAttachment& a) {
  ControlState& state = controller_.state();
  const auto prepare = [&]() -> absl::Status {
    const LiveAttachment* live = state.desired.FindAttachment(key);
    if (live == nullptr || live->port != kNoPort || live->record.state != AttachState::kUp)
      return absl::NotFoundError("detached meanwhile");
    a = *live;
    a.trouble.clear();
    ASSIGN_OR_RETURN(a.slot, state.FreeSlot());
    return absl::OkStatus();
  };
  const auto commit = [&] {
    if (a.slot.value() == state.slots.size()) state.slots.push_back(false);
    state.slots[a.slot.value()] = true;
    state.desired.PutAttachment(a);
  };
  if (!controller_.Run({.prepare = prepare, .commit = commit, .publish = false}).ok()) return false;
  Reopen(a);
  return a.port != kNoPort;
}

}  // namespace podwire
