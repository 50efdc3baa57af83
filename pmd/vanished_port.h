#pragma once

#include <string>
#include <utility>

#include "pmd/port.h"

namespace podwire {

/// Stands for a port whose device is no more, until it has one again: carries nothing.
class VanishedPort final : public Port {
 public:
  /// `mtu`: the port's while it had a device; `why`: what Vanished() says.
  VanishedPort(const PortConfig& config, uint16_t mtu, std::string why) : Port(config), why_(std::move(why)) {
    set_mtu(mtu);
  }

  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return false; }
  PortStats Stats() const override { return {}; }
  std::string Vanished() const override { return why_; }

 private:
  const std::string why_;
};

}  // namespace podwire
