#pragma once

#include <memory>
#include <set>
#include <string>

#include "pmd/port.h"

namespace podwire {

/// What happened to a test's ports.
struct PortLog {
  std::set<std::string> open;
  std::set<std::string> destroyed;
};

/// A port that carries nothing.
class FakePort final : public Port {
 public:
  FakePort(const PortConfig& config, PortLog* log = nullptr) : Port(config), log_(log) {
    if (log_ != nullptr) log_->open.insert(name());
  }
  ~FakePort() override {
    if (log_ != nullptr) log_->open.erase(name());
  }
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  MacAddr mac() const override { return DeriveMac(name()); }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }
  absl::Status Destroy() override {
    if (log_ != nullptr) log_->destroyed.insert(name());
    return absl::OkStatus();
  }

 private:
  PortLog* log_;
};

}  // namespace podwire
