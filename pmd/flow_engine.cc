#include "pmd/flow_engine.h"

#include <netinet/in.h>

#include <array>
#include <cerrno>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

#include "net/status.h"

namespace podwire {
namespace {

absl::Status FlowError(int rc, const rte_flow_error& error, const FlowRule& rule) {
  const int number = rc < 0 ? -rc : rte_errno;
  const char* said = error.message != nullptr ? error.message : rte_strerror(number);
  const bool full = number == ENOSPC || number == ENOMEM || number == EBUSY || number == EAGAIN;
  return Error(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnimplemented,
               "rule \"{}\": {}", rule.Shape(), said);
}

class RteInstalledRule final : public InstalledRule {
 public:
  RteInstalledRule(uint16_t ethdev, rte_flow* flow, bool counts)
      : ethdev_(ethdev), flow_(flow), counts_(counts) {}
  ~RteInstalledRule() override {
    rte_flow_error error{};
    rte_flow_destroy(ethdev_, flow_, &error);
  }

  absl::StatusOr<FlowRuleCount> Query() override {
    if (!counts_) return Error(absl::StatusCode::kFailedPrecondition, "the rule does not count");
    static constexpr rte_flow_action kCount[] = {{RTE_FLOW_ACTION_TYPE_COUNT, nullptr},
                                                 {RTE_FLOW_ACTION_TYPE_END, nullptr}};
    rte_flow_query_count count{};
    rte_flow_error error{};
    if (rte_flow_query(ethdev_, flow_, kCount, &count, &error) != 0) {
      return absl::UnavailableError(error.message != nullptr ? error.message : "rte_flow_query");
    }
    return FlowRuleCount{.packets = count.hits, .bytes = count.bytes};
  }

 private:
  const uint16_t ethdev_;
  rte_flow* const flow_;
  const bool counts_;
};

class RteFlowEngine final : public FlowEngine {
 public:
  explicit RteFlowEngine(uint16_t ethdev) : ethdev_(ethdev) {}

  uint16_t ethdev() const override { return ethdev_; }

  std::optional<uint16_t> switch_domain() const override {
    rte_eth_dev_info info;
    if (rte_eth_dev_info_get(ethdev_, &info) != 0) return std::nullopt;
    const uint16_t domain = info.switch_info.domain_id;
    if (domain == RTE_ETH_DEV_SWITCH_DOMAIN_ID_INVALID) return std::nullopt;
    return domain;
  }

  absl::Status Validate(const FlowRule& rule) override {
    rte_flow_error error{};
    const int rc = rte_flow_validate(ethdev_, &rule.attributes(), rule.pattern(), rule.actions(), &error);
    return rc == 0 ? absl::OkStatus() : FlowError(rc, error, rule);
  }

  absl::StatusOr<std::unique_ptr<InstalledRule>> Install(const FlowRule& rule) override {
    rte_flow_error error{};
    rte_flow* flow = rte_flow_create(ethdev_, &rule.attributes(), rule.pattern(), rule.actions(), &error);
    if (flow == nullptr) return FlowError(0, error, rule);
    return std::make_unique<RteInstalledRule>(ethdev_, flow, rule.action().count);
  }

  void SetVxlanPort(uint16_t udp_port) override {
    rte_eth_udp_tunnel tunnel{.udp_port = udp_port, .prot_type = RTE_ETH_TUNNEL_TYPE_VXLAN};
    rte_eth_dev_udp_tunnel_port_add(ethdev_, &tunnel);  // those without need not be told
  }

 private:
  const uint16_t ethdev_;
};

// What is asked about: addresses of documentation (RFC 5737, RFC 3849), so that no real packet is meant.
IpAddress Sample(const char* text) { return *ParseIp(text); }

FlowMatch SampleMatch(bool v6 = false) {
  return {.src = Sample(v6 ? "2001:db8::1" : "192.0.2.1"),
          .dst = Sample(v6 ? "2001:db8::2" : "198.51.100.1"),
          .proto = IPPROTO_UDP,
          .has_ports = true,
          .src_port = 1024,
          .dst_port = 53};
}

FlowMatch SampleInner() {
  FlowMatch m = SampleMatch();
  m.tunnel = {.src = Sample("203.0.113.1"), .dst = Sample("203.0.113.2"), .udp_port = 8472, .vni = Vni{1}};
  return m;
}

FlowAction SampleForward(uint16_t ethdev) {
  return {.kind = FlowAction::Kind::kForward,
          .ethdev = ethdev,
          .src_mac = MacAddr{{2, 0, 0, 0, 0, 1}},
          .dst_mac = MacAddr{{2, 0, 0, 0, 0, 2}}};
}

FlowMatch WithPlain(FlowMatch m) {
  m.plain = FlowMatch::Plain{.ttl = 0x40, .ttl_mask = 0xc0};
  return m;
}

FlowAction SampleEncap(uint16_t ethdev) {
  FlowAction a = SampleForward(ethdev);
  a.encap = {.src_mac = a.src_mac,
             .dst_mac = a.dst_mac,
             .src = Sample("203.0.113.1"),
             .dst = Sample("203.0.113.2"),
             .udp_src = 50000,
             .udp_dst = 8472,
             .vni = Vni{1}};
  return a;
}

}  // namespace

std::string_view Name(FlowCapability c) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "drop", "drop-ipv6", "drop-inner", "count", "mark", "forward", "vxlan-encap", "vxlan-decap"};
  return kNames[static_cast<size_t>(c)];
}

std::set<FlowCapability> ProbeCapabilities(FlowEngine& engine) {
  const uint16_t e = engine.ethdev();
  const FlowAction drop{.count = false};
  const struct {
    FlowCapability capability;
    FlowRule rule;
  } questions[] = {
      {FlowCapability::kDrop, {e, SampleMatch(), drop}},
      {FlowCapability::kDropV6, {e, SampleMatch(true), drop}},
      {FlowCapability::kDropInner, {e, SampleInner(), drop}},
      {FlowCapability::kCount, {e, SampleMatch(), FlowAction{}}},
      {FlowCapability::kMark,
       {e, SampleMatch(), {.kind = FlowAction::Kind::kQueue, .count = false, .mark = 1}}},
      {FlowCapability::kForward, {e, WithPlain(SampleMatch()), SampleForward(e)}},
      {FlowCapability::kVxlanEncap, {e, WithPlain(SampleMatch()), SampleEncap(e)}},
      {FlowCapability::kVxlanDecap, {e, WithPlain(SampleInner()), SampleForward(e)}},
  };
  std::set<FlowCapability> found;
  for (const auto& q : questions) {
    if (engine.Validate(q.rule).ok()) found.insert(q.capability);
  }
  return found;
}

std::unique_ptr<FlowEngine> MakeRteFlowEngine(uint16_t ethdev) {
  rte_flow_error error{};
  // Drivers without rte_flow say so to any question.
  const FlowRule any(ethdev, SampleMatch(), FlowAction{.count = false});
  const int rc = rte_flow_validate(ethdev, &any.attributes(), any.pattern(), any.actions(), &error);
  if (rc == -ENOSYS || rc == -ENODEV) return nullptr;
  return std::make_unique<RteFlowEngine>(ethdev);
}

}  // namespace podwire
