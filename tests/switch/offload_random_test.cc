// Software alone gives the same result: random traffic and policies through two nodes, one of which offloads
// to a NIC that does what its rules say. What comes out and the books must be the same.
#include <algorithm>
#include <cstdio>
#include <random>

#include <gtest/gtest.h>

#include "tests/switch/offload_fixture.h"

namespace podwire {
namespace offload_random_test {

using namespace testing;

constexpr int kSteps = 120;

class Node : public OffloadTest {
 public:
  explicit Node(bool offload) : OffloadTest(offload) {
    // A NIC's packets are no reason for the switch to ask for a neighbour.
    shared.neighbors.SetPermanent(Ip("192.0.2.9"), kPeerMac);
  }
  void TestBody() override {}

  /// One by one: what a packet does to its connection the NIC's rules follow within milliseconds, here at
  /// once.
  void Take(PortId port, const std::vector<Frame>& frames) {
    for (const Frame& f : frames) {
      Arrive(port, {f});
      if (manager != nullptr) manager->CheckConnections();
    }
  }
  void Enforce(const std::vector<std::string>& policies) { PublishNode(OffloadTest::Node(policies)); }
  void Pass() { Step(); }
  /// Since the last call, in an order of their own: a NIC overtakes the switch. The outer headers' id, and
  /// the checksum with it, is the sender's own.
  std::vector<std::string> Out(PortId port) {
    std::vector<std::string> frames;
    for (Bytes& bytes : std::exchange(At(port).sent, {})) {
      const bool tunnel =
          port == kUnderlayPort && bytes.size() > 60 && bytes[23] == 17 && Be16(bytes, 36) == 8472;
      if (tunnel) bytes[18] = bytes[19] = bytes[24] = bytes[25] = 0;
      frames.push_back(ToHex(bytes));
    }
    std::ranges::sort(frames);
    return frames;
  }
  CounterTotals Sums() const { return Totals(); }
  DropCounts DropsOf(uint32_t endpoint) const {
    DropCounts drops{};
    worker->counters.AddTo(drops, EndpointId{endpoint});
    return drops;
  }
  uint64_t connections() const { return shared.connections->size() + shared.connections6->size(); }
  OffloadTotals RuleTotals() const { return manager->totals(); }
};

constexpr const char* kPolicies[] = {
    kIsolateB,
    R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"egress-a"},"spec":{
        "podSelector":{"matchLabels":{"app":"a"}},"policyTypes":["Egress"],
        "egress":[{"ports":[{"port":80,"protocol":"TCP"},{"port":5001,"protocol":"UDP"}]}]}})",
    R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"isolate-a"},"spec":{
        "podSelector":{"matchLabels":{"app":"a"}},"policyTypes":["Ingress"]}})",
    R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"b-from-a"},"spec":{
        "podSelector":{"matchLabels":{"app":"b"}},"policyTypes":["Ingress"],
        "ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"a"}}}]}]}})"};

/// A packet of one of some conversations, either direction.
class Traffic {
 public:
  explicit Traffic(uint32_t seed) : random_(seed) {}

  int Below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
  bool OneIn(int n) { return Below(n) == 0; }

  std::vector<std::string> Policies() {
    std::vector<std::string> chosen;
    for (const char* p : kPolicies) {
      if (OneIn(3)) chosen.emplace_back(p);
    }
    return chosen;
  }

  /// Some packets of one flow; sets the port that they come in by.
  std::vector<Frame> Burst(PortId& port) {
    const int peer = Below(3);  // a and b, a and the pod behind the tunnel, a and b by IPv6
    const bool back = OneIn(2);
    const auto client = static_cast<uint16_t>(4000 + Below(3)),
               server = static_cast<uint16_t>(5000 + Below(3));
    const int proto = Below(5);  // mostly UDP and TCP
    const bool fast = OneIn(2);
    port = !back ? kPodPort : peer == 1 ? kUnderlayPort : kPodPortB;
    std::vector<Frame> frames;
    for (int left = fast ? 40 + Below(40) : 1 + Below(4); left > 0; --left) {
      frames.push_back(One(peer, back, proto, client, proto == 2 ? uint16_t{80} : server));
    }
    return frames;
  }

 private:
  Frame One(int peer, bool back, int proto, uint16_t client, uint16_t server) {
    const uint16_t src = back ? server : client, dst = back ? client : server;
    const bool odd = OneIn(40);
    Ipv4Fields v4{.ttl = static_cast<uint8_t>(back && peer == 1 ? 63 : 64)};
    if (odd && OneIn(3)) v4.ttl = 1;
    if (odd && OneIn(3)) v4.tos = static_cast<uint8_t>(Below(4));
    if (odd && OneIn(3)) v4.mf = true;
    v4.id = ++id_;
    Frame f = Headers(peer, back, v4, odd && OneIn(3));
    if (peer == 2 && odd) {
      if (OneIn(3)) f.Ext6(60, {0, 1, 4, 0, 0, 0, 0});  // destination options: padding
      if (OneIn(3)) f.Fragment6(0, true, id_);
    }
    if (proto >= 3) return f.Udp(src, dst).Payload(20);
    if (proto >= 1) {
      const uint8_t flags[] = {0x02, 0x12, 0x11, 0x14};
      return f.Tcp(src, dst, OneIn(30) ? flags[Below(4)] : uint8_t{0x10}).Payload(20);
    }
    if (peer == 2) return f.Icmp6(back ? 129 : 128, 0, client, 1).Payload(20);
    return f.Icmp(back ? 0 : 8, 0, client, 1).Payload(20);
  }

  static Frame Tagged(const MacAddr& destination, const MacAddr& source, bool v4) {
    return Frame().Eth(destination, source, 0x8100).Raw(v4 ? Hex("0005 0800") : Hex("0005 86dd"));
  }

  Frame Headers(int peer, bool back, const Ipv4Fields& v4, bool tagged) {
    if (tagged) {
      const Frame f = Tagged(kGatewayMac, back ? kPodMacB : kPodMac, peer != 2);
      if (peer == 2) {
        return back ? Frame(f).Ip6("2001:db8:1::3", "2001:db8:1::2")
                    : Frame(f).Ip6("2001:db8:1::2", "2001:db8:1::3");
      }
      if (peer == 0 || !back) {
        return back ? Frame(f).Ip4("10.244.1.3", "10.244.1.2", v4)
                    : Frame(f).Ip4("10.244.1.2", peer == 0 ? "10.244.1.3" : "10.244.2.7", v4);
      }
      return Tagged(kUnderlayMac, kPeerMac, true)
          .Ip4("192.0.2.9", "192.0.2.1")
          .Udp(50000, 8472)
          .Vxlan(1)
          .Eth(kVtepMac, kPeerVtepMac)
          .Ip4("10.244.2.7", "10.244.1.2", v4);
    }
    const Frame from_b = Frame().Eth(kGatewayMac, kPodMacB);
    const Ipv6Fields v6{.hop_limit = v4.ttl};
    switch (peer) {
      case 0:
        return back ? Frame(from_b).Ip4("10.244.1.3", "10.244.1.2", v4)
                    : FromPod().Ip4("10.244.1.2", "10.244.1.3", v4);
      case 1:
        return back
                   ? FromTunnel({.tos = static_cast<uint8_t>(v4.tos & 3)}).Ip4("10.244.2.7", "10.244.1.2", v4)
                   : FromPod().Ip4("10.244.1.2", "10.244.2.7", v4);
      default:
        return back ? Frame(from_b).Ip6("2001:db8:1::3", "2001:db8:1::2", v6)
                    : FromPod().Ip6("2001:db8:1::2", "2001:db8:1::3", v6);
    }
  }

  std::mt19937 random_;
  uint16_t id_ = 0;
};

void Compare(const Node& with, const Node& without) {
  const CounterTotals on = with.Sums(), off = without.Sums();
  for (const Counter c : {Counter::kReceived, Counter::kSent, Counter::kGenerated, Counter::kConsumed,
                          Counter::kQueued, Counter::kConnectionsCreated}) {
    EXPECT_EQ(on.Get(c), off.Get(c)) << kCounterInfo[static_cast<size_t>(c)].name;
  }
  for (size_t r = 0; r < kDropReasonCount; ++r) {
    EXPECT_EQ(on.drops[r], off.drops[r]) << kDropReasonInfo[r].name;
    for (uint32_t endpoint = 0; endpoint < 2; ++endpoint) {
      EXPECT_EQ(with.DropsOf(endpoint)[r], without.DropsOf(endpoint)[r]) << kDropReasonInfo[r].name;
    }
  }
  EXPECT_EQ(with.connections(), without.connections());
}

void RunBoth(uint32_t seed, OffloadTotals& totals, uint64_t& offloaded) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Node with(true), without(false);
  Traffic traffic(seed);
  for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) {
    if (traffic.OneIn(12)) {
      const std::vector<std::string> policies = traffic.Policies();
      with.Enforce(policies);
      without.Enforce(policies);
    }
    // The same conversations for some steps, so that they are fast.
    Traffic bursts(seed * 1000 + static_cast<uint32_t>(step / 8));
    for (int i = 0; i < 5; ++i) {
      PortId port;
      const std::vector<Frame> frames = bursts.Burst(port);
      with.Take(port, frames);
      without.Take(port, frames);
    }
    for (const PortId port : {kPodPort, kPodPortB, kUnderlayPort}) {
      const std::vector<std::string> on = with.Out(port), off = without.Out(port);
      const auto [first_on, first_off] = std::ranges::mismatch(on, off);
      EXPECT_TRUE(on == off) << "step " << step << ", port " << port.value() << ": " << on.size() << " and "
                             << off.size() << " frames; first\n"
                             << (first_on == on.end() ? "none" : *first_on) << "\n"
                             << (first_off == off.end() ? "none" : *first_off);
    }
    with.Pass();
    without.Pass();
  }
  with.Pass();  // counts of rules that went in the last step
  without.Pass();
  Compare(with, without);
  const OffloadTotals t = with.RuleTotals();
  totals.installed += t.installed;
  totals.invalidated += t.invalidated;
  offloaded += with.Sums().Get(Counter::kOffloaded);
  EXPECT_EQ(without.Sums().Get(Counter::kOffloaded), 0u);
}

TEST(OffloadRandomTest, SameOutcomeWithAndWithout) {
  const uint32_t first = std::random_device()() % 100000;
  OffloadTotals totals;
  uint64_t offloaded = 0;
  for (uint32_t seed = first; seed < first + 2 && !::testing::Test::HasFailure(); ++seed)
    RunBoth(seed, totals, offloaded);
  // Or nothing was tested.
  EXPECT_GT(totals.installed, 5u);
  EXPECT_GT(totals.invalidated, 0u);
  EXPECT_GT(offloaded, 1000u);
  std::printf("%lu rules, %lu of them ended by publications; %lu packets by the NIC\n", totals.installed,
              totals.invalidated, offloaded);
}

}  // namespace offload_random_test
}  // namespace podwire
