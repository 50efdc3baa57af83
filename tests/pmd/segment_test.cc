#include "pmd/segment.h"

#include <array>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace segment_test {

constexpr uint8_t kFin = 0x01;
constexpr uint8_t kPsh = 0x08;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kCwr = 0x80;

Bytes RandomBytes(std::mt19937& random, size_t n) {
  Bytes bytes(n);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

/// Segments (in bursts of `burst`) and frees the packet.
std::vector<Bytes> Segment(rte_mbuf* packet, size_t burst = 32) {
  std::vector<Bytes> frames;
  std::vector<rte_mbuf*> out(burst);
  Segmenter s;
  EXPECT_TRUE(s.Start(*packet));
  while (const uint16_t n = s.Next(TestPools(), out)) {
    for (uint16_t i = 0; i < n; ++i) {
      EXPECT_EQ(out[i]->nb_segs, 1);
      EXPECT_EQ(out[i]->pkt_len, out[i]->data_len);
      EXPECT_EQ(OffloadOf(*out[i]), Offload{});
      frames.push_back(ToBytes(*out[i]));
      rte_pktmbuf_free(out[i]);
    }
  }
  EXPECT_EQ(s.remaining(), 0u);
  rte_pktmbuf_free(packet);
  return frames;
}

void ExpectIp(const Bytes& f, size_t l3, uint16_t id) {
  if (f.at(l3) >> 4 == 6) {
    EXPECT_EQ(Get16(f, l3 + 4), f.size() - l3 - 40);
    return;
  }
  EXPECT_EQ(Get16(f, l3 + 2), f.size() - l3);
  EXPECT_EQ(Get16(f, l3 + 4), id);
  EXPECT_EQ(NaiveSum(f, l3, l3 + (f[l3] & 15u) * 4), 0xffff) << "IP checksum at " << l3;
}

/// The header bytes with all that may differ between frames zeroed.
Bytes FixedHeader(const SuperPacket& p, Bytes f) {
  f.resize(p.header);
  const auto zero_ip = [&](size_t l3) {
    Put16(f, l3 + (f[l3] >> 4 == 6 ? 4 : 2), 0);
    if (f[l3] >> 4 == 4) Put16(f, l3 + 4, 0), Put16(f, l3 + 10, 0);
  };
  if (p.tunnel != Tunnel::kNone) zero_ip(p.outer_l3), Put32(f, p.outer_l4 + 4, 0);
  zero_ip(p.l3);
  Put32(f, p.l4 + 4, 0);
  f[p.l4 + 13] &= static_cast<uint8_t>(~(kFin | kPsh | kCwr));
  Put16(f, p.l4 + 16, 0);
  return f;
}

void ExpectFrame(const SuperPacket& p, const Bytes& f, size_t index, size_t count, size_t payload_at) {
  ASSERT_GE(f.size(), p.header);
  EXPECT_EQ(FixedHeader(p, f), FixedHeader(p, p.bytes));
  if (p.tunnel != Tunnel::kNone) {
    ExpectIp(f, p.outer_l3, static_cast<uint16_t>(p.id + 777 + index));
    EXPECT_EQ(Get16(f, p.outer_l4 + 4), f.size() - p.outer_l4);
    if (p.outer_v6) {
      EXPECT_EQ(NaiveSum(f, p.outer_l4, f.size(), PseudoSum(f, p.outer_l3, 17, f.size() - p.outer_l4)),
                0xffff)
          << "outer UDP checksum";
    } else {
      EXPECT_EQ(Get16(f, p.outer_l4 + 6), 0) << "outer UDP checksum";
    }
  }
  ExpectIp(f, p.l3, static_cast<uint16_t>(p.id + index));
  EXPECT_EQ(Get32(f, p.l4 + 4), static_cast<uint32_t>(p.sequence + payload_at));
  uint8_t flags = p.tcp_flags;
  if (index != 0) flags &= static_cast<uint8_t>(~kCwr);
  if (index + 1 != count) flags &= static_cast<uint8_t>(~(kFin | kPsh));
  EXPECT_EQ(f[p.l4 + 13], flags);
  EXPECT_EQ(NaiveSum(f, p.l4, f.size(), PseudoSum(f, p.l3, 6, f.size() - p.l4)), 0xffff) << "TCP checksum";
}

void ExpectSegmentsOf(const SuperPacket& p, const std::vector<Bytes>& frames) {
  ASSERT_EQ(frames.size(), (p.payload.size() + p.gso_size - 1) / p.gso_size);
  Bytes stream;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (i + 1 < frames.size()) {
      EXPECT_EQ(frames[i].size(), p.header + p.gso_size);
    }
    ExpectFrame(p, frames[i], i, frames.size(), stream.size());
    stream.insert(stream.end(), frames[i].begin() + static_cast<ptrdiff_t>(p.header), frames[i].end());
  }
  EXPECT_EQ(stream, p.payload);
}

SuperPacket RandomPacket(std::mt19937& random) {
  const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  SuperPacket p{.tunnel = static_cast<Tunnel>(pick(3)),
                .outer_v6 = pick(4) == 0,
                .v6 = pick(3) == 0,
                .vlan = pick(4) == 0,
                .ip_options = static_cast<uint8_t>(pick(3) * 4),
                .tcp_options = static_cast<uint8_t>(pick(6) * 4),
                .tcp_flags = static_cast<uint8_t>(kAck | (random() & (kFin | kPsh | kCwr))),
                .gso_size = static_cast<uint16_t>(pick(2) == 0 ? 1380 + pick(80) : 100 + pick(8900)),
                .sequence = static_cast<uint32_t>(random()),
                .id = static_cast<uint16_t>(random())};
  p.payload = RandomBytes(random, 1 + pick(pick(2) == 0 ? 65000 : 4000));
  p.Build();
  return p;
}

TEST(Segmenter, RandomPacketsGiveTheSameStreamWithRightHeaders) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 400; ++round) {
    const SuperPacket p = RandomPacket(random);
    const size_t first = p.header + random() % (kSmallRoom - p.header);
    const size_t part = random() % 2 == 0 ? 60000 : 1 + random() % 3000 + p.bytes.size() / 100;
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " first " << first << " part "
                                    << part << " " << p.Describe());
    ExpectSegmentsOf(p, Segment(p.ToMbuf(first, part), 1 + random() % 40));
    if (HasFailure()) return;
  }
}

/// A bundle's bytes, which must be well-formed, taken apart into the frames it stands for: outer ids from
/// `first_index` on, the outer UDP checksum as ExpectFrame wants it.
void AddFrames(const SuperPacket& p, const TunnelBundle& bundle, size_t first_index,
               std::vector<Bytes>& frames) {
  Bytes b;
  for (const iovec& part : bundle.span()) {
    const auto* data = static_cast<const uint8_t*>(part.iov_base);
    b.insert(b.end(), data, data + part.iov_len);
  }
  ASSERT_EQ(bundle.len, b.size());
  ASSERT_LE(b.size() - p.outer_l3, 65535u);
  ExpectIp(b, p.outer_l3, static_cast<uint16_t>(p.id + 777 + first_index));
  EXPECT_EQ(Get16(b, p.outer_l4 + 4), b.size() - p.outer_l4);
  EXPECT_EQ(Get16(b, p.outer_l4 + 6), PseudoSum(b, p.outer_l3, 17, b.size() - p.outer_l4));
  EXPECT_EQ(bundle.csum_start, p.outer_l4);
  const size_t outer = p.outer_l4 + 8;
  size_t index = first_index;
  for (size_t at = outer; at < b.size(); at += bundle.frame_len, ++index) {
    Bytes frame(b.begin(), b.begin() + static_cast<ptrdiff_t>(outer));
    const size_t end = std::min(b.size(), at + bundle.frame_len);
    frame.insert(frame.end(), b.begin() + static_cast<ptrdiff_t>(at),
                 b.begin() + static_cast<ptrdiff_t>(end));
    const auto udp_len = static_cast<uint32_t>(frame.size() - p.outer_l4);
    Put16(frame, p.outer_l4 + 4, udp_len);
    Put16(frame, p.outer_l4 + 6, 0);
    if (p.outer_v6) {
      Put16(frame, p.outer_l3 + 4, udp_len);
      Put16(frame, p.outer_l4 + 6,
            static_cast<uint16_t>(
                ~NaiveSum(frame, p.outer_l4, frame.size(), PseudoSum(frame, p.outer_l3, 17, udp_len))));
    } else {
      Put16(frame, p.outer_l3 + 2, static_cast<uint32_t>(frame.size() - p.outer_l3));
      Put16(frame, p.outer_l3 + 4, static_cast<uint16_t>(p.id + 777 + index));
      Put16(frame, p.outer_l3 + 10, 0);
      Put16(frame, p.outer_l3 + 10, static_cast<uint16_t>(~NaiveSum(frame, p.outer_l3, p.outer_l4)));
    }
    frames.push_back(frame);
  }
  EXPECT_EQ(index - first_index, bundle.frames);
}

TEST(Segmenter, BundlesAreTheSameFrames) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    SuperPacket p = RandomPacket(random);
    if (p.tunnel == Tunnel::kNone) p.tunnel = Tunnel::kVxlan;
    p.Build();
    const size_t first = p.header + random() % (kSmallRoom - p.header);
    const size_t part = random() % 2 == 0 ? 60000 : 700 + random() % 3000;
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " first " << first << " part "
                                    << part << " " << p.Describe());
    rte_mbuf* packet = p.ToMbuf(first, part);
    Segmenter s;
    ASSERT_TRUE(s.Start(*packet));
    TunnelBundle bundle;
    std::vector<Bytes> frames;
    while (s.NextBundle(bundle) != 0) AddFrames(p, bundle, frames.size(), frames);
    EXPECT_EQ(s.remaining(), 0u);
    rte_pktmbuf_free(packet);
    ExpectSegmentsOf(p, frames);
    if (HasFailure()) return;
  }
}

TEST(Segmenter, NoBundlesOfWhatHasNoTunnelOrIsInTooManyPieces) {
  std::mt19937 random(9);
  const auto bundled = [&](SuperPacket p, size_t part) {
    p.payload = RandomBytes(random, 9000);
    p.Build();
    rte_mbuf* packet = p.ToMbuf(p.header, part);
    Segmenter s;
    EXPECT_TRUE(s.Start(*packet));
    TunnelBundle bundle;
    const uint16_t n = s.NextBundle(bundle);
    EXPECT_EQ(n == 0, s.remaining() == 9000);
    rte_pktmbuf_free(packet);
    return n;
  };
  EXPECT_EQ(bundled({.tunnel = Tunnel::kVxlan}, 60000), 7);
  EXPECT_EQ(bundled({.tunnel = Tunnel::kVxlan}, 300), 7);
  EXPECT_EQ(bundled({.tunnel = Tunnel::kVxlan, .gso_size = 8999}, 20), 0) << "450 parts";
  EXPECT_EQ(bundled({.tunnel = Tunnel::kVxlan, .outer_v6 = true}, 60000), 7);
  EXPECT_EQ(bundled({.tunnel = Tunnel::kNone}, 60000), 0);
}

std::string Hex(const Bytes& bytes) {
  std::string text;
  for (const uint8_t b : bytes) text += fmt::format("{:02x}", b);
  return text;
}

TEST(Segmenter, FramesAreByteForByteWhatTheRfcsSay) {
  SuperPacket p{.tcp_flags = kAck | kPsh | kFin | kCwr, .gso_size = 4, .sequence = 0xfffffffe, .id = 0xffff};
  p.payload = {'p', 'o', 'd', 'w', 'i', 'r', 'e'};
  p.Build();
  const std::vector<Bytes> frames = Segment(p.ToMbuf(p.header));
  ASSERT_EQ(frames.size(), 2u);
  // Computed by a few lines of Python from RFC 791, 793 and 1071. Sequence and id wrap between the two.
  EXPECT_EQ(Hex(frames[0]),
            "020000000001020000000002"
            "0800"
            "4502002cffff4000400623d90af400010af40109"
            "13880050fffffffe01020304509001f5a9a60000"
            "706f6477");
  EXPECT_EQ(Hex(frames[1]),
            "020000000001020000000002"
            "0800"
            "4502002b00004000400623da0af400010af40109"
            "138800500000000201020304501901f5b08f0000"
            "697265");
}

TEST(Segmenter, RefusesWhatDoesNotFitTogether) {
  std::mt19937 random(1);
  SuperPacket p{.tunnel = Tunnel::kVxlan};
  p.payload = RandomBytes(random, 9000);
  p.Build();
  const auto starts = [&](auto&& change) {
    rte_mbuf* m = p.ToMbuf(1000);
    change(*m, *rte_pktmbuf_mtod(m, Bytes::value_type(*)[1000]));
    Segmenter s;
    const bool ok = s.Start(*m);
    rte_pktmbuf_free(m);
    return ok;
  };
  EXPECT_TRUE(starts([](rte_mbuf&, auto&) {}));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).gso_size = 0; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).gso_size = 65535; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).flags = 0; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).gso_type = GsoType::kTcp6; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).csum_start += 4; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).csum_start = 990; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { OffloadOf(m).csum_start = 65535; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { m.l2_len = 0; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { m.l2_len = 127; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { m.outer_l3_len = 0; }));
  EXPECT_FALSE(starts([](rte_mbuf& m, auto&) { m.outer_l3_len = 511; }));
  EXPECT_FALSE(starts([&](rte_mbuf&, auto& bytes) { bytes[p.l3] = 0x4f; })) << "IHL behind the TCP header";
  EXPECT_FALSE(starts([&](rte_mbuf&, auto& bytes) { bytes[p.l4 + 12] = 0x40; })) << "TCP header of 16 bytes";
  EXPECT_FALSE(starts([&](rte_mbuf& m, auto&) { m.data_len = static_cast<uint16_t>(p.header - 1); }));
}

TEST(Segmenter, SaysWhenThePoolRunsDryAndLeaksNothing) {
  TestPools();
  auto tiny = MbufPools::Create({.name = "tiny", .small_count = 15, .big_count = 15, .cache = 0});
  ASSERT_TRUE(tiny.ok());
  std::mt19937 random(2);
  SuperPacket p;
  p.payload = RandomBytes(random, 20 * 1448);
  p.Build();
  rte_mbuf* packet = p.ToMbuf(100);
  Segmenter s;
  ASSERT_TRUE(s.Start(*packet));
  std::array<rte_mbuf*, 32> frames;
  EXPECT_EQ(s.Next(**tiny, frames), 15);
  EXPECT_EQ(s.remaining(), 5u * 1448);
  std::array<rte_mbuf*, 4> none;
  EXPECT_EQ(s.Next(**tiny, none), 0);
  rte_pktmbuf_free_bulk(frames.data(), 15);
  EXPECT_EQ(rte_mempool_avail_count(&(*tiny)->small()), 15u);
  EXPECT_EQ(s.Next(**tiny, frames), 5);
  rte_pktmbuf_free_bulk(frames.data(), 5);
  rte_pktmbuf_free(packet);
}

/// A UDP datagram (or TCP segment) of `len` payload bytes with a partial checksum.
Bytes PartialUdp(std::mt19937& random, size_t len, size_t l4) {
  Bytes b = RandomBytes(random, l4 + 8 + len);
  b[14] = 0x45;
  Put16(b, l4 + 6, PseudoSum(b, 14, 17, b.size() - l4));
  return b;
}

TEST(CompleteChecksum, ChainsOfAnyLengthsAddUp) {
  TestPools();
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  for (int round = 0; round < 500; ++round) {
    const size_t l4 = 34;
    const Bytes b = PartialUdp(random, random() % 60000, l4);
    const size_t first = l4 + 8 + random() % 1500;
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " size " << b.size()
                                    << " first " << first);
    rte_mbuf* m = ChainMbufs(b, first, 1 + b.size() / 100 + random() % 30000);
    OffloadOf(*m) = {.csum_start = l4, .csum_offset = 6, .flags = Offload::kNeedsCsum};
    ASSERT_TRUE(CompleteChecksum(*m));
    EXPECT_FALSE(OffloadOf(*m).needs_csum());
    const Bytes done = ToBytes(*m);
    rte_pktmbuf_free(m);
    ASSERT_EQ(NaiveSum(done, l4, done.size(), PseudoSum(done, 14, 17, done.size() - l4)), 0xffff);
  }
}

TEST(CompleteChecksum, ZeroIsAllOnesForUdpOnly) {
  TestPools();
  for (const bool udp : {true, false}) {
    Bytes b(64, 0);
    const uint16_t offset = udp ? 6 : 16;
    b[40] = 0xff;  // the rest and the field add up to ffff
    b[41] = 0xff;
    rte_mbuf* m = ChainMbufs(b, b.size(), 1);
    OffloadOf(*m) = {.csum_start = 20, .csum_offset = offset, .flags = Offload::kNeedsCsum};
    ASSERT_TRUE(CompleteChecksum(*m));
    EXPECT_EQ(Get16(ToBytes(*m), 20u + offset), udp ? 0xffff : 0);
    rte_pktmbuf_free(m);
  }
}

TEST(CompleteChecksum, RefusesAFieldOutsideTheFirstMbuf) {
  TestPools();
  std::mt19937 random(3);
  const Bytes b = RandomBytes(random, 300);
  for (const uint16_t start : {95, 300, 65535}) {
    rte_mbuf* m = ChainMbufs(b, 100, 200);
    OffloadOf(*m) = {.csum_start = start, .csum_offset = 6, .flags = Offload::kNeedsCsum};
    EXPECT_FALSE(CompleteChecksum(*m));
    EXPECT_TRUE(OffloadOf(*m).needs_csum());
    EXPECT_EQ(ToBytes(*m), b);
    rte_pktmbuf_free(m);
  }
}

}  // namespace segment_test
}  // namespace podwire
