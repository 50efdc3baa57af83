#include "tests/switch/packet_builder.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "pmd/offload.h"

namespace podwire::testing {
namespace {

void Put16(Bytes& b, size_t offset, uint32_t value) {
  b.at(offset) = static_cast<uint8_t>(value >> 8);
  b.at(offset + 1) = static_cast<uint8_t>(value);
}

void Add16(Bytes& b, uint32_t value) {
  b.push_back(static_cast<uint8_t>(value >> 8));
  b.push_back(static_cast<uint8_t>(value));
}

void Add32(Bytes& b, uint32_t value) {
  Add16(b, value >> 16);
  Add16(b, value & 0xffff);
}

void AddIp(Bytes& b, std::string_view text) {
  const Ipv4 a = Ip(text);
  const auto* p = reinterpret_cast<const uint8_t*>(&a.be);
  b.insert(b.end(), p, p + 4);
}

void AddMac(Bytes& b, const MacAddr& mac) { b.insert(b.end(), mac.bytes.begin(), mac.bytes.end()); }

void AddIp6(Bytes& b, std::string_view text) {
  const Ipv6 a = Ip6(text);
  b.insert(b.end(), a.bytes.begin(), a.bytes.end());
}

/// Source, destination, zero, protocol, length: RFC 9293 3.1; RFC 8200 8.1, whose longer fields hold no more.
Bytes PseudoHeader(std::span<const uint8_t> ip, size_t l4_len, uint8_t proto) {
  const bool v4 = ip[0] >> 4 == 4;
  Bytes pseudo(ip.begin() + (v4 ? 12 : 8), ip.begin() + (v4 ? 20 : 40));
  pseudo.push_back(0);
  pseudo.push_back(proto);
  Add16(pseudo, static_cast<uint32_t>(l4_len));
  return pseudo;
}

}  // namespace

Bytes Hex(std::string_view text) {
  Bytes out;
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](unsigned char c) { return std::isxdigit(c); });
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    out.push_back(static_cast<uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return out;
}

std::string ToHex(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

uint16_t Sum16(std::span<const uint8_t> bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? uint64_t{bytes[i]} << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(sum);
}

uint16_t L4Sum(std::span<const uint8_t> ip) {
  const bool v4 = ip[0] >> 4 == 4;
  const size_t header = v4 ? (ip[0] & 15u) * 4 : 40;
  const size_t total = v4 ? Be16(ip, 2) : 40u + Be16(ip, 4);
  Bytes all = PseudoHeader(ip, total - header, v4 ? ip[9] : ip[6]);
  all.insert(all.end(), ip.begin() + static_cast<long>(header), ip.begin() + static_cast<long>(total));
  return Sum16(all);
}

uint16_t Be16(std::span<const uint8_t> b, size_t offset) {
  return static_cast<uint16_t>(b[offset] << 8 | b[offset + 1]);
}

uint32_t Be32(std::span<const uint8_t> b, size_t offset) {
  return uint32_t{Be16(b, offset)} << 16 | Be16(b, offset + 2);
}

MacAddr Mac(std::string_view text) { return ParseMac(text).value(); }
Ipv4 Ip(std::string_view text) { return ParseIp(text).value().v4(); }
Ipv6 Ip6(std::string_view text) { return ParseIp(text).value().v6(); }

MbufPtr ToMbuf(std::span<const uint8_t> bytes, size_t first_segment) {
  MbufPools& pools = EalEnvironment::Pools();
  const auto segment = [&](std::span<const uint8_t> part) {
    rte_mbuf* m = rte_pktmbuf_alloc(part.size() <= kSmallRoom ? &pools.small() : &pools.big());
    const auto len = static_cast<uint16_t>(part.size());
    char* data = len == part.size() ? rte_pktmbuf_append(m, len) : nullptr;
    if (data == nullptr) ADD_FAILURE() << part.size() << " bytes do not fit in an mbuf";
    if (data != nullptr) std::copy(part.begin(), part.end(), reinterpret_cast<uint8_t*>(data));
    return m;
  };
  const size_t cut = std::min(first_segment, bytes.size());
  MbufPtr m(segment(bytes.first(cut)));
  if (cut < bytes.size()) rte_pktmbuf_chain(m.get(), segment(bytes.subspan(cut)));
  OffloadOf(*m) = {};
  return m;
}

Bytes BytesOf(const rte_mbuf& packet) {
  Bytes out;
  for (const rte_mbuf* m = &packet; m != nullptr; m = m->next) {
    const auto* data = rte_pktmbuf_mtod(m, const uint8_t*);
    out.insert(out.end(), data, data + m->data_len);
  }
  return out;
}

Frame& Frame::Eth(const MacAddr& destination, const MacAddr& source, uint16_t ether_type) {
  Bytes b;
  AddMac(b, destination);
  AddMac(b, source);
  Add16(b, ether_type);
  layers_.push_back({.kind = Kind::kEth, .bytes = b, .fixed = ether_type != 0});
  return *this;
}

Frame& Frame::Ip4(std::string_view source, std::string_view destination, const Ipv4Fields& f) {
  Bytes b = {static_cast<uint8_t>(0x45 + f.options.size() / 4), f.tos};
  Add16(b, f.total_length < 0 ? 0 : static_cast<uint32_t>(f.total_length));
  Add16(b, f.id);
  Add16(b, (f.df ? 0x4000u : 0u) | (f.mf ? 0x2000u : 0u) | f.fragment_offset / 8u);
  b.push_back(f.ttl);
  b.push_back(f.proto < 0 ? 0 : static_cast<uint8_t>(f.proto));
  Add16(b, 0);
  AddIp(b, source);
  AddIp(b, destination);
  b.insert(b.end(), f.options.begin(), f.options.end());
  layers_.push_back({.kind = Kind::kIp4,
                     .bytes = b,
                     .fixed = f.proto >= 0,
                     .fixed_length = f.total_length >= 0,
                     .bad_checksum = f.bad_checksum,
                     .whole = !f.mf && f.fragment_offset == 0});
  return *this;
}

Frame& Frame::Ip6(std::string_view source, std::string_view destination, const Ipv6Fields& f) {
  Bytes b;
  Add32(b, 6u << 28 | uint32_t{f.traffic_class} << 20 | f.flow_label);
  Add16(b, f.payload_length < 0 ? 0 : static_cast<uint32_t>(f.payload_length));
  b.push_back(f.next < 0 ? 0 : static_cast<uint8_t>(f.next));
  b.push_back(f.hop_limit);
  AddIp6(b, source);
  AddIp6(b, destination);
  layers_.push_back(
      {.kind = Kind::kIp6, .bytes = b, .fixed = f.next >= 0, .fixed_length = f.payload_length >= 0});
  return *this;
}

Frame& Frame::Ext6(uint8_t type, const Bytes& rest, int next) {
  Bytes b = {static_cast<uint8_t>(next < 0 ? 0 : next)};
  b.insert(b.end(), rest.begin(), rest.end());
  layers_.push_back({.kind = Kind::kExt6, .bytes = b, .fixed = next >= 0, .type = type});
  return *this;
}

Frame& Frame::Fragment6(uint16_t offset, bool more, uint32_t id, int next) {
  Bytes rest = {0};
  Add16(rest, offset | (more ? 1u : 0u));
  Add32(rest, id);
  Ext6(44, rest, next);
  layers_.back().whole = offset == 0 && !more;
  return *this;
}

Frame& Frame::Udp(uint16_t source, uint16_t destination, int length) {
  Bytes b;
  Add16(b, source);
  Add16(b, destination);
  Add16(b, length < 0 ? 0 : static_cast<uint32_t>(length));
  Add16(b, 0);
  layers_.push_back({.kind = Kind::kUdp, .bytes = b, .fixed = length >= 0});
  return *this;
}

Frame& Frame::Tcp(uint16_t source, uint16_t destination, uint8_t flags, const Bytes& options) {
  Bytes b;
  Add16(b, source);
  Add16(b, destination);
  Add32(b, 0x01020304);
  Add32(b, 0x0a0b0c0d);
  b.push_back(static_cast<uint8_t>((5 + options.size() / 4) << 4));
  b.push_back(flags);
  Add16(b, 0xffff);
  Add32(b, 0);
  b.insert(b.end(), options.begin(), options.end());
  layers_.push_back({.kind = Kind::kTcp, .bytes = b});
  return *this;
}

Frame& Frame::Sctp(uint16_t source, uint16_t destination) {
  Bytes b;
  Add16(b, source);
  Add16(b, destination);
  Add32(b, 0x11223344);
  Add32(b, 0);
  layers_.push_back({.kind = Kind::kSctp, .bytes = b});
  return *this;
}

Frame& Frame::Icmp(uint8_t type, uint8_t code, uint16_t id, uint16_t sequence) {
  Bytes b = {type, code, 0, 0};
  Add16(b, id);
  Add16(b, sequence);
  layers_.push_back({.kind = Kind::kIcmp, .bytes = b});
  return *this;
}

Frame& Frame::Icmp6(uint8_t type, uint8_t code, uint16_t id, uint16_t sequence) {
  Icmp(type, code, id, sequence);
  layers_.back().kind = Kind::kIcmp6;
  return *this;
}

Frame& Frame::Vxlan(uint32_t vni, uint8_t flags) {
  Bytes b = {flags, 0, 0, 0};
  Add32(b, vni << 8);
  layers_.push_back({.kind = Kind::kVxlan, .bytes = b});
  return *this;
}

Frame& Frame::Arp(uint16_t opcode, const MacAddr& sender_mac, std::string_view sender,
                  const MacAddr& target_mac, std::string_view target) {
  Bytes b = Hex("0001 0800 06 04");
  Add16(b, opcode);
  AddMac(b, sender_mac);
  AddIp(b, sender);
  AddMac(b, target_mac);
  AddIp(b, target);
  layers_.push_back({.kind = Kind::kArp, .bytes = b});
  return *this;
}

Frame& Frame::Payload(size_t len) {
  Bytes b(len);
  for (size_t i = 0; i < len; ++i) b[i] = static_cast<uint8_t>(i);
  return Raw(b);
}

Frame& Frame::Raw(const Bytes& bytes) {
  layers_.push_back({.kind = Kind::kRaw, .bytes = bytes});
  return *this;
}

/// `bytes` starts with the layer's header, what it carries behind; `ip` is the header that carries it, if
/// any.
void Frame::Finish(const Layer& layer, const Layer* next, const Layer* ip, Bytes& bytes) {
  const auto checksum = [&](size_t offset, bool pseudo) {
    if (ip == nullptr || !ip->whole) return;
    Bytes all = pseudo ? PseudoHeader(ip->bytes, bytes.size(), ProtocolOf(layer)) : Bytes{};
    all.insert(all.end(), bytes.begin(), bytes.end());
    Put16(bytes, offset, static_cast<uint16_t>(~Sum16(all)));
  };
  switch (layer.kind) {
    case Kind::kEth:
      if (layer.fixed) return;
      return Put16(bytes, 12,
                   next != nullptr && next->kind == Kind::kArp   ? 0x0806
                   : next != nullptr && next->kind == Kind::kIp6 ? 0x86dd
                                                                 : 0x0800);
    case Kind::kIp4: {
      if (!layer.fixed_length) Put16(bytes, 2, static_cast<uint32_t>(bytes.size()));
      const auto sum = static_cast<uint16_t>(~Sum16(std::span(bytes).first(layer.bytes.size())));
      Put16(bytes, 10, layer.bad_checksum ? sum ^ 1u : sum);
      return;
    }
    case Kind::kIp6:
      if (!layer.fixed_length) Put16(bytes, 4, static_cast<uint32_t>(bytes.size() - 40));
      return;
    case Kind::kUdp:
      if (!layer.fixed) Put16(bytes, 4, static_cast<uint32_t>(bytes.size()));
      return checksum(6, true);
    case Kind::kTcp:
      return checksum(16, true);
    case Kind::kIcmp:
      return checksum(2, false);
    case Kind::kIcmp6:
      return checksum(2, true);
    case Kind::kExt6:
    case Kind::kSctp:
    case Kind::kVxlan:
    case Kind::kArp:
    case Kind::kRaw:
      return;
  }
}

uint8_t Frame::ProtocolOf(const Layer& layer) {
  switch (layer.kind) {
    case Kind::kTcp:
      return 6;
    case Kind::kUdp:
      return 17;
    case Kind::kIcmp:
      return 1;
    case Kind::kIcmp6:
      return 58;
    case Kind::kSctp:
      return 132;
    case Kind::kIp4:
      return 4;
    case Kind::kIp6:
      return 41;
    case Kind::kExt6:
      return layer.type;
    case Kind::kEth:
    case Kind::kVxlan:
    case Kind::kArp:
    case Kind::kRaw:
      break;
  }
  return 253;
}

Bytes Frame::Build() const {
  std::vector<Layer> layers = layers_;
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    Layer& l = layers[i];
    if (l.fixed) continue;
    if (l.kind == Kind::kIp4) l.bytes[9] = ProtocolOf(layers[i + 1]);
    if (l.kind == Kind::kIp6) l.bytes[6] = ProtocolOf(layers[i + 1]);
    if (l.kind == Kind::kExt6) l.bytes[0] = ProtocolOf(layers[i + 1]);
  }
  Bytes bytes;
  for (size_t i = layers.size(); i-- > 0;) {
    bytes.insert(bytes.begin(), layers[i].bytes.begin(), layers[i].bytes.end());
    size_t at = i;
    bool whole = true;
    for (; at > 0 && layers[at - 1].kind == Kind::kExt6; --at) whole &= layers[at - 1].whole;
    Layer* ip = at > 0 && (layers[at - 1].kind == Kind::kIp4 || layers[at - 1].kind == Kind::kIp6)
                    ? &layers[at - 1]
                    : nullptr;
    if (ip != nullptr && !whole) ip->whole = false;
    Finish(layers[i], i + 1 < layers.size() ? &layers[i + 1] : nullptr, ip, bytes);
  }
  return bytes;
}

}  // namespace podwire::testing
