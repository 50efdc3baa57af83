#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "net/address.h"
#include "overlay/routes.h"
#include "pmd/fd.h"
#include "pmd/netlink.h"

namespace podwire {

/// What the kernel's underlay needs of the switch and of control; tests put their own in.
struct KernelUnderlayClient {
  int request_fd = -1;  ///< readable when there are requests
  std::function<void(const std::function<void(const IpAddress&)>&)> take_requests;
  /// Whose neighbour is where; empty: it is not to be found.
  std::function<void(const IpAddress&, const MacAddr&)> set_neighbor;
  /// Those that the switch deals with.
  std::function<std::vector<IpAddress>()> neighbors;
  std::function<void(std::vector<UnderlayRoute>)> set_routes;
};

/// Of an underlay whose interface the kernel keeps, neighbours and routes are the kernel's: it is asked to
/// resolve the neighbours that the switch sends to, and its tables are followed by netlink, on a thread.
class KernelUnderlay {
 public:
  /// Has set the routes when it returns. In the calling thread's network namespace.
  static absl::StatusOr<std::unique_ptr<KernelUnderlay>> Start(const std::string& interface,
                                                               KernelUnderlayClient client);
  ~KernelUnderlay();
  KernelUnderlay(const KernelUnderlay&) = delete;
  KernelUnderlay& operator=(const KernelUnderlay&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  struct Neighbor {
    int state = 0;  ///< NUD_*
    MacAddr mac;
  };
  KernelUnderlay(std::string interface, KernelUnderlayClient client)
      : interface_(std::move(interface)), client_(std::move(client)) {}
  absl::Status Open();
  void Loop();
  int ReadDirty();
  void TakeEvents();
  void ReloadNeighbors();
  void TakeObject(nl_object* object);
  void TakeLink(rtnl_link* link);
  void TakeNeighbor(rtnl_neigh* neighbor, bool removed);
  absl::Status DumpNeighbors();
  void UpdateRoutes();
  void Resolve(const IpAddress& address);
  bool IsOfSwitch(const IpAddress& address) const;
  void AskAnew(const IpAddress& address, const MacAddr& mac);
  bool MayAsk(const IpAddress& address);
  bool AskKernel(const IpAddress& address);

  const std::string interface_;
  const KernelUnderlayClient client_;
  int ifindex_ = 0;
  NlSocket events_, requests_;
  Fd stop_;
  absl::flat_hash_map<IpAddress, Neighbor> neighbors_;  ///< the kernel's, of the interface
  std::vector<UnderlayRoute> routes_;
  absl::flat_hash_map<IpAddress, Clock::time_point> asked_;  ///< not found yet, and since when
  /// Not as the kernel has it, until they have been read.
  bool routes_dirty_ = false, neighbors_dirty_ = false;
  Clock::time_point next_read_{};
  std::thread thread_;
};

}  // namespace podwire
