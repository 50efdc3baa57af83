// The short way of plain IPv6 packets must be the long one's, packet by packet.
#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/parse.h"
#include "switch/plain_parser_v6.h"
#include "tests/checked_build.h"
#include "tests/switch/expect_same.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace plain_path_v6_test {

using namespace testing;

constexpr uint64_t kSeed = 1;
constexpr const char *kPod = "2001:db8:1::2", *kRemote = "2001:db8:2::5";

TEST(PlainPath6, ParsesAsTheGeneralOne) {
  const Tables tables = TestTables();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto one = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  const auto byte = [&] { return static_cast<uint8_t>(random()); };
  int taken = 0, plain = 0, tunnelled = 0;
  for (int i = 0; i < 40000 / kSlowness && !::testing::Test::HasFailure(); ++i) {
    const PortId port = one(3) == 0 ? kPodPort : kUnderlayPort;
    const auto ecn = static_cast<uint8_t>(one(4));
    Frame f = port == kPodPort ? FromPod()
              : one(3) == 0    ? FromPeer()
              : one(2) == 0    ? FromTunnel({.tos = ecn})
                               : FromTunnel6({.traffic_class = ecn});
    f.Ip6(port == kPodPort ? kPod : kRemote, port == kPodPort ? kRemote : kPod,
          {.traffic_class = byte(), .hop_limit = static_cast<uint8_t>(one(4))});
    if (one(8) == 0) f.Ext6(60, {0, 1, 4, 0, 0, 0, 0});
    if (one(2) == 0) {
      f.Udp(5000, one(4) == 0 ? 8472 : 53);
    } else {
      f.Tcp(5000, 80, one(2) == 0 ? 0x10 : byte(), one(2) == 0 ? Bytes{} : Bytes{1, 1, 1, 1});
    }
    Bytes bytes = f.Payload(one(60)).Build();
    if (one(3) == 0) {
      for (size_t n = one(3) + 1; n > 0; --n) bytes[one(std::min<size_t>(bytes.size(), 130))] = byte();
    }
    if (one(8) == 0) bytes.resize(bytes.size() + one(30));                  // padding
    if (one(8) == 0) bytes.resize(std::max<size_t>(one(bytes.size()), 1));  // cut off
    const size_t first_segment = one(4) == 0 ? one(bytes.size()) + 1 : SIZE_MAX;
    const MbufPtr m = ToMbuf(bytes, first_segment), other = ToMbuf(bytes, first_segment);
    if (one(3) == 0) OffloadOf(*m) = OffloadOf(*other) = {.flags = Offload::kDataValid};
    if (one(10) == 0)
      OffloadOf(*m) = OffloadOf(*other) = {.csum_start = 54, .csum_offset = 16, .flags = Offload::kNeedsCsum};
    Packet6 p;
    if (!PlainParser6(tables).Parse(p, m.get(), port)) continue;
    SCOPED_TRACE(ToHex(bytes));
    ++taken;
    p.hash = FlowHash(p.key, kSeed);
    Packet not_this;
    Packet6 expected;
    ASSERT_EQ(ParseGenerally(tables, other.get(), port, kSeed, not_this, expected), IpFamily::kV6);
    ExpectSame(p, expected);
    plain += p.plain;
    tunnelled += p.tunnelled;
  }
  // Or it would prove nothing.
  EXPECT_GT(taken, 8000 / kSlowness);
  EXPECT_GT(plain, 2000 / kSlowness);
  EXPECT_GT(tunnelled, 2000 / kSlowness);
}

TEST(PlainPath6, WhatTheGeneralParserMustSeeIsNotPlain) {
  const Tables tables = TestTables();
  const auto is_plain = [&](const Frame& f, PortId port, const Offload& offload = {}) {
    const MbufPtr m = f.Mbuf();
    OffloadOf(*m) = offload;
    Packet6 p;
    return PlainParser6(tables).Parse(p, m.get(), port) && p.plain;
  };
  const auto udp = [](const Ipv6Fields& f = {}) {
    return FromPod().Ip6(kPod, kRemote, f).Udp(5000, 53).Payload(20);
  };
  EXPECT_TRUE(is_plain(udp(), kPodPort));
  EXPECT_TRUE(is_plain(FromPod().Ip6(kPod, kRemote).Tcp(1, 2, 0x18), kPodPort));
  EXPECT_FALSE(is_plain(udp(), PortId(9)));
  EXPECT_FALSE(is_plain(udp({.hop_limit = 1}), kPodPort));
  EXPECT_FALSE(is_plain(udp(), kPodPort, {.csum_start = 54, .csum_offset = 6, .flags = Offload::kNeedsCsum}));
  for (const uint8_t flag : {0x01, 0x02, 0x04})
    EXPECT_FALSE(is_plain(FromPod().Ip6(kPod, kRemote).Tcp(1, 2, flag | 0x10), kPodPort));
  EXPECT_FALSE(is_plain(FromPod().Ip6(kPod, kRemote).Icmp6(128, 0), kPodPort));
  EXPECT_FALSE(is_plain(FromPod().Ip6(kPod, kRemote).Fragment6(0, false, 1).Udp(1, 2), kPodPort));
  EXPECT_FALSE(is_plain(FromPod().Ip6(kPod, "ff02::1").Udp(1, 2), kPodPort));
  EXPECT_FALSE(is_plain(Frame().Eth(kGatewayMac, kPodMacB).Ip6(kPod, kRemote).Udp(1, 2), kPodPort));
  const auto inner = [](Frame outer) { return outer.Ip6(kRemote, kPod).Udp(1, 2).Payload(9); };
  EXPECT_TRUE(is_plain(inner(FromTunnel()), kUnderlayPort));
  EXPECT_TRUE(is_plain(inner(FromTunnel6()), kUnderlayPort));
  EXPECT_FALSE(is_plain(inner(FromTunnel6({.traffic_class = 3})), kUnderlayPort));
  const auto tunnel = [&](const char* source, uint32_t vni, const MacAddr& mac) {
    return inner(FromPeer().Ip6(source, "2001:db8::1").Udp(50000, 8472).Vxlan(vni).Eth(mac, kPeerVtepMac));
  };
  EXPECT_TRUE(is_plain(tunnel("2001:db8::9", 1, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("2001:db8::8", 1, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("::", 1, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("2001:db8::9", 2, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("2001:db8::9", 1, kPodMac), kUnderlayPort));
}

}  // namespace plain_path_v6_test
}  // namespace podwire
