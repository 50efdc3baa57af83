#include "switch/parse.h"

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/decide.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace parse_test {

using namespace testing;

const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new EalEnvironment);

class ParseTest : public ::testing::Test {
 protected:
  Packet Pod(const Frame& f) { return Run(f.Mbuf(), kPodPort); }
  Packet Underlay(const Frame& f) { return Run(f.Mbuf(), kUnderlayPort); }
  Packet Run(MbufPtr m, PortId port) {
    mbuf_ = std::move(m);
    return ParseOne(tables_, mbuf_, port);
  }
  void ExpectDrop(const Packet& p, DropReason reason) {
    EXPECT_EQ(p.kind, PacketKind::kDrop);
    EXPECT_EQ(InfoOf(p.reason).name, InfoOf(reason).name);
  }
  static Frame PodUdp(const Ipv4Fields& f = {}) {
    return FromPod().Ip4("10.244.1.2", "10.244.2.5", f).Udp(5000, 53).Payload(100);
  }
  static FlowKey4 Key(std::string_view src, uint16_t sport, std::string_view dst, uint16_t dport,
                      uint8_t proto, PortId port) {
    return {.src = Ip(src),
            .dst = Ip(dst),
            .src_port_be = rte_cpu_to_be_16(sport),
            .dst_port_be = rte_cpu_to_be_16(dport),
            .in_port = port,
            .proto = proto};
  }

  Tables tables_ = TestTables();
  MbufPtr mbuf_;
};

TEST_F(ParseTest, UdpFromPod) {
  const Packet p = Pod(PodUdp({.tos = 0x2e, .ttl = 9, .id = 77, .df = true}));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  const FlowKey4 key = Key("10.244.1.2", 5000, "10.244.2.5", 53, 17, kPodPort);
  EXPECT_EQ(p.key, key);
  EXPECT_EQ(p.hash, FlowHash(key, 1));
  EXPECT_EQ(p.l3_offset, 14);
  EXPECT_EQ(p.l4_offset, 34);
  EXPECT_EQ(p.l3_len, 128);
  EXPECT_EQ(p.tos, 0x2e);
  EXPECT_EQ(p.ttl, 9);
  EXPECT_EQ(p.frag_id_be, RTE_BE16(77));
  EXPECT_TRUE(p.dont_fragment);
  EXPECT_FALSE(p.tunnelled);
  EXPECT_FALSE(p.first_fragment);
}

TEST_F(ParseTest, TcpFlagsAndSctpPorts) {
  const Packet tcp = Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Tcp(40000, 80, 0x12));
  ASSERT_EQ(tcp.kind, PacketKind::kFlow);
  EXPECT_EQ(tcp.tcp_flags, 0x12);
  EXPECT_EQ(tcp.key, Key("10.244.1.2", 40000, "10.244.2.5", 80, 6, kPodPort));
  const Packet sctp = Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Sctp(1000, 2905));
  ASSERT_EQ(sctp.kind, PacketKind::kFlow);
  EXPECT_EQ(sctp.key, Key("10.244.1.2", 1000, "10.244.2.5", 2905, 132, kPodPort));
}

TEST_F(ParseTest, IcmpQueriesCarryTheirIdentifierTwice) {
  for (const auto& [type, reply] :
       {std::pair<uint8_t, uint8_t>{8, 0}, {0, 1}, {13, 0}, {14, 1}, {15, 0}, {16, 1}, {17, 0}, {18, 1}}) {
    const Packet p = Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(type, 0, 4711).Payload(8));
    ASSERT_EQ(p.kind, PacketKind::kFlow) << int{type};
    FlowKey4 key = Key("10.244.1.2", 4711, "10.244.2.5", 4711, 1, kPodPort);
    key.icmp_reply = reply;
    EXPECT_EQ(p.key, key) << int{type};
    EXPECT_EQ(p.icmp_type, type);
  }
}

TEST_F(ParseTest, OtherProtocolsHaveNoPorts) {
  const Packet p = Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.proto = 47}).Payload(40));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_EQ(p.key, Key("10.244.1.2", 0, "10.244.2.5", 0, 47, kPodPort));
}

TEST_F(ParseTest, PaddingIsTrimmed) {
  const Frame f = FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2).Payload(4);
  const Packet p = Pod(Frame(f).Raw(Bytes(14)));
  // The builder counts the padding as payload: give the real lengths.
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  const Bytes frame = f.Build();
  Bytes padded = frame;
  padded.resize(60);
  const Packet q = Run(ToMbuf(padded), kPodPort);
  ASSERT_EQ(q.kind, PacketKind::kFlow);
  EXPECT_EQ(BytesOf(*mbuf_), frame);
  EXPECT_EQ(q.l3_len, 32);
}

// --- Who may send what to whom

TEST_F(ParseTest, MacsOfPods) {
  const auto with = [&](const MacAddr& dst, const MacAddr& src) {
    return Pod(Frame().Eth(dst, src).Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2));
  };
  EXPECT_EQ(with(kGatewayMac, kPodMac).kind, PacketKind::kFlow);
  ExpectDrop(with(kGatewayMac, kPodMacB), DropReason::kSpoofedMac);
  ExpectDrop(with(kPodMacB, kPodMac), DropReason::kNotForUs);
  ExpectDrop(with(kBroadcastMac, kPodMac), DropReason::kMulticast);
  ExpectDrop(with(Mac("01:00:5e:00:00:01"), kPodMac), DropReason::kMulticast);
}

TEST_F(ParseTest, MacsOfTheUnderlay) {
  const auto with = [&](const MacAddr& dst) {
    return Underlay(Frame().Eth(dst, kPeerMac).Ip4("192.0.2.9", "192.0.2.1").Udp(1, 2));
  };
  EXPECT_EQ(with(kUnderlayMac).kind, PacketKind::kFlow);
  ExpectDrop(with(kPeerMac), DropReason::kNotForUs);
  ExpectDrop(with(kBroadcastMac), DropReason::kMulticast);
}

TEST_F(ParseTest, BroadcastArpIsLetIn) {
  const Packet p = Pod(Frame().Eth(kBroadcastMac, kPodMac).Arp(1, kPodMac, "10.244.1.2", {}, "10.244.1.1"));
  EXPECT_EQ(p.kind, PacketKind::kArp);
  ExpectDrop(Pod(Frame().Eth(kBroadcastMac, kPodMac).Raw(Bytes(27)).Eth({}, {})), DropReason::kMulticast);
  ExpectDrop(Pod(Frame().Eth(kBroadcastMac, kPodMac, 0x0806).Raw(Bytes(27))), DropReason::kMalformed);
}

TEST_F(ParseTest, PortsWithoutRole) {
  ExpectDrop(Run(PodUdp().Mbuf(), kFreePort), DropReason::kUnknownPort);
  ExpectDrop(Run(PodUdp().Mbuf(), PortId(99)), DropReason::kUnknownPort);
  ExpectDrop(Run(PodUdp().Mbuf(), kNoPort), DropReason::kUnknownPort);
}

TEST_F(ParseTest, Ethertypes) {
  ExpectDrop(Pod(Frame().Eth(kGatewayMac, kPodMac, 0x88cc).Payload(60)), DropReason::kUnsupportedEthertype);
  ExpectDrop(Pod(Frame().Eth(kGatewayMac, kPodMac, 0x8100).Payload(60)), DropReason::kUnsupportedEthertype);
}

TEST_F(ParseTest, MulticastDestinations) {
  for (const char* dst : {"224.0.0.1", "239.255.255.255", "255.255.255.255"}) {
    ExpectDrop(Pod(FromPod().Ip4("10.244.1.2", dst).Udp(1, 2)), DropReason::kMulticast);
  }
}

// --- Broken headers

TEST_F(ParseTest, EveryTruncationIsMalformed) {
  const Bytes frames[] = {PodUdp().Build(),
                          FromPod().Ip4("10.244.1.2", "10.244.2.5").Tcp(1, 2, 2, Hex("020405b4")).Build(),
                          FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(8, 0).Build(),
                          FromPod().Ip4("10.244.1.2", "10.244.2.5").Sctp(1, 2).Build()};
  for (const Bytes& frame : frames) {
    for (size_t len = 0; len < frame.size(); ++len) {
      ExpectDrop(Run(ToMbuf(std::span(frame).first(len)), kPodPort), DropReason::kMalformed);
    }
  }
}

TEST_F(ParseTest, HeadersMustLieInTheFirstSegment) {
  const Bytes frame = PodUdp().Build();
  for (size_t cut = 1; cut < 42; ++cut) ExpectDrop(Run(ToMbuf(frame, cut), kPodPort), DropReason::kMalformed);
  EXPECT_EQ(Run(ToMbuf(frame, 42), kPodPort).kind, PacketKind::kFlow);
  // 28 bytes of excess, but only 10 in the last segment: no padding of Ethernet's.
  Bytes padded = frame;
  padded.resize(frame.size() + 28);
  ExpectDrop(Run(ToMbuf(padded, padded.size() - 10), kPodPort), DropReason::kMalformed);
}

TEST_F(ParseTest, Ipv4HeaderChecks) {
  Bytes frame = PodUdp().Build();
  frame[14] = 0x65;
  ExpectDrop(Run(ToMbuf(frame), kPodPort), DropReason::kMalformed);
  frame[14] = 0x44;
  ExpectDrop(Run(ToMbuf(frame), kPodPort), DropReason::kMalformed);
  ExpectDrop(Pod(PodUdp({.total_length = 19})), DropReason::kMalformed);
  ExpectDrop(Pod(PodUdp({.total_length = 129})), DropReason::kMalformed);
  ExpectDrop(Pod(PodUdp({.bad_checksum = true})), DropReason::kBadChecksum);
}

TEST_F(ParseTest, ADeviceMayVouchForTheChecksum) {
  MbufPtr m = PodUdp({.bad_checksum = true}).Mbuf();
  m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  EXPECT_EQ(Run(std::move(m), kPodPort).kind, PacketKind::kFlow);
}

TEST_F(ParseTest, Options) {
  EXPECT_EQ(Pod(PodUdp({.options = Hex("94040000")})).kind, PacketKind::kFlow);  // router alert
  EXPECT_EQ(Pod(PodUdp({.options = Hex("01010100 00ff8303")})).kind,
            PacketKind::kFlow);  // ends before the rest
  EXPECT_EQ(Pod(PodUdp({.options = Hex("01010101")})).l4_offset, 38);
  ExpectDrop(Pod(PodUdp({.options = Hex("8307040a f4010500")})),
             DropReason::kIpOptions);  // loose source route
  ExpectDrop(Pod(PodUdp({.options = Hex("01890704 0af40105")})), DropReason::kIpOptions);  // strict
  ExpectDrop(Pod(PodUdp({.options = Hex("44010000")})), DropReason::kMalformed);           // length below 2
  ExpectDrop(Pod(PodUdp({.options = Hex("44080000")})), DropReason::kMalformed);  // longer than the header
  ExpectDrop(Pod(PodUdp({.options = Hex("01010144")})), DropReason::kMalformed);  // no length
}

TEST_F(ParseTest, TransportLengths) {
  const auto udp = [&](int length) {
    return Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2, length).Payload(10));
  };
  EXPECT_EQ(udp(18).kind, PacketKind::kFlow);
  EXPECT_EQ(udp(8).kind, PacketKind::kFlow);  // shorter than the IP payload is legal
  ExpectDrop(udp(7), DropReason::kMalformed);
  ExpectDrop(udp(0), DropReason::kMalformed);
  ExpectDrop(udp(19), DropReason::kMalformed);
  Bytes tcp = FromPod().Ip4("10.244.1.2", "10.244.2.5").Tcp(1, 2).Build();
  tcp[46] = 0x40;  // data offset 4
  ExpectDrop(Run(ToMbuf(tcp), kPodPort), DropReason::kMalformed);
  tcp[46] = 0x60;  // 6, without the bytes
  ExpectDrop(Run(ToMbuf(tcp), kPodPort), DropReason::kMalformed);
}

// --- Fragments

TEST_F(ParseTest, Fragments) {
  const Packet first = Pod(PodUdp({.id = 5, .mf = true}));
  ASSERT_EQ(first.kind, PacketKind::kFlow);
  EXPECT_TRUE(first.first_fragment);
  EXPECT_EQ(first.key.dst_port_be, RTE_BE16(53));
  for (const bool more : {true, false}) {
    const Packet later =
        Pod(FromPod()
                .Ip4("10.244.1.2", "10.244.2.5", {.id = 5, .mf = more, .fragment_offset = 104, .proto = 17})
                .Payload(64));
    ASSERT_EQ(later.kind, PacketKind::kLaterFragment);
    EXPECT_FALSE(later.first_fragment);
    EXPECT_EQ(later.key, Key("10.244.1.2", 0, "10.244.2.5", 0, 17, kPodPort));
    EXPECT_EQ(later.frag_id_be, RTE_BE16(5));
  }
}

TEST_F(ParseTest, TinyFragmentsOfTcp) {
  // RFC 1858: the first one too short for the flags; RFC 3128: a second one at offset 8 that overwrites them.
  ExpectDrop(Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.mf = true, .proto = 6}).Payload(16)),
             DropReason::kMalformed);
  ExpectDrop(Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.fragment_offset = 8, .proto = 6}).Payload(64)),
             DropReason::kMalformed);
  EXPECT_EQ(
      Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.fragment_offset = 8, .proto = 17}).Payload(64)).kind,
      PacketKind::kLaterFragment);
}

// --- ICMP errors

TEST_F(ParseTest, IcmpErrorsHaveTheQuotedTuple) {
  for (const uint8_t type : {3, 4, 5, 11, 12}) {
    // Quoted: what 10.244.1.2 had received from 10.244.2.5; 8 bytes of UDP, as RFC 792 has it.
    Bytes quoted = Frame().Ip4("10.244.2.5", "10.244.1.2").Udp(53, 5000).Payload(100).Build();
    quoted.resize(28);
    const Packet p = Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(type, 3).Raw(quoted));
    ASSERT_EQ(p.kind, PacketKind::kIcmpError) << int{type};
    EXPECT_EQ(p.key, Key("10.244.2.5", 53, "10.244.1.2", 5000, 17, kPodPort));
    const Headers h = HeadersOf(p);
    EXPECT_EQ(h.src, IpAddress(Ip("10.244.1.2")));
    EXPECT_EQ(h.dst, IpAddress(Ip("10.244.2.5")));
    EXPECT_EQ(h.proto, 1);
    EXPECT_EQ(h.src_port, 0);
  }
}

TEST_F(ParseTest, IcmpErrorsAboutEcho) {
  const Bytes quoted = Frame().Ip4("10.244.2.5", "10.244.1.2").Icmp(8, 0, 99).Build();
  const Packet p = Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(11, 0).Raw(quoted));
  ASSERT_EQ(p.kind, PacketKind::kIcmpError);
  EXPECT_EQ(p.key, Key("10.244.2.5", 99, "10.244.1.2", 99, 1, kPodPort));
}

TEST_F(ParseTest, BrokenIcmpErrors) {
  const auto about = [&](const Bytes& quoted) {
    return Pod(FromPod().Ip4("10.244.1.2", "10.244.2.5").Icmp(3, 1).Raw(quoted));
  };
  Bytes quoted = Frame().Ip4("10.244.2.5", "10.244.1.2").Udp(53, 5000).Build();
  EXPECT_EQ(about(quoted).kind, PacketKind::kIcmpError);
  for (size_t len = 0; len < quoted.size(); ++len) {
    ExpectDrop(about(Bytes(quoted.begin(), quoted.begin() + static_cast<long>(len))), DropReason::kMalformed);
  }
  quoted[0] = 0x4f;  // a header longer than what is there
  ExpectDrop(about(quoted), DropReason::kMalformed);
  quoted[0] = 0x41;
  ExpectDrop(about(quoted), DropReason::kMalformed);
  // An error about an error (RFC 1122 3.2.2).
  ExpectDrop(about(Frame().Ip4("10.244.2.5", "10.244.1.2").Icmp(3, 1).Build()), DropReason::kMalformed);
}

// --- Tunnels

TEST_F(ParseTest, VxlanToTheInnerPacket) {
  const Packet p = Underlay(FromTunnel({.tos = 3})
                                .Ip4("10.244.2.5", "10.244.1.2", {.tos = 2, .ttl = 63})
                                .Tcp(80, 4000, 0x10)
                                .Payload(9));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_TRUE(p.tunnelled);
  EXPECT_EQ(p.key, Key("10.244.2.5", 80, "10.244.1.2", 4000, 6, kUnderlayPort));
  EXPECT_EQ(p.l3_offset, 64);
  EXPECT_EQ(p.l4_offset, 84);
  EXPECT_EQ(p.l3_len, 49);
  EXPECT_EQ(p.outer_tos, 3);
  EXPECT_EQ(p.tos, 2);
  EXPECT_EQ(p.ttl, 63);
  EXPECT_EQ(HeadersOf(p).tunnel_src, IpAddress(Ip("192.0.2.9")));
}

TEST_F(ParseTest, InnerEthernetPaddingIsTrimmed) {
  Frame f = FromTunnel()
                .Ip4("10.244.2.5", "10.244.1.2", {.proto = 17, .total_length = 28})
                .Udp(1, 2, 8)
                .Raw(Bytes(18));
  const Packet p = Underlay(f);
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_EQ(p.l3_len, 28);
  EXPECT_EQ(mbuf_->pkt_len, 64u + 28u);
}

TEST_F(ParseTest, UdpBackend) {
  tables_.local.tunnel_is_vxlan = false;
  tables_.local.tunnel_port_be = RTE_BE16(8285);
  const auto outer = [] { return FromPeer().Ip4("192.0.2.9", "192.0.2.1").Udp(8285, 8285); };
  const Packet p = Underlay(outer().Ip4("10.244.2.5", "10.244.1.2").Udp(53, 5000).Payload(20));
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_TRUE(p.tunnelled);
  EXPECT_EQ(p.l3_offset, 42);
  EXPECT_EQ(p.key, Key("10.244.2.5", 53, "10.244.1.2", 5000, 17, kUnderlayPort));
  ExpectDrop(Underlay(outer().Raw(Hex("60000000")).Payload(40)), DropReason::kWrongTunnel);
  ExpectDrop(Underlay(outer()), DropReason::kMalformed);
}

TEST_F(ParseTest, TunnelsThatAreNotTaken) {
  const auto inner = [](Frame f) { return f.Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2).Payload(20); };
  const auto from = [](std::string_view source, const Ipv4Fields& f = {}) {
    return FromPeer().Ip4(source, "192.0.2.1", f).Udp(50000, 8472);
  };
  EXPECT_EQ(Underlay(inner(from("192.0.2.9").Vxlan(1).Eth(kVtepMac, kPeerVtepMac))).kind, PacketKind::kFlow);
  ExpectDrop(Underlay(inner(from("192.0.2.8").Vxlan(1).Eth(kVtepMac, kPeerVtepMac))),
             DropReason::kUnknownVtep);
  ExpectDrop(Underlay(inner(from("0.0.0.0").Vxlan(1).Eth(kVtepMac, kPeerVtepMac))), DropReason::kUnknownVtep);
  ExpectDrop(Underlay(inner(from("192.0.2.9").Vxlan(2).Eth(kVtepMac, kPeerVtepMac))),
             DropReason::kUnknownVni);
  for (const uint8_t flags : {0x00, 0x0c, 0x88, 0xff}) {
    ExpectDrop(Underlay(inner(from("192.0.2.9").Vxlan(1, flags).Eth(kVtepMac, kPeerVtepMac))),
               DropReason::kUnknownVni);
  }
  ExpectDrop(Underlay(inner(from("192.0.2.9").Vxlan(1).Eth(kUnderlayMac, kPeerVtepMac))),
             DropReason::kWrongTunnel);
  ExpectDrop(Underlay(inner(from("192.0.2.9").Vxlan(1).Eth(kBroadcastMac, kPeerVtepMac))),
             DropReason::kWrongTunnel);
  ExpectDrop(Underlay(from("192.0.2.9").Vxlan(1).Eth(kVtepMac, kPeerVtepMac, 0x0806).Payload(46)),
             DropReason::kWrongTunnel);
  ExpectDrop(Underlay(inner(from("192.0.2.9", {.mf = true}).Vxlan(1).Eth(kVtepMac, kPeerVtepMac))),
             DropReason::kWrongTunnel);
  ExpectDrop(Underlay(from("192.0.2.9").Vxlan(1)), DropReason::kMalformed);
  ExpectDrop(Underlay(from("192.0.2.9")), DropReason::kMalformed);
}

TEST_F(ParseTest, TheInnerPacketIsCheckedAsWell) {
  ExpectDrop(Underlay(FromTunnel().Ip4("10.244.2.5", "10.244.1.2", {.bad_checksum = true}).Udp(1, 2)),
             DropReason::kBadChecksum);
  ExpectDrop(Underlay(FromTunnel().Ip4("10.244.2.5", "224.0.0.1").Udp(1, 2)), DropReason::kMulticast);
  ExpectDrop(
      Underlay(FromTunnel().Ip4("10.244.2.5", "10.244.1.2", {.options = Hex("8303040083030400")}).Udp(1, 2)),
      DropReason::kIpOptions);
  const Bytes frame = FromTunnel().Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2).Payload(3).Build();
  for (size_t len = 0; len < frame.size(); ++len) {
    ExpectDrop(Run(ToMbuf(std::span(frame).first(len)), kUnderlayPort), DropReason::kMalformed);
  }
  // The inner packet claims more than the UDP datagram holds.
  ExpectDrop(
      Underlay(FromTunnel().Ip4("10.244.2.5", "10.244.1.2", {.total_length = 49}).Udp(1, 2).Payload(20)),
      DropReason::kMalformed);
}

TEST_F(ParseTest, NoTunnelInsideATunnelAndNoneFromPods) {
  const Packet nested =
      Underlay(FromTunnel().Ip4("192.0.2.9", "192.0.2.1").Udp(50000, 8472).Vxlan(1).Payload(60));
  ASSERT_EQ(nested.kind, PacketKind::kFlow);
  EXPECT_EQ(nested.l3_offset, 64);
  const Packet pod = Pod(FromPod()
                             .Ip4("192.0.2.9", "192.0.2.1")
                             .Udp(50000, 8472)
                             .Vxlan(1)
                             .Eth(kVtepMac, kPeerVtepMac)
                             .Ip4("10.244.2.5", "10.244.1.2")
                             .Udp(1, 2));
  ASSERT_EQ(pod.kind, PacketKind::kFlow);
  EXPECT_FALSE(pod.tunnelled);
}

TEST_F(ParseTest, OtherTrafficToTheNodeIsAPlainFlow) {
  EXPECT_FALSE(Underlay(FromPeer().Ip4("192.0.2.9", "192.0.2.1").Udp(50000, 4789).Payload(60)).tunnelled);
  EXPECT_FALSE(Underlay(FromPeer().Ip4("192.0.2.9", "192.0.2.2").Udp(50000, 8472).Payload(60)).tunnelled);
  tables_.local.tunnel_enabled = false;
  EXPECT_FALSE(Underlay(FromTunnel().Ip4("10.244.2.5", "10.244.1.2").Udp(1, 2)).tunnelled);
}

// --- Offload

class ParseOffloadTest : public ParseTest {
 protected:
  Packet With(const Frame& f, const Offload& offload, PortId port = kPodPort) {
    MbufPtr m = f.Mbuf();
    OffloadOf(*m) = offload;
    return Run(std::move(m), port);
  }
  static Frame Tcp() { return FromPod().Ip4("10.244.1.2", "10.244.2.5").Tcp(1, 2).Payload(1000); }
  static constexpr Offload kTcp{.csum_start = 34, .csum_offset = 16, .flags = Offload::kNeedsCsum};
  static constexpr Offload kSuper{.csum_start = 34,
                                  .csum_offset = 16,
                                  .gso_size = 400,
                                  .gso_type = GsoType::kTcp4,
                                  .flags = Offload::kNeedsCsum};
};

TEST_F(ParseOffloadTest, WhatFitsIsKept) {
  EXPECT_EQ(With(Tcp(), kTcp).kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), kTcp);
  EXPECT_EQ(With(Tcp(), kSuper).kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), kSuper);
  const Offload udp{.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum};
  EXPECT_EQ(With(PodUdp(), udp).kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), udp);
}

TEST_F(ParseOffloadTest, ASinglSegmentIsNoSuperPacket) {
  Offload o = kSuper;
  o.gso_size = 1000;
  EXPECT_EQ(With(Tcp(), o).kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), kTcp);
}

TEST_F(ParseOffloadTest, WhatContradictsTheHeadersIsRefused) {
  const auto refused = [&](const Frame& f, auto change) {
    Offload o = kSuper;
    change(o);
    ExpectDrop(With(f, o), DropReason::kMalformed);
  };
  refused(Tcp(), [](Offload& o) { o.csum_start = 54; });
  refused(Tcp(), [](Offload& o) { o.csum_offset = 6; });
  refused(Tcp(), [](Offload& o) { o.gso_type = GsoType::kTcp6; });
  refused(Tcp(), [](Offload& o) { o.gso_type = GsoType::kNone; });
  refused(Tcp(), [](Offload& o) { o.gso_size = 1; });
  refused(Tcp(), [](Offload& o) { o.flags = 0; });
  refused(PodUdp(), [](Offload&) {});
  refused(PodUdp(), [](Offload& o) { o.csum_offset = 6; });
  refused(Tcp(), [](Offload& o) { o = {.csum_start = 20, .csum_offset = 4, .flags = Offload::kNeedsCsum}; });
  refused(Tcp(),
          [](Offload& o) { o = {.csum_start = 1053, .csum_offset = 0, .flags = Offload::kNeedsCsum}; });
  refused(Tcp(),
          [](Offload& o) { o = {.csum_start = 65535, .csum_offset = 65535, .flags = Offload::kNeedsCsum}; });
  refused(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.mf = true}).Tcp(1, 2).Payload(64),
          [](Offload& o) { o = kTcp; });
  refused(FromPod().Ip4("10.244.1.2", "10.244.2.5", {.fragment_offset = 64, .proto = 6}).Payload(64),
          [](Offload& o) { o = kTcp; });
}

TEST_F(ParseOffloadTest, AChecksumDeeperInsideIsCompleted) {
  // The pod's own tunnel: UDP, then 8 bytes, then something whose checksum field, at 8, is still to be
  // finished.
  Bytes payload(32, 0x11);
  payload[16] = payload[17] = 0;
  const Packet p = With(FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(1, 2).Raw(payload),
                        {.csum_start = 50, .csum_offset = 8, .flags = Offload::kNeedsCsum});
  ASSERT_EQ(p.kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), Offload{});
  EXPECT_EQ(Sum16(std::span<const uint8_t>(BytesOf(*mbuf_)).subspan(50)), 0xffff);
}

TEST_F(ParseOffloadTest, OuterChecksumsGoAwayInnerOnesStay) {
  const Frame f = FromTunnel().Ip4("10.244.2.5", "10.244.1.2").Tcp(1, 2).Payload(1000);
  EXPECT_EQ(With(f, {.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum}, kUnderlayPort).kind,
            PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), Offload{});
  Offload inner = kSuper;
  inner.csum_start = 84;
  EXPECT_EQ(With(f, inner, kUnderlayPort).kind, PacketKind::kFlow);
  EXPECT_EQ(OffloadOf(*mbuf_), inner);
  ExpectDrop(With(f, kSuper, kUnderlayPort), DropReason::kMalformed);
}

TEST_F(ParseTest, ABurstKeepsItsOrder) {
  std::vector<MbufPtr> owners;
  std::vector<rte_mbuf*> mbufs;
  std::vector<PortId> ports;
  for (uint16_t i = 0; i < 64; ++i) {
    owners.push_back(i % 3 == 0 ? FromTunnel().Ip4("10.244.2.5", "10.244.1.2").Udp(i, 2).Mbuf()
                                : FromPod().Ip4("10.244.1.2", "10.244.2.5").Udp(i, 2).Mbuf());
    mbufs.push_back(owners.back().get());
    ports.push_back(i % 3 == 0 ? kUnderlayPort : i % 3 == 1 ? kPodPort : kFreePort);
  }
  std::vector<Packet> out(64);
  std::vector<Packet6> out6(mbufs.size());
  EXPECT_EQ(Parse(tables_, mbufs, ports.data(), 7, out.data(), out6.data()).v4, mbufs.size());
  for (uint16_t i = 0; i < 64; ++i) {
    EXPECT_EQ(out[i].mbuf, mbufs[i]);
    EXPECT_EQ(out[i].kind, i % 3 == 2 ? PacketKind::kDrop : PacketKind::kFlow);
    EXPECT_EQ(out[i].key.src_port_be, i % 3 == 2 ? 0 : rte_cpu_to_be_16(i));
    EXPECT_EQ(out[i].key.in_port, ports[i]);
  }
}

}  // namespace parse_test
}  // namespace podwire
