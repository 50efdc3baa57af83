// The short way of plain packets must be the long one's, packet by packet.
#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/fast_forward.h"
#include "switch/parse.h"
#include "switch/plain_parser.h"
#include "switch/rewrite.h"
#include "tests/checked_build.h"
#include "tests/switch/expect_same.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace plain_path_test {

using namespace testing;

constexpr uint64_t kSeed = 1;

/// Frames of both kinds of ports, tunnelled and not, with bytes changed, cut off or added at random.
class FrameMaker {
 public:
  explicit FrameMaker(uint32_t seed) : random_(seed) {}

  Bytes Make(PortId& port) {
    port = One(3) == 0 ? kPodPort : kUnderlayPort;
    Bytes bytes = Whole(port);
    if (One(3) == 0) Damage(bytes);
    if (One(8) == 0) bytes.resize(bytes.size() + One(30));                  // padding
    if (One(8) == 0) bytes.resize(std::max<size_t>(One(bytes.size()), 1));  // cut off
    return bytes;
  }
  size_t One(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

 private:
  static constexpr size_t kEthernet = 14;

  Bytes Whole(PortId port) {
    const Ipv4Fields f{.tos = Byte(), .ttl = static_cast<uint8_t>(One(4)), .id = 7, .df = One(2) == 0};
    Frame frame = port == kPodPort ? FromPod()
                  : One(3) == 0    ? FromPeer()
                                   : FromTunnel({.tos = static_cast<uint8_t>(One(4))});
    const char* src = port == kPodPort ? "10.244.1.2" : "10.244.2.5";
    frame.Ip4(src, port == kPodPort ? "10.244.2.5" : "10.244.1.2", f);
    if (One(2) == 0) {
      frame.Udp(5000, One(4) == 0 ? 8472 : 53);
    } else {
      frame.Tcp(5000, 80, One(2) == 0 ? 0x10 : Byte(), One(2) == 0 ? Bytes{} : Bytes{1, 1, 1, 1});
    }
    return frame.Payload(One(60)).Build();
  }
  uint8_t Byte() { return static_cast<uint8_t>(One(256)); }

  /// One to three bytes of the headers; then the IPv4 checksums may be made right again, so that it is not
  /// they that catch it.
  void Damage(Bytes& bytes) {
    for (size_t n = One(3) + 1; n > 0; --n) bytes[One(std::min<size_t>(bytes.size(), 110))] = Byte();
    if (One(3) == 0) return;
    for (const size_t l3 : {kEthernet, kEthernet + 50}) {
      if (l3 + 20 > bytes.size() || bytes[l3] != 0x45) continue;
      bytes[l3 + 10] = bytes[l3 + 11] = 0;
      const auto sum = static_cast<uint16_t>(~Sum16(std::span(bytes).subspan(l3, 20)));
      bytes[l3 + 10] = static_cast<uint8_t>(sum >> 8);
      bytes[l3 + 11] = static_cast<uint8_t>(sum);
    }
  }

  std::mt19937 random_;
};

Offload SomeOffload(FrameMaker& maker) {
  if (maker.One(10) == 0) return {.csum_start = 34, .csum_offset = 16, .flags = Offload::kNeedsCsum};
  if (maker.One(3) == 0) return {.flags = Offload::kDataValid};
  return {};
}

/// As switch/rewrite and switch/output do it, without MTU and tables.
Bytes ForwardedGenerally(Packet p, const Adjacency& a, uint16_t ip_id) {
  EXPECT_TRUE(DecrementTtl(p));
  EXPECT_EQ(StripHeaders(p), DropReason::kNone);
  EXPECT_EQ(PrependHeader(p, a, kPeerMac, ip_id), DropReason::kNone);
  return BytesOf(*p.mbuf);
}

Adjacency HopOf(NextHop::Kind kind) {
  Adjacency a{.port = kUnderlayPort};
  a.hop.kind = kind;
  a.hop.neighbor = Ip("192.0.2.9");
  BuildHeader(a.hop, {.src_mac = kUnderlayMac,
                      .dst_mac = kPeerMac,
                      .src = Ip("192.0.2.1"),
                      .dst = Ip("192.0.2.9"),
                      .udp_port = 8472,
                      .inner_src_mac = kVtepMac,
                      .inner_dst_mac = kPeerVtepMac});
  return a;
}

TEST(PlainPath, ParsesAndForwardsAsTheGeneralOne) {
  const Tables tables = TestTables();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  RecordProperty("seed", static_cast<int>(seed));
  FrameMaker maker(seed);
  AdjacencyCache cache;
  Tables hops;
  for (const auto kind : {NextHop::Kind::kDirect, NextHop::Kind::kVxlan, NextHop::Kind::kUdp})
    hops.adjacencies.push_back(HopOf(kind));
  cache.Resize(hops);
  for (uint32_t i = 0; i < 3; ++i) cache.Learn(NextHopId(i), hops.adjacencies[i], NeighborId{7}, kPeerMac);

  int taken = 0, plain = 0, tunnelled = 0;
  for (int i = 0; i < 30000 / kSlowness && !HasFailure(); ++i) {
    PortId port;
    const Bytes bytes = maker.Make(port);
    const size_t first_segment = maker.One(4) == 0 ? maker.One(bytes.size()) + 1 : SIZE_MAX;
    const MbufPtr one = ToMbuf(bytes, first_segment), other = ToMbuf(bytes, first_segment);
    OffloadOf(*one) = OffloadOf(*other) = SomeOffload(maker);
    PlainParser parser(tables);
    Packet p;
    if (!parser.Parse(p, one.get(), port)) continue;
    SCOPED_TRACE(ToHex(bytes));
    ++taken;
    p.hash = FlowHash(p.key, kSeed);
    Packet expected;
    Packet6 not_this;
    ASSERT_EQ(ParseGenerally(tables, other.get(), port, kSeed, expected, not_this), IpFamily::kV4);
    ExpectSame(p, expected);
    if (HasFailure() || !p.plain) continue;
    ++plain;
    tunnelled += p.tunnelled;
    const auto hop = NextHopId(static_cast<uint32_t>(maker.One(3)));
    uint16_t id = 77;
    const Bytes long_way = ForwardedGenerally(expected, hops.adjacencies[hop.value()], id);
    cache.Tick(0, 0, 0);
    ASSERT_TRUE(cache.IsGood(cache.At(hop)));
    ForwardPlain(p, cache.At(hop), rte_cpu_to_be_16(UdpSourcePort(SymmetricHash(p.key, 0))), id);
    EXPECT_EQ(ToHex(BytesOf(*p.mbuf)), ToHex(long_way));
  }
  // Or it would prove nothing.
  EXPECT_GT(taken, 8000 / kSlowness);
  EXPECT_GT(plain, 2000 / kSlowness);
  EXPECT_GT(tunnelled, 1000 / kSlowness);
}

TEST(PlainPath, WhatTheGeneralParserMustSeeIsNotPlain) {
  const Tables tables = TestTables();
  const auto is_plain = [&](const Frame& f, PortId port, const Offload& offload = {}) {
    const MbufPtr m = f.Mbuf();
    OffloadOf(*m) = offload;
    Packet p;
    return PlainParser(tables).Parse(p, m.get(), port) && p.plain;
  };
  const auto udp = [](const Ipv4Fields& f = {}) {
    return FromPod().Ip4("10.244.1.2", "10.244.2.5", f).Udp(5000, 53).Payload(20);
  };
  const auto tcp = [](uint8_t flags) { return FromPod().Ip4("10.244.1.2", "10.244.2.5").Tcp(1, 2, flags); };
  EXPECT_TRUE(is_plain(udp(), kPodPort));
  EXPECT_TRUE(is_plain(tcp(0x18), kPodPort));
  EXPECT_FALSE(is_plain(udp(), PortId(9)));
  EXPECT_FALSE(is_plain(udp({.ttl = 1}), kPodPort));
  EXPECT_FALSE(is_plain(udp({.mf = true}), kPodPort));
  EXPECT_FALSE(is_plain(udp({.fragment_offset = 8}), kPodPort));
  EXPECT_FALSE(is_plain(udp({.options = {1, 1, 1, 1}}), kPodPort));
  EXPECT_FALSE(is_plain(udp({.bad_checksum = true}), kPodPort));
  EXPECT_FALSE(is_plain(udp(), kPodPort, {.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum}));
  for (const uint8_t flag : {0x01, 0x02, 0x04}) EXPECT_FALSE(is_plain(tcp(flag | 0x10), kPodPort));
  EXPECT_FALSE(is_plain(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(8, 0), kPodPort));
  EXPECT_FALSE(is_plain(FromPod().Ip4("10.244.1.2", "224.0.0.1").Udp(1, 2), kPodPort));
  EXPECT_FALSE(
      is_plain(Frame().Eth(kGatewayMac, kPodMacB).Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2), kPodPort));
  // Tunnels: of unknown nodes, of other networks, with a congestion mark to move (RFC 6040).
  const auto inner = [](Frame outer) { return outer.Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2).Payload(9); };
  EXPECT_TRUE(is_plain(inner(FromTunnel()), kUnderlayPort));
  EXPECT_FALSE(is_plain(inner(FromTunnel()), kPodPort));
  EXPECT_FALSE(is_plain(inner(FromTunnel({.tos = 3})), kUnderlayPort));
  const auto tunnel = [&](const char* source, uint32_t vni, const MacAddr& mac) {
    return inner(FromPeer().Ip4(source, "192.0.2.1").Udp(50000, 8472).Vxlan(vni).Eth(mac, kPeerVtepMac));
  };
  EXPECT_TRUE(is_plain(tunnel("192.0.2.9", 1, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("192.0.2.8", 1, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("192.0.2.9", 2, kVtepMac), kUnderlayPort));
  EXPECT_FALSE(is_plain(tunnel("192.0.2.9", 1, kPodMac), kUnderlayPort));
}

TEST(PlainPath, WithoutAnIpv4UnderlayThereIsNoTunnelToNobodysAddress) {
  Tables tables = TestTables();
  const auto tunnelled = [&](const char* to) {
    const MbufPtr m = FromPeer()
                          .Ip4("192.0.2.9", to)
                          .Udp(50000, 8472)
                          .Vxlan(1)
                          .Eth(kVtepMac, kPeerVtepMac)
                          .Ip4("10.244.2.5", "10.244.1.2")
                          .Udp(1, 2)
                          .Mbuf();
    OffloadOf(*m) = {};
    return ParseOne(tables, m, kUnderlayPort).tunnelled;
  };
  EXPECT_TRUE(tunnelled("192.0.2.1"));
  EXPECT_FALSE(tunnelled("0.0.0.0"));
  for (const IpAddress& address : {*ParseIp("2001:db8::1"), IpAddress()}) {
    tables.local.underlay_address = address;
    EXPECT_FALSE(tunnelled("0.0.0.0"));
  }
}

// Or a tap would vouch for a checksum that nobody has looked at.
TEST(PlainPath, AVerdictOnTheOuterChecksumIsNotTheInnerOnes) {
  const Tables tables = TestTables();
  const auto vouched_after_parse = [&](const Frame& f, PortId port) {
    const MbufPtr m = f.Mbuf();
    OffloadOf(*m) = {.flags = Offload::kDataValid};
    rte_mbuf* const mbufs[] = {m.get()};
    Packet p;
    Packet6 p6;
    Parse(tables, mbufs, &port, kSeed, &p, &p6);
    EXPECT_EQ(p.kind, PacketKind::kFlow);
    return OffloadOf(*m).flags == Offload::kDataValid;
  };
  const auto inner = [](Frame f) { return f.Ip4("10.244.2.5", "10.244.1.2"); };
  EXPECT_TRUE(vouched_after_parse(inner(FromPeer()).Udp(1, 2), kUnderlayPort));
  EXPECT_FALSE(vouched_after_parse(inner(FromTunnel()).Udp(1, 2), kUnderlayPort));
  EXPECT_TRUE(vouched_after_parse(inner(FromPeer()).Icmp(8, 0), kUnderlayPort));
  EXPECT_FALSE(vouched_after_parse(inner(FromTunnel()).Icmp(8, 0), kUnderlayPort));
}

TEST(AdjacencyCache, IsVoidWhenTablesOrNeighboursChangeAndAfterATime) {
  Tables t;
  t.adjacencies.push_back(HopOf(NextHop::Kind::kDirect));
  t.adjacencies.push_back({.port = kUnderlayPort});  // no neighbour of its own: each packet's destination
  AdjacencyCache cache;
  cache.Resize(t);
  const auto good = [&] { return cache.IsGood(cache.At(NextHopId(0))); };
  const auto learn = [&] { cache.Learn(NextHopId(0), t.adjacencies[0], NeighborId{7}, kPeerMac); };
  cache.Tick(1, 0, 1000);
  EXPECT_FALSE(good());
  learn();
  cache.Tick(1, 0, 1000 + AdjacencyCache::kValidMs - 1);
  EXPECT_TRUE(good());
  cache.Tick(1, 0, 1000 + AdjacencyCache::kValidMs);
  EXPECT_FALSE(good());
  learn();
  cache.Tick(2, 0, 1300);
  EXPECT_FALSE(good());
  learn();
  cache.Tick(2, 1, 1301);
  EXPECT_FALSE(good());
  cache.Learn(NextHopId(1), t.adjacencies[1], NeighborId{7}, kPeerMac);
  EXPECT_FALSE(cache.IsGood(cache.At(NextHopId(1))));
}

TEST(VtepSet, HoldsWhatWasInserted) {
  VtepSet set;
  EXPECT_FALSE(set.Contains(Ip("192.0.2.1")));
  EXPECT_FALSE(set.Contains(Ipv4{}));
  for (uint32_t i = 1; i <= 5000; ++i) set.Insert(Ipv4{rte_cpu_to_be_32(i * 7)});
  for (uint32_t i = 1; i <= 40000; ++i) {
    EXPECT_EQ(set.Contains(Ipv4{rte_cpu_to_be_32(i)}), i % 7 == 0 && i <= 35000) << i;
  }
  EXPECT_FALSE(set.Contains(*ParseIp("2001:db8::1")));
  set.Insert(*ParseIp("2001:db8::1"));
  EXPECT_TRUE(set.Contains(*ParseIp("2001:db8::1")));
}

}  // namespace plain_path_test
}  // namespace podwire
