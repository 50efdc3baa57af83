#include "pmd/udp_super_packet.h"

#include <arpa/inet.h>

#include <memory>
#include <random>

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace udp_super_packet_test {

constexpr size_t kHeader = 14 + 20 + 8;
/// The outer destination of SuperPacket over IPv6.
constexpr Ipv6 kOuter6{
    {0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17}};
const UdpTunnel kVxlan{
    .address = {htonl(0x0af40109)}, .port_be = htons(0x2118), .vxlan = true, .address6 = kOuter6};
const UdpTunnel kBare{.address = {htonl(0x0af40109)}, .port_be = htons(0x2118), .vxlan = false};

Bytes RandomBytes(std::mt19937& random, size_t n) {
  Bytes bytes(n);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

/// The outer lengths and checksums for these bytes; UDP's partial.
void FinishOuter(Bytes& b) {
  Put16(b, 16, static_cast<uint32_t>(b.size() - 14));
  Put16(b, 24, 0);
  Put16(b, 24, static_cast<uint16_t>(~NaiveSum(b, 14, 34)));
  Put16(b, 38, static_cast<uint32_t>(b.size() - 34));
  Put16(b, 40, PseudoSum(b, 14, 17, b.size() - 34));
}

constexpr size_t kHeader6 = 14 + 40 + 8;

/// Lengths and the partial checksum of a UDP datagram over IPv6, for these bytes.
void FinishOuter6(Bytes& b) {
  Put16(b, 18, static_cast<uint32_t>(b.size() - 54));
  Put16(b, 58, static_cast<uint32_t>(b.size() - 54));
  Put16(b, 60, PseudoSum(b, 14, 17, b.size() - 54));
}

/// What a port that receives says of a UDP super-packet.
Offload ReceivedOffload(size_t datagram_len) {
  return {.csum_start = 34,
          .csum_offset = 6,
          .gso_size = static_cast<uint16_t>(datagram_len),
          .gso_type = GsoType::kUdp,
          .flags = Offload::kNeedsCsum};
}

/// A UDP super-packet of these datagrams, in the way of a port that receives.
rte_mbuf* ToMbuf(const Bytes& bytes, size_t datagram_len, size_t first_len = 2048) {
  rte_mbuf* m = ChainMbufs(bytes, first_len, 60000);
  OffloadOf(*m) = ReceivedOffload(datagram_len);
  return m;
}

/// A tunnelled TCP super-packet, and what becomes of it on the wire: the frames' UDP payloads.
struct Case {
  SuperPacket packet;
  std::vector<Bytes> datagrams;

  Bytes Super() const {
    Bytes b(packet.bytes.begin(), packet.bytes.begin() + kHeader);
    for (const Bytes& d : datagrams) b.insert(b.end(), d.begin(), d.end());
    FinishOuter(b);
    return b;
  }
  rte_mbuf* Mbuf(size_t first_len = 2048) const { return ToMbuf(Super(), datagrams[0].size(), first_len); }
};

Case MakeCase(std::mt19937& random, Tunnel tunnel, size_t payload, uint16_t gso_size) {
  Case c{.packet = {.tunnel = tunnel,
                    .tcp_options = static_cast<uint8_t>(random() % 6 * 4),
                    .tcp_flags = static_cast<uint8_t>(0x10 | (random() & 0x09)),
                    .gso_size = gso_size,
                    .sequence = static_cast<uint32_t>(random()),
                    .id = static_cast<uint16_t>(random())},
         .datagrams = {}};
  c.packet.payload = RandomBytes(random, payload);
  c.packet.Build();
  rte_mbuf* m = c.packet.ToMbuf(500);
  Segmenter segmenter;
  EXPECT_TRUE(segmenter.Start(*m));
  rte_mbuf* frame[1];
  while (segmenter.Next(TestPools(), frame) == 1) {
    const Bytes b = ToBytes(*frame[0]);
    c.datagrams.emplace_back(b.begin() + kHeader, b.end());
    rte_pktmbuf_free(frame[0]);
  }
  rte_pktmbuf_free(m);
  return c;
}

bool Join(rte_mbuf& m, const UdpTunnel& tunnel) {
  UdpSuperPacket super;
  return UdpSuperPacket::Find(m, super) && JoinTunnel(m, super, tunnel);
}

/// Whether it joins; if not it must be as it was.
bool Joins(const Case& c, const UdpTunnel& tunnel) {
  rte_mbuf* m = c.Mbuf();
  const bool joined = Join(*m, tunnel);
  if (!joined) {
    EXPECT_EQ(ToBytes(*m), c.Super());
  }
  rte_pktmbuf_free(m);
  return joined;
}

TEST(JoinTunnel, GivesBackTheSuperPacketThatWasSegmented) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto gso_size = static_cast<uint16_t>(random() % 2 == 0 ? 1398 : 200 + random() % 8000);
    const size_t payload = gso_size + 1 + random() % std::min(54000u, gso_size * 60u);
    const bool vxlan = random() % 3 != 0;
    const Case c = MakeCase(random, vxlan ? Tunnel::kVxlan : Tunnel::kUdp, payload, gso_size);
    const size_t first = 200 + random() % 1848;
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " first " << first << " "
                                    << c.packet.Describe());
    rte_mbuf* m = c.Mbuf(first);
    ASSERT_TRUE(Join(*m, vxlan ? kVxlan : kBare));
    ASSERT_EQ(ToBytes(*m), c.packet.bytes);
    EXPECT_EQ(m->pkt_len, c.packet.bytes.size());
    const Offload expected{.csum_start = static_cast<uint16_t>(c.packet.l4),
                           .csum_offset = 16,
                           .gso_size = gso_size,
                           .gso_type = GsoType::kTcp4,
                           .flags = Offload::kNeedsCsum};
    EXPECT_EQ(OffloadOf(*m), expected);
    rte_mbuf_sanity_check(m, 1);
    rte_pktmbuf_free(m);
  }
}

TEST(JoinTunnel, GivesBackSuperPacketsOfIpv6InsideAndOutside) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto gso_size = static_cast<uint16_t>(200 + random() % 8000);
    SuperPacket p{.tunnel = Tunnel::kVxlan,
                  .outer_v6 = random() % 3 != 0,
                  .v6 = random() % 3 != 0,
                  .tcp_options = static_cast<uint8_t>(random() % 6 * 4),
                  .gso_size = gso_size,
                  .sequence = static_cast<uint32_t>(random())};
    p.payload = RandomBytes(random, gso_size + 1 + random() % std::min(54000u, gso_size * 60u));
    p.Build();
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " " << p.Describe());
    const size_t header = p.outer_l4 + 8;
    rte_mbuf* whole = p.ToMbuf(500);
    Segmenter segmenter;
    ASSERT_TRUE(segmenter.Start(*whole));
    Bytes super(p.bytes.begin(), p.bytes.begin() + static_cast<ptrdiff_t>(header));
    size_t datagram = 0;
    rte_mbuf* frame[1];
    while (segmenter.Next(TestPools(), frame) == 1) {
      const Bytes b = ToBytes(*frame[0]);
      if (datagram == 0) datagram = b.size() - header;
      super.insert(super.end(), b.begin() + static_cast<ptrdiff_t>(header), b.end());
      rte_pktmbuf_free(frame[0]);
    }
    rte_pktmbuf_free(whole);
    if (p.outer_v6) {
      FinishOuter6(super);
    } else {
      FinishOuter(super);
    }
    rte_mbuf* m = ChainMbufs(super, 260 + random() % 1700, 60000);
    Offload offload = ReceivedOffload(datagram);
    offload.csum_start = static_cast<uint16_t>(p.outer_l4);
    OffloadOf(*m) = offload;
    UdpTunnel other = kVxlan;
    other.address = {};
    other.address6 = {};
    EXPECT_FALSE(Join(*m, other)) << "not to us";
    ASSERT_TRUE(Join(*m, kVxlan));
    ASSERT_EQ(ToBytes(*m), p.bytes);
    EXPECT_EQ(OffloadOf(*m).gso_type, p.v6 ? GsoType::kTcp6 : GsoType::kTcp4);
    EXPECT_EQ(OffloadOf(*m).csum_start, p.l4);
    rte_mbuf_sanity_check(m, 1);
    rte_pktmbuf_free(m);
  }
}

TEST(JoinTunnel, AFlippedBitAnywhereBehindTheOuterHeaderIsNotHidden) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    Case c = MakeCase(random, round % 2 == 0 ? Tunnel::kVxlan : Tunnel::kUdp, 1500, 400);
    Bytes& d = c.datagrams[random() % c.datagrams.size()];
    const size_t at = random() % 3 == 0 ? random() % d.size() : random() % 74;
    const int bit = static_cast<int>(random() % 8);
    d[at] ^= static_cast<uint8_t>(1 << bit);
    ASSERT_FALSE(Joins(c, round % 2 == 0 ? kVxlan : kBare))
        << "seed " << seed << " byte " << at << " bit " << bit;
  }
}

TEST(JoinTunnel, OnlyTheWholeStreamInOrder) {
  TestPools();
  std::mt19937 random(4);
  const Case whole = MakeCase(random, Tunnel::kVxlan, 4000, 1000);
  ASSERT_EQ(whole.datagrams.size(), 4u);
  EXPECT_TRUE(Joins(whole, kVxlan));
  Case c = whole;
  std::swap(c.datagrams[1], c.datagrams[2]);
  EXPECT_FALSE(Joins(c, kVxlan)) << "out of order";
  c = whole;
  c.datagrams.erase(c.datagrams.begin() + 1);
  EXPECT_FALSE(Joins(c, kVxlan)) << "a gap";
  c = whole;
  c.datagrams[2] = c.datagrams[1];
  EXPECT_FALSE(Joins(c, kVxlan)) << "a retransmission";
  c = whole;
  c.datagrams.resize(1);
  EXPECT_FALSE(Joins(c, kVxlan)) << "one only";
}

TEST(JoinTunnel, SegmentsTooSmallForASuperPacketStayApart) {
  TestPools();
  std::mt19937 random(10);
  EXPECT_FALSE(Joins(MakeCase(random, Tunnel::kVxlan, 40, kMinGsoSize - 1), kVxlan))
      << "parse would refuse it";
  EXPECT_TRUE(Joins(MakeCase(random, Tunnel::kVxlan, 40, kMinGsoSize), kVxlan));
  EXPECT_TRUE(Joins(MakeCase(random, Tunnel::kVxlan, kMinGsoSize + 1, kMinGsoSize), kVxlan));
}

TEST(JoinTunnel, OnlyWhatIsToTheTunnel) {
  TestPools();
  std::mt19937 random(5);
  const Case c = MakeCase(random, Tunnel::kVxlan, 4000, 1000);
  EXPECT_FALSE(Joins(c, {}));
  EXPECT_FALSE(Joins(c, kBare)) << "the udp backend has no VXLAN";
  UdpTunnel other = kVxlan;
  other.port_be = htons(4789);
  EXPECT_FALSE(Joins(c, other));
  other = kVxlan;
  other.address = {htonl(0x0af4010a)};
  EXPECT_FALSE(Joins(c, other));
  EXPECT_FALSE(Joins(MakeCase(random, Tunnel::kUdp, 4000, 1000), kVxlan));
}

TEST(JoinTunnel, AFaultInTheOuterHeaderIsNotMended) {
  TestPools();
  std::mt19937 random(6);
  const Case c = MakeCase(random, Tunnel::kVxlan, 4000, 1000);
  rte_mbuf* m = c.Mbuf();
  *rte_pktmbuf_mtod_offset(m, uint8_t*, 22) ^= 1;  // TTL
  EXPECT_FALSE(Join(*m, kVxlan));
  rte_pktmbuf_free(m);
}

TEST(UdpSplitter, CutsIntoTheDatagrams) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const size_t len = 1 + random() % 60000;
    const size_t datagram = std::max<size_t>(1 + random() % 9000, len / 200);
    Case c = MakeCase(random, Tunnel::kUdp, 10, 1000);  // for its header
    c.datagrams.clear();
    const Bytes payload = RandomBytes(random, len);
    for (size_t at = 0; at < len; at += datagram) {
      const size_t end = std::min(len, at + datagram);
      c.datagrams.emplace_back(payload.begin() + static_cast<ptrdiff_t>(at),
                               payload.begin() + static_cast<ptrdiff_t>(end));
    }
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " of " << len << " by "
                                    << datagram);
    rte_mbuf* m = ToMbuf(c.Super(), datagram, 100 + random() % 1948);
    UdpSuperPacket super;
    ASSERT_TRUE(UdpSuperPacket::Find(*m, super));
    UdpSplitter splitter;
    splitter.Start(m, super);
    for (size_t i = 0; i < c.datagrams.size(); ++i) {
      ASSERT_TRUE(splitter.busy());
      rte_mbuf* frame = splitter.Next(TestPools());
      ASSERT_NE(frame, nullptr);
      Bytes expected(c.packet.bytes.begin(), c.packet.bytes.begin() + kHeader);
      expected.insert(expected.end(), c.datagrams[i].begin(), c.datagrams[i].end());
      Put16(expected, 18, static_cast<uint16_t>(c.packet.id + 777 + i));
      FinishOuter(expected);
      ASSERT_EQ(ToBytes(*frame), expected) << i;
      const Offload partial{.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum};
      EXPECT_EQ(OffloadOf(*frame), partial);
      rte_pktmbuf_free(frame);
    }
    EXPECT_FALSE(splitter.busy());
  }
}

TEST(UdpSplitter, CutsIpv6IntoTheDatagrams) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  SuperPacket p{.tunnel = Tunnel::kUdp, .outer_v6 = true};
  p.payload = {1};
  p.Build();
  for (int round = 0; round < 300; ++round) {
    const size_t len = 1 + random() % 60000;
    const size_t datagram = std::max<size_t>(1 + random() % 9000, len / 200);
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " of " << len << " by "
                                    << datagram);
    const Bytes payload = RandomBytes(random, len);
    Bytes whole(p.bytes.begin(), p.bytes.begin() + kHeader6);
    whole.insert(whole.end(), payload.begin(), payload.end());
    FinishOuter6(whole);
    rte_mbuf* m = ChainMbufs(whole, 100 + random() % 1948, 60000);
    Offload offload = ReceivedOffload(datagram);
    offload.csum_start = 54;
    OffloadOf(*m) = offload;
    UdpSuperPacket super;
    ASSERT_TRUE(UdpSuperPacket::Find(*m, super));
    EXPECT_FALSE(JoinTunnel(*m, super, kBare));
    UdpSplitter splitter;
    splitter.Start(m, super);
    for (size_t at = 0; at < len; at += datagram) {
      ASSERT_TRUE(splitter.busy());
      rte_mbuf* frame = splitter.Next(TestPools());
      ASSERT_NE(frame, nullptr);
      Bytes expected(p.bytes.begin(), p.bytes.begin() + kHeader6);
      expected.insert(expected.end(), payload.begin() + static_cast<ptrdiff_t>(at),
                      payload.begin() + static_cast<ptrdiff_t>(std::min(len, at + datagram)));
      FinishOuter6(expected);
      ASSERT_EQ(ToBytes(*frame), expected) << at;
      const Offload partial{.csum_start = 54, .csum_offset = 6, .flags = Offload::kNeedsCsum};
      EXPECT_EQ(OffloadOf(*frame), partial);
      rte_pktmbuf_free(frame);
    }
    EXPECT_FALSE(splitter.busy());
  }
}

TEST(UdpSuperPacket, RefusesIpv6ThatDoesNotFitTogether) {
  TestPools();
  SuperPacket p{.tunnel = Tunnel::kUdp, .outer_v6 = true};
  p.payload = Bytes(1000, 1);
  p.Build();
  Bytes whole = p.bytes;
  FinishOuter6(whole);
  const auto found = [&](auto&& change) {
    rte_mbuf* m = ChainMbufs(whole, whole.size(), 1);
    Offload offload = ReceivedOffload(500);
    offload.csum_start = 54;
    OffloadOf(*m) = offload;
    change(*m, rte_pktmbuf_mtod(m, uint8_t*));
    UdpSuperPacket super;
    const bool ok = UdpSuperPacket::Find(*m, super);
    rte_pktmbuf_free(m);
    return ok;
  };
  EXPECT_TRUE(found([](rte_mbuf&, uint8_t*) {}));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { m.data_len = 53; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { m.data_len = 61; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { OffloadOf(m).csum_start = 34; }));
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[14] = 0x45; })) << "version";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[20] = 0; })) << "an extension header";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { ++b[18]; })) << "longer than the packet";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { ++b[59]; })) << "UDP length";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[13] = 0xdc; })) << "not IPv6";
}

TEST(UdpSplitter, GivesUpWhatItHoldsAndWhatItHasNoMbufFor) {
  TestPools();
  auto tiny = MbufPools::Create({.name = "tiny_udp", .small_count = 15, .big_count = 15, .cache = 0});
  ASSERT_TRUE(tiny.ok());
  std::mt19937 random(7);
  const Case c = MakeCase(random, Tunnel::kUdp, 20000, 1000);
  UdpSuperPacket super;
  std::vector<rte_mbuf*> frames;
  {
    rte_mbuf* m = c.Mbuf();
    ASSERT_TRUE(UdpSuperPacket::Find(*m, super));
    UdpSplitter splitter;
    splitter.Start(m, super);
    while (splitter.busy()) {
      if (rte_mbuf* frame = splitter.Next(**tiny)) frames.push_back(frame);
    }
    EXPECT_EQ(frames.size(), 15u);
    splitter.Start(c.Mbuf(), super);
    EXPECT_TRUE(splitter.busy());
  }
  rte_pktmbuf_free_bulk(frames.data(), 15);
  EXPECT_EQ(rte_mempool_in_use_count(&TestPools().big()), 0u);
}

/// The packet's first `first_len` bytes end where a heap block ends, so that AddressSanitizer sees the byte
/// behind them.
class TightPacket {
 public:
  TightPacket(const Bytes& bytes, size_t first_len) : m_(ChainMbufs(bytes, first_len, 60000)) {
    saved_ = *m_;
    block_ = std::make_unique<uint8_t[]>(m_->data_len);
    std::copy_n(bytes.begin(), m_->data_len, block_.get());
    m_->buf_addr = block_.get();
    m_->data_off = 0;
    m_->buf_len = m_->data_len;
  }
  ~TightPacket() {
    m_->buf_addr = saved_.buf_addr;
    m_->buf_len = saved_.buf_len;
    rte_pktmbuf_free(m_);
  }
  TightPacket(const TightPacket&) = delete;
  TightPacket& operator=(const TightPacket&) = delete;
  rte_mbuf& operator*() { return *m_; }

 private:
  rte_mbuf* m_;
  rte_mbuf saved_;
  std::unique_ptr<uint8_t[]> block_;
};

TEST(JoinTunnel, TheFirstDatagramsHeadersMustBeInTheFirstMbuf) {
  TestPools();
  std::mt19937 random(9);
  for (const bool vxlan : {true, false}) {
    const Case c = MakeCase(random, vxlan ? Tunnel::kVxlan : Tunnel::kUdp, 4000, 1000);
    const size_t headers = c.packet.header;
    for (const size_t first : {kHeader, kHeader + 1, headers - 1}) {
      TightPacket packet(c.Super(), first);
      OffloadOf(*packet) = ReceivedOffload(c.datagrams[0].size());
      EXPECT_FALSE(Join(*packet, vxlan ? kVxlan : kBare)) << "vxlan " << vxlan << " first " << first;
      EXPECT_EQ(ToBytes(*packet), c.Super()) << "vxlan " << vxlan << " first " << first;
    }
  }
}

/// Bytes put right so that random ones get further than the first check.
void FinishSome(std::mt19937& random, Bytes& b) {
  b[14] = 0x45;
  if (random() % 4 != 0) FinishOuter(b);
}

TEST(UdpSuperPacket, StrangersBytesAndClaimsAreSafe) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  size_t found = 0, joined = 0;
  for (int round = 0; round < 6000; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round);
    const bool vxlan = random() % 2 == 0;
    const Case c = MakeCase(random, vxlan ? Tunnel::kVxlan : Tunnel::kUdp, 400 + random() % 300, 200);
    Bytes b = c.Super();
    for (size_t i = random() % 4; i > 0; --i) b[random() % 120] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) b.resize(kHeader + random() % (b.size() - kHeader));
    FinishSome(random, b);
    TightPacket packet(b, 1 + random() % b.size());
    const size_t datagram = random() % 3 == 0 ? 1 + random() % 400 : c.datagrams[0].size();
    OffloadOf(*packet) = {.csum_start = static_cast<uint16_t>(random() % 8 == 0 ? random() : 34),
                          .csum_offset = 6,
                          .gso_size = static_cast<uint16_t>(datagram),
                          .gso_type = GsoType::kUdp,
                          .flags = Offload::kNeedsCsum};
    UdpSuperPacket super;
    if (!UdpSuperPacket::Find(*packet, super)) continue;
    ++found;
    ASSERT_LE(super.len, b.size());
    if (JoinTunnel(*packet, super, vxlan ? kVxlan : kBare)) ++joined;
    const char* why = nullptr;
    ASSERT_EQ(rte_mbuf_check(&*packet, 1, &why), 0) << why;
  }
  EXPECT_GT(found, 1000u);
  EXPECT_GT(joined, 100u);
}

TEST(UdpSuperPacket, RefusesWhatDoesNotFitTogether) {
  TestPools();
  std::mt19937 random(8);
  const Case c = MakeCase(random, Tunnel::kVxlan, 4000, 1000);
  const auto found = [&](auto&& change) {
    rte_mbuf* m = c.Mbuf();
    change(*m, rte_pktmbuf_mtod(m, uint8_t*));
    UdpSuperPacket super;
    const bool ok = UdpSuperPacket::Find(*m, super);
    rte_pktmbuf_free(m);
    return ok;
  };
  EXPECT_TRUE(found([](rte_mbuf&, uint8_t*) {}));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { m.data_len = 33; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { m.data_len = 41; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { OffloadOf(m).flags = 0; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { OffloadOf(m).gso_size = 0; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { OffloadOf(m).gso_size = 65500; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { OffloadOf(m).csum_start = 35; }));
  EXPECT_FALSE(found([](rte_mbuf& m, uint8_t*) { OffloadOf(m).csum_offset = 16; }));
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[12] = 0x86; })) << "not IPv4";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[14] = 0x65; }));
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[14] = 0x44; }));
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[14] = 0x4f; }));
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { ++b[16]; })) << "longer than the packet";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[16] = 0, b[17] = 28; })) << "nothing in it";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[20] = 0x20; })) << "a fragment";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[21] = 1; })) << "a fragment";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { b[23] = 6; })) << "not UDP";
  EXPECT_FALSE(found([](rte_mbuf&, uint8_t* b) { ++b[39]; })) << "UDP length";
}

}  // namespace udp_super_packet_test
}  // namespace podwire
