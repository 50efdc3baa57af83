#include "control/port_keeper.h"

#include <pthread.h>

#include <chrono>

#include <spdlog/spdlog.h>

#include "net/status.h"

namespace podwire {
namespace {
constexpr std::chrono::milliseconds kPeriod(500);
}  // namespace

PortKeeper::~PortKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  if (thread_.joinable()) thread_.join();
}

/// The ports that are not made for one pod each: these come and go with their pods.
std::map<std::string, PortKeeper::Found> PortKeeper::Look() const {
  std::map<std::string, Found> found;
  controller_.Read([&](const ControlState& s) {
    for (const PortEntry& p : s.ports) {
      if (p.port == nullptr || p.leaving || p.made_for_pod) continue;
      found[p.config.name] = {p.config, p.role == PortRole::kUnderlay, p.suspended, p.port->link_up(),
                              p.port->Vanished()};
    }
  });
  return found;
}

void PortKeeper::Tend() {
  attacher_.BuryDead();
  const std::map<std::string, Found> ports = Look();
  std::erase_if(seen_, [&](const auto& item) { return !ports.contains(item.first); });
  for (const auto& [name, port] : ports) {
    const auto [at, is_new] = seen_.try_emplace(name, Seen{.link_up = port.link_up});
    Seen& seen = at->second;
    if (port.suspended) {
      Regain(port, seen);
    } else if (!port.vanished.empty()) {
      Lose(port);
      seen.link_up = false;
    } else if (seen.link_up != port.link_up) {
      seen.link_up = port.link_up;
      if (port.link_up && port.underlay) controller_.engine().announce_underlay();
      spdlog::log(port.link_up ? spdlog::level::info : spdlog::level::warn, "msg=\"link {}\" port={}",
                  port.link_up ? "up" : "down", name);
    }
  }
}

void PortKeeper::Lose(const Found& port) {
  const std::string& name = port.config.name;
  absl::StatusOr<std::unique_ptr<Port>> closed = nullptr;
  const auto suspend = [&] {
    closed = controller_.SuspendPort(name, port.vanished);  // NotFound: removed meanwhile
    if (closed.ok()) spdlog::warn("msg=\"port gone\" port={} why=\"{}\"", name, port.vanished);
  };
  attacher_.CloseTrunk(name, port.vanished, suspend);  // if it is one
}

void PortKeeper::Regain(const Found& port, Seen& seen) {
  const std::string& name = port.config.name;
  auto created = attacher_.CreatePort(port.config);
  if (!created.ok()) {
    // Nothing is there: that is known.
    const bool is_new = !absl::IsNotFound(created.status()) && seen.refusal != Message(created.status());
    if (!is_new) return;
    seen.refusal = Message(created.status());
    spdlog::warn("msg=\"port not back yet\" port={} why=\"{}\"", name, seen.refusal);
    controller_.ExplainSuspended(name, "its device is there again, but: " + seen.refusal);
    return;
  }
  seen.refusal.clear();
  seen.link_up = (*created)->link_up();
  if (!controller_.ResumePort(name, *std::move(created)).ok()) return;
  spdlog::info("msg=\"port back\" port={}", name);
  attacher_.RegainTrunk(name);
}

void PortKeeper::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void PortKeeper::Loop() {
  pthread_setname_np(pthread_self(), "pw-ports");
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kPeriod, [this] { return stopping_; })) {
    lock.unlock();
    Tend();
    lock.lock();
  }
}

}  // namespace podwire
