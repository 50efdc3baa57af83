#pragma once

#include <string>

#include <rte_flow.h>

namespace podwire {

/// A rule in the syntax of dpdk-testpmd's flow commands (DPDK testpmd guide, "Flow rules management"), for
/// people and for comparison with what NIC vendors' guides show. Knows the items and actions that FlowRule
/// makes.
std::string FlowText(const rte_flow_attr& attributes, const rte_flow_item* pattern,
                     const rte_flow_action* actions);

}  // namespace podwire
