// Random frames and offload claims on a pod's port and the underlay's: what Parse lets through must be safe
// for the stages behind it, which check nothing again.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include <rte_ip.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "switch/arp.h"
#include "switch/icmp.h"
#include "switch/icmp6.h"
#include "switch/ip_header.h"
#include "switch/nd.h"
#include "switch/parse.h"
#include "switch/rewrite.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/tight_chain.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace {

using namespace testing;

void CheckHeader(const Packet& p) {
  CHECK(p.l4_offset >= p.l3_offset + 20);
  CHECK(rte_raw_cksum(&HeaderOf(p), rte_ipv4_hdr_len(&HeaderOf(p))) == 0xffff);
}
void CheckHeader(const Packet6& p) { CHECK(p.l4_offset >= p.l3_offset + 40); }

template <class Key>
void CheckPacket(const BasicPacket<Key>& p) {
  constexpr bool kIpv4 = Key::kIcmp == 1;
  const rte_mbuf& m = *p.mbuf;
  CHECK(m.pkt_len >= m.data_len);
  if (p.kind == PacketKind::kDrop) {
    CHECK(p.reason != DropReason::kNone);
    return;
  }
  CHECK(p.reason == DropReason::kNone && p.l3_offset >= 14);
  if (p.kind == PacketKind::kArp) {
    CHECK(kIpv4 && m.data_len >= 42);
    return;
  }
  CHECK(p.l4_offset <= m.data_len);
  CHECK(uint32_t{p.l3_offset} + p.l3_len == m.pkt_len);
  CheckHeader(p);
  const uint32_t l4 = m.data_len - p.l4_offset;
  if (p.kind == PacketKind::kFlow && p.key.proto == 6) CHECK(l4 >= 20);
  if (p.kind == PacketKind::kFlow && (p.key.proto == 17 || p.key.proto == Key::kIcmp)) CHECK(l4 >= 8);
  if (p.kind == PacketKind::kIcmpError) CHECK(l4 >= 8 + (kIpv4 ? 20 + 8 : 40));
  const Offload& o = OffloadOf(m);
  if (o.needs_csum()) CHECK(o.csum_start == p.l4_offset && o.csum_start + o.csum_offset + 2 <= m.data_len);
  const GsoType gso = kIpv4 ? GsoType::kTcp4 : GsoType::kTcp6;
  if (o.gso_size != 0) CHECK(o.needs_csum() && p.key.proto == 6 && o.gso_type == gso);
}

Adjacency TunnelAdjacency(bool over_v6) {
  const auto address = [&](const char* v4, const char* v6) { return *ParseIp(over_v6 ? v6 : v4); };
  Adjacency a;
  a.hop.kind = NextHop::Kind::kVxlan;
  a.hop.remote = address("192.0.2.9", "2001:db8::9");
  BuildHeader(a.hop, {.src = address("192.0.2.1", "2001:db8::1"), .dst = a.hop.remote, .udp_port = 8472});
  return a;
}

void SplitUp(Packet6&, const MbufPools&) {}
void SplitUp(Packet& p, const MbufPools& pools) {
  std::array<rte_mbuf*, kMaxFragments> out;
  DropReason reason;
  const uint16_t n = Fragment(p, 576, pools, out, reason);
  rte_pktmbuf_free_bulk(out.data(), n);
}

template <class Key>
void SendOn(BasicPacket<Key>& p, bool over_v6) {
  const MbufPools& pools = EalEnvironment::Pools();
  static const Tables tables = TestTables();
  uint16_t id = 0;
  BasicPacket<Key> error;
  const auto source = OwnAddress<typename Key::Address>(tables);
  if (rte_mbuf* m = BuildIcmpError(pools.small(), p, IcmpError::kTimeExceeded, 0, source, error)) {
    rte_pktmbuf_free(m);
  }
  DecrementTtl(p);
  MakeEchoReply(p);
  if (StripHeaders(p) != DropReason::kNone) return;
  if (ExceedsMtu(p, 576) && !ShrinkSegments(p, 576)) SplitUp(p, pools);
  CHECK(PrependHeader(p, TunnelAdjacency(over_v6), kPeerMac, id) == DropReason::kNone);
  CHECK(!OffloadOf(*p.mbuf).needs_csum() || OffloadOf(*p.mbuf).gso_size != 0 || CompleteChecksum(*p.mbuf));
  if (OffloadOf(*p.mbuf).gso_size != 0) {
    Segmenter s;
    CHECK(s.Start(*p.mbuf));
  }
}

/// One frame's descriptor, in either family.
struct Parsed {
  Packet v4;
  Packet6 v6;
  bool is_v6;
};
Parsed ParseEither(const Tables& tables, rte_mbuf* m, PortId port) {
  Parsed p{};
  p.is_v6 = Parse(tables, std::span(&m, 1), &port, 1, &p.v4, &p.v6).v6 == 1;
  return p;
}

template <class Key>
void Handle(const Tables& tables, BasicPacket<Key>& p, bool over_v6) {
  static NeighborTable neighbors;
  if (p.kind == PacketKind::kDrop) return;
  if constexpr (Key::kIcmp == 1) {
    if (p.kind == PacketKind::kArp) {
      HandleArp(tables, p, neighbors, 1);
      return;
    }
  } else if (p.kind == PacketKind::kNd) {
    rte_pktmbuf_free(HandleNd(tables, p, neighbors, EalEnvironment::Pools().small(), 1).answer);
    return;
  }
  SendOn(p, over_v6);
}

void Run(std::span<const uint8_t> frame, size_t cut, const Offload& offload, PortId port) {
  static const Tables tables = TestTables();
  const size_t first = cut == 0 || cut > frame.size() ? frame.size() : cut;
  TightChain tight(frame, std::span(&first, 1));
  OffloadOf(*tight) = offload;
  const Parsed checked = ParseEither(tables, &*tight, port);
  if (checked.is_v6) {
    CheckPacket(checked.v6);
  } else {
    CheckPacket(checked.v4);
  }

  const MbufPtr m = ToMbuf(frame, first);
  OffloadOf(*m) = offload;
  Parsed p = ParseEither(tables, m.get(), port);
  CHECK(p.is_v6 == checked.is_v6);
  const bool over_v6 = (cut & 1) != 0;
  if (p.is_v6) {
    CHECK(p.v6.kind == checked.v6.kind && p.v6.key == checked.v6.key);
    Handle(tables, p.v6, over_v6);
  } else {
    CHECK(p.v4.kind == checked.v4.kind && p.v4.key == checked.v4.key);
    Handle(tables, p.v4, over_v6);
  }
}

}  // namespace
}  // namespace podwire

// Input: port, first segment's length (0: all), how the Ethernet header and the checksum are mended, Offload,
// frame.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace podwire;
  podwire::testing::StartEal();
  constexpr size_t kHead = 3 + sizeof(Offload);
  if (size < kHead || size > kHead + 2000) return 0;
  const PortId port(data[0] % 5);
  Offload offload;
  std::memcpy(&offload, data + 3, sizeof offload);
  std::vector<uint8_t> frame(data + kHead, data + size);
  // Else few inputs would get past the MAC and checksum checks.
  if ((data[2] & 1) != 0 && frame.size() >= 34) {
    const MacAddr& to = port == podwire::testing::kUnderlayPort ? podwire::testing::kUnderlayMac
                                                                : podwire::testing::kGatewayMac;
    std::memcpy(frame.data(), to.bytes.data(), 6);
    std::memcpy(frame.data() + 6, podwire::testing::kPodMac.bytes.data(), 6);
    const size_t header = (frame[14] & 15u) * 4;
    if (frame[14] >> 4 == 4 && 14 + header <= frame.size() && header >= 20) {
      frame[24] = frame[25] = 0;
      const auto sum = static_cast<uint16_t>(~podwire::testing::Sum16(std::span(frame).subspan(14, header)));
      frame[24] = static_cast<uint8_t>(sum >> 8);
      frame[25] = static_cast<uint8_t>(sum);
    }
  }
  podwire::Run(frame, data[1], offload, port);
  return 0;
}
