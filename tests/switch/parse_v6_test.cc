#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/decide.h"
#include "switch/parse.h"
#include "tests/checked_build.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace parse_v6_test {

using namespace testing;

constexpr const char *kPod = "2001:db8:1::2", *kRemote = "2001:db8:2::5";
constexpr uint8_t kHopByHop = 0, kRouting = 43, kEsp = 50, kAh = 51, kNoNext = 59, kDstOpts = 60;
/// Eight bytes of header but the first: length 0, padding.
const Bytes kPad = {0, 1, 4, 0, 0, 0, 0};

class Parse6Test : public ::testing::Test {
 protected:
  Packet6 Pod(const Frame& f) { return Run(f.Mbuf(), kPodPort); }
  Packet6 Underlay(const Frame& f) { return Run(f.Mbuf(), kUnderlayPort); }
  Packet6 Run(MbufPtr m, PortId port) {
    mbuf_ = std::move(m);
    return ParseOne6(tables_, mbuf_, port);
  }
  void ExpectDrop(const Packet6& p, DropReason reason) {
    EXPECT_EQ(p.kind, PacketKind::kDrop);
    EXPECT_EQ(InfoOf(p.reason).name, InfoOf(reason).name);
  }
  static Frame From(const Ipv6Fields& f = {}) { return FromPod().Ip6(kPod, kRemote, f); }
  static FlowKey6 Key(std::string_view src, uint16_t sport, std::string_view dst, uint16_t dport,
                      uint8_t proto, PortId port) {
    FlowKey6 k{.src_port_be = rte_cpu_to_be_16(sport),
               .dst_port_be = rte_cpu_to_be_16(dport),
               .in_port = port,
               .proto = proto};
    k.src = Ip6(src);
    k.dst = Ip6(dst);
    return k;
  }

  Tables tables_ = TestTables();
  MbufPtr mbuf_;
};

TEST_F(Parse6Test, UdpFromPod) {
  const Packet6 p =
      Pod(From({.traffic_class = 0x2e, .hop_limit = 9, .flow_label = 0x12345}).Udp(5000, 53).Payload(100));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  const FlowKey6 key = Key(kPod, 5000, kRemote, 53, 17, kPodPort);
  EXPECT_EQ(p.key, key);
  EXPECT_EQ(p.hash, FlowHash(key, 1));
  EXPECT_EQ(p.l3_offset, 14);
  EXPECT_EQ(p.l4_offset, 54);
  EXPECT_EQ(p.l3_len, 148);
  EXPECT_EQ(p.tos, 0x2e);
  EXPECT_EQ(p.ttl, 9);
  EXPECT_TRUE(p.dont_fragment);
  EXPECT_FALSE(p.tunnelled);
  EXPECT_FALSE(p.first_fragment);
}

TEST_F(Parse6Test, TransportsAndOthers) {
  const Packet6 tcp = Pod(From().Tcp(40000, 80, 0x12));
  EXPECT_EQ(tcp.tcp_flags, 0x12);
  EXPECT_EQ(tcp.key, Key(kPod, 40000, kRemote, 80, 6, kPodPort));
  EXPECT_EQ(Pod(From().Sctp(1000, 2905)).key, Key(kPod, 1000, kRemote, 2905, 132, kPodPort));
  for (const int proto : {47, int{kEsp}, int{kNoNext}, 1}) {
    const Packet6 p = Pod(From({.next = proto}).Payload(40));
    ASSERT_EQ(p.kind, PacketKind::kFlow) << proto;
    EXPECT_EQ(p.key, Key(kPod, 0, kRemote, 0, static_cast<uint8_t>(proto), kPodPort));
  }
}

TEST_F(Parse6Test, EchoCarriesItsIdentifierTwice) {
  for (const auto& [type, reply] : {std::pair<uint8_t, uint8_t>{128, 0}, {129, 1}}) {
    const Packet6 p = Pod(From().Icmp6(type, 0, 4711).Payload(8));
    ASSERT_EQ(p.kind, PacketKind::kFlow);
    FlowKey6 key = Key(kPod, 4711, kRemote, 4711, 58, kPodPort);
    key.icmp_reply = reply;
    EXPECT_EQ(p.key, key);
    EXPECT_EQ(p.icmp_type, type);
  }
}

TEST_F(Parse6Test, LengthsAndVersions) {
  const Frame good = From().Udp(1, 2).Payload(8);
  const auto with = [&](size_t offset, uint8_t value) {
    Bytes b = good.Build();
    b[offset] = value;
    return Run(ToMbuf(b), kPodPort);
  };
  EXPECT_EQ(Pod(good).kind, PacketKind::kFlow);
  ExpectDrop(with(14, 0x40), DropReason::kMalformed);
  ExpectDrop(with(19, 0), DropReason::kMalformed);   // no payload: a jumbogram
  ExpectDrop(with(19, 17), DropReason::kMalformed);  // more than there is
  ExpectDrop(with(19, 15), DropReason::kMalformed);  // less than UDP says
  ExpectDrop(with(59, 7), DropReason::kMalformed);   // UDP length
  const Bytes whole = good.Build();
  for (size_t len = 14; len < whole.size(); ++len)
    ExpectDrop(Run(ToMbuf(std::span(whole).first(len)), kPodPort), DropReason::kMalformed);
}

TEST_F(Parse6Test, PaddingIsTrimmed) {
  const Bytes frame = From().Udp(1, 2).Payload(4).Build();
  Bytes padded = frame;
  padded.resize(80);
  ASSERT_EQ(Run(ToMbuf(padded), kPodPort).kind, PacketKind::kFlow);
  EXPECT_EQ(BytesOf(*mbuf_), frame);
}

// --- Extension headers

TEST_F(Parse6Test, ExtensionHeadersAreWalked) {
  Bytes routing = kPad;
  routing[2] = 0;  // type 0 with no segments left: RFC 5095 has it ignored
  Bytes long_options(23, 0);
  long_options[0] = 2;                                 // 24 bytes
  const Bytes ah = {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2};  // 12 bytes: (1 + 2) * 4
  const Packet6 p = Pod(From()
                            .Ext6(kHopByHop, kPad)
                            .Ext6(kDstOpts, long_options)
                            .Ext6(kRouting, routing)
                            .Ext6(kAh, ah)
                            .Ext6(kDstOpts, kPad)
                            .Udp(5000, 53)
                            .Payload(9));
  ASSERT_EQ(p.kind, PacketKind::kFlow) << InfoOf(p.reason).name;
  EXPECT_EQ(p.key, Key(kPod, 5000, kRemote, 53, 17, kPodPort));
  EXPECT_EQ(p.l4_offset, 54 + 8 + 24 + 8 + 12 + 8);
}

TEST_F(Parse6Test, ExtensionHeadersThatAreRefused) {
  Bytes routing = kPad;
  for (const uint8_t type : {0, 2, 3, 4}) {
    routing[1] = type;
    routing[2] = 1;  // one segment left
    ExpectDrop(Pod(From().Ext6(kRouting, routing).Udp(1, 2)), DropReason::kExtensionHeader);
  }
  ExpectDrop(Pod(From().Ext6(kDstOpts, kPad).Ext6(kHopByHop, kPad).Udp(1, 2)), DropReason::kMalformed);
  Frame eight = From(), nine = From();
  for (int i = 0; i < 9; ++i) {
    if (i < 8) eight.Ext6(kDstOpts, kPad);
    nine.Ext6(kDstOpts, kPad);
  }
  EXPECT_EQ(Pod(eight.Udp(1, 2)).kind, PacketKind::kFlow);
  ExpectDrop(Pod(nine.Udp(1, 2)), DropReason::kExtensionHeader);
  Bytes longer = kPad;
  for (const uint8_t type : {kHopByHop, kRouting, kDstOpts, kAh}) {
    longer[0] = 40;  // than the packet
    longer[2] = 0;
    ExpectDrop(Pod(From().Ext6(type, longer).Udp(1, 2).Payload(20)), DropReason::kMalformed);
  }
  ExpectDrop(Pod(From().Ext6(kDstOpts, kPad, kDstOpts)), DropReason::kMalformed);  // nothing behind it
  // All headers must be in the first segment.
  const Bytes frame = From().Ext6(kDstOpts, kPad).Udp(1, 2).Payload(30).Build();
  for (size_t cut = 15; cut < 14 + 40 + 8 + 8; ++cut)
    ExpectDrop(Run(ToMbuf(frame, cut), kPodPort), DropReason::kMalformed);
  EXPECT_EQ(Run(ToMbuf(frame, 14 + 40 + 8 + 8), kPodPort).kind, PacketKind::kFlow);
}

// --- Fragments

TEST_F(Parse6Test, Fragments) {
  const Packet6 first = Pod(From().Fragment6(0, true, 0xaabbccdd).Udp(5000, 53, 2000).Payload(96));
  ASSERT_EQ(first.kind, PacketKind::kFlow) << InfoOf(first.reason).name;
  EXPECT_TRUE(first.first_fragment);
  EXPECT_EQ(first.key.dst_port_be, RTE_BE16(53));
  EXPECT_EQ(first.frag_id_be, RTE_BE32(0xaabbccdd));
  EXPECT_EQ(first.frag_bytes, 104);
  EXPECT_EQ(first.l4_offset, 62);
  for (const bool more : {true, false}) {
    const Packet6 later = Pod(From().Fragment6(104, more, 7, 17).Payload(64));
    ASSERT_EQ(later.kind, PacketKind::kLaterFragment);
    EXPECT_FALSE(later.first_fragment);
    EXPECT_EQ(later.key, Key(kPod, 0, kRemote, 0, 17, kPodPort));
    EXPECT_EQ(later.frag_bytes, 104);
    EXPECT_EQ(later.frag_id_be, RTE_BE32(7));
  }
  // What looks like headers in the middle of a datagram is none.
  EXPECT_EQ(Pod(From().Fragment6(104, false, 7, kRouting).Payload(64)).kind, PacketKind::kLaterFragment);
}

TEST_F(Parse6Test, AtomicFragmentsAreWhole) {
  const Packet6 p = Pod(From().Fragment6(0, false, 9).Udp(5000, 53).Payload(9));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_FALSE(p.first_fragment);
}

TEST_F(Parse6Test, BrokenFragments) {
  // RFC 7112: the first one must hold all headers.
  for (const size_t len : {0u, 8u, 16u})
    ExpectDrop(Pod(From().Fragment6(0, true, 1, 6).Payload(len)), DropReason::kMalformed);
  ExpectDrop(Pod(From().Fragment6(0, true, 1, kDstOpts).Raw({17, 1, 1, 4, 0, 0, 0, 0})),
             DropReason::kMalformed);
  // RFC 8200 4.5: all but the last are multiples of 8 bytes, and the whole no more than 65,535.
  ExpectDrop(Pod(From().Fragment6(0, true, 1).Udp(1, 2, 2000).Payload(5)), DropReason::kMalformed);
  ExpectDrop(Pod(From().Fragment6(65528, false, 1, 17).Payload(8)), DropReason::kMalformed);
  EXPECT_EQ(Pod(From().Fragment6(65528, false, 1, 17).Payload(7)).kind, PacketKind::kLaterFragment);
  ExpectDrop(Pod(From().Fragment6(0, true, 1).Fragment6(0, true, 1).Udp(1, 2, 2000).Payload(8)),
             DropReason::kMalformed);
}

// --- ICMP errors

TEST_F(Parse6Test, IcmpErrorsHaveTheQuotedTuple) {
  const auto about = [&](uint8_t type, const Bytes& quoted) {
    return Pod(From().Icmp6(type, 0).Raw(quoted));
  };
  Bytes udp = Frame().Ip6(kRemote, kPod).Udp(53, 5000).Payload(100).Build();
  udp.resize(48);
  for (const uint8_t type : {1, 2, 3, 4, 100}) {
    const Packet6 p = about(type, udp);
    ASSERT_EQ(p.kind, PacketKind::kIcmpError) << int{type};
    EXPECT_EQ(p.key, Key(kRemote, 53, kPod, 5000, 17, kPodPort));
    const Headers h = HeadersOf(p);
    EXPECT_EQ(h.src, IpAddress(Ip6(kPod)));
    EXPECT_EQ(h.dst, IpAddress(Ip6(kRemote)));
    EXPECT_EQ(h.proto, 58);
    EXPECT_EQ(h.src_port, 0);
  }
  EXPECT_EQ(about(3, Frame().Ip6(kRemote, kPod).Ext6(kDstOpts, kPad).Icmp6(128, 0, 99).Build()).key,
            Key(kRemote, 99, kPod, 99, 58, kPodPort));
  EXPECT_EQ(
      about(2, Frame().Ip6(kRemote, kPod).Fragment6(0, true, 1).Udp(53, 5000, 2000).Payload(3).Build()).key,
      Key(kRemote, 53, kPod, 5000, 17, kPodPort));
  EXPECT_EQ(about(2, Frame().Ip6(kRemote, kPod).Fragment6(80, true, 1, 17).Payload(3).Build()).key,
            Key(kRemote, 0, kPod, 0, 17, kPodPort));
}

TEST_F(Parse6Test, BrokenIcmpErrors) {
  const auto about = [&](const Bytes& quoted) { return Pod(From().Icmp6(1, 4).Raw(quoted)); };
  Bytes quoted = Frame().Ip6(kRemote, kPod).Udp(53, 5000).Build();
  EXPECT_EQ(about(quoted).kind, PacketKind::kIcmpError);
  for (size_t len = 0; len < quoted.size(); ++len) {
    ExpectDrop(about(Bytes(quoted.begin(), quoted.begin() + static_cast<long>(len))), DropReason::kMalformed);
  }
  quoted[0] = 0x45;
  ExpectDrop(about(quoted), DropReason::kMalformed);
  // An error about an error, or about neighbour discovery.
  for (const uint8_t type : {1, 2, 3, 4, 133, 135, 137})
    ExpectDrop(about(Frame().Ip6(kRemote, kPod).Icmp6(type, 0).Build()), DropReason::kMalformed);
}

// --- The link's own messages, multicast

TEST_F(Parse6Test, LinkMessages) {
  const MacAddr group = Mac("33:33:ff:00:00:01");
  for (const uint8_t type : {130, 131, 132, 133, 134, 135, 136, 137, 143}) {
    EXPECT_EQ(
        Pod(Frame().Eth(group, kPodMac).Ip6("fe80::1", "ff02::1:ff00:1").Icmp6(type, 0).Payload(16)).kind,
        PacketKind::kNd);
    EXPECT_EQ(Pod(FromPod().Ip6(kPod, "2001:db8:1::1").Icmp6(type, 0).Payload(16)).kind, PacketKind::kNd);
    // RFC 6980: never in fragments; never in a tunnel.
    ExpectDrop(Pod(FromPod().Ip6(kPod, kRemote).Fragment6(0, true, 1).Icmp6(type, 0).Payload(16)),
               DropReason::kInvalidNd);
    ExpectDrop(Underlay(FromTunnel().Ip6(kRemote, kPod).Icmp6(type, 0).Payload(16)), DropReason::kInvalidNd);
  }
}

TEST_F(Parse6Test, OtherMulticastIsNotForwarded) {
  const MacAddr mdns = Mac("33:33:00:00:00:fb");
  ExpectDrop(Pod(Frame().Eth(mdns, kPodMac).Ip6(kPod, "ff02::fb").Udp(5353, 5353)), DropReason::kMulticast);
  ExpectDrop(Pod(FromPod().Ip6(kPod, "ff05::2").Udp(1, 2)), DropReason::kMulticast);
  ExpectDrop(Pod(Frame().Eth(mdns, kPodMac).Ip6(kPod, kRemote).Udp(1, 2)), DropReason::kMulticast);
  ExpectDrop(Pod(Frame().Eth(kBroadcastMac, kPodMac).Ip6(kPod, kRemote).Udp(1, 2)), DropReason::kMulticast);
  ExpectDrop(Pod(Frame().Eth(mdns, kPodMacB).Ip6(kPod, "ff02::fb").Udp(5353, 5353)), DropReason::kSpoofedMac);
}

// --- Tunnels

TEST_F(Parse6Test, InnerPacketsOfBothOuterFamilies) {
  const auto inner = [](Frame f) {
    return f.Ip6(kRemote, kPod, {.traffic_class = 2, .hop_limit = 63}).Tcp(80, 4000, 0x10).Payload(9);
  };
  const Packet6 over4 = Underlay(inner(FromTunnel({.tos = 3})));
  ASSERT_EQ(over4.kind, PacketKind::kFlow);
  EXPECT_TRUE(over4.tunnelled);
  EXPECT_EQ(over4.key, Key(kRemote, 80, kPod, 4000, 6, kUnderlayPort));
  EXPECT_EQ(over4.l3_offset, 64);
  EXPECT_EQ(over4.outer_tos, 3);
  EXPECT_EQ(over4.tos, 2);
  EXPECT_EQ(HeadersOf(over4).tunnel_src, IpAddress(Ip("192.0.2.9")));

  const Packet6 over6 = Underlay(inner(FromTunnel6({.traffic_class = 3})));
  ASSERT_EQ(over6.kind, PacketKind::kFlow);
  EXPECT_TRUE(over6.tunnelled);
  EXPECT_EQ(over6.l3_offset, 84);
  EXPECT_EQ(over6.l4_offset, 124);
  EXPECT_EQ(over6.l3_len, 69);
  EXPECT_EQ(over6.outer_tos, 3);
  EXPECT_EQ(over6.ttl, 63);
  EXPECT_EQ(HeadersOf(over6).tunnel_src, IpAddress(Ip6("2001:db8::9")));
}

TEST_F(Parse6Test, Ipv4InATunnelOverIpv6) {
  const MbufPtr m = FromTunnel6().Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2).Payload(9).Mbuf();
  const Packet p = ParseOne(tables_, m, kUnderlayPort);
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_TRUE(p.tunnelled);
  EXPECT_EQ(p.l3_offset, 84);
  EXPECT_EQ(HeadersOf(p).tunnel_src, IpAddress(Ip6("2001:db8::9")));
}

TEST_F(Parse6Test, ZeroChecksumOfTheOuterUdpIsFine) {
  Bytes b = FromTunnel6().Ip6(kRemote, kPod).Udp(1, 2).Build();
  b[14 + 40 + 6] = b[14 + 40 + 7] = 0;
  EXPECT_TRUE(Run(ToMbuf(b), kUnderlayPort).tunnelled);
}

TEST_F(Parse6Test, TunnelsThatAreNotTaken) {
  const auto inner = [](Frame f) { return f.Ip6(kRemote, kPod).Udp(1, 2).Payload(20); };
  const auto from = [](std::string_view source, std::string_view to = "2001:db8::1") {
    return FromPeer().Ip6(source, to).Udp(50000, 8472);
  };
  ExpectDrop(Underlay(inner(from("2001:db8::8").Vxlan(1).Eth(kVtepMac, kPeerVtepMac))),
             DropReason::kUnknownVtep);
  ExpectDrop(Underlay(inner(from("::").Vxlan(1).Eth(kVtepMac, kPeerVtepMac))), DropReason::kUnknownVtep);
  ExpectDrop(Underlay(inner(from("2001:db8::9").Vxlan(2).Eth(kVtepMac, kPeerVtepMac))),
             DropReason::kUnknownVni);
  ExpectDrop(Underlay(inner(from("2001:db8::9").Vxlan(1).Eth(kPodMac, kPeerVtepMac))),
             DropReason::kWrongTunnel);
  ExpectDrop(Underlay(from("2001:db8::9").Vxlan(1)), DropReason::kMalformed);
  ExpectDrop(Underlay(from("2001:db8::9")), DropReason::kMalformed);
  ExpectDrop(Underlay(FromPeer()
                          .Ip6("2001:db8::9", "2001:db8::1")
                          .Fragment6(0, true, 1)
                          .Udp(50000, 8472, 200)
                          .Payload(80)),
             DropReason::kWrongTunnel);
  // To others, from pods, without VXLAN: packets like any other.
  EXPECT_FALSE(
      Underlay(inner(from("2001:db8::9", "2001:db8::7").Vxlan(1).Eth(kVtepMac, kPeerVtepMac))).tunnelled);
  EXPECT_FALSE(
      Pod(inner(
              FromPod().Ip6("2001:db8::9", "2001:db8::1").Udp(1, 8472).Vxlan(1).Eth(kVtepMac, kPeerVtepMac)))
          .tunnelled);
  tables_.local.tunnel_is_vxlan = false;
  EXPECT_FALSE(Underlay(inner(FromTunnel6())).tunnelled);
  tables_ = TestTables();
  tables_.local.underlay_address6 = {};
  EXPECT_FALSE(
      Underlay(inner(FromPeer().Ip6("2001:db8::9", "::").Udp(1, 8472).Vxlan(1).Eth(kVtepMac, kPeerVtepMac)))
          .tunnelled);
}

// --- Offload

TEST_F(Parse6Test, SuperPacketsOfTcp) {
  const auto with = [&](const Offload& offload) {
    mbuf_ = From().Tcp(1, 2).Payload(1000).Mbuf();
    OffloadOf(*mbuf_) = offload;
    return ParseOne6(tables_, mbuf_, kPodPort);
  };
  const Offload super{.csum_start = 54,
                      .csum_offset = 16,
                      .gso_size = 400,
                      .gso_type = GsoType::kTcp6,
                      .flags = Offload::kNeedsCsum};
  EXPECT_EQ(with(super).kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), super);
  Offload of4 = super;
  of4.gso_type = GsoType::kTcp4;
  ExpectDrop(with(of4), DropReason::kMalformed);
}

TEST_F(Parse6Test, APartialChecksumOfIcmpIsFinishedHere) {
  Bytes b = From().Icmp6(128, 0, 7, 1).Payload(8).Build();
  const Bytes whole = b;
  Bytes pseudo(b.begin() + 22, b.begin() + 54);
  pseudo.insert(pseudo.end(), {0, 16, 0, 58});
  const uint16_t sum = Sum16(pseudo);
  b[56] = static_cast<uint8_t>(sum >> 8);
  b[57] = static_cast<uint8_t>(sum);
  mbuf_ = ToMbuf(b);
  OffloadOf(*mbuf_) = {.csum_start = 54, .csum_offset = 2, .flags = Offload::kNeedsCsum};
  EXPECT_EQ(ParseOne6(tables_, mbuf_, kPodPort).kind, PacketKind::kFlow);
  EXPECT_EQ(ToHex(BytesOf(*mbuf_)), ToHex(whole));
}

// --- Bounds

// Whatever the bytes, what parse describes lies in the packet (and the sanitizers watch what it reads).
TEST_F(Parse6Test, RandomDamageNeverLeadsOutOfThePacket) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto one = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  const auto byte = [&] { return static_cast<uint8_t>(random()); };
  int flows = 0, fragments = 0, errors = 0, drops = 0;
  for (int i = 0; i < 30000 / kSlowness && !HasFailure(); ++i) {
    Frame f = one(3) == 0 ? FromTunnel6() : one(2) == 0 ? FromTunnel() : FromPeer();
    f.Ip6(kRemote, kPod, {.hop_limit = byte()});
    for (size_t n = one(4); n > 0; --n) {
      const uint8_t types[] = {kHopByHop, kRouting, kDstOpts, kAh};
      Bytes rest = kPad;
      rest[2] = one(4) == 0;
      f.Ext6(types[one(4)], rest);
    }
    if (one(4) == 0) f.Fragment6(static_cast<uint16_t>(one(3) * 8), one(2) == 0, 7, one(2) == 0 ? 17 : -1);
    switch (one(4)) {
      case 0:
        f.Udp(1, 2);
        break;
      case 1:
        f.Tcp(1, 2);
        break;
      case 2:
        f.Icmp6(byte(), byte());
        break;
      default:
        f.Icmp6(1, 0).Ip6(kPod, kRemote).Udp(2, 1);
    }
    Bytes b = f.Payload(one(40)).Build();
    for (size_t n = one(4); n > 0; --n) b[12 + one(b.size() - 12)] = byte();
    if (one(4) == 0) b.resize(std::max<size_t>(one(b.size()), 15));
    const size_t cut = one(4) == 0 ? one(b.size()) + 1 : SIZE_MAX;
    const MbufPtr m = ToMbuf(b, cut);
    Packet p;
    Packet6 p6{};
    rte_mbuf* const mbuf = m.get();
    if (Parse(tables_, std::span(&mbuf, 1), &kUnderlayPort, 1, &p, &p6).v6 == 0) continue;
    flows += p6.kind == PacketKind::kFlow;
    fragments += p6.kind == PacketKind::kLaterFragment;
    errors += p6.kind == PacketKind::kIcmpError;
    drops += p6.kind == PacketKind::kDrop;
    if (p6.kind == PacketKind::kDrop) {
      EXPECT_NE(p6.reason, DropReason::kNone);
      continue;
    }
    SCOPED_TRACE(ToHex(b));
    EXPECT_GE(p6.l4_offset, p6.l3_offset + 40);
    EXPECT_LE(p6.l4_offset, m->data_len);
    EXPECT_EQ(uint32_t{p6.l3_offset} + p6.l3_len, m->pkt_len);
  }
  EXPECT_GT(flows, 1000 / kSlowness);
  EXPECT_GT(fragments, 100 / kSlowness);
  EXPECT_GT(errors, 500 / kSlowness);
  EXPECT_GT(drops, 1000 / kSlowness);
}

TEST_F(Parse6Test, AMixedBurstIsSplitInOrder) {
  std::vector<MbufPtr> owners;
  std::vector<rte_mbuf*> mbufs;
  for (uint16_t i = 0; i < 64; ++i) {
    owners.push_back(i % 3 == 0 ? From().Udp(i, 2).Mbuf()
                                : FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(i, 2).Mbuf());
    mbufs.push_back(owners.back().get());
  }
  const std::vector<PortId> ports(64, kPodPort);
  std::vector<Packet> v4(64);
  std::vector<Packet6> v6(64);
  const BurstCounts n = Parse(tables_, mbufs, ports.data(), 7, v4.data(), v6.data());
  ASSERT_EQ(n.v6, 22);
  ASSERT_EQ(n.v4, 42);
  for (uint16_t i = 0, at4 = 0, at6 = 0; i < 64; ++i) {
    const uint16_t port_be = i % 3 == 0 ? v6[at6++].key.src_port_be : v4[at4++].key.src_port_be;
    EXPECT_EQ(port_be, rte_cpu_to_be_16(i));
  }
}

}  // namespace parse_v6_test
}  // namespace podwire
