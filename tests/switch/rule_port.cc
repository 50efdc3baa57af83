#include "tests/switch/rule_port.h"

#include <algorithm>
#include <cstring>

#include <rte_ether.h>
#include <rte_ip.h>

#include "net/status.h"

namespace podwire::testing {
namespace {

/// The bytes of an item's header on the wire; 0: it is none.
size_t WireLength(rte_flow_item_type type) {
  switch (type) {
    case RTE_FLOW_ITEM_TYPE_ETH:
      return sizeof(rte_ether_hdr);
    case RTE_FLOW_ITEM_TYPE_IPV4:
      return sizeof(rte_ipv4_hdr);
    case RTE_FLOW_ITEM_TYPE_IPV6:
      return sizeof(rte_ipv6_hdr);
    case RTE_FLOW_ITEM_TYPE_TCP:
      return 20;
    case RTE_FLOW_ITEM_TYPE_SCTP:
      return 12;
    case RTE_FLOW_ITEM_TYPE_UDP:
    case RTE_FLOW_ITEM_TYPE_VXLAN:
      return 8;
    default:
      return 0;
  }
}

bool IsVlanTag(int ether_type) { return ether_type == 0x8100 || ether_type == 0x88a8; }
/// Hop-by-hop, routing, fragment, destination options: those that the tests send.
bool IsExtension(int next) { return next == 0 || next == 43 || next == 44 || next == 60; }

/// A header of a frame, as the NIC's parser sees it.
struct Parsed {
  size_t length = 0;        // with what is skipped behind it: tags, options, extension headers
  int next = -1;            // what follows: ether type or protocol
  bool odd = false;         // a tag, a fragment, extension headers
  rte_flow_item_eth eth{};  // bits that are not on the wire
  rte_flow_item_ipv6 ipv6{};
};

Parsed ParseEth(std::span<const uint8_t> at) {
  Parsed p{.length = sizeof(rte_ether_hdr), .next = at[12] << 8 | at[13]};
  while (IsVlanTag(p.next) && p.length + 4 <= at.size()) {
    p.next = at[p.length + 2] << 8 | at[p.length + 3];
    p.length += 4;
    p.eth.has_vlan = 1;
    p.odd = true;
  }
  return p;
}

Parsed ParseIpv4(std::span<const uint8_t> at) {
  return {.length = size_t{4} * (at[0] & 0x0f), .next = at[9], .odd = (at[6] & 0x3f) != 0 || at[7] != 0};
}

Parsed ParseIpv6(std::span<const uint8_t> at) {
  Parsed p{.length = sizeof(rte_ipv6_hdr), .next = at[6]};
  while (IsExtension(p.next) && p.length + 8 <= at.size()) {
    if (p.next == 0) p.ipv6.has_hop_ext = 1;
    if (p.next == 43) p.ipv6.has_route_ext = 1;
    if (p.next == 44) p.ipv6.has_frag_ext = 1;
    if (p.next == 60) p.ipv6.has_dest_ext = 1;
    const size_t length = p.next == 44 ? 8 : 8 * (size_t{at[p.length + 1]} + 1);
    p.next = at[p.length];
    p.length += length;
    p.odd = true;
  }
  return p;
}

Parsed Parse(rte_flow_item_type type, std::span<const uint8_t> at) {
  switch (type) {
    case RTE_FLOW_ITEM_TYPE_ETH:
      return ParseEth(at);
    case RTE_FLOW_ITEM_TYPE_IPV4:
      return ParseIpv4(at);
    case RTE_FLOW_ITEM_TYPE_IPV6:
      return ParseIpv6(at);
    default:
      return {.length = WireLength(type)};
  }
}

bool Announces(int next_type, rte_flow_item_type type, rte_flow_item_type next) {
  const auto is = [next](rte_flow_item_type t) { return next == t; };
  if (is(RTE_FLOW_ITEM_TYPE_END)) return true;
  if (type == RTE_FLOW_ITEM_TYPE_ETH) return next_type == (is(RTE_FLOW_ITEM_TYPE_IPV4) ? 0x0800 : 0x86dd);
  if (type == RTE_FLOW_ITEM_TYPE_IPV4 || type == RTE_FLOW_ITEM_TYPE_IPV6)
    return next_type == (is(RTE_FLOW_ITEM_TYPE_TCP) ? 6 : is(RTE_FLOW_ITEM_TYPE_UDP) ? 17 : 132);
  return true;
}

/// The bits of an item that are not in the header.
bool BitsMatch(const rte_flow_item& item, const Parsed& p) {
  if (item.spec == nullptr) return true;
  if (item.type == RTE_FLOW_ITEM_TYPE_ETH) {
    const auto &spec = *static_cast<const rte_flow_item_eth*>(item.spec),
               &mask = *static_cast<const rte_flow_item_eth*>(item.mask);
    return mask.has_vlan == 0 || spec.has_vlan == p.eth.has_vlan;
  }
  if (item.type != RTE_FLOW_ITEM_TYPE_IPV6) return true;
  const auto &spec = *static_cast<const rte_flow_item_ipv6*>(item.spec),
             &mask = *static_cast<const rte_flow_item_ipv6*>(item.mask);
  return (mask.has_hop_ext == 0 || spec.has_hop_ext == p.ipv6.has_hop_ext) &&
         (mask.has_route_ext == 0 || spec.has_route_ext == p.ipv6.has_route_ext) &&
         (mask.has_frag_ext == 0 || spec.has_frag_ext == p.ipv6.has_frag_ext) &&
         (mask.has_dest_ext == 0 || spec.has_dest_ext == p.ipv6.has_dest_ext);
}

/// The header with what this NIC compares instead of what is there: the protocol behind the extension
/// headers, the ether type behind the tags. So a rule that asks for these alone keeps nothing out.
Bytes Compared(std::span<const uint8_t> at, rte_flow_item_type type, const Parsed& p) {
  Bytes header(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(WireLength(type)));
  if (type == RTE_FLOW_ITEM_TYPE_IPV6) header[6] = static_cast<uint8_t>(p.next);
  if (type == RTE_FLOW_ITEM_TYPE_ETH) {
    header[12] = static_cast<uint8_t>(p.next >> 8);
    header[13] = static_cast<uint8_t>(p.next);
  }
  return header;
}

/// A NIC that looks as deep as it can: behind tags, extension headers and the IP headers of fragments, unless
/// the rule's masks forbid it. Drop rules have no such masks; theirs leaves odd packets to software, for that
/// drops them too, but may give another reason.
bool Matches(const Bytes& frame, const FlowRule& rule) {
  size_t at = 0;
  for (const rte_flow_item* i = rule.pattern(); i->type != RTE_FLOW_ITEM_TYPE_END; ++i) {
    const size_t length = WireLength(i->type);
    if (length == 0) continue;  // the port that it came in by
    if (at + length > frame.size()) return false;
    const auto rest = std::span(frame).subspan(at);
    const Parsed p = Parse(i->type, rest);
    const Bytes header = Compared(rest, i->type, p);
    if (i->spec != nullptr) {
      const auto* spec = static_cast<const uint8_t*>(i->spec);
      const auto* mask = static_cast<const uint8_t*>(i->mask);
      for (size_t b = 0; b < length; ++b) {
        if (((header[b] ^ spec[b]) & mask[b]) != 0) return false;
      }
    }
    if (!BitsMatch(*i, p) || !Announces(p.next, i->type, (i + 1)->type)) return false;
    if (p.odd && rule.action().kind == FlowAction::Kind::kDrop) return false;
    at += p.length;
  }
  return true;
}

void DecrementTtl(Bytes& frame) {
  uint8_t* ip = &frame[14];
  if (frame[12] == 0x86) {
    --ip[7];
    return;
  }
  --ip[8];
  ip[10] = ip[11] = 0;
  const uint16_t sum = static_cast<uint16_t>(~Sum16(std::span(ip, size_t{4} * (ip[0] & 0x0f))));
  ip[10] = static_cast<uint8_t>(sum >> 8);
  ip[11] = static_cast<uint8_t>(sum);
}

/// Ethernet, IP, UDP, VXLAN.
size_t OuterLength(const Bytes& frame) { return frame[12] == 0x86 ? 14 + 40 + 16 : 14 + 20 + 16; }

void Put16(uint8_t* at, size_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

void Encapsulate(Bytes& frame, const rte_flow_item* definition) {
  Bytes outer;
  for (const rte_flow_item* i = definition; i->type != RTE_FLOW_ITEM_TYPE_END; ++i) {
    const auto* bytes = static_cast<const uint8_t*>(i->spec);
    outer.insert(outer.end(), bytes, bytes + WireLength(i->type));
  }
  uint8_t* ip = &outer[14];
  const size_t udp_len = frame.size() + 16;
  Put16(ip + 20 + 4, udp_len);
  Put16(ip + 2, udp_len + 20);
  Put16(ip + 10, static_cast<uint16_t>(~Sum16(std::span(ip, 20))));
  frame.insert(frame.begin(), outer.begin(), outer.end());
}

}  // namespace

class RuleEngine::Handle final : public InstalledRule {
 public:
  Handle(RuleEngine& engine, std::list<Entry>::iterator entry) : engine_(engine), entry_(entry) {}
  absl::Status Remove() override {
    RETURN_IF_ERROR(engine_.refuse_remove);
    engine_.entries_.erase(entry_);
    return absl::OkStatus();
  }
  absl::StatusOr<FlowRuleCount> Query() override {
    if (!entry_->rule.action().count) return absl::FailedPreconditionError("the rule does not count");
    return entry_->count;
  }

 private:
  RuleEngine& engine_;
  std::list<Entry>::iterator entry_;
};

absl::Status RuleEngine::Validate(const FlowRule& rule) { return refuse ? refuse(rule) : absl::OkStatus(); }

absl::StatusOr<std::unique_ptr<InstalledRule>> RuleEngine::Install(const FlowRule& rule) {
  ++installs;
  RETURN_IF_ERROR(Validate(rule));
  if (refuse_install) RETURN_IF_ERROR(refuse_install(rule));
  entries_.push_back({FlowRule(rule.ethdev(), rule.match(), rule.action()), {}});
  return std::make_unique<Handle>(*this, std::prev(entries_.end()));
}

absl::Status RuleEngine::Flush() {
  entries_.clear();
  return absl::OkStatus();
}

std::vector<std::string> RuleEngine::Texts() const {
  std::vector<std::string> texts;
  for (const Entry& e : entries_) texts.push_back(e.rule.Text());
  return texts;
}

std::vector<Frame> RuleEngine::Filter(const std::vector<Frame>& frames) {
  std::vector<Frame> left;
  for (const Frame& f : frames) {
    Bytes bytes = f.Build();
    const auto hit = std::ranges::find_if(entries_, [&](const Entry& e) { return Matches(bytes, e.rule); });
    if (hit == entries_.end()) {
      left.push_back(f);
      continue;
    }
    ++hit->count.packets;
    hit->count.bytes += bytes.size();
    for (const rte_flow_action* a = hit->rule.actions(); a->type != RTE_FLOW_ACTION_TYPE_END; ++a) {
      if (a->type == RTE_FLOW_ACTION_TYPE_VXLAN_DECAP) {
        bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(OuterLength(bytes)));
      } else if (a->type == RTE_FLOW_ACTION_TYPE_SET_MAC_SRC) {
        std::memcpy(&bytes[6], static_cast<const rte_flow_action_set_mac*>(a->conf)->mac_addr, 6);
      } else if (a->type == RTE_FLOW_ACTION_TYPE_SET_MAC_DST) {
        std::memcpy(&bytes[0], static_cast<const rte_flow_action_set_mac*>(a->conf)->mac_addr, 6);
      } else if (a->type == RTE_FLOW_ACTION_TYPE_DEC_TTL) {
        DecrementTtl(bytes);
      } else if (a->type == RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP) {
        Encapsulate(bytes, static_cast<const rte_flow_action_vxlan_encap*>(a->conf)->definition);
      } else if (a->type == RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT) {
        wires.at(static_cast<const rte_flow_action_ethdev*>(a->conf)->port_id)(bytes);
      }
    }
  }
  return left;
}

}  // namespace podwire::testing
