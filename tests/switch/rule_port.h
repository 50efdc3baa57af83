#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pmd/flow_engine.h"
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {

/// A NIC made of software: records the texts of its rules, refuses what a test says, counts, and does with
/// frames what the rules say, reading rte_flow's items bit by bit as a NIC would. Sends what it forwards by
/// the ports that it knows.
class RuleEngine : public FlowEngine {
 public:
  explicit RuleEngine(uint16_t ethdev) : ethdev_(ethdev) {}

  uint16_t ethdev() const override { return ethdev_; }
  std::optional<uint16_t> switch_domain() const override { return domain; }
  absl::Status Validate(const FlowRule& rule) override;
  absl::StatusOr<std::unique_ptr<InstalledRule>> Install(const FlowRule& rule) override;
  absl::Status Flush() override;
  void SetVxlanPort(uint16_t port) override { vxlan_port = port; }

  /// What the rules leave for software; the rest is dropped or has left by a port of `wires`.
  std::vector<Frame> Filter(const std::vector<Frame>& frames);

  std::vector<std::string> Texts() const;  ///< of the rules in force, in the order of installation

  std::optional<uint16_t> domain = 0;
  std::function<absl::Status(const FlowRule&)> refuse;          ///< asked by Validate and Install, if set
  std::function<absl::Status(const FlowRule&)> refuse_install;  ///< asked by Install only, if set
  absl::Status refuse_remove;                                   ///< what Remove says, without doing it
  std::map<uint16_t, std::function<void(const Bytes&)>> wires;  ///< by ethdev
  int installs = 0;                                             ///< attempts
  uint16_t vxlan_port = 0;

 private:
  struct Entry {
    FlowRule rule;
    FlowRuleCount count;
  };
  class Handle;
  std::list<Entry> entries_;
  const uint16_t ethdev_;
};

/// A port with such an engine.
class RulePort : public FakePort {
 public:
  RulePort(const std::string& name, uint16_t ethdev, uint16_t mtu) : FakePort(name), engine(ethdev) {
    set_mtu(mtu);
  }
  FlowEngine* flow_engine() override { return &engine; }
  void TakeMtu(uint16_t mtu) { set_mtu(mtu); }
  RuleEngine engine;
};

}  // namespace podwire::testing
