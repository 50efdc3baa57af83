#include "switch/arp.h"

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace arp_test {

using namespace testing;

constexpr uint16_t kRequest = 1, kReply = 2;

class ArpTest : public ::testing::Test {
 protected:
  ArpResult Handle(const Frame& f, PortId port) {
    mbuf_ = f.Mbuf();
    Packet p = ParseOne(tables_, mbuf_, port);
    EXPECT_EQ(p.kind, PacketKind::kArp) << InfoOf(p.reason).name;
    return HandleArp(tables_, p, neighbors_, kNow);
  }
  ArpResult Pod(uint16_t opcode, const MacAddr& mac, std::string_view sender, std::string_view target) {
    return Handle(Frame().Eth(kBroadcastMac, kPodMac).Arp(opcode, mac, sender, {}, target), kPodPort);
  }
  ArpResult Underlay(uint16_t opcode, const MacAddr& mac, std::string_view sender, std::string_view target) {
    return Handle(Frame().Eth(kBroadcastMac, kPeerMac).Arp(opcode, mac, sender, {}, target), kUnderlayPort);
  }
  static void ExpectDrop(const ArpResult& r, DropReason reason) {
    EXPECT_EQ(r.action, ArpAction::kDrop);
    EXPECT_EQ(InfoOf(r.reason).name, InfoOf(reason).name);
  }
  /// The MAC that the table has for `address`; empty if none.
  MacAddr Known(std::string_view address) {
    for (const auto& e : neighbors_.Snapshot(kNow)) {
      if (e.address == IpAddress(Ip(address))) return e.mac;
    }
    return {};
  }

  static constexpr uint32_t kNow = 1'000'000;
  Tables tables_ = TestTables();
  NeighborTable neighbors_;
  MbufPtr mbuf_;
};

TEST_F(ArpTest, PodsFindEverybodyAtTheGateway) {
  for (const char* target : {"10.244.1.1", "10.244.1.3", "169.254.1.1", "8.8.8.8"}) {
    ASSERT_EQ(Pod(kRequest, kPodMac, "10.244.1.2", target).action, ArpAction::kReply) << target;
    const Bytes expected =
        Frame().Eth(kPodMac, kGatewayMac).Arp(kReply, kGatewayMac, target, kPodMac, "10.244.1.2").Build();
    EXPECT_EQ(ToHex(BytesOf(*mbuf_)), ToHex(expected));
  }
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty());
}

TEST_F(ArpTest, AReplyHasNoOffloadWork) {
  mbuf_ = Frame().Eth(kBroadcastMac, kPodMac).Arp(kRequest, kPodMac, "10.244.1.2", {}, "10.244.1.1").Mbuf();
  OffloadOf(*mbuf_) = {.csum_start = 9, .csum_offset = 9, .gso_size = 9, .flags = Offload::kNeedsCsum};
  Packet p = ParseOne(tables_, mbuf_, kPodPort);
  ASSERT_EQ(HandleArp(tables_, p, neighbors_, kNow).action, ArpAction::kReply);
  EXPECT_EQ(OffloadOf(*mbuf_), Offload{});
}

TEST_F(ArpTest, ProbesAndAnnouncementsOfPods) {
  EXPECT_EQ(Pod(kRequest, kPodMac, "0.0.0.0", "10.244.1.2").action, ArpAction::kConsumed);
  EXPECT_EQ(Pod(kRequest, kPodMac, "0.0.0.0", "10.244.1.3").action, ArpAction::kConsumed);
  EXPECT_EQ(Pod(kRequest, kPodMac, "10.244.1.2", "10.244.1.2").action, ArpAction::kConsumed);
  EXPECT_EQ(Pod(kReply, kPodMac, "10.244.1.2", "10.244.1.2").action, ArpAction::kConsumed);
  EXPECT_EQ(Pod(kReply, kPodMac, "10.244.1.2", "10.244.1.1").action, ArpAction::kConsumed);
}

TEST_F(ArpTest, PodsCannotBeOthers) {
  ExpectDrop(Pod(kRequest, kPodMacB, "10.244.1.2", "10.244.1.1"), DropReason::kSpoofedMac);
  ExpectDrop(Pod(kRequest, kPodMac, "10.244.1.3", "10.244.1.1"), DropReason::kSpoofedAddress);
  ExpectDrop(Pod(kReply, kPodMac, "10.244.1.1", "10.244.1.2"), DropReason::kSpoofedAddress);
  ExpectDrop(Pod(kReply, kPodMacB, "0.0.0.0", "10.244.1.2"), DropReason::kSpoofedMac);
}

TEST_F(ArpTest, OtherHardwareAndProtocols) {
  const Bytes good =
      Frame().Eth(kBroadcastMac, kPodMac).Arp(kRequest, kPodMac, "10.244.1.2", {}, "10.244.1.1").Build();
  const std::pair<size_t, uint8_t> changes[] = {{15, 6}, {16, 0x86}, {18, 8}, {19, 16}, {21, 3}, {21, 0}};
  for (const auto& [offset, value] : changes) {
    Bytes b = good;
    b[offset] = value;
    mbuf_ = ToMbuf(b);
    Packet p = ParseOne(tables_, mbuf_, kPodPort);
    ExpectDrop(HandleArp(tables_, p, neighbors_, kNow), DropReason::kMalformed);
  }
}

TEST_F(ArpTest, TheUnderlayAsksForUs) {
  ASSERT_EQ(Underlay(kRequest, kPeerMac, "192.0.2.9", "192.0.2.1").action, ArpAction::kReply);
  const Bytes expected = Frame()
                             .Eth(kPeerMac, kUnderlayMac)
                             .Arp(kReply, kUnderlayMac, "192.0.2.1", kPeerMac, "192.0.2.9")
                             .Build();
  EXPECT_EQ(ToHex(BytesOf(*mbuf_)), ToHex(expected));
  EXPECT_EQ(Known("192.0.2.9"), kPeerMac);
}

TEST_F(ArpTest, TheUnderlayIsNotAProxy) {
  for (const char* target : {"192.0.2.2", "10.244.1.2", "10.244.1.1"}) {
    EXPECT_EQ(Underlay(kRequest, kPeerMac, "192.0.2.9", target).action, ArpAction::kConsumed);
  }
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty());
}

TEST_F(ArpTest, WhatIsLearned) {
  // Nobody waits for 192.0.2.9: its reply is not stored, nor what asks us from outside the subnet or a probe.
  EXPECT_EQ(Underlay(kReply, kPeerMac, "192.0.2.9", "192.0.2.1").action, ArpAction::kConsumed);
  EXPECT_EQ(Underlay(kRequest, kPeerMac, "198.51.100.1", "192.0.2.1").action, ArpAction::kReply);
  EXPECT_EQ(Underlay(kRequest, kPeerMac, "0.0.0.0", "192.0.2.1").action, ArpAction::kReply);
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty());

  const NeighborId id = neighbors_.SlotFor(Ip("192.0.2.9"), kNow);
  EXPECT_FALSE(neighbors_.Use(id, kNow).usable);
  EXPECT_EQ(Underlay(kReply, kPeerMac, "192.0.2.9", "192.0.2.1").action, ArpAction::kConsumed);
  EXPECT_EQ(neighbors_.Use(id, kNow).mac, kPeerMac);
  // An announcement after a failover.
  const MacAddr other = Mac("02:00:00:00:01:08");
  EXPECT_EQ(Underlay(kRequest, other, "192.0.2.9", "192.0.2.9").action, ArpAction::kConsumed);
  EXPECT_EQ(neighbors_.Use(id, kNow).mac, other);
}

TEST_F(ArpTest, LiesOnTheUnderlay) {
  ExpectDrop(Underlay(kReply, kPeerMac, "192.0.2.1", "192.0.2.1"), DropReason::kSpoofedAddress);
  ExpectDrop(Underlay(kRequest, kBroadcastMac, "192.0.2.9", "192.0.2.1"), DropReason::kMalformed);
  ExpectDrop(Underlay(kRequest, Mac("01:00:5e:00:00:01"), "192.0.2.9", "192.0.2.1"), DropReason::kMalformed);
  ExpectDrop(Underlay(kRequest, MacAddr{}, "192.0.2.9", "192.0.2.1"), DropReason::kMalformed);
  EXPECT_EQ(Underlay(kRequest, kUnderlayMac, "192.0.2.1", "192.0.2.9").action, ArpAction::kConsumed);
  EXPECT_TRUE(neighbors_.Snapshot(kNow).empty());
}

TEST_F(ArpTest, RequestsToTheByte) {
  rte_mempool& pool = EalEnvironment::Pools().small();
  MbufPtr m(BuildArpRequest(pool, kUnderlayMac, Ip("192.0.2.1"), Ip("192.0.2.9")));
  EXPECT_EQ(ToHex(BytesOf(*m)),
            "ffffffffffff"
            "020000000101"
            "0806"
            "0001080006040001"
            "020000000101"
            "c0000201"
            "000000000000"
            "c0000209");
  EXPECT_EQ(OffloadOf(*m), Offload{});
  m.reset(BuildArpRequest(pool, kUnderlayMac, Ip("192.0.2.1"), Ip("192.0.2.9"), kPeerMac));
  EXPECT_EQ(ToHex(BytesOf(*m)).substr(0, 12), "020000000109");
  m.reset(BuildArpAnnouncement(pool, kUnderlayMac, Ip("192.0.2.1")));
  EXPECT_EQ(ToHex(BytesOf(*m)),
            "ffffffffffff"
            "020000000101"
            "0806"
            "0001080006040001"
            "020000000101"
            "c0000201"
            "000000000000"
            "c0000201");
}

}  // namespace arp_test
}  // namespace podwire
