#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "pmd/flow_rule.h"

namespace podwire {

/// Packets and bytes that a rule has matched. Bytes are whole frames.
struct FlowRuleCount {
  uint64_t packets = 0, bytes = 0;
};

/// What a driver says of a rule: how long it will go on saying so.
/// Unimplemented: always (errno ENOTSUP, EINVAL, ENOSYS and the like). ResourceExhausted: no room now.
/// Unavailable: all else, a reset for example.
absl::Status FlowRefusal(int error_number, const std::string& message);
/// Unavailable unless the driver has filled in the packets. Bytes that it does not know are 0.
absl::StatusOr<FlowRuleCount> FlowCountOf(const rte_flow_query_count& count);

/// A rule in force, until Remove: destruction leaves it to the NIC.
class InstalledRule {
 public:
  InstalledRule() = default;
  InstalledRule(const InstalledRule&) = delete;
  InstalledRule& operator=(const InstalledRule&) = delete;
  virtual ~InstalledRule() = default;
  /// Since it was installed. FailedPrecondition: the rule does not count.
  virtual absl::StatusOr<FlowRuleCount> Query() = 0;
  /// Takes it out; once. An error: it may be in force still (FlowEngine::Flush).
  virtual absl::Status Remove() = 0;
};

/// What applies rules to a port's packets before RxBurst gives them: the NIC, through rte_flow, or a test's
/// own. Control threads, one at a time. Rules must be gone before the port is.
class FlowEngine {
 public:
  virtual ~FlowEngine() = default;
  /// DPDK's number of the port.
  virtual uint16_t ethdev() const = 0;
  /// Ports with the same can forward to each other by rule; nullopt: with none.
  virtual std::optional<uint16_t> switch_domain() const = 0;
  /// Whether such a rule would be taken. Changes nothing.
  virtual absl::Status Validate(const FlowRule& rule) = 0;
  /// Unimplemented: the NIC does not take such rules; ResourceExhausted, Unavailable: not now.
  virtual absl::StatusOr<std::unique_ptr<InstalledRule>> Install(const FlowRule& rule) = 0;
  /// Takes out all rules of the port; what is left of InstalledRules names nothing any more.
  virtual absl::Status Flush() = 0;
  /// The UDP port whose datagrams are VXLAN, in place of the one before; 0: none. Some NICs must be told.
  virtual void SetVxlanPort(uint16_t) {}
};

/// What a port's NIC does by rule, found by asking it about rules of which each needs one thing more.
enum class FlowCapability : uint8_t {
  kDrop,
  kDropV6,
  kDropInner,  ///< of VXLAN, by the inner tuple
  kCount,
  kForward,  ///< to another port of the NIC, with MACs rewritten and TTL decremented
  kForwardV6,
  kVxlanEncap,
  kVxlanDecap,
};
/// "drop", "drop-ipv6", "drop-inner", "count", "forward", "forward-ipv6",
/// "vxlan-encap", "vxlan-decap".
std::string_view Name(FlowCapability c);

/// Asks for each.
std::set<FlowCapability> ProbeCapabilities(FlowEngine& engine);

/// rte_flow of an ethdev; nullptr if its driver has none.
std::unique_ptr<FlowEngine> MakeRteFlowEngine(uint16_t ethdev);

}  // namespace podwire
