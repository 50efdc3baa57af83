#include "control/host_interface.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include <spdlog/spdlog.h>

#include "net/status.h"

namespace podwire {
namespace {

/// No CNI network or container has a name that begins so: GC and DEL cannot mean it.
constexpr const char* kHost = ".host";
constexpr auto kPeriod = std::chrono::seconds(1), kLongestPause = std::chrono::seconds(60);

std::vector<PodRoute> RoutesTo(const NetConf& network) {
  std::vector<PodRoute> routes;
  if (network.v4) routes.push_back({.dst = network.v4->network, .via = {}});
  if (network.v6) routes.push_back({.dst = network.v6->network, .via = {}});
  return routes;
}

bool HasAddressesOf(const Attachment& a, const std::vector<IpPrefix>& subnets) {
  return std::ranges::equal(a.addresses, subnets,
                            [](const InterfaceAddress& address, const IpPrefix& subnet) {
                              return subnet.Contains(address.address);
                            });
}

bool IsAsWanted(const LiveAttachment& a, const NetConf& network, const PodSubnets& subnets, uint16_t mtu) {
  return a.trouble.empty() && a.record.routes == RoutesTo(network) &&
         HasAddressesOf(a.record, subnets.List()) && (mtu == 0 || a.record.mtu == mtu);
}

}  // namespace

HostInterface::~HostInterface() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  if (thread_.joinable()) thread_.join();
}

absl::Status HostInterface::Reconcile() {
  const Config& config = controller_.config();
  const AttachmentKey wanted{kHost, config.host_interface};
  const uint16_t mtu = controller_.tables()->local.pod_mtu;
  std::vector<AttachmentKey> unwanted;
  std::vector<PodRoute> routes;
  bool attach = !config.host_interface.empty();
  controller_.Read([&](const ControlState& s) {
    const NetConf* network = s.desired.network();
    if (network != nullptr) routes = RoutesTo(*network);
    attach = attach && network != nullptr;
    for (const auto& [key, a] : s.desired.attachments()) {
      if (key.container_id != kHost) continue;
      const bool keep = key == wanted && (network == nullptr ||
                                          IsAsWanted(a, *network, s.desired.SubnetsOf(config.node), mtu));
      if (!keep) unwanted.push_back(key);
      attach = attach && !keep;
    }
  });
  for (const AttachmentKey& key : unwanted) RETURN_IF_ERROR(attacher_.Detach(key).status());
  if (!attach) return absl::OkStatus();
  return attacher_
      .Attach({.key = wanted, .network = kHost, .pod = {"", config.node}, .routes = routes, .host = true})
      .status();
}

void HostInterface::Start() {
  if (const absl::Status status = Reconcile(); !status.ok())
    spdlog::warn("msg=\"hostInterface\" error=\"{}\"", Message(status));
  if (!controller_.config().host_interface.empty()) thread_ = std::thread([this] { Loop(); });
}

void HostInterface::Loop() {
  pthread_setname_np(pthread_self(), "pw-host");
  std::chrono::seconds pause = kPeriod;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    pause = Reconcile().ok() ? kPeriod : std::min(2 * pause, kLongestPause);  // Attach logs why
    lock.lock();
  }
}

}  // namespace podwire
