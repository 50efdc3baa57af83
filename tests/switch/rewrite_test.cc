#include "switch/rewrite.h"

#include <algorithm>
#include <array>
#include <map>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace rewrite_test {

using namespace testing;

// 192.0.2.1 -> 192.0.2.9, UDP; lengths, identification and TOS zero, the checksum right for these.
constexpr char kOuter[] =
    "020000000109 020000000101 0800"
    "4500000000000000 4011f6e2 c0000201 c0000209";

Adjacency Direct() {
  Adjacency a;
  a.hop.kind = NextHop::Kind::kDirect;
  a.hop.header_len = 14;
  const Bytes header = Hex("000000000000 020000000101 0800");
  std::copy(header.begin(), header.end(), a.hop.header.begin());
  return a;
}

Adjacency Tunnel(NextHop::Kind kind, const char* rest) {
  Adjacency a;
  a.hop.kind = kind;
  const Bytes header = Hex(std::string(kOuter) + rest);
  a.hop.header_len = static_cast<uint8_t>(header.size());
  std::copy(header.begin(), header.end(), a.hop.header.begin());
  return a;
}

Adjacency VxlanTo() {
  return Tunnel(NextHop::Kind::kVxlan,
                "0000 2118 0000 0000  08000000 00000100  020000000209 020000000201 0800");
}

Adjacency UdpTo() { return Tunnel(NextHop::Kind::kUdp, "0000 205d 0000 0000"); }

class RewriteTest : public ::testing::Test {
 protected:
  Packet Parsed(const Frame& f, PortId port = kPodPort, const Offload& offload = {}) {
    mbuf_ = f.Mbuf();
    OffloadOf(*mbuf_) = offload;
    Packet p = ParseOne(tables_, mbuf_, port);
    EXPECT_NE(p.kind, PacketKind::kDrop) << InfoOf(p.reason).name;
    return p;
  }
  Packet Stripped(const Frame& f, PortId port = kPodPort, const Offload& offload = {}) {
    Packet p = Parsed(f, port, offload);
    EXPECT_EQ(StripHeaders(p), DropReason::kNone);
    return p;
  }
  static Frame PodUdp(size_t payload, const Ipv4Fields& f = {}) {
    return FromPod().Ip4("10.244.1.2", "10.244.2.5", f).Udp(5000, 53).Payload(payload);
  }
  std::string Out() const { return ToHex(BytesOf(*mbuf_)); }

  Tables tables_ = TestTables();
  MbufPtr mbuf_;
  uint16_t ip_id_ = 0xabcd;
};

TEST_F(RewriteTest, TtlAndChecksum) {
  Packet p = Parsed(PodUdp(4, {.tos = 0x2a, .ttl = 64, .id = 0x1234, .df = true}));
  EXPECT_TRUE(DecrementTtl(p));
  EXPECT_EQ(p.ttl, 63);
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  EXPECT_EQ(Out(), "452a0020123440003f1110810af401020af4020513880035000cd12600010203");
}

TEST_F(RewriteTest, EveryTtlKeepsTheChecksumRight) {
  for (int ttl = 2; ttl < 256; ++ttl) {
    for (const uint16_t id : {0, 0x00ff, 0x7b5e, 0xffff}) {
      Packet p = Parsed(PodUdp(0, {.ttl = static_cast<uint8_t>(ttl), .id = id}));
      ASSERT_TRUE(DecrementTtl(p));
      const Bytes b = BytesOf(*mbuf_);
      EXPECT_EQ(Sum16(std::span(b).subspan(14, 20)), 0xffff);
      EXPECT_EQ(b[22], ttl - 1);
    }
  }
}

TEST_F(RewriteTest, TheLastHopIsNotTaken) {
  for (const uint8_t ttl : {0, 1}) {
    Packet p = Parsed(PodUdp(4, {.ttl = ttl}));
    const std::string before = Out();
    EXPECT_FALSE(DecrementTtl(p));
    EXPECT_EQ(Out(), before);
  }
}

TEST_F(RewriteTest, StripsEthernet) {
  const Offload partial{.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum};
  const Packet p = Stripped(PodUdp(10), kPodPort, partial);
  EXPECT_EQ(p.l3_offset, 0);
  EXPECT_EQ(p.l4_offset, 20);
  EXPECT_EQ(OffloadOf(*mbuf_).csum_start, 20);
  EXPECT_EQ(mbuf_->pkt_len, 38u);
  EXPECT_EQ(BytesOf(*mbuf_)[0], 0x45);
}

// RFC 6040 figure 4: arriving inner (rows) and outer (columns) Not-ECT, ECT(0), ECT(1), CE.
TEST_F(RewriteTest, DecapsulationCarriesCongestionOver) {
  constexpr int kNotEct = 0, kEct1 = 1, kEct0 = 2, kCe = 3, kDrop = -1;
  constexpr std::array<int, 4> kOuters = {kNotEct, kEct0, kEct1, kCe};
  const std::map<int, std::array<int, 4>> figure = {{kNotEct, {kNotEct, kNotEct, kNotEct, kDrop}},
                                                    {kEct0, {kEct0, kEct0, kEct1, kCe}},
                                                    {kEct1, {kEct1, kEct1, kEct1, kCe}},
                                                    {kCe, {kCe, kCe, kCe, kCe}}};
  for (const auto& [inner, results] : figure) {
    for (size_t i = 0; i < 4; ++i) {
      // DSCPs differ: the inner one stays.
      Packet p = Parsed(
          FromTunnel({.tos = static_cast<uint8_t>(0xb8 | kOuters[i])})
              .Ip4("10.244.2.5", "10.244.1.2", {.tos = static_cast<uint8_t>(0x48 | inner), .id = 0xfffe})
              .Udp(1, 2),
          kUnderlayPort);
      const DropReason reason = StripHeaders(p);
      if (results[i] == kDrop) {
        EXPECT_EQ(reason, DropReason::kEcnCongested);
        continue;
      }
      ASSERT_EQ(reason, DropReason::kNone);
      const Bytes b = BytesOf(*mbuf_);
      EXPECT_EQ(b.size(), 28u);
      EXPECT_EQ(b[1], 0x48 | results[i]) << inner << " in " << kOuters[i];
      EXPECT_EQ(p.tos, b[1]);
      EXPECT_EQ(Sum16(std::span(b).first(20)), 0xffff);
      EXPECT_EQ(p.l4_offset, 20);
      EXPECT_FALSE(p.tunnelled);
    }
  }
}

// --- Headers in front

TEST_F(RewriteTest, DirectAndDelivery) {
  Packet p = Stripped(PodUdp(4, {.tos = 0x2a, .id = 0x1234, .df = true}));
  const std::string ip = Out();
  Adjacency a = Direct();
  ASSERT_EQ(PrependHeader(p, a, kPeerMac, ip_id_), DropReason::kNone);
  EXPECT_EQ(Out(), "0200000001090200000001010800" + ip);
  EXPECT_EQ(p.l3_offset, 14);
  EXPECT_EQ(p.l4_offset, 34);
  EXPECT_EQ(ip_id_, 0xabcd);  // no outer header, no identification

  p = Stripped(PodUdp(4, {.tos = 0x2a, .id = 0x1234, .df = true}));
  a.to_endpoint = true;
  std::copy_n(kPodMacB.bytes.begin(), 6, a.hop.header.begin());
  ASSERT_EQ(PrependHeader(p, a, kPeerMac, ip_id_), DropReason::kNone);
  EXPECT_EQ(Out(), "02000000000b0200000001010800" + ip);
}

TEST_F(RewriteTest, VxlanToTheByte) {
  Packet p = Parsed(PodUdp(4, {.tos = 0x2a, .id = 0x1234, .df = true}));
  ASSERT_TRUE(DecrementTtl(p));
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  ASSERT_EQ(PrependHeader(p, VxlanTo(), kPeerMac, ip_id_), DropReason::kNone);
  Bytes out = BytesOf(*mbuf_);
  EXPECT_GE(Be16(out, 34), 49152);  // RFC 7348 section 5
  out[34] = 0xbe;
  out[35] = 0xef;
  EXPECT_EQ(
      ToHex(out),
      "020000000109020000000101080045020052abcd000040114ac1c0000201c0000209beef2118003e0000080000000000010002"
      "00000002090200000002010800452a0020123440003f1110810af401020af4020513880035000cd12600010203");
  EXPECT_EQ(ip_id_, 0xabce);
  EXPECT_EQ(p.l3_offset, 64);
  EXPECT_EQ(p.l4_offset, 84);
}

TEST_F(RewriteTest, UdpBackendToTheByte) {
  Packet p = Parsed(PodUdp(4, {.tos = 0x2a, .id = 0x1234, .df = true}));
  ASSERT_TRUE(DecrementTtl(p));
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  ASSERT_EQ(PrependHeader(p, UdpTo(), kPeerMac, ip_id_), DropReason::kNone);
  Bytes out = BytesOf(*mbuf_);
  out[34] = 0xbe;
  out[35] = 0xef;
  EXPECT_EQ(
      ToHex(out),
      "02000000010902000000010108004502003cabcd000040114ad7c0000201c0000209beef205d00280000452a0020123440003f"
      "1110810af401020af4020513880035000cd12600010203");
}

TEST_F(RewriteTest, EncapsulationCopiesEcnNotDscp) {
  for (const uint8_t tos : {0x00, 0x01, 0x02, 0x03, 0xfc, 0xff}) {
    Packet p = Stripped(PodUdp(4, {.tos = tos}));
    ASSERT_EQ(PrependHeader(p, VxlanTo(), kPeerMac, ip_id_), DropReason::kNone);
    const Bytes out = BytesOf(*mbuf_);
    EXPECT_EQ(out[15], tos & 3);
    EXPECT_EQ(Sum16(std::span(out).subspan(14, 20)), 0xffff);
  }
}

TEST_F(RewriteTest, TheSourcePortIsTheFlows) {
  const auto port = [&](const Frame& f) {
    Packet p = Stripped(f);
    EXPECT_EQ(PrependHeader(p, VxlanTo(), kPeerMac, ip_id_), DropReason::kNone);
    return Be16(BytesOf(*mbuf_), 34);
  };
  const uint16_t one = port(PodUdp(4));
  EXPECT_EQ(port(PodUdp(400, {.tos = 4, .id = 9})), one);
  std::map<uint16_t, int> seen;
  for (uint16_t i = 0; i < 200; ++i) {
    const uint16_t s = port(FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(i, 53));
    EXPECT_GE(s, 49152);
    ++seen[s];
  }
  EXPECT_GT(seen.size(), 180u);  // 200 draws of 16,384: one collision expected
}

TEST_F(RewriteTest, NoHeadroom) {
  const Packet parsed = Stripped(PodUdp(4));
  const std::string before = Out();
  const auto room = [&](uint16_t bytes) {
    mbuf_->data_off = bytes;  // as far as PrependHeader can tell
    Packet p = parsed;
    return PrependHeader(p, VxlanTo(), kPeerMac, ip_id_);
  };
  const uint16_t real = mbuf_->data_off;
  EXPECT_EQ(room(63), DropReason::kNoHeadroom);
  EXPECT_EQ(mbuf_->pkt_len, 32u);
  mbuf_->data_off = real;
  EXPECT_EQ(Out(), before);
  EXPECT_EQ(room(64), DropReason::kNone);
}

TEST_F(RewriteTest, ThroughATunnelAndBack) {
  Packet p = Stripped(PodUdp(300, {.tos = 1}));
  const Bytes inner = BytesOf(*mbuf_);
  ASSERT_EQ(PrependHeader(p, VxlanTo(), kPeerMac, ip_id_), DropReason::kNone);
  Tables peer = TestTables();
  peer.local.underlay_address = Ip("192.0.2.9");
  peer.local.vtep_mac = kPeerVtepMac;
  peer.ports[2].own_mac = kPeerMac;
  peer.vteps = {};
  peer.vteps.Insert(Ip("192.0.2.1"));
  Packet q = ParseOne(peer, mbuf_, kUnderlayPort);
  ASSERT_EQ(q.kind, PacketKind::kFlow) << InfoOf(q.reason).name;
  ASSERT_EQ(StripHeaders(q), DropReason::kNone);
  EXPECT_EQ(BytesOf(*mbuf_), inner);
}

// --- Super-packets

class SuperPacketTest : public RewriteTest {
 protected:
  static constexpr Offload kSuper{.csum_start = 34,
                                  .csum_offset = 16,
                                  .gso_size = 1000,
                                  .gso_type = GsoType::kTcp4,
                                  .flags = Offload::kNeedsCsum};
  Packet Super(const Ipv4Fields& f = {}) {
    return Stripped(FromPod().Ip4("10.244.1.2", "10.244.2.5", f).Tcp(4000, 80).Payload(2500), kPodPort,
                    kSuper);
  }
};

TEST_F(SuperPacketTest, EncapsulatedOnesSayWhereTheirHeadersAre) {
  for (const bool vxlan : {true, false}) {
    Packet p = Super();
    ASSERT_EQ(PrependHeader(p, vxlan ? VxlanTo() : UdpTo(), kPeerMac, ip_id_), DropReason::kNone);
    EXPECT_EQ(mbuf_->outer_l2_len, 14);
    EXPECT_EQ(mbuf_->outer_l3_len, 20);
    EXPECT_EQ(mbuf_->l2_len, vxlan ? 8 + 8 + 14 : 8);
    EXPECT_EQ(mbuf_->l3_len, 20);
    EXPECT_EQ(mbuf_->l4_len, 20);
    EXPECT_EQ(mbuf_->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK,
              vxlan ? RTE_MBUF_F_TX_TUNNEL_VXLAN : RTE_MBUF_F_TX_TUNNEL_UDP);
    EXPECT_EQ(OffloadOf(*mbuf_).csum_start, vxlan ? 84 : 62);
    EXPECT_EQ(OffloadOf(*mbuf_).gso_size, 1000);
  }
  EXPECT_EQ(ip_id_, 0xabcd + 6);  // three segments each
}

TEST_F(SuperPacketTest, SegmentsAreWholeTunnelPackets) {
  Packet p = Super();
  ASSERT_EQ(PrependHeader(p, VxlanTo(), kPeerMac, ip_id_), DropReason::kNone);
  Segmenter s;
  ASSERT_TRUE(s.Start(*mbuf_));
  std::array<rte_mbuf*, 8> frames;
  const uint16_t n = s.Next(EalEnvironment::Pools(), frames);
  ASSERT_EQ(n, 3);
  for (uint16_t i = 0; i < n; ++i) {
    const MbufPtr owner(frames[i]);
    const Bytes b = BytesOf(*owner);
    const size_t payload = i < 2 ? 1000 : 500;
    ASSERT_EQ(b.size(), 104 + payload);
    EXPECT_EQ(Be16(b, 16), 90 + payload);  // outer total length
    EXPECT_EQ(Be16(b, 18), 0xabcd + i);
    EXPECT_EQ(Be16(b, 38), 70 + payload);  // outer UDP length
    EXPECT_EQ(Sum16(std::span(b).subspan(14, 20)), 0xffff);
    EXPECT_EQ(Sum16(std::span(b).subspan(64, 20)), 0xffff);
    EXPECT_EQ(L4Sum(std::span(b).subspan(64)), 0xffff);
  }
}

TEST_F(SuperPacketTest, PlainOnesCarryNoTunnelMarks) {
  Packet p = Super();
  ASSERT_EQ(PrependHeader(p, Direct(), kPeerMac, ip_id_), DropReason::kNone);
  EXPECT_EQ(mbuf_->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK, 0u);
  EXPECT_EQ(OffloadOf(*mbuf_), kSuper);
}

TEST_F(SuperPacketTest, MtuIsTheSegments) {
  Packet p = Super({.df = true});
  EXPECT_FALSE(ExceedsMtu(p, 1040));
  EXPECT_TRUE(ExceedsMtu(p, 1039));
  EXPECT_FALSE(ShrinkSegments(p, 1039));
  p = Super();
  EXPECT_TRUE(ShrinkSegments(p, 840));
  EXPECT_EQ(OffloadOf(*mbuf_).gso_size, 800);
  EXPECT_FALSE(ExceedsMtu(p, 840));
  EXPECT_FALSE(ShrinkSegments(p, 47));
  Packet plain = Stripped(PodUdp(100));
  EXPECT_FALSE(ShrinkSegments(plain, 68));
  EXPECT_FALSE(ExceedsMtu(plain, 128));
  EXPECT_TRUE(ExceedsMtu(plain, 127));
}

// --- Fragments

class FragmentTest : public RewriteTest {
 protected:
  std::vector<Bytes> Split(const Packet& p, uint16_t mtu) {
    std::array<rte_mbuf*, kMaxFragments> out;
    const uint16_t n = Fragment(p, mtu, EalEnvironment::Pools(), out, reason_);
    std::vector<Bytes> result;
    for (uint16_t i = 0; i < n; ++i) {
      const MbufPtr owner(out[i]);
      EXPECT_GE(rte_pktmbuf_headroom(out[i]), 64);
      EXPECT_EQ(OffloadOf(*out[i]), Offload{});
      EXPECT_EQ(owner->nb_segs, 1);
      result.push_back(BytesOf(*owner));
      EXPECT_EQ(Sum16(std::span(result.back()).first((result.back()[0] & 15u) * 4)), 0xffff);
      const Packet f = FragmentPacket(p, out[i]);
      EXPECT_EQ(f.l3_len, result.back().size());
      EXPECT_EQ(f.first_fragment, i == 0 && first_);
    }
    return result;
  }
  DropReason reason_ = DropReason::kNone;
  bool first_ = true;
};

TEST_F(FragmentTest, SizesAndOffsets) {
  const Packet p = Stripped(PodUdp(3000, {.tos = 0x10, .ttl = 33, .id = 0x4242}));
  const std::vector<Bytes> f = Split(p, 1450);
  ASSERT_EQ(f.size(), 3u);
  // 3008 bytes of payload in steps of 1424, the largest multiple of 8 in 1450 - 20.
  const size_t sizes[] = {1444, 1444, 180};
  const uint16_t offsets[] = {0x2000 | 0, 0x2000 | 178, 356};
  const Bytes whole = BytesOf(*mbuf_);
  Bytes payload;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(f[i].size(), sizes[i]);
    EXPECT_EQ(Be16(f[i], 2), sizes[i]);
    EXPECT_EQ(Be16(f[i], 4), 0x4242);
    EXPECT_EQ(Be16(f[i], 6), offsets[i]);
    EXPECT_EQ(f[i][1], 0x10);
    EXPECT_EQ(f[i][8], 33);
    payload.insert(payload.end(), f[i].begin() + 20, f[i].end());
  }
  EXPECT_EQ(payload, Bytes(whole.begin() + 20, whole.end()));
}

TEST_F(FragmentTest, FragmentsOfFragments) {
  first_ = false;
  const Packet p =
      Stripped(FromPod()
                   .Ip4("10.244.1.2", "10.244.2.5", {.mf = true, .fragment_offset = 800, .proto = 17})
                   .Payload(1000));
  const std::vector<Bytes> f = Split(p, 576);
  ASSERT_EQ(f.size(), 2u);
  EXPECT_EQ(Be16(f[0], 6), 0x2000 | 100);
  EXPECT_EQ(f[0].size(), 572u);
  EXPECT_EQ(Be16(f[1], 6), 0x2000 | (100 + 69));  // more follow the original as well
  EXPECT_EQ(f[1].size(), 20u + 448u);
}

TEST_F(FragmentTest, APartialChecksumIsCompletedFirst) {
  const Offload partial{.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum};
  Bytes frame = PodUdp(2000).Build();
  // What a kernel leaves in the field: the folded pseudo header sum.
  Bytes pseudo(frame.begin() + 26, frame.begin() + 34);
  const Bytes rest = {0, 17, frame[38], frame[39]};
  pseudo.insert(pseudo.end(), rest.begin(), rest.end());
  const Bytes whole = frame;
  const uint16_t sum = Sum16(pseudo);
  frame[40] = static_cast<uint8_t>(sum >> 8);
  frame[41] = static_cast<uint8_t>(sum);
  mbuf_ = ToMbuf(frame);
  OffloadOf(*mbuf_) = partial;
  Packet p = ParseOne(tables_, mbuf_, kPodPort);
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  const std::vector<Bytes> f = Split(p, 1500);
  ASSERT_EQ(f.size(), 2u);
  EXPECT_EQ(Be16(f[0], 26), Be16(whole, 40));
}

TEST_F(FragmentTest, LargestPacketAndSmallestMtu) {
  mbuf_ = ToMbuf(PodUdp(65507).Build(), 2000);
  Packet p = ParseOne(tables_, mbuf_, kPodPort);
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  EXPECT_EQ(Split(p, 576).size(), 119u);
  EXPECT_TRUE(Split(p, 300).empty());
  EXPECT_EQ(reason_, DropReason::kTooBig);
  EXPECT_EQ(Split(p, 9000).size(), 8u);  // larger than a small mbuf
}

TEST_F(FragmentTest, Refusals) {
  EXPECT_TRUE(Split(Stripped(PodUdp(2000, {.df = true})), 1500).empty());
  EXPECT_EQ(reason_, DropReason::kTooBig);
  const Packet p = Stripped(PodUdp(2000));
  MbufPools& pools = EalEnvironment::Pools();
  std::vector<rte_mbuf*> all(rte_mempool_avail_count(&pools.small()) - 1);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(&pools.small(), all.data(), static_cast<unsigned>(all.size())), 0);
  EXPECT_TRUE(Split(p, 1500).empty());
  EXPECT_EQ(reason_, DropReason::kNoMbuf);
  EXPECT_EQ(rte_mempool_avail_count(&pools.small()), 1u);  // what it had got is given back
  rte_pktmbuf_free_bulk(all.data(), static_cast<unsigned>(all.size()));
}

}  // namespace rewrite_test
}  // namespace podwire
