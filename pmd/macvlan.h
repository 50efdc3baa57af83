#pragma once

#include <cstdint>
#include <string>

#include <absl/status/status.h>

#include "net/address.h"

namespace podwire {

/// A pod's interface on a trunk that is a kernel interface of podwired's own network namespace.
struct MacvlanOptions {
  std::string parent;  ///< the trunk's interface
  std::string netns;   ///< path of the pod's namespace
  std::string ifname = "eth0";
  std::string port;  ///< the switch's port, for the interface's alias
  MacAddr mac;
  uint16_t mtu = 1500;
};

/// Makes the macvlan in the pod's namespace, down, in private mode: whatever it sends leaves by the parent,
/// for the switch to see, also to other pods of the same parent. One that is there already and is this port's
/// stays if it is such a one, or is made anew. AlreadyExists: something else has the name. NotFound: no
/// parent, no namespace. Control thread.
absl::Status MakeMacvlan(const MacvlanOptions& options);

}  // namespace podwire
