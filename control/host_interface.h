#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include <absl/status/status.h>

#include "control/attacher.h"
#include "control/controller.h"

namespace podwire {

/// Keeps the node's own network stack attached to the switch, by the interface that the configuration calls
/// `hostInterface`, in podwired's own network namespace: an address of each of the node's pod subnets, routes
/// to the pods' network and to nothing else.
class HostInterface {
 public:
  HostInterface(Controller& controller, Attacher& attacher) : controller_(controller), attacher_(attacher) {}
  ~HostInterface();

  /// Attaches it as soon as there is a network, anew when the network, the node's subnets or the pods' MTU
  /// have become others, and detaches what the configuration does not want any more.
  absl::Status Reconcile();
  /// Reconciles now, and from then on on a thread.
  void Start();

 private:
  void Loop();

  Controller& controller_;
  Attacher& attacher_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace podwire
