#include "pmd/burst_coalescer.h"

#include <functional>
#include <map>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "pmd/segment.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace burst_coalescer_test {

constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10, kUrg = 0x20, kEce = 0x40,
                  kCwr = 0x80;
constexpr size_t kL3 = 14, kL4 = 34;

/// One frame of a connection, by what may differ between them.
struct Segment {
  uint16_t port = 5000;
  uint32_t sequence = 1000;
  uint32_t ack = 77;
  uint16_t window = 501;
  uint16_t urgent = 0;
  uint16_t id = 1;
  uint8_t flags = kAck;
  uint8_t ttl = 64;
  uint8_t tos = 0;
  uint8_t timestamp = 9;
  uint8_t mac = 1;
  bool df = true;
  size_t payload = 100;
  uint8_t fill = 0;  ///< 0: of the sequence number
};

void Complete(Bytes& b) {
  Put16(b, kL3 + 10, 0);
  Put16(b, kL3 + 10, static_cast<uint16_t>(~NaiveSum(b, kL3, kL4)));
  Put16(b, kL4 + 16, 0);
  Put16(b, kL4 + 16,
        static_cast<uint16_t>(~NaiveSum(b, kL4, b.size(), PseudoSum(b, kL3, 6, b.size() - kL4))));
}

Bytes FrameOf(const Segment& s) {
  SuperPacket p{.tcp_options = 12, .tcp_flags = s.flags, .sequence = s.sequence, .id = s.id};
  for (size_t i = 0; i < s.payload; ++i) {
    p.payload.push_back(s.fill != 0 ? s.fill : static_cast<uint8_t>((s.sequence + i) * 7 % 251));
  }
  p.Build();
  Bytes b = p.bytes;
  b[5] = s.mac;
  b[kL3 + 1] = s.tos;
  Put16(b, kL3 + 6, s.df ? 0x4000 : 0);
  b[kL3 + 8] = s.ttl;
  Put16(b, kL4, s.port);
  Put32(b, kL4 + 8, s.ack);
  Put16(b, kL4 + 14, s.window);
  Put16(b, kL4 + 18, s.urgent);
  b[kL4 + 31] = s.timestamp;
  Complete(b);
  return b;
}

std::vector<rte_mbuf*> ToMbufs(const std::vector<Bytes>& frames) {
  std::vector<rte_mbuf*> mbufs;
  for (const Bytes& f : frames) mbufs.push_back(ChainMbufs(f, f.size(), 1));
  return mbufs;
}

/// The super-packet of mbufs that were planned together, as bytes, cut up again.
std::vector<Bytes> CutUp(std::span<rte_mbuf*> mbufs, const TcpCoalescer& super) {
  Bytes bytes = ToBytes(*mbufs[0]);
  const size_t header = kL3 + super.header_len();
  bytes.resize(header);
  super.WriteHeader(bytes.data() + kL3);
  for (const rte_mbuf* m : mbufs) {
    const Bytes frame = ToBytes(*m);
    bytes.insert(bytes.end(), frame.begin() + static_cast<ptrdiff_t>(header), frame.end());
  }
  EXPECT_EQ(bytes.size(), kL3 + super.len());
  EXPECT_EQ(Get16(bytes, kL4 + 16), PseudoSum(bytes, kL3, 6, bytes.size() - kL4)) << "partial checksum";
  EXPECT_EQ(NaiveSum(bytes, kL3, kL4), 0xffff) << "IP checksum";
  rte_mbuf* packet = ChainMbufs(bytes, header, 60000);
  OffloadOf(*packet) = super.OffloadAt(kL3);
  Segmenter segmenter;
  std::vector<Bytes> frames;
  EXPECT_TRUE(segmenter.Start(*packet));
  rte_mbuf* frame[1];
  while (segmenter.Next(TestPools(), frame) == 1) {
    frames.push_back(ToBytes(*frame[0]));
    rte_pktmbuf_free(frame[0]);
  }
  rte_pktmbuf_free(packet);
  return frames;
}

struct Outcome {
  std::vector<size_t> sizes;  ///< frames in each packet that leaves
  std::vector<Bytes> frames;  ///< as they leave, super-packets cut up again
};

Outcome Coalesce(const std::vector<Bytes>& frames, Offload offload = {}) {
  std::vector<rte_mbuf*> mbufs = ToMbufs(frames);
  for (rte_mbuf* m : mbufs) OffloadOf(*m) = offload;
  BurstCoalescer coalescer;
  coalescer.Plan(mbufs);
  Outcome out;
  for (size_t i = 0; i < mbufs.size(); i += out.sizes.back()) {
    const TcpCoalescer* super = coalescer.At(static_cast<uint16_t>(i));
    out.sizes.push_back(super == nullptr ? 1 : super->segments());
    if (super == nullptr) {
      out.frames.push_back(ToBytes(*mbufs[i]));
    } else {
      const auto cut = CutUp(std::span(mbufs).subspan(i, super->segments()), *super);
      EXPECT_EQ(cut.size(), super->segments());
      out.frames.insert(out.frames.end(), cut.begin(), cut.end());
    }
  }
  for (rte_mbuf* m : mbufs) rte_pktmbuf_free(m);
  return out;
}

std::vector<Bytes> Stream(std::vector<Segment> segments) {
  std::vector<Bytes> frames;
  for (const Segment& s : segments) frames.push_back(FrameOf(s));
  return frames;
}

/// Two segments that would be one but for `change`.
size_t Packets(const std::function<void(Segment&)>& change) {
  Segment first, second{.sequence = 1100, .id = 2};
  change(second);
  return Coalesce(Stream({first, second})).sizes.size();
}

TEST(BurstCoalescer, SegmentsInOrderBecomeOnePacketAndCutUpTheSameAgain) {
  const auto frames = Stream({{.sequence = 0xffffff9c},
                              {.sequence = 0, .id = 2},
                              {.sequence = 100, .id = 3},
                              {.sequence = 200, .id = 4, .flags = kAck | kPsh | kFin, .payload = 1}});
  const Outcome out = Coalesce(frames);
  EXPECT_EQ(out.sizes, std::vector<size_t>{4});
  EXPECT_EQ(out.frames, frames);
}

TEST(BurstCoalescer, WhatTheReceiverCouldTellApartStaysApart) {
  EXPECT_EQ(Packets([](Segment&) {}), 1u);
  EXPECT_EQ(Packets([](Segment& s) { s.payload = 60; }), 1u) << "the last may be shorter";
  EXPECT_EQ(Packets([](Segment& s) { s.flags |= kPsh; }), 1u);
  EXPECT_EQ(Packets([](Segment& s) { s.id = 500; }), 1u) << "with DF";
  EXPECT_EQ(Packets([](Segment& s) { s.port = 5001; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.sequence = 1099; }), 2u) << "retransmission";
  EXPECT_EQ(Packets([](Segment& s) { s.sequence = 1000; }), 2u) << "retransmission";
  EXPECT_EQ(Packets([](Segment& s) { s.sequence = 1101; }), 2u) << "gap";
  EXPECT_EQ(Packets([](Segment& s) { s.ack = 78; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.window = 500; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.urgent = 1; }), 2u) << "without URG too";
  EXPECT_EQ(Packets([](Segment& s) { s.ttl = 63; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.tos = 3; }), 2u) << "congestion experienced";
  EXPECT_EQ(Packets([](Segment& s) { s.timestamp = 10; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.mac = 2; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.df = false; }), 2u);
  EXPECT_EQ(Packets([](Segment& s) { s.payload = 101; }), 2u) << "longer than the first";
  EXPECT_EQ(Packets([](Segment& s) { s.payload = 0; }), 2u) << "a pure ACK";
  for (const int flag : {kSyn, kRst, kUrg, kEce, kCwr}) {
    EXPECT_EQ(Packets([&](Segment& s) { s.flags |= static_cast<uint8_t>(flag); }), 2u) << flag;
  }
  EXPECT_EQ(Packets([](Segment& s) { s.flags = 0; }), 2u) << "no ACK";
}

TEST(BurstCoalescer, SegmentsTooSmallForASuperPacketStayApart) {
  const auto run = [](uint32_t payload) {
    return Coalesce(Stream({{.payload = payload}, {.sequence = 1000 + payload, .payload = payload}}))
        .sizes.size();
  };
  EXPECT_EQ(run(kMinGsoSize - 1), 2u) << "parse would refuse it";
  EXPECT_EQ(run(kMinGsoSize), 1u);
  EXPECT_EQ(Coalesce(Stream({{}, {.sequence = 1100, .payload = 1}})).sizes.size(), 1u) << "the last may be";
}

TEST(BurstCoalescer, WithoutDfTheIdsMustCountUp) {
  const auto run = [](uint16_t id) {
    return Coalesce(Stream({{.id = 65535, .df = false}, {.sequence = 1100, .id = id, .df = false}}))
        .sizes.size();
  };
  EXPECT_EQ(run(0), 1u);
  EXPECT_EQ(run(1), 2u);
  EXPECT_EQ(run(65535), 2u);
}

TEST(BurstCoalescer, PshAndAShortSegmentEndAPacket) {
  EXPECT_EQ(Coalesce(Stream({{.flags = kAck | kPsh}, {.sequence = 1100}, {.sequence = 1200}})).sizes,
            (std::vector<size_t>{1, 2}));
  EXPECT_EQ(
      Coalesce(Stream({{}, {.sequence = 1100, .payload = 9}, {.sequence = 1109}, {.sequence = 1209}})).sizes,
      (std::vector<size_t>{2, 2}));
}

TEST(BurstCoalescer, ACorruptSegmentGoesAsItCame) {
  for (size_t bad = 0; bad < 4; ++bad) {
    auto frames = Stream({{}, {.sequence = 1100}, {.sequence = 1200}, {.sequence = 1300}});
    frames[bad].back() ^= 4;
    const Outcome out = Coalesce(frames);
    EXPECT_EQ(out.sizes.size(), bad == 0 || bad == 3 ? 2u : bad == 1 ? 3u : 3u) << bad;
    EXPECT_EQ(out.frames.at(bad), frames[bad]) << "neither mended nor hidden";
  }
}

TEST(BurstCoalescer, TheWordOfThePortOrOfASenderOnThisNodeIsTaken) {
  auto frames = Stream({{}, {.sequence = 1100}});
  frames[1].back() ^= 4;
  EXPECT_EQ(Coalesce(frames).sizes.size(), 2u);
  EXPECT_EQ(Coalesce(frames, {.flags = Offload::kDataValid}).sizes.size(), 1u);
  const Offload partial{.csum_start = kL4, .csum_offset = 16, .flags = Offload::kNeedsCsum};
  EXPECT_EQ(Coalesce(frames, partial).sizes.size(), 1u);
}

TEST(BurstCoalescer, ConnectionsMayTakeTurnsButNoneOvertakesItself) {
  const auto frames = Stream({{.port = 1},
                              {.port = 2},
                              {.port = 1, .sequence = 1100},
                              {.port = 2, .sequence = 1100},
                              {.port = 1, .sequence = 1100, .payload = 0},  // keep-alive or pure ACK
                              {.port = 1, .sequence = 1200},
                              {.port = 2, .sequence = 1200}});
  const Outcome out = Coalesce(frames);
  EXPECT_EQ(out.sizes, (std::vector<size_t>{2, 3, 1, 1}));
  EXPECT_EQ(out.frames[2], frames[1]);
  EXPECT_EQ(out.frames[5], frames[4]);
  EXPECT_EQ(out.frames[6], frames[5]) << "not before the ACK that came first";
}

TEST(BurstCoalescer, AFragmentOfTheSameHostsIsNotOvertaken) {
  auto frames = Stream({{}, {}, {.sequence = 1100}});
  Put16(frames[1], kL3 + 6, 0x2000);
  Complete(frames[1]);
  EXPECT_EQ(Coalesce(frames).sizes.size(), 3u);
}

TEST(BurstCoalescer, OddFramesGoByThemselves) {
  auto frames = Stream({{}, {.sequence = 1100}});
  for (Bytes& f : frames) f.insert(f.end(), 4, 0);  // padding
  EXPECT_EQ(Coalesce(frames).sizes.size(), 2u);
  EXPECT_EQ(Coalesce({Bytes(14, 0), Bytes(20, 8), Bytes(60, 0xff), Bytes(1, 1)}).sizes.size(), 4u);
  auto options = Stream({{}, {.sequence = 1100}});
  for (Bytes& f : options) f[kL3] = 0x46;
  EXPECT_EQ(Coalesce(options).sizes.size(), 2u);
  auto tcp = Stream({{}, {.sequence = 1100}});
  for (Bytes& f : tcp) f[kL4 + 12] = 0xf0;
  for (Bytes& f : tcp) f.resize(kL4 + 40), Put16(f, kL3 + 2, 60), Complete(f);
  EXPECT_EQ(Coalesce(tcp).sizes.size(), 2u) << "a TCP header longer than the packet";
}

constexpr size_t kL4Of6 = 54;

void Complete6(Bytes& b) {
  Put16(b, kL3 + 4, static_cast<uint32_t>(b.size() - kL4Of6));
  Put16(b, kL4Of6 + 16, 0);
  Put16(b, kL4Of6 + 16,
        static_cast<uint16_t>(~NaiveSum(b, kL4Of6, b.size(), PseudoSum(b, kL3, 6, b.size() - kL4Of6))));
}

Bytes FrameOf6(uint32_t sequence, size_t payload = 100, uint8_t flags = kAck) {
  SuperPacket p{.v6 = true, .tcp_options = 12, .tcp_flags = flags, .sequence = sequence};
  for (size_t i = 0; i < payload; ++i) p.payload.push_back(static_cast<uint8_t>((sequence + i) * 7 % 251));
  p.Build();
  Complete6(p.bytes);
  return p.bytes;
}

/// The sizes of what leaves; cut up again it must be what came.
std::vector<size_t> Coalesce6(const std::vector<Bytes>& frames) {
  std::vector<rte_mbuf*> mbufs = ToMbufs(frames);
  BurstCoalescer coalescer;
  coalescer.Plan(mbufs);
  std::vector<size_t> sizes;
  std::vector<Bytes> out;
  for (size_t i = 0; i < mbufs.size(); i += sizes.back()) {
    const TcpCoalescer* super = coalescer.At(static_cast<uint16_t>(i));
    sizes.push_back(super == nullptr ? 1 : super->segments());
    Bytes bytes = ToBytes(*mbufs[i]);
    if (super == nullptr) {
      out.push_back(bytes);
      continue;
    }
    const size_t header = kL3 + super->header_len();
    bytes.resize(header);
    super->WriteHeader(bytes.data() + kL3);
    for (size_t n = i; n < i + super->segments(); ++n) {
      const Bytes frame = ToBytes(*mbufs[n]);
      bytes.insert(bytes.end(), frame.begin() + static_cast<ptrdiff_t>(header), frame.end());
    }
    EXPECT_EQ(Get16(bytes, kL3 + 4), bytes.size() - kL4Of6);
    rte_mbuf* packet = ChainMbufs(bytes, header, 60000);
    OffloadOf(*packet) = super->OffloadAt(kL3);
    EXPECT_EQ(OffloadOf(*packet).gso_type, GsoType::kTcp6);
    Segmenter segmenter;
    EXPECT_TRUE(segmenter.Start(*packet));
    rte_mbuf* frame[1];
    while (segmenter.Next(TestPools(), frame) == 1) {
      out.push_back(ToBytes(*frame[0]));
      rte_pktmbuf_free(frame[0]);
    }
    rte_pktmbuf_free(packet);
  }
  for (rte_mbuf* m : mbufs) rte_pktmbuf_free(m);
  EXPECT_EQ(out, frames);
  return sizes;
}

TEST(BurstCoalescer, Ipv6SegmentsInOrderBecomeOnePacket) {
  EXPECT_EQ(Coalesce6({FrameOf6(1000), FrameOf6(1100), FrameOf6(1200, 40, kAck | kPsh), FrameOf6(1240)}),
            (std::vector<size_t>{3, 1}));
  const auto changed = [](size_t at, uint8_t value, bool complete = true) {
    Bytes second = FrameOf6(1100);
    second[at] ^= value;
    if (complete) Complete6(second);
    return Coalesce6({FrameOf6(1000), second}).size();
  };
  EXPECT_EQ(changed(kL3 + 8, 0), 1u);
  EXPECT_EQ(changed(kL3 + 1, 0x20), 2u) << "traffic class";
  EXPECT_EQ(changed(kL3 + 3, 1), 2u) << "flow label";
  EXPECT_EQ(changed(kL3 + 7, 1), 2u) << "hop limit";
  EXPECT_EQ(changed(kL3 + 39, 1), 2u) << "destination";
  EXPECT_EQ(changed(kL3 + 6, 6 ^ 60, false), 2u) << "an extension header";
  EXPECT_EQ(changed(kL4Of6 + 40, 1, false), 2u) << "a corrupt segment goes by itself";
  EXPECT_EQ(changed(kL4Of6 + 31, 1), 2u) << "an option";
}

TEST(BurstCoalescer, FamiliesDoNotMix) {
  const Bytes four = FrameOf({.sequence = 1000}), next = FrameOf({.sequence = 1100, .id = 2});
  std::vector<rte_mbuf*> mbufs = ToMbufs({four, FrameOf6(1000), next, FrameOf6(1100)});
  BurstCoalescer coalescer;
  coalescer.Plan(mbufs);
  ASSERT_NE(coalescer.At(0), nullptr);
  EXPECT_FALSE(coalescer.At(0)->first().v6());
  ASSERT_NE(coalescer.At(2), nullptr);
  EXPECT_TRUE(coalescer.At(2)->first().v6());
  for (rte_mbuf* m : mbufs) rte_pktmbuf_free(m);
}

TEST(BurstCoalescer, A64KilobytePacketIsFull) {
  std::vector<Segment> segments;
  for (uint32_t i = 0; i < 60; ++i) segments.push_back({.sequence = i * 1400, .payload = 1400});
  const Outcome out = Coalesce(Stream(segments));
  EXPECT_EQ(out.sizes, (std::vector<size_t>{46, 14}));  // 46 * 1400 + 52 <= 65535
}

/// A burst of several connections with everything that may go wrong on the way.
std::vector<Bytes> RandomBurst(std::mt19937& random, std::vector<size_t>& corrupt) {
  const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  std::map<uint16_t, Segment> connections;
  std::vector<Bytes> frames;
  const size_t count = 1 + pick(BurstCoalescer::kMaxBurst);
  const uint32_t ports = 1 + pick(12);
  for (size_t i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(1 + pick(ports));
    auto [it, fresh] = connections.try_emplace(port);
    Segment& s = it->second;
    if (fresh) {
      s = {.port = port, .sequence = static_cast<uint32_t>(random()), .df = pick(4) != 0};
      s.payload = 1 + pick(300);
    }
    Segment now = s;
    switch (pick(14)) {
      case 0:
        now.sequence += pick(400) - 200;
        break;
      case 1:
        s.ack = now.ack = pick(3);
        break;
      case 2:
        s.window = now.window = static_cast<uint16_t>(pick(3));
        break;
      case 3:
        s.timestamp = now.timestamp = static_cast<uint8_t>(pick(3));
        break;
      case 4:
        now.flags |= static_cast<uint8_t>(1u << pick(8));
        break;
      case 5:
        now.payload = pick(300);
        break;
      case 6:
        now.ttl = static_cast<uint8_t>(63 + pick(2));
        break;
      case 7:
        now.tos = static_cast<uint8_t>(pick(4));
        break;
      default:
        break;
    }
    frames.push_back(FrameOf(now));
    s.sequence = now.sequence + static_cast<uint32_t>(now.payload);
    if (pick(4) != 0) ++s.id;
    if (pick(12) == 0) {
      frames.back()[kL4 + pick(static_cast<uint32_t>(frames.back().size() - kL4))] ^=
          static_cast<uint8_t>(1u << pick(8));
      corrupt.push_back(i);
    }
  }
  return frames;
}

/// By both ports: a corrupt one makes it another connection's.
std::map<uint32_t, std::vector<Bytes>> ByConnection(const std::vector<Bytes>& frames) {
  std::map<uint32_t, std::vector<Bytes>> out;
  for (Bytes f : frames) {
    // The id of a packet with DF tells its receiver nothing (RFC 6864).
    if (Get16(f, kL3 + 6) == 0x4000) Put16(f, kL3 + 4, 0), Put16(f, kL3 + 10, 0);
    out[uint32_t{Get16(f, kL4)} << 16 | Get16(f, kL4 + 2)].push_back(f);
  }
  return out;
}

TEST(BurstCoalescer, RandomBurstsReachEachConnectionAsTheyWereSent) {
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  size_t merged = 0, total = 0;
  for (int round = 0; round < 1500; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round);
    std::vector<size_t> corrupt;
    const auto frames = RandomBurst(random, corrupt);
    const Outcome out = Coalesce(frames);
    total += frames.size();
    merged += frames.size() - out.sizes.size();
    // Also that corrupt ones were not merged: cut up again, they would have a right checksum.
    ASSERT_EQ(ByConnection(out.frames), ByConnection(frames));
  }
  EXPECT_GT(merged, total / 10) << "merges at all";
}

}  // namespace burst_coalescer_test
}  // namespace podwire
