#include "tests/switch/offload_fixture.h"

namespace podwire::testing {

OffloadOptions OffloadTest::Options() {
  return {.install_pps = 100, .keep_pps = 10, .hold_ms = 1000, .blind_ms = 1000};
}

OffloadTest::OffloadTest(bool offload, OffloadOptions options) {
  for (RulePort* from : {&a, &b, &up}) {
    for (RulePort* to : {&a, &b, &up}) {
      from->engine.wires[to->engine.ethdev()] = [to](const Bytes& bytes) { to->sent.push_back(bytes); };
    }
  }
  if (offload) {
    manager = std::make_unique<OffloadManager>(
        WorkerAccess{.shared = &shared,
                     .running = [] { return std::vector<uint16_t>{0}; },
                     .call =
                         [this](uint16_t, const std::function<void(WorkerContext&)>& fn) {
                           fn(*worker);
                           return true;
                         }},
        [this] { return std::shared_ptr<const Tables>(std::shared_ptr<void>(), tables.back().get()); },
        std::move(options));
  }
  PublishNode(NodeTables(&a, &b, &up));
  ResolvePeer();
  Step();
}

OffloadTest::~OffloadTest() { manager.reset(); }

void OffloadTest::PublishNode(Tables t) {
  Publish(std::move(t));
  if (manager != nullptr) manager->Revalidate(*tables.back());
}

Tables OffloadTest::Node(const std::vector<std::string>& policies) { return WithPolicies(policies); }

void OffloadTest::Arrive(PortId port, const std::vector<Frame>& frames) {
  const std::vector<Frame> left = manager != nullptr ? At(port).engine.Filter(frames) : frames;
  for (size_t i = 0; i < left.size(); i += kMaxBurst) {
    const size_t end = std::min<size_t>(left.size(), i + kMaxBurst);
    Receive(port,
            {left.begin() + static_cast<std::ptrdiff_t>(i), left.begin() + static_cast<std::ptrdiff_t>(end)});
  }
}

void OffloadTest::Step() {
  now += 250;
  Pass(250);
  if (manager == nullptr) return;
  manager->CheckConnections();
  manager->Round(now);
}

void OffloadTest::Flood(PortId port, const Frame& frame, int steps) {
  for (int i = 0; i < steps; ++i) {
    Arrive(port, frame, 50);
    Step();
  }
}

}  // namespace podwire::testing
