#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "control/attacher.h"
#include "control/controller.h"

namespace podwire {

/// Looks after the switch's ports, on a thread of its own: one whose device is no more leaves the tables, and
/// gets its device again when there is one; pods whose interface is no more leave the switch; links that come
/// and go are logged.
class PortKeeper {
 public:
  PortKeeper(Controller& controller, Attacher& attacher) : controller_(controller), attacher_(attacher) {}
  ~PortKeeper();

  /// One look at everything.
  void Tend();
  /// From now on, twice a second.
  void Start();

 private:
  /// Of one port, at the last look.
  struct Seen {
    bool link_up = false;
    std::string refusal;  ///< why it could not be opened again
  };
  struct Found {
    PortConfig config;
    bool underlay = false, suspended = false, link_up = false;
    std::string vanished;
  };
  std::map<std::string, Found> Look() const;
  void Lose(const Found& port);
  void Regain(const Found& port, Seen& seen);
  void Loop();

  Controller& controller_;
  Attacher& attacher_;
  std::map<std::string, Seen> seen_;  // by name; of the thread
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace podwire
