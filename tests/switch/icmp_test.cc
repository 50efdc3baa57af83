#include "switch/icmp.h"

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/decide.h"
#include "switch/rewrite.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace icmp_test {

using namespace testing;

class IcmpTest : public ::testing::Test {
 protected:
  Packet Parsed(const Frame& f, PortId port = kPodPort) {
    mbuf_ = f.Mbuf();
    return ParseOne(tables_, mbuf_, port);
  }
  MbufPtr Error(const Packet& p, IcmpError error, uint16_t mtu = 0) {
    return MbufPtr(BuildIcmpError(EalEnvironment::Pools().small(), p, error, mtu, Ip("10.244.1.1"), out_));
  }
  static Frame PodUdp(size_t payload, const Ipv4Fields& f = {.tos = 0x2a, .id = 0x1234, .df = true}) {
    return FromPod().Ip4("10.244.1.2", "10.244.2.5", f).Udp(5000, 53).Payload(payload);
  }

  Tables tables_ = TestTables();
  MbufPtr mbuf_;
  Packet out_;
};

TEST_F(IcmpTest, EchoToTheByte) {
  Packet p =
      Parsed(FromPod().Raw(Hex("4500002400774000400122780af401020af401010800543512340001 6162636465666768")));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  ASSERT_TRUE(MakeEchoReply(p));
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  EXPECT_EQ(ToHex(BytesOf(*mbuf_)),
            "4500002400774000400122780af401010af4010200005c351234000161626364"
            "65666768");
  EXPECT_EQ(HeadersOf(p).dst, IpAddress(Ip("10.244.1.2")));
  EXPECT_EQ(HeadersOf(p).src, IpAddress(Ip("10.244.1.1")));
}

TEST_F(IcmpTest, EchoChecksumsWhateverTheTtl) {
  for (int i = 0; i < 256; ++i) {
    Packet p = Parsed(FromPod()
                          .Ip4("10.244.1.2", "10.244.1.1", {.ttl = static_cast<uint8_t>(i)})
                          .Icmp(8, 0, static_cast<uint16_t>(i * 257), static_cast<uint16_t>(i))
                          .Payload(static_cast<size_t>(i)));
    ASSERT_TRUE(MakeEchoReply(p));
    const Bytes b = BytesOf(*mbuf_);
    EXPECT_EQ(b[22], 64);
    EXPECT_EQ(b[34], 0);
    EXPECT_EQ(Sum16(std::span(b).subspan(14, 20)), 0xffff);
    EXPECT_EQ(Sum16(std::span(b).subspan(34)), 0xffff);
  }
}

TEST_F(IcmpTest, LargeEchoInTwoSegments) {
  mbuf_ = ToMbuf(FromPod().Ip4("10.244.1.2", "10.244.1.1").Icmp(8, 0, 1, 1).Payload(60000).Build(), 100);
  Packet p = ParseOne(tables_, mbuf_, kPodPort);
  ASSERT_TRUE(MakeEchoReply(p));
  EXPECT_EQ(Sum16(std::span<const uint8_t>(BytesOf(*mbuf_)).subspan(34)), 0xffff);
}

TEST_F(IcmpTest, OnlyWholeEchoRequestsAreAnswered) {
  const auto refused = [&](const Frame& f) {
    Packet p = Parsed(f);
    const std::string before = ToHex(BytesOf(*mbuf_));
    EXPECT_FALSE(MakeEchoReply(p));
    EXPECT_EQ(ToHex(BytesOf(*mbuf_)), before);
  };
  refused(FromPod().Ip4("10.244.1.2", "10.244.1.1").Icmp(0, 0, 1));
  refused(FromPod().Ip4("10.244.1.2", "10.244.1.1").Icmp(13, 0, 1).Payload(12));
  refused(FromPod().Ip4("10.244.1.2", "10.244.1.1").Udp(8, 7).Payload(12));
  refused(FromPod().Ip4("10.244.1.2", "10.244.1.1", {.mf = true}).Icmp(8, 0, 1).Payload(64));
  refused(FromPod().Ip4("10.244.1.2", "10.244.1.1", {.fragment_offset = 64, .proto = 1}).Payload(64));
}

TEST_F(IcmpTest, FragmentationNeededToTheByte) {
  const MbufPtr m = Error(Parsed(PodUdp(4)), IcmpError::kFragmentationNeeded, 1450);
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(ToHex(BytesOf(*m)),
            "45c0003c00004000400122170af401010af401020304105e000005aa452a00201234400040110f810af401020af40205"
            "1388003500"
            "0cd12600010203");
  EXPECT_EQ(out_.mbuf, m.get());
  EXPECT_EQ(out_.l3_len, 60);
  EXPECT_EQ(OffloadOf(*m), Offload{});
  const Headers h = HeadersOf(out_);
  EXPECT_EQ(h.src, IpAddress(Ip("10.244.1.1")));
  EXPECT_EQ(h.dst, IpAddress(Ip("10.244.1.2")));
  EXPECT_EQ(h.in_port, kNoPort);
}

TEST_F(IcmpTest, TimeExceededToTheByteAlsoWhenStripped) {
  Packet p = Parsed(PodUdp(4));
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  const MbufPtr m = Error(p, IcmpError::kTimeExceeded);
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(ToHex(BytesOf(*m)),
            "45c0003c00004000400122170af401010af401020b000e0c00000000452a00201234400040110f810af401020af40205"
            "1388003500"
            "0cd12600010203");
}

TEST_F(IcmpTest, TypesAndCodes) {
  const std::pair<IcmpError, std::pair<int, int>> errors[] = {{IcmpError::kNetUnreachable, {3, 0}},
                                                              {IcmpError::kHostUnreachable, {3, 1}},
                                                              {IcmpError::kPortUnreachable, {3, 3}},
                                                              {IcmpError::kFragmentationNeeded, {3, 4}},
                                                              {IcmpError::kTimeExceeded, {11, 0}}};
  for (const auto& [error, type] : errors) {
    const MbufPtr m = Error(Parsed(PodUdp(4)), error, 1280);
    const Bytes b = BytesOf(*m);
    EXPECT_EQ(b[20], type.first);
    EXPECT_EQ(b[21], type.second);
    EXPECT_EQ(Be32(b, 24), error == IcmpError::kFragmentationNeeded ? 1280u : 0u);
    EXPECT_EQ(Sum16(std::span(b).subspan(20)), 0xffff);
  }
}

TEST_F(IcmpTest, QuotesUpTo576Bytes) {
  const Bytes frame = PodUdp(3000, {}).Build();
  for (const size_t cut : {SIZE_MAX, size_t{100}}) {  // in one segment and in two
    mbuf_ = ToMbuf(frame, cut);
    const MbufPtr m = Error(ParseOne(tables_, mbuf_, kPodPort), IcmpError::kTimeExceeded);
    const Bytes b = BytesOf(*m);
    ASSERT_EQ(b.size(), 576u);
    EXPECT_EQ(Be16(b, 2), 576);
    EXPECT_EQ(Bytes(b.begin() + 28, b.end()), Bytes(frame.begin() + 14, frame.begin() + 14 + 548));
    EXPECT_EQ(Sum16(std::span(b).subspan(20)), 0xffff);
  }
}

TEST_F(IcmpTest, QuotesTheInnerPacketOfATunnel) {
  const Packet p = Parsed(FromTunnel().Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2).Payload(4), kUnderlayPort);
  const MbufPtr m = Error(p, IcmpError::kTimeExceeded);
  const Bytes b = BytesOf(*m);
  EXPECT_EQ(b.size(), 28u + 32u);
  EXPECT_EQ(Be32(b, 16), 0x0af40205u);
  EXPECT_EQ(Be32(b, 28 + 12), 0x0af40205u);
}

// RFC 1812 4.3.2.7.
TEST_F(IcmpTest, WhatIsNotReported) {
  EXPECT_TRUE(MayReport(Parsed(PodUdp(4))));
  EXPECT_TRUE(MayReport(Parsed(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(8, 0, 1))));
  EXPECT_TRUE(MayReport(Parsed(PodUdp(64, {.mf = true}))));
  const Bytes quoted = Frame().Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2).Build();
  const Packet error = Parsed(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(3, 1).Raw(quoted));
  EXPECT_EQ(error.kind, PacketKind::kIcmpError);
  EXPECT_FALSE(MayReport(error));
  EXPECT_EQ(Error(error, IcmpError::kTimeExceeded), nullptr);
  EXPECT_FALSE(MayReport(
      Parsed(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.fragment_offset = 64, .proto = 17}).Payload(64))));
  for (const char* source :
       {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "255.255.255.255", "240.0.0.1"}) {
    EXPECT_FALSE(MayReport(Parsed(FromPod().Ip4(source, "10.244.2.5").Udp(1, 2)))) << source;
  }
  EXPECT_FALSE(MayReport(Parsed(FromPod().Ip4("10.244.1.2", "224.0.0.1").Udp(1, 2))));
}

TEST_F(IcmpTest, NoMbufNoError) {
  const Packet p = Parsed(PodUdp(4));
  rte_mempool& pool = EalEnvironment::Pools().small();
  std::vector<rte_mbuf*> all(rte_mempool_avail_count(&pool));
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(&pool, all.data(), static_cast<unsigned>(all.size())), 0);
  EXPECT_EQ(Error(p, IcmpError::kTimeExceeded), nullptr);
  rte_pktmbuf_free_bulk(all.data(), static_cast<unsigned>(all.size()));
}

TEST_F(IcmpTest, OwnAddress) {
  EXPECT_EQ(OwnAddress<Ipv4>(tables_), Ip("10.244.1.1"));
  tables_.local.gateways = {ParseIp("fd44::1").value()};
  EXPECT_EQ(OwnAddress<Ipv4>(tables_), Ip("192.0.2.1"));
  tables_.local.underlay_address = {};
  EXPECT_EQ(OwnAddress<Ipv4>(tables_), Ipv4{});
}

TEST(IcmpLimiter, AThousandASecondFiftyAtOnce) {
  IcmpLimiter limiter;
  uint32_t now = UINT32_MAX - 500;  // wraps on the way
  const auto taken = [&](int tries) {
    int n = 0;
    for (int i = 0; i < tries; ++i) n += limiter.Take(now);
    return n;
  };
  EXPECT_EQ(taken(200), 50);
  now += 10;
  EXPECT_EQ(taken(200), 10);
  int n = 0;
  for (int ms = 0; ms < 1000; ++ms, ++now) n += taken(5);
  EXPECT_NEAR(n, 1000, 1);
  now += 100'000;
  EXPECT_EQ(taken(200), 50);
}

}  // namespace icmp_test
}  // namespace podwire
