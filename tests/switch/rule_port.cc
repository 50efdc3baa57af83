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

/// What a header must say for the next item to be what it is.
bool Announces(const uint8_t* header, rte_flow_item_type type, rte_flow_item_type next) {
  const auto is = [next](rte_flow_item_type t) { return next == t; };
  if (is(RTE_FLOW_ITEM_TYPE_END)) return true;
  if (type == RTE_FLOW_ITEM_TYPE_ETH) {
    const int ether_type = header[12] << 8 | header[13];
    return ether_type == (is(RTE_FLOW_ITEM_TYPE_IPV4) ? 0x0800 : 0x86dd);
  }
  if (type == RTE_FLOW_ITEM_TYPE_IPV4 || type == RTE_FLOW_ITEM_TYPE_IPV6) {
    const int proto = header[type == RTE_FLOW_ITEM_TYPE_IPV4 ? 9 : 6];
    return proto == (is(RTE_FLOW_ITEM_TYPE_TCP) ? 6 : is(RTE_FLOW_ITEM_TYPE_UDP) ? 17 : 132);
  }
  return true;
}

/// NICs do not look behind the IP header of fragments.
bool IsFragment(const uint8_t* header, rte_flow_item_type type) {
  return type == RTE_FLOW_ITEM_TYPE_IPV4 && ((header[6] & 0x3f) != 0 || header[7] != 0);
}

bool Matches(const Bytes& frame, const rte_flow_item* items) {
  size_t at = 0;
  for (const rte_flow_item* i = items; i->type != RTE_FLOW_ITEM_TYPE_END; ++i) {
    size_t len = WireLength(i->type);
    if (len == 0) continue;  // the port that it came in by
    if (at + len > frame.size()) return false;
    const uint8_t* header = &frame[at];
    if (i->spec != nullptr) {
      const auto* spec = static_cast<const uint8_t*>(i->spec);
      const auto* mask = static_cast<const uint8_t*>(i->mask);
      for (size_t b = 0; b < len; ++b) {
        if (((header[b] ^ spec[b]) & mask[b]) != 0) return false;
      }
    }
    const rte_flow_item_type next = (i + 1)->type;
    if (!Announces(header, i->type, next)) return false;
    if (next != RTE_FLOW_ITEM_TYPE_END && IsFragment(header, i->type)) return false;
    if (i->type == RTE_FLOW_ITEM_TYPE_IPV4) len = size_t{4} * (header[0] & 0x0f);
    at += len;
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
  const bool v6 = outer[12] == 0x86;
  uint8_t* ip = &outer[14];
  const size_t ip_len = v6 ? 40 : 20;
  const size_t udp_len = frame.size() + 16;
  Put16(ip + ip_len + 4, udp_len);
  if (v6) {
    Put16(ip + 4, udp_len);
  } else {
    Put16(ip + 2, udp_len + 20);
    Put16(ip + 10, static_cast<uint16_t>(~Sum16(std::span(ip, 20))));
  }
  frame.insert(frame.begin(), outer.begin(), outer.end());
}

}  // namespace

class RuleEngine::Handle final : public InstalledRule {
 public:
  Handle(RuleEngine& engine, std::list<Entry>::iterator entry) : engine_(engine), entry_(entry) {}
  ~Handle() override { engine_.entries_.erase(entry_); }
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

std::vector<std::string> RuleEngine::Texts() const {
  std::vector<std::string> texts;
  for (const Entry& e : entries_) texts.push_back(e.rule.Text());
  return texts;
}

std::vector<Frame> RuleEngine::Filter(const std::vector<Frame>& frames) {
  std::vector<Frame> left;
  for (const Frame& f : frames) {
    Bytes bytes = f.Build();
    const auto hit =
        std::ranges::find_if(entries_, [&](const Entry& e) { return Matches(bytes, e.rule.pattern()); });
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
