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
#include "switch/parse.h"
#include "switch/rewrite.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/tight_chain.h"
#include "tests/switch/test_tables.h"

namespace podwire {
namespace {

using namespace testing;

void CheckPacket(const Packet& p) {
  const rte_mbuf& m = *p.mbuf;
  CHECK(m.pkt_len >= m.data_len);
  if (p.kind == PacketKind::kDrop) {
    CHECK(p.reason != DropReason::kNone);
    return;
  }
  CHECK(p.reason == DropReason::kNone && p.l3_offset >= 14);
  if (p.kind == PacketKind::kArp) {
    CHECK(m.data_len >= 42);
    return;
  }
  CHECK(p.l4_offset >= p.l3_offset + 20 && p.l4_offset <= m.data_len);
  CHECK(uint32_t{p.l3_offset} + p.l3_len == m.pkt_len);
  const auto* ip = rte_pktmbuf_mtod_offset(&m, const rte_ipv4_hdr*, p.l3_offset);
  CHECK(rte_raw_cksum(ip, rte_ipv4_hdr_len(ip)) == 0xffff);
  const uint32_t l4 = m.data_len - p.l4_offset;
  if (p.kind == PacketKind::kFlow && p.key.proto == 6) CHECK(l4 >= 20);
  if (p.kind == PacketKind::kFlow && (p.key.proto == 17 || p.key.proto == 1)) CHECK(l4 >= 8);
  if (p.kind == PacketKind::kIcmpError) CHECK(l4 >= 8 + 20 + 8);
  const Offload& o = OffloadOf(m);
  if (o.needs_csum()) CHECK(o.csum_start == p.l4_offset && o.csum_start + o.csum_offset + 2 <= m.data_len);
  if (o.gso_size != 0) CHECK(o.needs_csum() && p.key.proto == 6 && o.gso_type == GsoType::kTcp4);
}

Adjacency TunnelAdjacency() {
  Adjacency a;
  a.hop.kind = NextHop::Kind::kVxlan;
  a.hop.header_len = 64;
  a.hop.header[14] = 0x45;
  return a;
}

void SendOn(Packet& p) {
  const MbufPools& pools = EalEnvironment::Pools();
  uint16_t id = 0;
  Packet error;
  if (rte_mbuf* m = BuildIcmpError(pools.small(), p, IcmpError::kTimeExceeded, 0, Ip("10.244.1.1"), error)) {
    rte_pktmbuf_free(m);
  }
  DecrementTtl(p);
  MakeEchoReply(p);
  if (StripHeaders(p) != DropReason::kNone) return;
  if (ExceedsMtu(p, 576) && !ShrinkSegments(p, 576)) {
    std::array<rte_mbuf*, kMaxFragments> out;
    DropReason reason;
    const uint16_t n = Fragment(p, 576, pools, out, reason);
    rte_pktmbuf_free_bulk(out.data(), n);
  }
  CHECK(PrependHeader(p, TunnelAdjacency(), kPeerMac, id) == DropReason::kNone);
  CHECK(!OffloadOf(*p.mbuf).needs_csum() || OffloadOf(*p.mbuf).gso_size != 0 || CompleteChecksum(*p.mbuf));
  if (OffloadOf(*p.mbuf).gso_size != 0) {
    Segmenter s;
    CHECK(s.Start(*p.mbuf));
  }
}

void Run(std::span<const uint8_t> frame, size_t cut, const Offload& offload, PortId port) {
  static const Tables tables = TestTables();
  static NeighborTable neighbors;
  const size_t first = cut == 0 || cut > frame.size() ? frame.size() : cut;
  TightChain tight(frame, std::span(&first, 1));
  OffloadOf(*tight) = offload;
  const Packet checked = ParseOne(tables, &*tight, port);
  CheckPacket(checked);

  const MbufPtr m = ToMbuf(frame, first);
  OffloadOf(*m) = offload;
  Packet p = ParseOne(tables, m, port);
  CHECK(p.kind == checked.kind && p.key == checked.key);
  if (p.kind == PacketKind::kArp) {
    HandleArp(tables, p, neighbors, 1);
  } else if (p.kind != PacketKind::kDrop) {
    SendOn(p);
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
    if (14 + header <= frame.size() && header >= 20) {
      frame[24] = frame[25] = 0;
      const auto sum = static_cast<uint16_t>(~podwire::testing::Sum16(std::span(frame).subspan(14, header)));
      frame[24] = static_cast<uint8_t>(sum >> 8);
      frame[25] = static_cast<uint8_t>(sum);
    }
  }
  podwire::Run(frame, data[1], offload, port);
  return 0;
}
