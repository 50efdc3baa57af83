#include "pmd/flow_engine.h"

#include <netinet/in.h>

#include <array>
#include <cerrno>

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

#include "net/status.h"

namespace podwire {
namespace {

absl::Status FlowError(int rc, const rte_flow_error& error, const FlowRule& rule) {
  const int number = rc < 0 ? -rc : rte_errno;
  const char* said = error.message != nullptr ? error.message : rte_strerror(number);
  return FlowRefusal(number, fmt::format("rule \"{}\": {}", rule.Shape(), said));
}

class RteInstalledRule final : public InstalledRule {
 public:
  RteInstalledRule(uint16_t ethdev, rte_flow* flow, bool counts)
      : ethdev_(ethdev), flow_(flow), counts_(counts) {}

  absl::Status Remove() override {
    rte_flow_error error{};
    const int rc = rte_flow_destroy(ethdev_, flow_, &error);
    if (rc == 0) return absl::OkStatus();
    return absl::UnavailableError(error.message != nullptr ? error.message : rte_strerror(-rc));
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
    return FlowCountOf(count);
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

  absl::Status Flush() override {
    rte_flow_error error{};
    const int rc = rte_flow_flush(ethdev_, &error);
    if (rc == 0) return absl::OkStatus();
    return absl::UnavailableError(error.message != nullptr ? error.message : rte_strerror(-rc));
  }

  void SetVxlanPort(uint16_t udp_port) override {
    // Those without need not be told.
    rte_eth_udp_tunnel tunnel{.udp_port = vxlan_port_, .prot_type = RTE_ETH_TUNNEL_TYPE_VXLAN};
    if (vxlan_port_ != 0) rte_eth_dev_udp_tunnel_port_delete(ethdev_, &tunnel);
    vxlan_port_ = tunnel.udp_port = udp_port;
    if (udp_port != 0) rte_eth_dev_udp_tunnel_port_add(ethdev_, &tunnel);
  }

 private:
  const uint16_t ethdev_;
  uint16_t vxlan_port_ = 0;
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
             .src = Sample("203.0.113.1").v4(),
             .dst = Sample("203.0.113.2").v4(),
             .udp_src = 50000,
             .udp_dst = 8472,
             .vni = Vni{1}};
  return a;
}

}  // namespace

absl::Status FlowRefusal(int error_number, const std::string& message) {
  switch (error_number) {
    case ENOTSUP:
    case EINVAL:
    case ENOSYS:
    case E2BIG:
    case ERANGE:
    case ENOTTY:
      return absl::UnimplementedError(message);
    case ENOSPC:
    case ENOMEM:
    case EBUSY:
    case EAGAIN:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<FlowRuleCount> FlowCountOf(const rte_flow_query_count& count) {
  if (count.hits_set == 0) return absl::UnavailableError("the driver has not filled in the packets");
  return FlowRuleCount{.packets = count.hits, .bytes = count.bytes_set != 0 ? count.bytes : 0};
}

std::string_view Name(FlowCapability c) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "drop", "drop-ipv6", "drop-inner", "count", "forward", "forward-ipv6", "vxlan-encap", "vxlan-decap"};
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
      {FlowCapability::kForward, {e, WithPlain(SampleMatch()), SampleForward(e)}},
      {FlowCapability::kForwardV6, {e, WithPlain(SampleMatch(true)), SampleForward(e)}},
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
