// The whole of a burst's way through the switch: RunBurst and the flush behind it.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <random>

#include <fmt/format.h>

#include "bench/micro/case.h"
#include "bench/micro/mbuf_ring.h"
#include "tests/switch/pipeline_fixture.h"

namespace podwire::bench {
namespace {

using testing::Bytes;
using testing::Frame;

constexpr uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10;
constexpr const char* kPod = "10.244.1.2";
constexpr const char* kAllowAll[] = {
    R"({"metadata": {"name": "out"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}})",
    R"({"metadata": {"name": "in"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}})"};

/// Swallows frames; their mbufs are a ring's and stay there.
class Sink : public Port {
 public:
  Sink() : Port(PortConfig{.name = "sink", .options = VdevOptions{}}) {}
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t, rte_mbuf**, uint16_t n) noexcept override {
    frames += n;
    return n;
  }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

  uint64_t frames = 0;
};

/// One worker on the tests' node, all its ports sinks, an allowing policy on both directions of its pods.
class Node : public testing::PipelineTest {
 public:
  explicit Node(uint32_t capacity) : PipelineTest(capacity) {
    // One pod opens all connections at once: no budget may be in their way.
    const ConnTableOptions options{.capacity = capacity,
                                   .endpoint_quota = capacity,
                                   .embryonic = capacity,
                                   .endpoint_embryonic = capacity};
    shared.connections = std::move(ConnTable<FlowKey4>::Create(options, shared.qsbr.get()).value());
    shared.connections6 = std::move(ConnTable<FlowKey6>::Create(options, shared.qsbr.get()).value());
    Tables t = WithPolicies({std::begin(kAllowAll), std::end(kAllowAll)});
    for (uint16_t i = 0; i < 3; ++i) t.ports[i].port = &sink_;
    Publish(std::move(t));
    ResolvePeer();
  }
  void TestBody() override {}

  void Run(rte_mbuf** burst, const PortId* ports) {
    RunBurst(*worker, burst, ports, kBurst);
    worker->tx.Flush(*worker->tables, worker->counters);
  }

  /// No connections, no flows.
  void Forget() {
    const uint32_t later = worker->now_ms + FlowTable<FlowKey4>::kIdleMs + 1;
    worker->flows.Age(later, SIZE_MAX);
    worker->flows6.Age(later, SIZE_MAX);
    shared.ForEachFamily([](auto& table) { table.RemoveIf([](const auto&) { return true; }); });
    for (int i = 0; i < 2; ++i) rte_rcu_qsbr_quiescent(shared.qsbr.get(), 0);
  }
  /// The worker is behind with established packets, and the pod has used up what it may open in this
  /// millisecond.
  void Overload() {
    MissLimiter& m = worker->misses;
    const uint32_t source = testing::kPodPort.value();
    for (int i = 0; i < 100; ++i) m.Ran(shared.tsc_per_ms, true);
    uint64_t established = 0;
    for (int ms = 0; ms < 200; ++ms) {
      m.Begin(++worker->now_ms, established += 1000);
      for (int i = 0; i < 1000 && m.Admit(source); ++i) {
        m.Account(source, false);
        m.End(shared.tsc_per_ms, 1);
        m.Begin(worker->now_ms, established);
      }
    }
  }
  uint64_t frames() const { return sink_.frames; }
  uint64_t refused() const { return Drops(DropReason::kOverload); }

 private:
  Sink sink_;
};

/// Where the packets of a case come in and go.
struct Way {
  const char* name;
  Frame forward, back;  ///< what is in front of the IPv4 packet
  const char *source, *destination;
  PortId in_port, back_port;
  bool ipv6 = false;
};

const Way kL3{"l3",         testing::FromPod(), testing::FromPeer(),   kPod,
              "10.244.3.7", testing::kPodPort,  testing::kUnderlayPort};
const Way kEncap{"encap",      testing::FromPod(), testing::FromTunnel(), kPod,
                 "10.244.2.7", testing::kPodPort,  testing::kUnderlayPort};
const Way kDecap{"decap", testing::FromTunnel(),  testing::FromPod(), "10.244.2.7",
                 kPod,    testing::kUnderlayPort, testing::kPodPort};
const Way kLocal{"local",
                 testing::FromPod(),
                 Frame().Eth(testing::kGatewayMac, testing::kPodMacB),
                 kPod,
                 "10.244.1.3",
                 testing::kPodPort,
                 testing::kPodPortB};

constexpr const char* kPod6 = "2001:db8:1::2";
const Way kL3v6{"l3v6",          testing::FromPod(), testing::FromPeer(),    kPod6,
                "2001:db8:3::7", testing::kPodPort,  testing::kUnderlayPort, true};
const Way kEncap6{"encapv6",       testing::FromPod(), testing::FromTunnel6(), kPod6,
                  "2001:db8:2::7", testing::kPodPort,  testing::kUnderlayPort, true};
const Way kDecap6{"decapv6", testing::FromTunnel6(), testing::FromPod(), "2001:db8:2::7",
                  kPod6,     testing::kUnderlayPort, testing::kPodPort,  true};

class BurstCase : public Case {
 public:
  ~BurstCase() override {
    if (node_.frames() + refused_ == bursts_ * kBurst && node_.refused() == refused_) return;
    std::fprintf(stderr, "burst: of %lu frames %lu came out and %lu were refused\n", bursts_ * kBurst,
                 node_.frames(), node_.refused());
    std::abort();
  }
  void Prepare() override {
    burst_ = ring_.Fill(std::span(frames_).subspan(at_, kBurst));
    at_ = at_ + kBurst < frames_.size() ? at_ + kBurst : 0;
    ++bursts_;
  }
  void Run() override { node_.Run(burst_, ports_.data()); }

 protected:
  /// The next burst is to be refused whole. A ring's mbufs are not to go with it.
  void ExpectRefusal() {
    for (rte_mbuf* m : std::span(burst_, kBurst)) rte_mbuf_refcnt_set(m, 2);
    refused_ += kBurst;
  }
  void Overload() { node_.Overload(); }

  BurstCase(const Way& way, uint32_t flows) : way_(way), node_(4 * flows + 256), order_(flows) {
    for (uint32_t i = 0; i < flows; ++i) order_[i] = i;
    std::shuffle(order_.begin(), order_.end(), std::mt19937(1));
  }

  /// A frame of each flow, in random order.
  void Load(uint8_t flags, bool back = false) {
    frames_.clear();
    for (const uint32_t n : order_) {
      const auto port = static_cast<uint16_t>(1024 + n % 60'000),
                 other = static_cast<uint16_t>(80 + n / 60'000);
      Frame f = back ? way_.back : way_.forward;
      const char* source = back ? way_.destination : way_.source;
      const char* destination = back ? way_.source : way_.destination;
      if (way_.ipv6) {
        f.Ip6(source, destination);
      } else {
        f.Ip4(source, destination);
      }
      f.Tcp(back ? other : port, back ? port : other, flags).Payload(flags == kAck ? 10 : 0);
      frames_.push_back(f.Build());
    }
    ports_.fill(back ? way_.back_port : way_.in_port);
    at_ = 0;
  }
  void RunAll() {
    for (size_t i = 0; i < frames_.size(); i += kBurst) {
      BurstCase::Prepare();
      Run();
    }
  }
  bool begins_anew() const { return at_ == 0; }
  void Forget() { node_.Forget(); }

 private:
  const Way& way_;
  MbufRing ring_;  // before node_: EAL
  Node node_;
  std::vector<uint32_t> order_;
  std::vector<Bytes> frames_;
  std::array<PortId, kBurst> ports_;
  rte_mbuf** burst_ = nullptr;
  size_t at_ = 0;
  uint64_t bursts_ = 0, refused_ = 0;
};

/// Packets of connections whose handshake is over.
class Established : public BurstCase {
 public:
  Established(const Way& way, uint32_t flows) : BurstCase(way, flows) {
    Load(kSyn);
    RunAll();
    Load(kSynAck, true);
    RunAll();
    Load(kAck);
    RunAll();
  }
};

/// Each packet the first of a connection.
class NewConnections : public BurstCase {
 public:
  NewConnections(const Way& way, uint32_t flows) : BurstCase(way, flows) {
    Load(kSyn);
    RunAll();
  }
  void Prepare() override {
    if (begins_anew()) Forget();
    BurstCase::Prepare();
  }
};

/// SYNs of a pod that floods.
class Refused : public BurstCase {
 public:
  Refused(const Way& way, uint32_t flows) : BurstCase(way, flows) {
    Load(kSyn);
    Overload();
  }
  void Prepare() override {
    BurstCase::Prepare();
    ExpectRefusal();
  }
};

}  // namespace

void AddBurstCases(Cases& cases) {
  for (const Way* way : {&kL3, &kEncap, &kDecap, &kLocal, &kL3v6, &kEncap6, &kDecap6}) {
    for (const auto& [text, flows] :
         {std::pair("32", 32u), {"1k", 1024u}, {"100k", 100'000u}, {"1M", 1'000'000u}}) {
      if ((way == &kLocal || way->ipv6) && flows > 1024) continue;
      cases.push_back({.name = fmt::format("burst/{}/{}", way->name, text),
                       .items = kBurst,
                       .prepared = true,
                       .gated = flows == 1024,
                       .make = [way, flows = flows] { return std::make_unique<Established>(*way, flows); }});
    }
  }
  for (const Way* way : {&kL3, &kEncap, &kDecap, &kL3v6}) {
    cases.push_back(
        {.name = fmt::format("burst/{}/new", way->name), .items = kBurst, .prepared = true, .make = [way] {
           return std::make_unique<NewConnections>(*way, 4096);
         }});
  }
  cases.push_back({.name = "burst/l3/refused", .items = kBurst, .prepared = true, .make = [] {
                     return std::make_unique<Refused>(kL3, 4096);
                   }});
}

}  // namespace podwire::bench
