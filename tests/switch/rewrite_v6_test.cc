#include <algorithm>
#include <array>
#include <map>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "switch/fast_forward.h"
#include "switch/rewrite.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace rewrite_v6_test {

using namespace testing;

constexpr const char *kPod = "2001:db8:1::2", *kRemote = "2001:db8:2::5";

Adjacency HopOf(NextHop::Kind kind, const char* remote) {
  Adjacency a{.port = kUnderlayPort};
  a.hop.kind = kind;
  a.hop.neighbor = *ParseIp(remote);
  if (kind != NextHop::Kind::kDirect) a.hop.remote = a.hop.neighbor;
  BuildHeader(a.hop, {.src_mac = kUnderlayMac,
                      .dst_mac = kPeerMac,
                      .src = a.hop.neighbor.is_v6() ? IpAddress(Ip6("2001:db8::1")) : Ip("192.0.2.1"),
                      .dst = a.hop.neighbor,
                      .udp_port = 8472,
                      .inner_src_mac = kVtepMac,
                      .inner_dst_mac = kPeerVtepMac});
  return a;
}
Adjacency Over6() { return HopOf(NextHop::Kind::kVxlan, "2001:db8::9"); }

class Rewrite6Test : public ::testing::Test {
 protected:
  Packet6 Parsed(const Frame& f, PortId port = kPodPort, const Offload& offload = {}) {
    mbuf_ = f.Mbuf();
    OffloadOf(*mbuf_) = offload;
    Packet6 p = ParseOne6(tables_, mbuf_, port);
    EXPECT_NE(p.kind, PacketKind::kDrop) << InfoOf(p.reason).name;
    return p;
  }
  template <class P>
  Bytes Sent(P p, const Adjacency& a) {
    EXPECT_EQ(StripHeaders(p), DropReason::kNone);
    EXPECT_EQ(PrependHeader(p, a, kPeerMac, ip_id_), DropReason::kNone);
    return BytesOf(*p.mbuf);
  }
  static Frame From(const Ipv6Fields& f = {}) { return FromPod().Ip6(kPod, kRemote, f); }
  std::string Out() const { return ToHex(BytesOf(*mbuf_)); }

  Tables tables_ = TestTables();
  MbufPtr mbuf_;
  uint16_t ip_id_ = 0xabcd;
};

TEST_F(Rewrite6Test, HopLimit) {
  Packet6 p = Parsed(From({.hop_limit = 64}).Udp(1, 2));
  EXPECT_TRUE(DecrementTtl(p));
  EXPECT_EQ(p.ttl, 63);
  EXPECT_EQ(BytesOf(*mbuf_)[21], 63);
  for (const uint8_t limit : {0, 1}) {
    p = Parsed(From({.hop_limit = limit}).Udp(1, 2));
    EXPECT_FALSE(DecrementTtl(p));
    EXPECT_EQ(BytesOf(*mbuf_)[21], limit);
  }
}

// RFC 6040 figure 4: arriving inner (rows) and outer (columns) Not-ECT, ECT(0), ECT(1), CE.
TEST_F(Rewrite6Test, DecapsulationCarriesCongestionOver) {
  constexpr int kNotEct = 0, kEct1 = 1, kEct0 = 2, kCe = 3, kDrop = -1;
  constexpr std::array<int, 4> kOuters = {kNotEct, kEct0, kEct1, kCe};
  const std::map<int, std::array<int, 4>> figure = {{kNotEct, {kNotEct, kNotEct, kNotEct, kDrop}},
                                                    {kEct0, {kEct0, kEct0, kEct1, kCe}},
                                                    {kEct1, {kEct1, kEct1, kEct1, kCe}},
                                                    {kCe, {kCe, kCe, kCe, kCe}}};
  for (const auto& [inner, results] : figure) {
    for (size_t i = 0; i < 4; ++i) {
      const auto frame = [&](Frame f, int ecn) {
        const auto tc = static_cast<uint8_t>(0xb8 | ecn);
        return f.Ip6(kRemote, kPod, {.traffic_class = tc, .flow_label = 0xabcde}).Udp(1, 2).Payload(4);
      };
      Packet6 p = Parsed(frame(FromTunnel6({.traffic_class = static_cast<uint8_t>(kOuters[i])}), inner),
                         kUnderlayPort);
      if (results[i] == kDrop) {
        EXPECT_EQ(StripHeaders(p), DropReason::kEcnCongested);
        continue;
      }
      ASSERT_EQ(StripHeaders(p), DropReason::kNone);
      EXPECT_EQ(Out(), ToHex(frame(Frame(), results[i]).Build()));
      EXPECT_EQ(p.tos, 0xb8 | results[i]);
    }
  }
}

TEST_F(Rewrite6Test, DirectHeadersHaveTheTypeOfWhatTheyCarry) {
  const Adjacency direct = HopOf(NextHop::Kind::kDirect, "192.0.2.9");
  EXPECT_EQ(ToHex(Sent(Parsed(From().Udp(1, 2)), direct)),
            ToHex(Frame().Eth(kPeerMac, kUnderlayMac).Ip6(kPod, kRemote).Udp(1, 2).Build()));
  const MbufPtr m = FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2).Mbuf();
  EXPECT_EQ(ToHex(Sent(ParseOne(tables_, m, kPodPort), direct)),
            ToHex(Frame().Eth(kPeerMac, kUnderlayMac).Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2).Build()));
}

/// What the peer must get: the outer checksum is right by the builder.
Frame Expected(const FlowKey6& key, uint8_t ecn) {
  const uint16_t port = UdpSourcePort(SymmetricHash(key, 0));
  return Frame()
      .Eth(kPeerMac, kUnderlayMac)
      .Ip6("2001:db8::1", "2001:db8::9", {.traffic_class = ecn, .flow_label = port})
      .Udp(port, 8472)
      .Vxlan(1)
      .Eth(kPeerVtepMac, kVtepMac);
}

TEST_F(Rewrite6Test, VxlanOverIpv6ToTheByte) {
  const auto inner = [](Frame f) {
    return f.Ip6(kPod, kRemote, {.traffic_class = 0xba, .flow_label = 0x12345}).Tcp(1, 2).Payload(33);
  };
  const Packet6 p = Parsed(inner(FromPod()));
  EXPECT_EQ(ToHex(Sent(p, Over6())), ToHex(inner(Expected(p.key, 2)).Build()));
  EXPECT_EQ(mbuf_->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK, 0u);
}

// The outer checksum of whatever there is inside, in one segment or several, L4 checksum to be relied on or
// not.
TEST_F(Rewrite6Test, OuterChecksums) {
  const auto from = [](Frame f) { return f.Ip6(kPod, kRemote); };
  Bytes no_checksum = from(FromPod()).Udp(1, 2).Payload(7).Build();
  no_checksum[14 + 40 + 6] = no_checksum[14 + 40 + 7] = 0;
  const Bytes cases[] = {from(FromPod()).Udp(1, 2).Payload(301).Build(),
                         from(FromPod()).Icmp6(128, 0, 3, 4).Payload(31).Build(),
                         from(FromPod()).Sctp(1, 2).Payload(20).Build(),
                         from(FromPod()).Ext6(60, {0, 1, 4, 0, 0, 0, 0}).Tcp(1, 2).Payload(9).Build(),
                         from(FromPod()).Fragment6(0, true, 7).Udp(1, 2, 900).Payload(88).Build(),
                         from(FromPod()).Fragment6(96, false, 7, 17).Payload(33).Build(),
                         from(FromPod()).Icmp6(1, 4).Ip6(kRemote, kPod).Udp(1, 2).Payload(5).Build(),
                         no_checksum};
  for (const Bytes& frame : cases) {
    for (const size_t cut : {SIZE_MAX, frame.size() - 3, frame.size() - 4}) {
      mbuf_ = ToMbuf(frame, cut);
      const Packet6 p = ParseOne6(tables_, mbuf_, kPodPort);
      if (p.kind == PacketKind::kDrop) continue;  // headers cut off
      const Bytes out = Sent(p, Over6());
      EXPECT_EQ(L4Sum(std::span(out).subspan(14)), 0xffff) << ToHex(frame);
      EXPECT_EQ(ToHex(std::span(out).subspan(84)), ToHex(std::span(frame).subspan(14)));
    }
  }
  Bytes v4_no_checksum = FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2).Payload(7).Build();
  v4_no_checksum[14 + 20 + 6] = v4_no_checksum[14 + 20 + 7] = 0;
  const auto from4 = [](const Ipv4Fields& f = {}) { return FromPod().Ip4("10.244.1.2", "10.244.2.5", f); };
  const Bytes cases4[] = {from4().Udp(1, 2).Payload(301).Build(),
                          from4({.options = {1, 1, 1, 1}}).Tcp(1, 2).Payload(31).Build(),
                          from4().Icmp(8, 0, 1, 1).Payload(31).Build(),
                          from4({.mf = true}).Udp(1, 2, 900).Payload(88).Build(),
                          from4({.fragment_offset = 96, .proto = 17}).Payload(33).Build(),
                          v4_no_checksum};
  for (const Bytes& frame : cases4) {
    const MbufPtr m = ToMbuf(frame);
    const Bytes out = Sent(ParseOne(tables_, m, kPodPort), Over6());
    EXPECT_EQ(L4Sum(std::span(out).subspan(14)), 0xffff) << ToHex(frame);
    EXPECT_EQ(ToHex(std::span(out).subspan(82, 2)), "0800");
  }
}

TEST_F(Rewrite6Test, APartialInnerChecksumCountsAsComplete) {
  Bytes b = From().Udp(1, 2).Payload(10).Build();
  const Bytes whole = b;
  Bytes pseudo(b.begin() + 22, b.begin() + 54);
  pseudo.insert(pseudo.end(), {0, 18, 0, 17});
  const uint16_t sum = Sum16(pseudo);
  b[60] = static_cast<uint8_t>(sum >> 8);
  b[61] = static_cast<uint8_t>(sum);
  mbuf_ = ToMbuf(b);
  OffloadOf(*mbuf_) = {.csum_start = 54, .csum_offset = 6, .flags = Offload::kNeedsCsum};
  Sent(ParseOne6(tables_, mbuf_, kPodPort), Over6());
  EXPECT_EQ(mbuf_->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK, RTE_MBUF_F_TX_TUNNEL_VXLAN);
  EXPECT_EQ(mbuf_->outer_l2_len, 14u);
  EXPECT_EQ(mbuf_->outer_l3_len, 40u);
  EXPECT_EQ(mbuf_->l2_len, 8u + 8 + 14);
  EXPECT_EQ(mbuf_->l3_len, 40u);
  EXPECT_EQ(mbuf_->l4_len, 8u);
  ASSERT_TRUE(CompleteChecksum(*mbuf_));
  const Bytes out = BytesOf(*mbuf_);
  EXPECT_EQ(ToHex(std::span(out).subspan(84)), ToHex(std::span(whole).subspan(14)));
  EXPECT_EQ(L4Sum(std::span(out).subspan(14)), 0xffff);
}

TEST_F(Rewrite6Test, SuperPacketsAreLeftToSegmentation) {
  const Offload super{.csum_start = 54,
                      .csum_offset = 16,
                      .gso_size = 400,
                      .gso_type = GsoType::kTcp6,
                      .flags = Offload::kNeedsCsum};
  Packet6 p = Parsed(From().Tcp(1, 2).Payload(1000), kPodPort, super);
  EXPECT_TRUE(ExceedsMtu(p, 459));
  EXPECT_FALSE(ExceedsMtu(p, 460));
  EXPECT_FALSE(ShrinkSegments(p, 459)) << "IPv6 senders are told";
  const Bytes out = Sent(p, Over6());
  EXPECT_EQ(Be16(out, 14 + 40 + 6), 0) << "no checksum yet";
  Segmenter s;
  ASSERT_TRUE(s.Start(*mbuf_));
  std::array<rte_mbuf*, 8> frames;
  ASSERT_EQ(s.Next(EalEnvironment::Pools(), frames), 3);
  for (uint16_t i = 0; i < 3; ++i) {
    const MbufPtr m(frames[i]);
    const Bytes b = BytesOf(*m);
    EXPECT_EQ(L4Sum(std::span(b).subspan(84)), 0xffff);
    EXPECT_EQ(Be16(b, 14 + 4), b.size() - 54);
  }
}

// The short way is the long one.
TEST_F(Rewrite6Test, PlainForwardingAsTheGeneralOne) {
  const Adjacency hops[] = {HopOf(NextHop::Kind::kDirect, "2001:db8::9"), Over6(),
                            HopOf(NextHop::Kind::kVxlan, "192.0.2.9")};
  Tables t;
  t.adjacencies.assign(std::begin(hops), std::end(hops));
  AdjacencyCache cache;
  cache.Resize(t);
  for (uint32_t i = 0; i < 3; ++i) {
    cache.Learn(NextHopId(i), hops[i], NeighborId{7}, kPeerMac);
    for (const Frame& f : {From({.traffic_class = 1}).Tcp(1, 2).Payload(9), From().Udp(1, 2).Payload(10)}) {
      Packet6 p = Parsed(f);
      DecrementTtl(p);
      uint16_t id = 7;
      ip_id_ = 7;
      const Bytes long_way = Sent(p, hops[i]);
      p = Parsed(f);
      ForwardPlain(p, cache.At(NextHopId(i)), rte_cpu_to_be_16(UdpSourcePort(SymmetricHash(p.key, 0))), id);
      EXPECT_EQ(Out(), ToHex(long_way));
      EXPECT_EQ(id, ip_id_);
    }
  }
}

}  // namespace rewrite_v6_test
}  // namespace podwire
