#include "tests/pmd/super_packet.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "pmd/offload.h"
#include "tests/pmd/eal_fixture.h"

namespace podwire {

uint16_t Get16(const Bytes& b, size_t at) { return static_cast<uint16_t>(b.at(at) << 8 | b.at(at + 1)); }
uint32_t Get32(const Bytes& b, size_t at) { return uint32_t{Get16(b, at)} << 16 | Get16(b, at + 2); }
void Put16(Bytes& b, size_t at, uint32_t value) {
  b.at(at) = static_cast<uint8_t>(value >> 8);
  b.at(at + 1) = static_cast<uint8_t>(value);
}
void Put32(Bytes& b, size_t at, uint32_t value) {
  Put16(b, at, value >> 16);
  Put16(b, at + 2, value);
}

uint16_t NaiveSum(const Bytes& b, size_t from, size_t to, uint32_t start) {
  uint64_t sum = start;
  for (size_t i = from; i < to; ++i) sum += (i - from) % 2 == 0 ? uint64_t{b.at(i)} << 8 : b.at(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t PseudoSum(const Bytes& b, size_t l3, uint8_t protocol, size_t l4_len) {
  const bool v6 = b.at(l3) >> 4 == 6;
  const auto start = static_cast<uint32_t>(protocol + l4_len);
  return v6 ? NaiveSum(b, l3 + 8, l3 + 40, start) : NaiveSum(b, l3 + 12, l3 + 20, start);
}

namespace {

void Append(Bytes& b, std::initializer_list<int> bytes) {
  for (const int byte : bytes) b.push_back(static_cast<uint8_t>(byte));
}

void AppendEthernet(Bytes& b, bool v6, bool vlan) {
  Append(b, {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2});
  if (vlan) Append(b, {0x81, 0, 0, 7});
  Append(b, {v6 ? 0x86 : 0x08, v6 ? 0xdd : 0});
}

/// `total` is the length from this header to the packet's end; cut to 16 bits as in a super-packet that is
/// too long.
void AppendIp(Bytes& b, bool v6, uint8_t protocol, uint16_t id, size_t options, size_t total) {
  const size_t at = b.size();
  if (v6) {
    b.resize(at + 40);
    b[at] = 0x60;
    Put16(b, at + 4, static_cast<uint32_t>(total - 40));
    b[at + 6] = protocol;
    b[at + 7] = 64;
    for (size_t i = 8; i < 40; ++i) b[at + i] = static_cast<uint8_t>(0xf0 + i);
    return;
  }
  const size_t len = 20 + options;
  b.resize(at + len, 1);  // options: no-operation
  b[at] = static_cast<uint8_t>(0x40 | len / 4);
  b[at + 1] = 2;  // ECT(0)
  Put16(b, at + 2, static_cast<uint32_t>(total));
  Put16(b, at + 4, id);
  Put16(b, at + 6, 0x4000);
  b[at + 8] = 64;
  b[at + 9] = protocol;
  Put16(b, at + 10, 0);
  Put32(b, at + 12, 0x0af40001);
  Put32(b, at + 16, 0x0af40109);
  Put16(b, at + 10, static_cast<uint16_t>(~NaiveSum(b, at, at + len)));
}

}  // namespace

void SuperPacket::Build() {
  bytes.clear();
  const size_t inner = (v6 ? 40u : 20u + ip_options) + 20 + tcp_options + payload.size();
  AppendEthernet(bytes, tunnel == Tunnel::kNone ? v6 : outer_v6, vlan);
  if (tunnel != Tunnel::kNone) {
    const size_t udp = inner + 8 + (tunnel == Tunnel::kVxlan ? 8 + 14 : 0);
    outer_l3 = bytes.size();
    AppendIp(bytes, outer_v6, 17, static_cast<uint16_t>(id + 777), 0, udp + (outer_v6 ? 40 : 20));
    outer_l4 = bytes.size();
    Append(bytes, {0xc0, 1, 0x21, 0x18, 0, 0, 0, 0});
    Put16(bytes, outer_l4 + 4, static_cast<uint32_t>(udp));
    if (tunnel == Tunnel::kVxlan) {
      Append(bytes, {8, 0, 0, 0, 0, 0, 1, 0});
      AppendEthernet(bytes, v6, false);
    }
  }
  l3 = bytes.size();
  AppendIp(bytes, v6, 6, id, ip_options, inner);
  l4 = bytes.size();
  Append(bytes, {0x13, 0x88, 0, 80});
  bytes.resize(l4 + 20 + tcp_options, 1);
  Put32(bytes, l4 + 4, sequence);
  Put32(bytes, l4 + 8, 0x01020304);
  bytes[l4 + 12] = static_cast<uint8_t>((20 + tcp_options) / 4 << 4);
  bytes[l4 + 13] = tcp_flags;
  Put16(bytes, l4 + 14, 501);
  Put16(bytes, l4 + 18, 0);
  header = bytes.size();
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  Put16(bytes, l4 + 16, PseudoSum(bytes, l3, 6, bytes.size() - l4));
}

rte_mbuf* ChainMbufs(const Bytes& bytes, size_t first_len, size_t part_len) {
  rte_mbuf* first = nullptr;
  for (size_t at = 0; at < bytes.size() || first == nullptr;) {
    const size_t len = std::min(first == nullptr ? first_len : part_len, bytes.size() - at);
    rte_mbuf* m = rte_pktmbuf_alloc(len <= kSmallRoom ? &TestPools().small() : &TestPools().big());
    std::memcpy(rte_pktmbuf_append(m, static_cast<uint16_t>(len)), bytes.data() + at, len);
    OffloadOf(*m) = Offload{};
    at += len;
    if (first == nullptr) {
      first = m;
    } else {
      rte_pktmbuf_chain(first, m);
    }
  }
  return first;
}

rte_mbuf* SuperPacket::ToMbuf(size_t first_len, size_t part_len) const {
  rte_mbuf* m = ChainMbufs(bytes, first_len, part_len);
  OffloadOf(*m) = {.csum_start = static_cast<uint16_t>(l4),
                   .csum_offset = 16,
                   .gso_size = gso_size,
                   .gso_type = v6 ? GsoType::kTcp6 : GsoType::kTcp4,
                   .flags = Offload::kNeedsCsum};
  if (tunnel != Tunnel::kNone) {
    m->outer_l2_len = outer_l3 & 0x7f;
    m->outer_l3_len = (outer_l4 - outer_l3) & 0x1ff;
    m->l2_len = (l3 - outer_l4) & 0x7f;
    m->l3_len = (l4 - l3) & 0x1ff;
    m->l4_len = (header - l4) & 0xff;
    m->ol_flags |= tunnel == Tunnel::kVxlan ? RTE_MBUF_F_TX_TUNNEL_VXLAN : RTE_MBUF_F_TX_TUNNEL_UDP;
  }
  return m;
}

std::string SuperPacket::Describe() const {
  return fmt::format("tunnel {} outer_v6 {} v6 {} vlan {} options {}+{} gso {} payload {}",
                     static_cast<int>(tunnel), outer_v6, v6, vlan, ip_options, tcp_options, gso_size,
                     payload.size());
}

Bytes ToBytes(const rte_mbuf& m) {
  Bytes bytes;
  for (const rte_mbuf* s = &m; s != nullptr; s = s->next) {
    const uint8_t* data = rte_pktmbuf_mtod(s, const uint8_t*);
    bytes.insert(bytes.end(), data, data + s->data_len);
  }
  return bytes;
}

}  // namespace podwire
