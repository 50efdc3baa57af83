#pragma once

#include <string>
#include <vector>

#include "tests/switch/test_tables.h"

namespace podwire::testing {

/// TestTables() with ports (pods a and b, uplink), routes and no policy: 10.244.2.0/24 behind VXLAN at
/// 192.0.2.9, 10.244.3.0/24 there without, the underlay's subnet connected. IPv6 likewise: 2001:db8:2::/64
/// behind VXLAN over IPv6, 2001:db8:3::/64 without, 2001:db8:4::/64 behind VXLAN over IPv4.
Tables NodeTables(Port* a, Port* b, Port* uplink);

/// `t` with these policies (JSON documents of either kind, the default namespace; pods a and b are labelled
/// app=a, app=b) instead of its own.
Tables WithPolicies(Tables t, const std::vector<std::string>& policies);

}  // namespace podwire::testing
