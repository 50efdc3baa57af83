#include "switch/pipeline.h"
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace pipeline_v6_test {

constexpr const char *kA = "2001:db8:1::2", *kB = "2001:db8:1::3", *kGateway = "2001:db8:1::1";
constexpr const char *kRemote = "2001:db8:2::7", *kRemoteDirect = "2001:db8:3::7",
                     *kRemoteOver4 = "2001:db8:4::7";
constexpr const char* kAllowPort80 =
    R"({"metadata": {"name": "web"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": 80}]}]}})";
constexpr const char* kDenyIngress =
    R"({"metadata": {"name": "deny"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}}}})";
constexpr uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10;

class Pipeline6Test : public PipelineTest {
 protected:
  static Frame FromB() { return Frame().Eth(kGatewayMac, kPodMacB); }
  static Frame Ask(uint16_t port, uint8_t flags = kSyn) {
    return FromPod().Ip6(kA, kB).Tcp(40000, port, flags);
  }
  static Frame Answer(uint16_t port, uint8_t flags = kSynAck) {
    return FromB().Ip6(kB, kA).Tcp(port, 40000, flags);
  }
  void ExpectSent(PortId port, const Frame& want) {
    const auto out = Sent(port);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(ToHex(out[0]), ToHex(want.Build()));
  }
};

TEST_F(Pipeline6Test, PodToPodIsRoutedOnceThroughTheSwitch) {
  Receive(kPodPort, {FromPod().Ip6(kA, kB, {.hop_limit = 64}).Udp(5000, 53).Payload(100)});
  ExpectSent(kPodPortB,
             Frame().Eth(kPodMacB, kGatewayMac).Ip6(kA, kB, {.hop_limit = 63}).Udp(5000, 53).Payload(100));
  EXPECT_TRUE(Sent(kPodPort).empty());
}

TEST_F(Pipeline6Test, LaterPacketsHitTheFlowTable) {
  for (int i = 0; i < 3; ++i)
    Receive(kPodPort,
            {FromPod().Ip6(kA, kB).Udp(5000, 53), FromPod().Ip4("10.244.1.2", "10.244.1.3").Udp(5000, 53),
             FromPod().Ip6(kA, kB).Udp(5000, 53)});
  EXPECT_EQ(Sent(kPodPortB).size(), 9u);
  EXPECT_EQ(Count(Counter::kFlowMisses), 2u);
  EXPECT_EQ(Count(Counter::kFlowHits), 7u);
  EXPECT_EQ(Count(Counter::kConnectionsCreated), 2u);
  EXPECT_EQ(worker->flows.size(), 1u);
  EXPECT_EQ(worker->flows6.size(), 1u);
  EXPECT_EQ(shared.connections6->size(), 1u);
}

TEST_F(Pipeline6Test, PoliciesHoldAndConnectionsAreTracked) {
  Publish(WithPolicies({kAllowPort80}));
  Receive(kPodPort, {Ask(80), Ask(81)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 1u);
  Receive(kPodPortB, {Answer(80)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
  Receive(kPodPortB, {Answer(82)});
  EXPECT_TRUE(Sent(kPodPort).empty());
  EXPECT_EQ(Drops(DropReason::kNoConnection), 1u);
  Publish(WithPolicies({kDenyIngress}));
  Receive(kPodPort, {Ask(80, kAck)});
  Receive(kPodPortB, {Answer(80, kAck)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_TRUE(Sent(kPodPort).empty());
  EXPECT_EQ(Count(Counter::kConnectionsCut), 1u);
}

TEST_F(Pipeline6Test, EchoIsTracked) {
  Publish(WithPolicies({kDenyIngress}));
  Receive(kPodPort, {FromPod().Ip6(kA, kB).Icmp6(128, 0, 7, 1)});
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 1u);
  Receive(kPodPortB, {FromB().Ip6(kB, kA).Icmp6(128, 0, 9, 1)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
  Receive(kPodPort, {FromPod().Ip6(kA, kB).Icmp6(129, 0, 9, 1), FromPod().Ip6(kA, kB).Icmp6(129, 0, 10, 1)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
  EXPECT_EQ(Drops(DropReason::kNoConnection), 1u);
}

TEST_F(Pipeline6Test, SourcesAreChecked) {
  Receive(kPodPort, {FromPod().Ip6(kB, kRemote).Udp(1, 2), FromPod().Ip6("::", kB).Udp(1, 2),
                     FromPod().Ip6("2001:db8:9::1", kB).Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kSpoofedAddress), 3u);
  Receive(kPodPort, {FromPod().Ip6("fe80::7", kB).Udp(1, 2), FromPod().Ip6(kA, "fe80::7").Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kLinkLocal), 2u);
  Receive(kUnderlayPort, {FromPeer().Ip6(kA, kB).Udp(1, 2), FromTunnel().Ip6(kA, kB).Udp(1, 2),
                          FromPeer().Ip6("::1", kB).Udp(1, 2)});
  EXPECT_EQ(Drops(DropReason::kSpoofedAddress), 6u);
  Receive(kUnderlayPort, {FromPeer().Ip6("fe80::9", kB).Udp(1, 2),
                          FromTunnel6().Ip6("fe80::9", "2001:db8::1").Icmp6(128, 0)});
  EXPECT_EQ(Drops(DropReason::kLinkLocal), 4u);
  Receive(kUnderlayPort,
          {FromPeer().Ip6("2001:db8::8", "2001:db8::1").Udp(1, 8472).Vxlan(1).Eth(kVtepMac, kPeerVtepMac)});
  EXPECT_EQ(Drops(DropReason::kUnknownVtep), 1u);
  EXPECT_TRUE(Sent(kPodPortB).empty());
}

TEST_F(Pipeline6Test, ToTheUnderlayAndBack) {
  ResolvePeer();
  Receive(kPodPort, {FromPod().Ip6(kA, kRemoteDirect).Udp(1, 2)});
  ExpectSent(kUnderlayPort,
             Frame().Eth(kPeerMac, kUnderlayMac).Ip6(kA, kRemoteDirect, {.hop_limit = 63}).Udp(1, 2));
  for (const auto& [remote, l3] : {std::pair(kRemote, 84u), {kRemoteOver4, 64u}}) {
    Receive(kPodPort, {FromPod().Ip6(kA, remote).Udp(1, 2).Payload(9)});
    const auto out = Sent(kUnderlayPort);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(ToHex(std::span(out[0]).subspan(l3 - 2)),
              "86dd" + ToHex(Frame().Ip6(kA, remote, {.hop_limit = 63}).Udp(1, 2).Payload(9).Build()));
    Receive(kUnderlayPort, {(l3 == 84 ? FromTunnel6() : FromTunnel()).Ip6(remote, kA).Udp(2, 1)});
    ExpectSent(kPodPort, Frame().Eth(kPodMac, kGatewayMac).Ip6(remote, kA, {.hop_limit = 63}).Udp(2, 1));
  }
  EXPECT_EQ(Count(Counter::kEncapsulated), 2u);
  EXPECT_EQ(Count(Counter::kDecapsulated), 2u);
}

TEST_F(Pipeline6Test, Ipv4ThroughATunnelOverIpv6) {
  ResolvePeer();
  Tables t = *tables.back();
  t.fib.Set(*ParsePrefix("10.244.2.0/24"), {.next_hop = NextHopId(5), .why = "over IPv6"});
  Publish(std::move(t));
  Receive(kPodPort, {FromPod().Ip4("10.244.1.2", "10.244.2.7").Udp(1, 2)});
  const auto out = Sent(kUnderlayPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(ToHex(std::span(out[0]).subspan(82)),
            "0800" + ToHex(Frame().Ip4("10.244.1.2", "10.244.2.7", {.ttl = 63}).Udp(1, 2).Build()));
  EXPECT_EQ(L4Sum(std::span(out[0]).subspan(14)), 0xffff);
  Receive(kUnderlayPort, {FromTunnel6().Ip4("10.244.2.7", "10.244.1.2").Udp(2, 1)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
}

TEST_F(Pipeline6Test, PacketsWaitForTheNeighbour) {
  Receive(kPodPort, {FromPod().Ip6(kA, kRemoteDirect).Udp(1, 2), FromPod().Ip6(kA, kRemote).Udp(1, 2)});
  auto out = Sent(kUnderlayPort);
  ASSERT_EQ(out.size(), 1u) << "one solicitation";
  EXPECT_EQ(ToHex(std::span(out[0]).first(14)), "3333ff00000902000000010186dd");
  EXPECT_EQ(Count(Counter::kNdSolicitations), 1u);
  EXPECT_EQ(Count(Counter::kQueued), 2u);
  Bytes target(16);
  const Ipv6 peer = Ip6("2001:db8::9");
  std::copy(peer.bytes.begin(), peer.bytes.end(), target.begin());
  Bytes option = {2, 1};
  option.insert(option.end(), kPeerMac.bytes.begin(), kPeerMac.bytes.end());
  Receive(kUnderlayPort, {FromPeer()
                              .Ip6("2001:db8::9", "2001:db8::1", {.hop_limit = 255})
                              .Icmp6(136, 0, 0x6000)
                              .Raw(target)
                              .Raw(option)});
  Pass(0);
  EXPECT_EQ(Sent(kUnderlayPort).size(), 2u);
  EXPECT_EQ(Count(Counter::kQueued), 0u);
  EXPECT_EQ(Count(Counter::kConsumed), 1u);
}

TEST_F(Pipeline6Test, UnansweredNeighboursAreReported) {
  Receive(kPodPort, {FromPod().Ip6(kA, "2001:db8::77").Udp(1, 2)});
  Sent(kUnderlayPort);
  Pass(PendingQueue::kWaitMs + 20);
  const auto out = Sent(kPodPort);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0][54], 1);
  EXPECT_EQ(out[0][55], 3);
  EXPECT_EQ(Drops(DropReason::kNeighborUnresolved), 1u);
}

TEST_F(Pipeline6Test, ErrorsAreSentByTheGateway) {
  ResolvePeer();
  const auto error = [&](const Frame& f) {
    Receive(kPodPort, {f});
    const auto out = Sent(kPodPort);
    EXPECT_EQ(out.size(), 1u);
    if (out.size() != 1) return std::tuple(0, 0, 0u);
    EXPECT_EQ(ToHex(std::span(out[0]).first(14)), "02000000000a02000000000186dd");
    EXPECT_EQ(L4Sum(std::span(out[0]).subspan(14)), 0xffff);
    EXPECT_EQ(ToHex(std::span(out[0]).subspan(22, 16)), ToHex(Ip6(kGateway).bytes));
    return std::tuple(int{out[0][54]}, int{out[0][55]}, Be32(out[0], 58));
  };
  EXPECT_EQ(error(FromPod().Ip6(kA, kB, {.hop_limit = 1}).Udp(1, 2)), std::tuple(3, 0, 0u));
  EXPECT_EQ(error(FromPod().Ip6(kA, kRemote).Udp(1, 2).Payload(1400)), std::tuple(2, 0, 1430u));
  EXPECT_EQ(error(FromPod().Ip6(kA, "2001:db8:9::1").Udp(1, 2)), std::tuple(1, 0, 0u));
  EXPECT_EQ(error(FromPod().Ip6(kA, kGateway).Udp(1, 2)), std::tuple(1, 4, 0u));
  EXPECT_EQ(Drops(DropReason::kTtlExceeded), 1u);
  EXPECT_EQ(Drops(DropReason::kTooBig), 1u);
  EXPECT_EQ(Drops(DropReason::kNoRoute), 1u);
  EXPECT_EQ(Drops(DropReason::kNotOurAddress), 1u);
  EXPECT_EQ(Count(Counter::kIcmpErrors), 4u);
  EXPECT_TRUE(Sent(kUnderlayPort).empty()) << "nothing is fragmented here";
}

TEST_F(Pipeline6Test, ErrorsAreRateLimited) {
  std::vector<Frame> frames(60, FromPod().Ip6(kA, kB, {.hop_limit = 1}).Udp(1, 2));
  Receive(kPodPort, frames);
  EXPECT_EQ(Sent(kPodPort).size(), IcmpLimiter::kBurst);
  EXPECT_EQ(Drops(DropReason::kTtlExceeded), 60u);
}

TEST_F(Pipeline6Test, ErrorsPassToTheSenderOfWhatTheyQuoteOnly) {
  ResolvePeer();
  Receive(kPodPort, {FromPod().Ip6(kA, kRemote).Udp(5000, 53).Payload(9)});
  const Bytes quoted = Frame().Ip6(kA, kRemote).Udp(5000, 53).Payload(9).Build();
  Receive(kUnderlayPort, {FromTunnel6().Ip6("2001:db8:2::1", kA).Icmp6(2, 0, 0, 1280).Raw(quoted)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
  Receive(kUnderlayPort, {FromTunnel6().Ip6("2001:db8:2::1", kB).Icmp6(2, 0, 0, 1280).Raw(quoted),
                          FromTunnel6()
                              .Ip6("2001:db8:2::1", kA)
                              .Icmp6(1, 4)
                              .Raw(Frame().Ip6(kA, kRemote).Udp(5001, 53).Build())});
  EXPECT_TRUE(Sent(kPodPort).empty());
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_EQ(Drops(DropReason::kNoConnection), 2u);
}

TEST_F(Pipeline6Test, TheGatewayAnswersPings) {
  Receive(kPodPort, {FromPod().Ip6(kA, kGateway).Icmp6(128, 0, 7, 1).Payload(9)});
  ExpectSent(kPodPort, Frame().Eth(kPodMac, kGatewayMac).Ip6(kGateway, kA).Icmp6(129, 0, 7, 1).Payload(9));
  // From and to link-local addresses.
  const char* link = "fe80::ff:fe00:1";
  Receive(kPodPort, {FromPod().Ip6("fe80::ff:fe00:a", link).Icmp6(128, 0, 7, 1).Payload(9)});
  ExpectSent(kPodPort,
             Frame().Eth(kPodMac, kGatewayMac).Ip6(link, "fe80::ff:fe00:a").Icmp6(129, 0, 7, 1).Payload(9));
  Receive(kPodPort, {FromPod().Ip6(kA, link).Icmp6(128, 0, 7, 1)});
  EXPECT_EQ(Sent(kPodPort).size(), 1u);
  // The node's own address, to the underlay.
  ResolvePeer();
  Receive(kUnderlayPort, {FromPeer().Ip6("2001:db8::9", "2001:db8::1").Icmp6(128, 0, 7, 1),
                          FromPeer().Ip6("fe80::9", "2001:db8::1").Icmp6(128, 0, 7, 1)});
  EXPECT_EQ(Sent(kUnderlayPort).size(), 2u);
}

TEST_F(Pipeline6Test, NeighbourDiscoveryIsConsumedAndAnswered) {
  const Ipv6 gateway = Ip6(kGateway);
  const Bytes target(gateway.bytes.begin(), gateway.bytes.end());
  Receive(kPodPort, {FromPod().Ip6(kA, kGateway, {.hop_limit = 255}).Icmp6(135, 0).Raw(target),
                     Frame()
                         .Eth(Mac("33:33:00:00:00:02"), kPodMac)
                         .Ip6("fe80::a", "ff02::2", {.hop_limit = 255})
                         .Icmp6(133, 0),
                     Frame()
                         .Eth(Mac("33:33:00:00:00:16"), kPodMac)
                         .Ip6("fe80::a", "ff02::16", {.hop_limit = 1})
                         .Ext6(0, {0, 5, 2, 0, 0, 1, 0})
                         .Icmp6(143, 0)
                         .Payload(20)});
  EXPECT_EQ(Sent(kPodPort).size(), 2u);
  EXPECT_EQ(Count(Counter::kNdAdvertisements), 1u);
  EXPECT_EQ(Count(Counter::kRouterAdvertisements), 1u);
  EXPECT_EQ(Count(Counter::kConsumed), 3u);
  EXPECT_EQ(Totals().dropped(), 0u);
  Receive(kPodPort, {FromPod().Ip6(kA, kGateway, {.hop_limit = 64}).Icmp6(135, 0).Raw(target)});
  EXPECT_EQ(Drops(DropReason::kInvalidNd), 1u);
}

TEST_F(Pipeline6Test, FragmentsFollowTheFirst) {
  Publish(
      WithPolicies({R"({"metadata": {"name": "dns"}, "spec": {"podSelector": {"matchLabels": {"app": "b"}},
                            "ingress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}})"}));
  const auto first = [](uint32_t id, uint16_t port) {
    return FromPod().Ip6(kA, kB).Fragment6(0, true, id).Udp(5000, port, 400).Payload(88);
  };
  const auto later = [](uint32_t id, uint16_t offset) {
    return FromPod().Ip6(kA, kB).Fragment6(offset, false, id, 60).Payload(40);  // next header: nobody's word
  };
  Receive(kPodPort, {later(1, 96)});
  EXPECT_EQ(Drops(DropReason::kFragmentNoFirst), 1u);
  Receive(kPodPort, {first(1, 53), later(1, 96)});
  EXPECT_EQ(Sent(kPodPortB).size(), 2u);
  Receive(kPodPort, {first(2, 54), later(2, 96)});
  EXPECT_TRUE(Sent(kPodPortB).empty());
  EXPECT_EQ(Drops(DropReason::kPolicyDeniedIngress), 2u);
  // RFC 5722: it overlaps the first.
  Receive(kPodPort, {first(3, 53), later(3, 88)});
  EXPECT_EQ(Sent(kPodPortB).size(), 1u);
  EXPECT_EQ(Drops(DropReason::kMalformed), 1u);
}

}  // namespace pipeline_v6_test
}  // namespace podwire::testing
