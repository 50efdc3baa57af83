#pragma once

#include <cstdint>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "net/address.h"

namespace podwire {

/// What a physical function enforces on one of its virtual functions, whoever drives that. The defaults are a
/// VF's that is nobody's.
struct VfSettings {
  MacAddr mac;        ///< empty: the VF may choose its own
  uint16_t vlan = 0;  ///< port VLAN: the VF sends and receives it without knowing; 0: none
  bool spoof_check = true;
  bool trust = false;
  uint32_t max_tx_mbps = 0;  ///< 0: no limit
  bool operator==(const VfSettings&) const = default;
};

/// Of VF number `vf` of the physical function that is `pf` to the kernel, in the calling thread's network
/// namespace. NotFound: no such interface or VF.
absl::StatusOr<VfSettings> ReadVf(const std::string& pf, unsigned vf);

/// Sets what differs; errors name the setting. What its driver has not is an error only where it is wanted:
/// FailedPrecondition.
absl::Status SetVf(const std::string& pf, unsigned vf, const VfSettings& wanted);

}  // namespace podwire
