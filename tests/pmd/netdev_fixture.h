#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "pmd/pod_interface.h"
#include "pmd/port.h"
#include "pmd/port_kinds.h"
#include "tests/pmd/forwarder.h"
#include "tests/pmd/test_netns.h"

namespace podwire {

inline constexpr char kUplinkMac[] = "02:00:00:00:0a:01";
inline constexpr char kPeerMac[] = "02:00:00:00:0a:02";

/// Six bytes of a MAC address in text, to `to`.
void SetMac(void* to, const char* mac);
/// Gives unicast frames this destination; others are dropped.
Edit SendTo(const char* mac);

/// A veth between two network namespaces, u0 (uplink_) and k0 (peer_, 172.30.0.2), and a third for a pod.
/// Skipped when not root; no test may lose an mbuf.
class NetdevTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// A netdev port on this interface of uplink_.
  PortOr Open(const std::string& interface) { return OpenIn(*uplink_, interface); }
  static PortOr OpenIn(const TestNetns& ns, const std::string& interface);
  /// port_ on u0, and tap_ with the pod's eth0.
  void OpenBoth(uint16_t pod_mtu);
  /// Sends one frame out of the peer's k0 as it is.
  void Inject(const std::string& frame);
  /// Frames of the test's own Ethernet type that the port received; others come from the kernel.
  std::vector<std::string> Received();

  static constexpr char kPodMac[] = "02:00:00:00:00:05";
  std::optional<TestNetns> uplink_, peer_, pod_ns_;
  PodInterface pod_;
  std::unique_ptr<Port> port_, tap_;
};

}  // namespace podwire
