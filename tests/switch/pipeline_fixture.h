#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "acl/compiled_policy.h"
#include "pmd/port.h"
#include "switch/pipeline.h"
#include "switch/worker_context.h"
#include "tests/switch/test_tables.h"

namespace podwire::testing {

/// A port whose sent frames a test reads. Takes at most `room` frames.
class FakePort : public Port {
 public:
  explicit FakePort(const std::string& name) : Port(PortConfig{.name = name, .options = VdevOptions{}}) {}
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override;
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

  std::vector<Bytes> sent;
  size_t room = SIZE_MAX;
};

/// One worker on the node of TestTables(), its ports fake: pods 10.244.1.2 and .3, peer node 192.0.2.9
/// with 10.244.2.0/24 behind VXLAN and 10.244.3.0/24 without, the underlay's subnet connected. Packets go in
/// with Receive, frames come out of the ports.
class PipelineTest : public ::testing::Test {
 protected:
  /// `capacity`: connections, and flows of the worker.
  explicit PipelineTest(uint32_t capacity = 1024);
  ~PipelineTest() override;

  /// Puts the tables in force, as Switch::Publish would.
  void Publish(Tables tables);
  /// Tables of now with these policies (JSON documents of the default namespace, pods a and b labelled app=a,
  /// app=b).
  Tables WithPolicies(const std::vector<std::string>& policies) const;

  /// Takes frames through the pipeline as one burst and flushes; the frames that came out of `port` since the
  /// last call are in Sent.
  void Receive(PortId port, const std::vector<Frame>& frames);
  std::vector<Bytes> Sent(PortId port);
  /// What waits is looked at again `ms` later.
  void Pass(uint32_t ms);

  uint64_t Drops(DropReason r) const { return Totals().drops[static_cast<size_t>(r)]; }
  uint64_t Count(Counter c) const { return Totals().Get(c); }
  CounterTotals Totals() const;
  /// The peer's MAC is known.
  void ResolvePeer();

  FakePort pod_a{"a"}, pod_b{"b"}, uplink{"uplink"};
  WorkerShared shared{1};
  std::unique_ptr<WorkerContext> worker;
  std::vector<std::unique_ptr<Tables>> tables;
};

}  // namespace podwire::testing
