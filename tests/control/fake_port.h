#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "pmd/port.h"

namespace podwire {

/// What happened to a test's ports.
struct PortLog {
  std::set<std::string> open;
  std::set<std::string> destroyed;
  std::map<std::string, std::string> vanished;  ///< ports whose device is no more, with what they say of it
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
  bool link_up() const override { return Vanished().empty(); }
  std::string Vanished() const override {
    if (log_ == nullptr) return "";
    const auto it = log_->vanished.find(name());
    return it == log_->vanished.end() ? "" : it->second;
  }
  PortStats Stats() const override { return {}; }
  absl::Status Destroy() override {
    if (log_ != nullptr) log_->destroyed.insert(name());
    return absl::OkStatus();
  }

 private:
  PortLog* log_;
};

}  // namespace podwire
