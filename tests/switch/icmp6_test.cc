#include "switch/icmp6.h"

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/decide.h"
#include "switch/parse.h"
#include "switch/rewrite.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace icmp6_test {

using namespace testing;

constexpr const char *kPod = "2001:db8:1::2", *kGateway = "2001:db8:1::1", *kRemote = "2001:db8:2::5";

class Icmp6Test : public ::testing::Test {
 protected:
  Packet6 Parsed(const Frame& f, PortId port = kPodPort) {
    mbuf_ = f.Mbuf();
    return ParseOne6(tables_, mbuf_, port);
  }
  MbufPtr Error(const Packet6& p, IcmpError error, uint16_t mtu = 0) {
    return MbufPtr(
        BuildIcmpError(EalEnvironment::Pools().small(), p, error, mtu, OwnAddress<Ipv6>(tables_), out_));
  }
  static Frame PodUdp(size_t payload) { return FromPod().Ip6(kPod, kRemote).Udp(5000, 53).Payload(payload); }

  Tables tables_ = TestTables();
  MbufPtr mbuf_;
  Packet6 out_;
};

TEST_F(Icmp6Test, EchoIsAnsweredInPlace) {
  Packet6 p = Parsed(FromPod().Ip6(kPod, kGateway, {.hop_limit = 3}).Icmp6(128, 0, 7, 9).Payload(33));
  ASSERT_TRUE(MakeEchoReply(p));
  ASSERT_EQ(StripHeaders(p), DropReason::kNone);
  EXPECT_EQ(ToHex(BytesOf(*mbuf_)),
            ToHex(Frame().Ip6(kGateway, kPod, {.hop_limit = 64}).Icmp6(129, 0, 7, 9).Payload(33).Build()));
  EXPECT_EQ(HeadersOf(p).dst, IpAddress(Ip6(kPod)));
  EXPECT_EQ(p.key.icmp_reply, 1);
}

TEST_F(Icmp6Test, OnlyWholeEchoRequestsAreAnswered) {
  const auto refused = [&](const Frame& f) {
    Packet6 p = Parsed(f);
    const std::string before = ToHex(BytesOf(*mbuf_));
    EXPECT_FALSE(MakeEchoReply(p));
    EXPECT_EQ(ToHex(BytesOf(*mbuf_)), before);
  };
  refused(FromPod().Ip6(kPod, kGateway).Icmp6(129, 0, 1));
  refused(FromPod().Ip6(kPod, kGateway).Icmp6(139, 0, 1).Payload(12));
  refused(FromPod().Ip6(kPod, kGateway).Udp(8, 7).Payload(12));
  refused(FromPod().Ip6(kPod, kGateway).Fragment6(0, true, 1).Icmp6(128, 0, 1).Payload(64));
  refused(FromPod().Ip6(kPod, kGateway).Fragment6(64, false, 1, 58).Payload(64));
}

TEST_F(Icmp6Test, ErrorsToTheByte) {
  const std::pair<IcmpError, std::pair<int, int>> errors[] = {{IcmpError::kNetUnreachable, {1, 0}},
                                                              {IcmpError::kHostUnreachable, {1, 3}},
                                                              {IcmpError::kPortUnreachable, {1, 4}},
                                                              {IcmpError::kFragmentationNeeded, {2, 0}},
                                                              {IcmpError::kTimeExceeded, {3, 0}}};
  const Frame udp = PodUdp(4);
  const Bytes quoted = Frame().Ip6(kPod, kRemote).Udp(5000, 53).Payload(4).Build();
  for (const auto& [error, type] : errors) {
    const uint16_t mtu = error == IcmpError::kFragmentationNeeded ? 1430 : 0;
    const MbufPtr m = Error(Parsed(udp), error, 1430);
    ASSERT_NE(m, nullptr);
    EXPECT_EQ(ToHex(BytesOf(*m)),
              ToHex(Frame()
                        .Ip6(kGateway, kPod)
                        .Icmp6(static_cast<uint8_t>(type.first), static_cast<uint8_t>(type.second), 0, mtu)
                        .Raw(quoted)
                        .Build()));
    const Headers h = HeadersOf(out_);
    EXPECT_EQ(h.src, IpAddress(Ip6(kGateway)));
    EXPECT_EQ(h.dst, IpAddress(Ip6(kPod)));
    EXPECT_EQ(OffloadOf(*m), Offload{});
    EXPECT_EQ(out_.l3_len, m->pkt_len);
    EXPECT_EQ(out_.kind, PacketKind::kIcmpError);
  }
}

TEST_F(Icmp6Test, QuotesAsMuchAsFitsInTheLeastMtu) {
  mbuf_ = ToMbuf(PodUdp(5000).Build(), 200);
  const MbufPtr m = Error(ParseOne6(tables_, mbuf_, kPodPort), IcmpError::kTimeExceeded);
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->pkt_len, 1280u);
  EXPECT_EQ(L4Sum(BytesOf(*m)), 0xffff);
}

TEST_F(Icmp6Test, QuotesTheInnerPacketOfATunnel) {
  const Packet6 p = Parsed(FromTunnel6().Ip6(kRemote, kPod).Udp(53, 5000).Payload(4), kUnderlayPort);
  const MbufPtr m = Error(p, IcmpError::kTimeExceeded);
  ASSERT_NE(m, nullptr);
  const Bytes b = BytesOf(*m);
  EXPECT_EQ(ToHex(std::span(b).subspan(48)),
            ToHex(Frame().Ip6(kRemote, kPod).Udp(53, 5000).Payload(4).Build()));
}

TEST_F(Icmp6Test, NeverAboutErrorsFragmentsOrNobody) {
  const auto none = [&](const Frame& f) { EXPECT_EQ(Error(Parsed(f), IcmpError::kTimeExceeded), nullptr); };
  none(FromPod().Ip6(kPod, kRemote).Icmp6(1, 4).Ip6(kRemote, kPod).Udp(1, 2));
  none(FromPod().Ip6(kPod, kRemote).Fragment6(64, false, 1, 17).Payload(64));
  for (const char* source : {"::", "::1", "ff02::1", "fe80::7"})
    none(FromPod().Ip6(source, kRemote).Udp(1, 2));
  EXPECT_NE(Error(Parsed(PodUdp(1)), IcmpError::kTimeExceeded), nullptr);
  tables_.local.gateways.clear();
  EXPECT_NE(Error(Parsed(PodUdp(1)), IcmpError::kTimeExceeded), nullptr) << "from the underlay's address";
  tables_.local.underlay_address6 = {};
  EXPECT_EQ(Error(Parsed(PodUdp(1)), IcmpError::kTimeExceeded), nullptr) << "nobody to send it";
}

}  // namespace icmp6_test
}  // namespace podwire
