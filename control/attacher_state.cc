// Attacher's part that looks at what is there: checks, readiness, recovery.

#include <algorithm>

#include <spdlog/spdlog.h>

#include "control/attacher.h"
#include "control/build_tables.h"
#include "net/status.h"
#include "pmd/netns.h"

namespace podwire {
namespace {

bool HasAll(const std::vector<InterfaceAddress>& asked, const Attachment& a) {
  return std::ranges::all_of(asked, [&](const InterfaceAddress& want) {
    return std::ranges::any_of(a.addresses,
                               [&](const InterfaceAddress& have) { return have.address == want.address; });
  });
}

absl::Status Differs(const Attachment& a, const std::string& what) {
  return Error(absl::StatusCode::kFailedPrecondition, "pod {} ({}): {}", ToString(a.pod), ToString(a.key),
               what);
}

}  // namespace

absl::Status Attacher::Check(const AttachmentKey& key, const std::string& netns,
                             const std::vector<InterfaceAddress>& addresses) {
  const KeyLock key_lock(*this, key);
  LiveAttachment a;
  bool found = false, link_up = false;
  controller_.Read([&](const ControlState& s) {
    const LiveAttachment* live = s.desired.FindAttachment(key);
    if (live == nullptr) return;
    found = true;
    a = *live;
    if (a.port != kNoPort) link_up = s.ports[a.port.value()].port->link_up();
  });
  if (!found) {
    return Error(absl::StatusCode::kNotFound, "container {} has no interface {}", key.container_id,
                 key.ifname);
  }
  const Attachment& r = a.record;
  if (!a.trouble.empty()) return Differs(r, a.trouble);
  if (!netns.empty() && netns != r.netns) {
    return Differs(r, fmt::format("was attached in namespace {}, not {}", r.netns, netns));
  }
  if (!HasAll(addresses, r)) return Differs(r, "prevResult has addresses that podwire did not give it");
  const auto tables = controller_.tables();
  for (const InterfaceAddress& address : r.addresses) {
    const Endpoint* e = tables->EndpointOf(address.address);
    if (e == nullptr || e->id != a.slot) {
      return Differs(r, fmt::format("the switch does not know {}", ToString(address.address)));
    }
  }
  if (r.kind == AttachKind::kVhostUser) return absl::OkStatus();
  if (r.kind == AttachKind::kPort)
    return link_up ? absl::OkStatus() : Differs(r, fmt::format("port {} is down", r.port));
  if (!HasInterface(r))
    return link_up ? absl::OkStatus() : Differs(r, fmt::format("port {} is down", r.port));
  if (!link_up) return Differs(r, fmt::format("port {} is down: its interface is gone", r.port));
  return Annotate(wiring_.check(InterfaceOf(r)), fmt::format("pod {}", ToString(r.pod)));
}

absl::Status Attacher::Ready() const {
  return controller_.Read([](const ControlState& s) -> absl::Status {
    const DesiredState& d = s.desired;
    if (d.network() == nullptr) {
      return absl::UnavailableError(
          "no network yet: apply the ConfigMap kube-flannel-cfg, or give `network` in podwired's "
          "configuration");
    }
    if (!s.FreeSlot().ok()) return absl::UnavailableError("this node has as many endpoints as it can");
    return absl::OkStatus();
  });
}

absl::Status Attacher::Recover() {
  ASSIGN_OR_RETURN(const std::vector<Attachment> records, controller_.store().LoadAttachments());
  std::vector<LiveAttachment> live;
  RETURN_IF_ERROR(controller_.Run({.prepare = [&] { return TakeUp(records, live); },
                                   .commit =
                                       [&] {
                                         for (const LiveAttachment& a : live)
                                           controller_.state().desired.PutAttachment(a);
                                       },
                                   .publish = false}));
  for (LiveAttachment& a : live) {
    if (a.record.state == AttachState::kUp) {
      Reopen(a);
    } else {
      RETURN_IF_ERROR(Undo(a));
    }
  }
  RETURN_IF_ERROR(controller_.Run({}));
  for (const LiveAttachment& a : live) {
    if (a.port == kNoPort) continue;
    if (const absl::Status status = SetUpInterface(a.record); !status.ok()) Mourn(a, status);
  }
  if (wiring_.vfs != nullptr)
    wiring_.vfs->Reconcile(controller_.Read([&](const ControlState&) { return TakenVfs(); }));
  return absl::OkStatus();
}

/// Strand only, before anyone reads: slots and addresses of what was recorded.
absl::Status Attacher::TakeUp(const std::vector<Attachment>& records, std::vector<LiveAttachment>& live) {
  ControlState& state = controller_.state();
  for (const Attachment& r : records) {
    for (const InterfaceAddress& a : r.addresses) {
      RETURN_IF_ERROR(Annotate(state.ipam.Reserve(a.address), "state database"));
    }
    ASSIGN_OR_RETURN(const EndpointId slot, state.FreeSlot());
    if (slot.value() == state.slots.size()) state.slots.push_back(false);
    state.slots[slot.value()] = true;
    live.push_back({.record = r, .slot = slot});
    live.back().record.gateway_mac =
        GatewayMac(controller_.config());  // the configuration may be another by now
  }
  return absl::OkStatus();
}

void Attacher::Reopen(LiveAttachment& a) {
  const AttachKind kind = a.record.kind;
  absl::Status status = HasInterface(a.record) ? OpenNetns(a.record.netns).status() : absl::OkStatus();
  if (kind == AttachKind::kVhostUser) status = DescribeVhostUser(a.record);
  if (kind == AttachKind::kPort) {
    status = JoinExisting(a, /*publish=*/false);
  } else if (status.ok()) {
    if (kind == AttachKind::kMacvlan) FitTrunk(a.record);
    auto port = CreatePort(PortOf(a.record));
    status = port.ok() ? Join(a, *std::move(port), /*publish=*/false) : port.status();
  }
  if (!status.ok()) Mourn(a, status);
}

/// An attachment that was never answered, or whose removal was asked for.
absl::Status Attacher::Undo(const LiveAttachment& a) {
  spdlog::info("msg=\"undo unfinished attachment\" pod={} attachment={}", ToString(a.record.pod),
               ToString(a.record.key));
  const absl::Status removed = RemoveDevice(a.record, nullptr);
  if (!removed.ok()) {
    Mourn(a, removed);
    return absl::OkStatus();
  }
  Leave(a.record.key, "");
  return Forget(a.record.key);
}

/// The pod cannot be served; its address stays its own until it is detached.
void Attacher::Mourn(const LiveAttachment& a, const absl::Status& why) {
  spdlog::warn("msg=\"pod cannot be taken up\" pod={} attachment={} error=\"{}\"", ToString(a.record.pod),
               ToString(a.record.key), Message(why));
  Leave(a.record.key, "gone: " + Message(why));
}

}  // namespace podwire
