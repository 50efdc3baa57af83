#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/config.h"
#include "control/desired_state.h"
#include "overlay/routes.h"
#include "switch/tables.h"

namespace podwire {

/// A port as tables need it; index in the span is its PortId.
struct PortView {
  Port* port = nullptr;  ///< nullptr: free slot, or a port that has no device now
  PortRole role = PortRole::kNone;
  std::string name;
  MacAddr mac;  ///< of the port's own end
  uint16_t mtu = 1500;
  const TrunkMemberOptions* share = nullptr;  ///< of a trunk's member; `port` is a TrunkMember then
};

struct TablesInput {
  const DesiredState& state;
  std::span<const PortView> ports;
  const UnderlayConfig* underlay = nullptr;  ///< nullptr: a node of its own
  std::shared_ptr<const CompiledPolicy> policy;
  const Tables& previous;  ///< in force: endpoint versions go on from there
  MacAddr gateway_mac{};   ///< configured; empty: GatewayMac of the node
  /// The kernel's by the underlay's interface, where the kernel keeps that.
  std::span<const UnderlayRoute> kernel_routes{};
};

struct TablesResult {
  std::unique_ptr<Tables> tables;
  std::vector<std::string> warnings;  ///< for people: what is configured but cannot work
};

/// Compiles the desired state into what workers run on. Pure. An endpoint's version counts up when, and only
/// when, its verdicts may have changed or its slot has another owner.
TablesResult BuildTables(const TablesInput& input);

/// The MAC that this node's pods see as their gateway's: fixed by the node's name.
MacAddr GatewayMac(const std::string& node);
/// The configured one, else that.
MacAddr GatewayMac(const Config& config);
/// This node's VtepMAC: its Node object's annotation, else fixed by its name.
MacAddr VtepMac(const DesiredState& state);
/// L3 bytes that pods may send: by the backend and the underlay's MTU and families.
uint16_t PodMtu(const DesiredState& state, const UnderlayConfig* underlay, std::span<const PortView> ports);
/// The underlay's MTU: as configured, else its port's; 1500 without an underlay.
uint16_t UnderlayMtu(const UnderlayConfig* underlay, std::span<const PortView> ports);

}  // namespace podwire
