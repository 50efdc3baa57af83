#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json_fwd.hpp>

#include "pmd/port.h"

namespace podwire {

/// Virtual functions of one NIC that are pods'.
struct SriovPool {
  std::string resource;             ///< what CNI configurations call it
  std::string pf_name;              ///< the PF's kernel interface; empty: by its address
  std::string pf_address;           ///< "0000:03:00.0"; empty: by its interface
  std::vector<unsigned> functions;  ///< numbers of the VFs that may be taken, sorted; empty: all
  std::string trunk;                ///< the port on which the switch has the pods' frames, tagged
  uint16_t first_vlan = 0;          ///< a port VLAN of its own for each pod's VF, from here
  uint16_t last_vlan = 0;           ///< to here
  bool operator==(const SriovPool&) const = default;
};

/// `sriov` of the configuration. Errors name the key; `ports` are the configuration's, `underlay` the name of
/// the underlay's.
absl::StatusOr<std::vector<SriovPool>> ParseSriov(const nlohmann::json& value,
                                                  const std::vector<PortConfig>& ports,
                                                  const std::string& underlay);

}  // namespace podwire
