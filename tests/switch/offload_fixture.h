#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "switch/offload_manager.h"
#include "tests/switch/node_tables.h"
#include "tests/switch/rule_port.h"

namespace podwire::testing {

inline constexpr const char* kIsolateB = R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"isolate-b"},"spec":{"podSelector":{"matchLabels":{"app":"b"}},
    "policyTypes":["Ingress"]}})";

/// PipelineTest's node whose ports are a NIC's, numbers 10 (pod a), 11 (pod b) and 12 (uplink), with an
/// offload manager: 100 packets a second are fast, 10 slow. A step is 250 ms.
class OffloadTest : public PipelineTest {
 protected:
  /// `offload` false: the same node without.
  explicit OffloadTest(bool offload = true, OffloadOptions options = Options());
  ~OffloadTest() override;
  static OffloadOptions Options();

  /// As the controller does it: in force, then revalidated.
  void PublishNode(Tables t);
  /// The node's tables with the policies of now, versions going on.
  Tables Node(const std::vector<std::string>& policies);
  /// Frames come to the NIC, which leaves some to the switch.
  void Arrive(PortId port, const std::vector<Frame>& frames);
  /// `count` copies.
  void Arrive(PortId port, const Frame& frame, size_t count) {
    Arrive(port, std::vector<Frame>(count, frame));
  }
  /// A round of the manager, a quarter of a second later.
  void Step();
  /// So many steps with 50 of these frames in each: 200 a second.
  void Flood(PortId port, const Frame& frame, int steps);

  RulePort& At(PortId port) { return port == kPodPort ? a : port == kPodPortB ? b : up; }
  size_t RulesAt(PortId port) { return At(port).engine.Texts().size(); }

  RulePort a{"a", 10, 1450}, b{"b", 11, 1450}, up{"uplink", 12, 1500};
  std::unique_ptr<OffloadManager> manager;
  uint64_t now = 1'000'000;
};

/// A UDP packet between pods a and b, or a pod and one behind the peer node.
inline Frame FromA(uint16_t src = 4000, uint16_t dst = 5000) {
  return FromPod().Ip4("10.244.1.2", "10.244.1.3").Udp(src, dst).Payload(20);
}
inline Frame FromB(uint16_t src = 5000, uint16_t dst = 4000) {
  return Frame().Eth(kGatewayMac, kPodMacB).Ip4("10.244.1.3", "10.244.1.2").Udp(src, dst).Payload(20);
}

}  // namespace podwire::testing
