#include "switch/nd.h"

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace nd_test {

using namespace testing;

constexpr uint32_t kNow = 1000;
constexpr uint8_t kRs = 133, kRa = 134, kNs = 135, kNa = 136, kRedirect = 137;
constexpr const char *kPod = "2001:db8:1::2", *kPodB = "2001:db8:1::3", *kGateway = "2001:db8:1::1";
constexpr const char *kGatewayLink = "fe80::ff:fe00:1", *kPodLink = "fe80::ff:fe00:a";
constexpr const char *kNode = "2001:db8::1", *kPeer = "2001:db8::9";

Bytes Target(std::string_view address) {
  const Ipv6 a = Ip6(address);
  return {a.bytes.begin(), a.bytes.end()};
}
Bytes Link(uint8_t type, const MacAddr& mac) {
  Bytes b = {type, 1};
  b.insert(b.end(), mac.bytes.begin(), mac.bytes.end());
  return b;
}
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// `flags`: the first 16 bits behind the checksum.
Frame Message(Frame f, uint8_t type, const char* src, const char* dst, const Bytes& rest, uint16_t flags = 0,
              const Ipv6Fields& ip = {.hop_limit = 255}) {
  return f.Ip6(src, dst, ip).Icmp6(type, 0, flags).Raw(rest);
}

class NdTest : public ::testing::Test {
 protected:
  NdResult Handle(const Frame& f, PortId port) { return HandleBytes(f.Build(), port); }
  NdResult HandleBytes(const Bytes& b, PortId port) {
    mbuf_ = ToMbuf(b);
    const Packet6 p = ParseOne6(tables_, mbuf_, port);
    EXPECT_EQ(p.kind, PacketKind::kNd) << InfoOf(p.reason).name;
    if (p.kind != PacketKind::kNd) return {};
    const NdResult r = HandleNd(tables_, p, neighbors_, EalEnvironment::Pools().small(), kNow);
    answer_.reset(r.answer);
    return r;
  }
  NdResult Pod(const Frame& f) { return Handle(f, kPodPort); }
  NdResult Underlay(const Frame& f) { return Handle(f, kUnderlayPort); }
  void ExpectNothing(const NdResult& r) {
    EXPECT_EQ(InfoOf(r.reason).name, "none");
    EXPECT_EQ(r.answer, nullptr);
  }
  void ExpectDrop(const NdResult& r, DropReason reason) {
    EXPECT_EQ(InfoOf(r.reason).name, InfoOf(reason).name);
    EXPECT_EQ(r.answer, nullptr);
  }
  void ExpectAnswer(const NdResult& r, const Frame& want) {
    EXPECT_EQ(InfoOf(r.reason).name, "none");
    ASSERT_NE(r.answer, nullptr);
    EXPECT_EQ(ToHex(BytesOf(*r.answer)), ToHex(want.Build()));
    EXPECT_EQ(OffloadOf(*r.answer), Offload{});
  }
  static Frame PodAsks(const char* target, const char* src = kPod, const char* dst = "ff02::1:ff00:1") {
    return Message(Frame().Eth(Mac("33:33:ff:00:00:01"), kPodMac), kNs, src, dst,
                   Target(target) + Link(1, kPodMac));
  }
  static Frame GatewayAnswers(const char* who, uint16_t flags, const char* to = kPod,
                              const MacAddr& mac = kPodMac) {
    return Message(Frame().Eth(mac, kGatewayMac), kNa, who, to, Target(who) + Link(2, kGatewayMac), flags);
  }
  static Frame PeerSays(uint8_t type, const char* src, const char* dst, const Bytes& rest,
                        uint16_t flags = 0) {
    return Message(FromPeer(), type, src, dst, rest, flags);
  }
  MacAddr Known(const char* address) {
    for (const auto& e : neighbors_.Snapshot(kNow)) {
      if (e.address == IpAddress(Ip6(address))) return e.mac;
    }
    return {};
  }

  Tables tables_ = TestTables();
  NeighborTable neighbors_;
  MbufPtr mbuf_, answer_;
};

TEST_F(NdTest, APodAsksForTheGateway) {
  // Router, solicited, override.
  ExpectAnswer(Pod(PodAsks(kGateway)), GatewayAnswers(kGateway, 0xe000));
  ExpectAnswer(Pod(PodAsks(kGatewayLink)), GatewayAnswers(kGatewayLink, 0xe000));
  ExpectAnswer(Pod(PodAsks(kGateway, kPodLink)), GatewayAnswers(kGateway, 0xe000, kPodLink));
  // A probe of what it knows already: unicast.
  ExpectAnswer(Pod(Message(FromPod(), kNs, kPod, kGateway, Target(kGateway))),
               GatewayAnswers(kGateway, 0xe000));
}

TEST_F(NdTest, AnswersToTheByte) {
  ASSERT_NE(Pod(PodAsks(kGateway)).answer, nullptr);
  EXPECT_EQ(ToHex(BytesOf(*answer_)),
            "02000000000a"
            "020000000001"
            "86dd"
            "6000000000203aff"
            "20010db8000100000000000000000001"
            "20010db8000100000000000000000002"
            "88000a70"
            "e0000000"
            "20010db8000100000000000000000001"
            "0201020000000001");
}

TEST_F(NdTest, EveryOtherAddressIsAtTheGatewaysMac) {
  for (const char* target : {kPodB, "2001:db8:1::77", "2001:db8:2::7"})
    ExpectAnswer(Pod(PodAsks(target)), GatewayAnswers(target, 0x4000));
  ExpectNothing(Pod(PodAsks(kPod)));
  ExpectNothing(Pod(PodAsks("fe80::77")));  // link-local addresses are not forwarded
}

TEST_F(NdTest, PodsProbesAreLeftAloneButTheGatewayIsDefended) {
  const auto probe = [](const char* target, const char* group) {
    return Message(Frame().Eth(Mac("33:33:ff:00:00:01"), kPodMac), kNs, "::", group, Target(target));
  };
  ExpectNothing(Pod(probe(kPod, "ff02::1:ff00:2")));
  ExpectNothing(Pod(probe(kPodB, "ff02::1:ff00:3")));
  ExpectNothing(Pod(probe(kPodLink, "ff02::1:ff00:a")));
  const MacAddr all = Mac("33:33:00:00:00:01");
  ExpectAnswer(Pod(probe(kGateway, "ff02::1:ff00:1")), GatewayAnswers(kGateway, 0xa000, "ff02::1", all));
  ExpectAnswer(Pod(probe(kGatewayLink, "ff02::1:ff00:1")),
               GatewayAnswers(kGatewayLink, 0xa000, "ff02::1", all));
}

TEST_F(NdTest, PodsCannotBeOthers) {
  ExpectDrop(Pod(PodAsks(kGateway, kPodB)), DropReason::kSpoofedAddress);
  ExpectDrop(Pod(PodAsks(kGateway, kGatewayLink)), DropReason::kSpoofedAddress);
  ExpectDrop(Pod(Message(FromPod(), kNs, kPod, kGateway, Target(kGateway) + Link(1, kPodMacB))),
             DropReason::kSpoofedMac);
  ExpectDrop(Pod(Message(FromPod(), kNa, kPod, kGateway, Target(kPod) + Link(2, kPodMacB), 0x6000)),
             DropReason::kSpoofedMac);
  ExpectDrop(Pod(Message(FromPod(), kRa, kPodLink, kGateway, Bytes(8))), DropReason::kInvalidNd);
  ExpectDrop(Pod(Message(FromPod(), kRedirect, kPodLink, kPod, Target(kPod) + Target(kPod))),
             DropReason::kInvalidNd);
  ExpectNothing(Pod(Message(FromPod(), kNa, kPod, kGateway, Target(kPod) + Link(2, kPodMac), 0x6000)));
}

TEST_F(NdTest, RoutersAreSolicited) {
  tables_.local.pod_mtu = 1430;
  const auto advertisement = [](const char* to, const MacAddr& mac) {
    // Hop limit 64, flags 0, lifetime 1800 s; times not told; source link-layer address; MTU.
    return Frame()
        .Eth(mac, kGatewayMac)
        .Ip6(kGatewayLink, to, {.hop_limit = 255})
        .Icmp6(kRa, 0, 0x4000, 1800)
        .Raw(Bytes(8) + Link(1, kGatewayMac) + Bytes{5, 1, 0, 0, 0, 0, 0x05, 0x96});
  };
  const auto solicitation = [](const char* src, const Bytes& options) {
    return Message(Frame().Eth(Mac("33:33:00:00:00:02"), kPodMac), kRs, src, "ff02::2", options);
  };
  const NdResult r = Pod(solicitation(kPodLink, Link(1, kPodMac)));
  EXPECT_EQ(r.counter, Counter::kRouterAdvertisements);
  ExpectAnswer(r, advertisement(kPodLink, kPodMac));
  ExpectAnswer(Pod(solicitation("::", {})), advertisement("ff02::1", Mac("33:33:00:00:00:01")));
  ExpectDrop(Pod(solicitation("::", Link(1, kPodMac))), DropReason::kInvalidNd);
  ExpectNothing(Underlay(PeerSays(kRs, kPeer, "ff02::2", Link(1, kPeerMac))));
}

TEST_F(NdTest, WhatRfc4861Forbids) {
  const Bytes good = PodAsks(kGateway).Build();
  EXPECT_NE(HandleBytes(good, kPodPort).answer, nullptr);
  ExpectDrop(Pod(Message(FromPod(), kNs, kPod, kGateway, Target(kGateway), 0, {.hop_limit = 254})),
             DropReason::kInvalidNd);
  ExpectDrop(Pod(FromPod().Ip6(kPod, kGateway, {.hop_limit = 255}).Icmp6(kNs, 1).Raw(Target(kGateway))),
             DropReason::kInvalidNd);
  ExpectDrop(Pod(Message(FromPod(), kNs, kPod, kGateway, Target("ff02::1"))), DropReason::kInvalidNd);
  ExpectDrop(Pod(Message(FromPod(), kNs, kPod, kGateway, Bytes(15))), DropReason::kInvalidNd);
  for (const Bytes& options : {Bytes{1}, Bytes{1, 0, 0, 0, 0, 0, 0, 0}, Bytes{1, 2, 0, 0, 0, 0, 0, 0},
                               Link(1, kBroadcastMac), Link(1, MacAddr{})}) {
    ExpectDrop(Pod(Message(FromPod(), kNs, kPod, kGateway, Target(kGateway) + options)),
               DropReason::kInvalidNd);
  }
  // From nobody: to the solicited-node group only, and without a link-layer address.
  ExpectDrop(Pod(Message(FromPod(), kNs, "::", kGateway, Target(kGateway))), DropReason::kInvalidNd);
  ExpectDrop(Pod(PodAsks(kGateway, "::")), DropReason::kInvalidNd);
  ExpectDrop(Pod(Message(FromPod(), kNa, "::", "ff02::1", Target(kPod))), DropReason::kInvalidNd);
  // Solicited, and to all.
  ExpectDrop(Underlay(PeerSays(kNa, kPeer, "ff02::1", Target(kPeer) + Link(2, kPeerMac), 0x6000)),
             DropReason::kInvalidNd);
  Bytes wrong = good;
  wrong[57] ^= 1;
  ExpectDrop(HandleBytes(wrong, kPodPort), DropReason::kBadChecksum);
  // Unknown options are skipped.
  EXPECT_NE(
      Pod(Message(FromPod(), kNs, kPod, kGateway, Target(kGateway) + Bytes{14, 1, 1, 2, 3, 4, 5, 6})).answer,
      nullptr);
}

TEST_F(NdTest, ListenersReportsEndHere) {
  for (const uint8_t type : {130, 131, 132, 143})
    ExpectNothing(Pod(Message(Frame().Eth(Mac("33:33:00:00:00:16"), kPodMac), type, kPodLink, "ff02::16",
                              Bytes(20), 0, {.hop_limit = 1})));
}

TEST_F(NdTest, TheUnderlayAsksForUs) {
  ExpectAnswer(Underlay(PeerSays(kNs, kPeer, "ff02::1:ff00:1", Target(kNode) + Link(1, kPeerMac))),
               Message(Frame().Eth(kPeerMac, kUnderlayMac), kNa, kNode, kPeer,
                       Target(kNode) + Link(2, kUnderlayMac), 0x6000));
  EXPECT_EQ(Known(kPeer), kPeerMac);
  // A router asks from its link-local address, which is no neighbour of ours to learn.
  ExpectAnswer(Underlay(PeerSays(kNs, "fe80::9", kNode, Target(kNode) + Link(1, kPeerMac))),
               Message(Frame().Eth(kPeerMac, kUnderlayMac), kNa, kNode, "fe80::9",
                       Target(kNode) + Link(2, kUnderlayMac), 0x6000));
  EXPECT_EQ(neighbors_.Snapshot(kNow).size(), 1u);
}

TEST_F(NdTest, TheUnderlayIsNotAProxy) {
  for (const char* target : {"2001:db8::2", kPod, kGateway, kGatewayLink})
    ExpectNothing(Underlay(PeerSays(kNs, kPeer, "ff02::1:ff00:1", Target(target) + Link(1, kPeerMac))));
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty());
  tables_.local.underlay_address6 = {};
  ExpectNothing(Underlay(PeerSays(kNs, kPeer, "ff02::1:ff00:1", Target(kNode) + Link(1, kPeerMac))));
}

TEST_F(NdTest, WhatIsLearned) {
  const auto advertises = [&](const MacAddr& mac, uint16_t flags) {
    return Underlay(PeerSays(kNa, kPeer, kNode, Target(kPeer) + Link(2, mac), flags));
  };
  ExpectNothing(advertises(kPeerMac, 0x6000));
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty()) << "nobody waits for it";
  const NeighborId id = neighbors_.SlotFor(Ip6(kPeer), kNow);
  ExpectNothing(advertises(kPeerMac, 0));
  EXPECT_EQ(Known(kPeer), kPeerMac) << "the first is taken whatever its flags";
  EXPECT_TRUE(neighbors_.Use(id, kNow).probe) << "but not believed";
  const MacAddr other = Mac("02:00:00:00:01:08");
  ExpectNothing(advertises(other, 0x4000));
  EXPECT_EQ(Known(kPeer), kPeerMac) << "not to override";
  ExpectNothing(advertises(other, 0x2000));
  EXPECT_EQ(Known(kPeer), other);
}

TEST_F(NdTest, WhoAsksIsInDoubtUntilItAnswers) {
  ASSERT_NE(Underlay(PeerSays(kNs, kPeer, "ff02::1:ff00:1", Target(kNode) + Link(1, kPeerMac))).answer,
            nullptr);
  const NeighborId id = neighbors_.SlotFor(Ip6(kPeer), kNow);
  EXPECT_TRUE(neighbors_.Use(id, kNow).probe);
  ExpectNothing(Underlay(PeerSays(kNa, kPeer, kNode, Target(kPeer), 0x4000)));
  EXPECT_FALSE(neighbors_.Use(id, kNow + NeighborTable::kProbeIntervalMs).probe);
}

TEST_F(NdTest, AnAnswerWithoutAddressConfirmsWhatIsKnown) {
  const uint32_t before = kNow - NeighborTable::kReachableMs - 1;
  neighbors_.Learn(Ip6(kPeer), kPeerMac, before, true);
  const NeighborId id = neighbors_.SlotFor(Ip6(kPeer), kNow);
  EXPECT_TRUE(neighbors_.Use(id, kNow).probe);
  ExpectNothing(Underlay(PeerSays(kNa, kPeer, kNode, Target(kPeer), 0x4000)));
  EXPECT_FALSE(neighbors_.Use(id, kNow + NeighborTable::kProbeIntervalMs).probe);
  EXPECT_EQ(neighbors_.Use(id, kNow).mac, kPeerMac);
  // Nothing is known of another.
  const NeighborId unknown = neighbors_.SlotFor(Ip6("2001:db8::8"), kNow);
  ExpectNothing(Underlay(PeerSays(kNa, kPeer, kNode, Target("2001:db8::8"), 0x4000)));
  EXPECT_FALSE(neighbors_.Use(unknown, kNow).usable);
}

TEST_F(NdTest, LiesOnTheUnderlay) {
  ExpectDrop(Underlay(PeerSays(kNa, kNode, "ff02::1", Target(kNode) + Link(2, kPeerMac), 0x2000)),
             DropReason::kSpoofedAddress);
  ExpectDrop(Underlay(PeerSays(kNs, kNode, "ff02::1:ff00:9", Target(kPeer) + Link(1, kPeerMac))),
             DropReason::kSpoofedAddress);
  ExpectNothing(
      Underlay(Message(Frame().Eth(Mac("33:33:ff:00:00:09"), kUnderlayMac), kNs, kNode, "ff02::1:ff00:9",
                       Target(kPeer) + Link(1, kUnderlayMac))));  // our own, come back
  ExpectNothing(Underlay(PeerSays(kRa, "fe80::9", "ff02::1", Bytes(8))));
  ExpectNothing(Underlay(PeerSays(kRedirect, "fe80::9", kNode, Target(kPeer) + Target(kPeer))));
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty());
}

TEST_F(NdTest, SolicitationsToTheByte) {
  rte_mempool& pool = EalEnvironment::Pools().small();
  MbufPtr m(BuildNeighborSolicitation(pool, kUnderlayMac, Ip6(kNode), Ip6("2001:db8::1234:5678")));
  const Bytes body = Target("2001:db8::1234:5678") + Link(1, kUnderlayMac);
  EXPECT_EQ(ToHex(BytesOf(*m)), ToHex(Message(Frame().Eth(Mac("33:33:ff:34:56:78"), kUnderlayMac), kNs, kNode,
                                              "ff02::1:ff34:5678", body)
                                          .Build()));
  EXPECT_EQ(OffloadOf(*m), Offload{});
  m.reset(BuildNeighborSolicitation(pool, kUnderlayMac, Ip6(kNode), Ip6("2001:db8::1234:5678"), kPeerMac));
  EXPECT_EQ(
      ToHex(BytesOf(*m)),
      ToHex(Message(Frame().Eth(kPeerMac, kUnderlayMac), kNs, kNode, "2001:db8::1234:5678", body).Build()));
}

TEST_F(NdTest, AnnouncementToTheByte) {
  const MbufPtr m(BuildNeighborAnnouncement(EalEnvironment::Pools().small(), kUnderlayMac, Ip6(kNode)));
  // Override set, solicited and router not; to all nodes (RFC 4861 7.2.6, 4.4).
  EXPECT_EQ(ToHex(BytesOf(*m)), ToHex(Message(Frame().Eth(Mac("33:33:00:00:00:01"), kUnderlayMac), kNa, kNode,
                                              "ff02::1", Target(kNode) + Link(2, kUnderlayMac), 0x2000)
                                          .Build()));
}

}  // namespace nd_test
}  // namespace podwire
