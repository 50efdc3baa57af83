// Members of a trunk: whose a received frame is, and what is sent for them.
#include "switch/trunk_members.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "tests/switch/packet_builder.h"

namespace podwire {
namespace trunk_members_test {

using namespace podwire::testing;  // NOLINT

const MacAddr kPodA = Mac("02:00:00:00:00:0a"), kPodB = Mac("02:00:00:00:00:0b"),
              kGateway = Mac("02:00:00:00:00:01");
constexpr PortId kTrunk{3}, kA{7}, kB{9};

/// Keeps what it is sent, up to `room` frames in all.
class TrunkPort final : public Port {
 public:
  explicit TrunkPort(size_t room = SIZE_MAX)
      : Port(PortConfig{.name = "trunk", .options = VdevOptions{}, .mtu = 1600}), room_(room) {}
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    const auto taken = static_cast<uint16_t>(std::min<size_t>(n, room_ - sent.size()));
    for (uint16_t i = 0; i < taken; ++i) sent.emplace_back(mbufs[i]);
    return taken;
  }
  MacAddr mac() const override { return kGateway; }
  bool link_up() const override { return up; }
  PortStats Stats() const override { return {}; }

  std::vector<MbufPtr> sent;
  bool up = true;

 private:
  const size_t room_;
};

std::unique_ptr<TrunkMember> MemberOf(Port& trunk, uint16_t vlan, const MacAddr& mac = kPodA,
                                      uint16_t mtu = 1500) {
  const TrunkMemberOptions options{.trunk_name = "trunk", .trunk = &trunk, .mac = mac, .vlan = vlan};
  auto member = TrunkMember::Create({.name = "pod", .options = options, .mtu = mtu}, options, /*workers=*/1);
  return member.ok() ? *std::move(member) : nullptr;
}

Bytes FromPod(const MacAddr& mac) {
  return Frame().Eth(kGateway, mac).Ip4("10.0.0.1", "10.0.0.2").Udp(5000, 53).Payload(20).Build();
}

/// The frame with an 802.1Q tag behind its addresses, as the standard draws it.
Bytes Tagged(const Bytes& frame, uint16_t tci) {
  Bytes tagged(frame.begin(), frame.begin() + 12);
  for (const int byte : {0x81, 0x00, tci >> 8, tci & 0xff}) tagged.push_back(static_cast<uint8_t>(byte));
  tagged.insert(tagged.end(), frame.begin() + 12, frame.end());
  return tagged;
}

struct Assigned {
  PortId port = kTrunk;
  Bytes frame;
};

Assigned Assign(const TrunkMembers& members, const Bytes& frame, uint64_t flags = 0, uint16_t tci = 0) {
  const MbufPtr m = ToMbuf(frame);
  m->ol_flags = flags;
  m->vlan_tci = tci;
  rte_mbuf* mbuf = m.get();
  Assigned out;
  members.Assign(0, &mbuf, &out.port, 1);
  out.frame = BytesOf(*m);
  return out;
}

class TrunkMembersTest : public ::testing::Test {
 protected:
  TrunkPort trunk_;
};

TEST_F(TrunkMembersTest, UntaggedFramesAreToldBySourceMac) {
  const auto a = MemberOf(trunk_, 0, kPodA), b = MemberOf(trunk_, 0, kPodB);
  TrunkMembers members;
  members.Add(kA, *a, kPodA, 0);
  members.Add(kB, *b, kPodB, 0);
  EXPECT_EQ(Assign(members, FromPod(kPodA)).port, kA);
  EXPECT_EQ(Assign(members, FromPod(kPodB)).port, kB);
  EXPECT_EQ(Assign(members, FromPod(kGateway)).port, kTrunk) << "nobody's";
  EXPECT_EQ(a->Stats().rx_packets, 1u);
  EXPECT_EQ(a->Stats().rx_bytes, FromPod(kPodA).size());
  const Assigned tagged = Assign(members, Tagged(FromPod(kPodA), 5));
  EXPECT_EQ(tagged.port, kA) << "a tag of its own does not hide whose it is";
  EXPECT_EQ(ToHex(tagged.frame), ToHex(Tagged(FromPod(kPodA), 5))) << "nor goes away";
  EXPECT_EQ(b->Stats().rx_packets, 1u);
}

TEST_F(TrunkMembersTest, TaggedFramesAreToldByVlanAndLoseTheTag) {
  const auto a = MemberOf(trunk_, 100), b = MemberOf(trunk_, 4094);
  TrunkMembers members;
  members.Add(kA, *a, kPodA, 100);
  members.Add(kB, *b, kPodB, 4094);
  const Bytes frame = FromPod(kPodA);
  const Assigned to_a = Assign(members, Tagged(frame, 100));
  EXPECT_EQ(to_a.port, kA);
  EXPECT_EQ(ToHex(to_a.frame), ToHex(frame));
  EXPECT_EQ(Assign(members, Tagged(frame, 0xe000 | 4094)).port, kB) << "whatever its priority";
  EXPECT_EQ(Assign(members, frame).port, kTrunk) << "untagged: not a pod's, though its MAC is one's";
  const Assigned unknown = Assign(members, Tagged(frame, 101));
  EXPECT_EQ(unknown.port, kTrunk);
  EXPECT_EQ(ToHex(unknown.frame), ToHex(Tagged(frame, 101)))
      << "the tag stays, so that nothing takes it for another";
  EXPECT_EQ(a->Stats().rx_bytes, frame.size());
}

TEST_F(TrunkMembersTest, OfAFrameWithTwoTagsTheOuterCountsAndTheInnerStays) {
  const auto a = MemberOf(trunk_, 100);
  TrunkMembers members;
  members.Add(kA, *a, kPodA, 100);
  const Bytes inner = Tagged(FromPod(kPodA), 7);
  const Assigned assigned = Assign(members, Tagged(inner, 100));
  EXPECT_EQ(assigned.port, kA);
  EXPECT_EQ(ToHex(assigned.frame), ToHex(inner));
}

TEST_F(TrunkMembersTest, ATagThatTheDeviceTookOffCountsToo) {
  const auto a = MemberOf(trunk_, 100);
  TrunkMembers members;
  members.Add(kA, *a, kPodA, 100);
  constexpr uint64_t kStripped = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  EXPECT_EQ(Assign(members, FromPod(kPodA), kStripped, 100).port, kA);
  EXPECT_EQ(Assign(members, FromPod(kPodA), kStripped, 101).port, kNoPort) << "or it would pass as untagged";
}

TEST_F(TrunkMembersTest, AFrameTooShortForATagIsNobodys) {
  const auto a = MemberOf(trunk_, 0, kPodA);
  TrunkMembers members;
  members.Add(kA, *a, kPodA, 0);
  Bytes frame = FromPod(kPodA);
  frame.resize(17);
  EXPECT_EQ(Assign(members, frame).port, kTrunk);
}

TEST_F(TrunkMembersTest, AMemberWithAVlanSendsTagged) {
  const auto a = MemberOf(trunk_, 100);
  const Bytes frame = FromPod(kPodA);
  MbufPtr m = ToMbuf(frame);
  OffloadOf(*m) = {.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum};
  rte_mbuf* mbuf = m.release();
  EXPECT_EQ(a->TxBurst(0, &mbuf, 1), 1);
  ASSERT_EQ(trunk_.sent.size(), 1u);
  EXPECT_EQ(ToHex(BytesOf(*trunk_.sent[0])), ToHex(Tagged(frame, 100)));
  EXPECT_EQ(OffloadOf(*trunk_.sent[0]).csum_start, 38) << "the checksum's place moves along";
  EXPECT_EQ(a->Stats().tx_packets, 1u);
  EXPECT_EQ(a->Stats().tx_bytes, frame.size() + 4);
}

TEST_F(TrunkMembersTest, AMemberWithoutOneSendsAsItIs) {
  const auto a = MemberOf(trunk_, 0);
  rte_mbuf* mbuf = ToMbuf(FromPod(kPodA)).release();
  EXPECT_EQ(a->TxBurst(0, &mbuf, 1), 1);
  ASSERT_EQ(trunk_.sent.size(), 1u);
  EXPECT_EQ(ToHex(BytesOf(*trunk_.sent[0])), ToHex(FromPod(kPodA)));
}

TEST_F(TrunkMembersTest, WhatCannotBeTaggedIsLostAndWhatTheTrunkRefusesIsGivenBack) {
  TrunkPort trunk(1);
  const auto a = MemberOf(trunk, 100);
  rte_mbuf* mbufs[4];
  for (rte_mbuf*& m : mbufs) m = ToMbuf(FromPod(kPodA)).release();
  rte_mbuf* const last = mbufs[3];
  rte_pktmbuf_prepend(mbufs[1], rte_pktmbuf_headroom(mbufs[1]));  // no room for a tag
  // One sent, one lost; the trunk has no room for the third and the fourth.
  EXPECT_EQ(a->TxBurst(0, mbufs, 4), 2);
  EXPECT_EQ(trunk.sent.size(), 1u);
  EXPECT_EQ(mbufs[3], last) << "the caller's are the last ones";
  rte_pktmbuf_free_bulk(mbufs + 2, 2);
  EXPECT_EQ(a->Stats().tx_errors, 1u);
  EXPECT_EQ(a->Stats().tx_packets, 1u);
}

TEST_F(TrunkMembersTest, OptionsThatCannotWorkAreRefused) {
  EXPECT_EQ(MemberOf(trunk_, 4095), nullptr);
  EXPECT_EQ(MemberOf(trunk_, 0, MacAddr{}), nullptr) << "neither VLAN nor MAC";
  EXPECT_EQ(MemberOf(trunk_, 100, kPodA, 1601), nullptr) << "the trunk carries 1600";
  EXPECT_NE(MemberOf(trunk_, 100, kPodA, 1600), nullptr);
}

TEST_F(TrunkMembersTest, AMemberHasTheTrunksMacAndLink) {
  const auto a = MemberOf(trunk_, 100);
  EXPECT_EQ(a->mac(), kGateway);
  EXPECT_EQ(a->rx_queues(), 0) << "nobody polls it";
  EXPECT_TRUE(a->link_up());
  trunk_.up = false;
  EXPECT_FALSE(a->link_up());
}

}  // namespace trunk_members_test
}  // namespace podwire
