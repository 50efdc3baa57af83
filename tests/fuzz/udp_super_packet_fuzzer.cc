// Strangers' UDP super-packets in chained mbufs: each is left alone, cut into its datagrams, or joined to one
// packet that becomes the same datagrams when it is segmented again.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <rte_ip.h>
#include <rte_tcp.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "pmd/udp_super_packet.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/tight_chain.h"
#include "tests/switch/packet_builder.h"

namespace podwire {
namespace {

using namespace testing;

constexpr size_t kOuterIp = 14, kOuterUdp = 34, kHeader = 42, kIp = 20;
const UdpTunnel kTunnel{.address = {RTE_BE32(0xc0000201)}, .port_be = RTE_BE16(8472), .vxlan = true};

void Put16(Bytes& b, size_t at, size_t value) {
  b[at] = static_cast<uint8_t>(value >> 8);
  b[at + 1] = static_cast<uint8_t>(value);
}

/// Else few inputs would be found at all, or to the tunnel.
void MendOuter(Bytes& b) {
  Put16(b, 12, 0x0800);
  b[kOuterIp] = 0x45;
  Put16(b, kOuterIp + 2, b.size() - kOuterIp);
  b[kOuterIp + 9] = IPPROTO_UDP;
  std::memcpy(b.data() + kOuterIp + 16, &kTunnel.address.be, 4);
  std::memcpy(b.data() + kOuterUdp + 2, &kTunnel.port_be, 2);
  Put16(b, kOuterUdp + 4, b.size() - kOuterUdp);
  Put16(b, kOuterIp + 10, 0);
  Put16(b, kOuterIp + 10, static_cast<uint16_t>(~Sum16(std::span(b).subspan(kOuterIp, kIp))));
}

/// Lengths and checksums of each datagram's IPv4 and TCP.
void MendInner(Bytes& b, size_t datagram, size_t prefix) {
  for (size_t at = kHeader; datagram != 0 && at < b.size(); at += datagram) {
    const size_t end = std::min(b.size(), at + datagram), ip = at + prefix;
    if (ip + kIp + 20 > end) return;
    b[ip] = 0x45;
    Put16(b, ip + 2, end - ip);
    Put16(b, ip + 10, 0);
    Put16(b, ip + 10, static_cast<uint16_t>(~Sum16(std::span(b).subspan(ip, kIp))));
    Put16(b, ip + kIp + 16, 0);
    Put16(b, ip + kIp + 16, static_cast<uint16_t>(~L4Sum(std::span(b).subspan(ip, end - ip))));
  }
}

/// The datagrams' ids count up in what is cut up again; with DF they tell their receiver nothing.
void ForgetId(Bytes& datagram, size_t prefix) {
  if ((datagram[prefix + 6] & 0x40) == 0) return;
  std::fill_n(datagram.begin() + static_cast<ptrdiff_t>(prefix) + 4, 2, uint8_t{0});
  std::fill_n(datagram.begin() + static_cast<ptrdiff_t>(prefix) + 10, 2, uint8_t{0});
}

std::vector<Bytes> DatagramsOf(const Bytes& b, const UdpSuperPacket& super) {
  std::vector<Bytes> out;
  for (size_t at = super.header_len; at < super.len; at += super.datagram_len) {
    const size_t end = std::min<size_t>(super.len, at + super.datagram_len);
    out.emplace_back(b.begin() + static_cast<ptrdiff_t>(at), b.begin() + static_cast<ptrdiff_t>(end));
  }
  return out;
}

void CheckJoined(const Bytes& joined, const Offload& o, std::vector<Bytes> datagrams, bool vxlan) {
  CHECK(o.gso_type == GsoType::kTcp4 || o.gso_type == GsoType::kTcp6);
  CHECK(o.gso_size >= kMinGsoSize && o.needs_csum());
  CHECK(o.csum_start + sizeof(rte_tcp_hdr) <= joined.size());
  const size_t prefix = vxlan ? 8 + 14 : 0;
  const MbufPtr m = ToMbuf(joined);
  OffloadOf(*m) = o;
  m->outer_l2_len = kOuterIp;
  m->outer_l3_len = kIp;
  m->l2_len = (8 + prefix) & 0x7f;
  m->l3_len = kIp;
  m->l4_len = (rte_pktmbuf_mtod_offset(m.get(), const rte_tcp_hdr*, o.csum_start)->data_off >> 4) * 4;
  m->ol_flags |= vxlan ? RTE_MBUF_F_TX_TUNNEL_VXLAN : RTE_MBUF_F_TX_TUNNEL_UDP;
  Segmenter segmenter;
  CHECK(segmenter.Start(*m));
  rte_mbuf* frame[1];
  for (Bytes& datagram : datagrams) {
    CHECK(segmenter.Next(EalEnvironment::Pools(), frame) == 1);
    Bytes again = BytesOf(*frame[0]);
    rte_pktmbuf_free(frame[0]);
    CHECK(again.size() >= kHeader);
    again.erase(again.begin(), again.begin() + kHeader);
    ForgetId(again, prefix);
    ForgetId(datagram, prefix);
    CHECK(again == datagram);
  }
  CHECK(segmenter.remaining() == 0);
}

void CheckCut(const Bytes& bytes, const UdpSuperPacket& super, const Offload& offload) {
  MbufPtr m = ToMbuf(bytes);
  OffloadOf(*m) = offload;
  UdpSplitter splitter;
  splitter.Start(m.release(), super);
  for (const Bytes& datagram : DatagramsOf(bytes, super)) {
    CHECK(splitter.busy());
    const MbufPtr frame(splitter.Next(EalEnvironment::Pools()));
    CHECK(frame != nullptr);
    const Bytes got = BytesOf(*frame);
    CHECK(got.size() == super.header_len + datagram.size());
    CHECK(std::equal(datagram.begin(), datagram.end(), got.begin() + super.header_len));
  }
  CHECK(!splitter.busy());
}

/// JoinTunnel with the packet in tight mbufs. Whether it joined: then `bytes` and `offload` are what it made.
bool Join(Bytes& bytes, Offload& offload, std::span<const size_t> cuts, const UdpTunnel& tunnel,
          UdpSuperPacket& super, bool& found) {
  TightChain chain(bytes, cuts);
  OffloadOf(*chain) = offload;
  found = UdpSuperPacket::Find(*chain, super);
  if (!found) return false;
  CHECK(super.len <= bytes.size() && super.header_len <= (*chain).data_len);
  const bool joined = JoinTunnel(*chain, super, tunnel);
  const char* why = nullptr;
  CHECK(rte_mbuf_check(&*chain, 1, &why) == 0);
  const Bytes after = BytesOf(*chain);
  CHECK(joined || (after == bytes && OffloadOf(*chain) == offload));
  bytes = after;
  offload = OffloadOf(*chain);
  return joined;
}

void Run(const Bytes& bytes, std::span<const size_t> cuts, const Offload& offload, bool vxlan) {
  UdpTunnel tunnel = kTunnel;
  tunnel.vxlan = vxlan;
  UdpSuperPacket super;
  bool found = false;
  Bytes after = bytes;
  Offload offload_after = offload;
  if (Join(after, offload_after, cuts, tunnel, super, found)) {
    CheckJoined(after, offload_after, DatagramsOf(bytes, super), vxlan);
  } else if (found) {
    CheckCut(bytes, super, offload);
  }
}

}  // namespace
}  // namespace podwire

// Input: kind of tunnel and what is mended, the first two mbufs' lengths, Offload, frame.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace podwire;
  podwire::testing::StartEal();
  constexpr size_t kHead = 5 + sizeof(Offload);
  if (size < kHead || size > kHead + 1500) return 0;
  const bool vxlan = (data[0] & 1) != 0;
  uint16_t cuts16[2];
  std::memcpy(cuts16, data + 1, sizeof cuts16);
  const size_t cuts[] = {cuts16[0], cuts16[1]};
  Offload offload;
  std::memcpy(&offload, data + 5, sizeof offload);
  Bytes frame(data + kHead, data + size);
  if ((data[0] & 2) != 0 && frame.size() >= kHeader) {
    if ((data[0] & 4) != 0) MendInner(frame, offload.gso_size, vxlan ? 8 + 14 : 0);
    MendOuter(frame);
    offload.csum_start = kOuterUdp;
    offload.csum_offset = 6;
    offload.gso_type = GsoType::kUdp;
    offload.flags = Offload::kNeedsCsum;
  }
  podwire::Run(frame, cuts, offload, vxlan);
  return 0;
}
