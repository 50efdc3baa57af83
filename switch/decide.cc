#include "switch/decide.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

namespace podwire {
namespace {

bool IsMulticast(const IpAddress& a) {
  if (a.is_v6()) return a.bytes()[0] == 0xff;
  return a.bytes()[0] >= 224;  // class D, E and the limited broadcast: none is forwarded
}

/// The unspecified address and loopback: nobody else's to send from.
bool IsOfNoHost(const IpAddress& a) {
  static constexpr std::array<uint8_t, 15> kZero{};
  return a.is_v6() && std::memcmp(a.bytes().data(), kZero.data(), kZero.size()) == 0 && a.bytes()[15] <= 1;
}

bool IsUnderlayAddress(const LocalNode& local, const IpAddress& a) {
  return a == (a.is_v4() ? local.underlay_address : local.underlay_address6);
}

bool IsGateway(const LocalNode& local, const IpAddress& a) {
  return std::find(local.gateways.begin(), local.gateways.end(), a) != local.gateways.end();
}

bool IsOwnAddress(const LocalNode& local, const IpAddress& a) {
  if (IsLinkLocal(a)) return a.v6() == LinkLocalOf(local.gateway_mac);
  return IsUnderlayAddress(local, a) || IsGateway(local, a);
}

/// Whether the switch itself gets what is sent to `a`.
bool IsAnsweredHere(const LocalNode& local, const IpAddress& a) {
  return IsOwnAddress(local, a) && !(local.underlay_is_shared && IsUnderlayAddress(local, a));
}

/// The switch's own addresses and the node's network stack: they always reach the node's pods (kubelet
/// probes).
bool IsOwnNode(bool is_own_address, const Endpoint* e) {
  return is_own_address || (e != nullptr && e->is_host);
}

Forwarding Drop(DropReason reason) { return {.action = Action::kDrop, .reason = reason}; }

const PortSlot* SlotOf(const Tables& t, PortId port) {
  return port.value() < t.ports.size() ? &t.ports[port.value()] : nullptr;
}

DropReason CheckPodSource(const Tables& t, const Headers& h, const PortSlot& slot, const Ends& ends) {
  const Endpoint* e = t.EndpointAt(slot.endpoint);
  if (e == nullptr) return DropReason::kUnknownPort;
  if (IsLinkLocal(h.src) && !ends.src_is_own)  // may ping the gateway
    return ends.dst_is_own ? DropReason::kNone : DropReason::kLinkLocal;
  return ends.src == e ? DropReason::kNone : DropReason::kSpoofedAddress;
}

DropReason CheckUnderlaySource(const Tables& t, const Headers& h, const Ends& ends) {
  if (h.tunnelled && !t.vteps.Contains(h.tunnel_src)) return DropReason::kUnknownVtep;
  if (IsLinkLocal(h.src) && (h.tunnelled || !ends.dst_is_own)) return DropReason::kLinkLocal;
  const bool ours = ends.src != nullptr || ends.src_is_own;
  return ours || IsMulticast(h.src) || IsOfNoHost(h.src) ? DropReason::kSpoofedAddress : DropReason::kNone;
}

}  // namespace

Ends EndsOf(const Tables& t, const Headers& h) {
  return {.src = t.EndpointOf(h.src),
          .dst = t.EndpointOf(h.dst),
          .src_is_own = IsOwnAddress(t.local, h.src),
          .dst_is_own = IsAnsweredHere(t.local, h.dst)};
}

DropReason CheckSource(const Tables& t, const Headers& h, const Ends& ends) {
  if (h.in_port == kNoPort) return DropReason::kNone;  // the switch's own
  const PortSlot* slot = SlotOf(t, h.in_port);
  if (slot == nullptr) return DropReason::kUnknownPort;
  switch (slot->role) {
    case PortRole::kNone:
    case PortRole::kTrunk:
      return DropReason::kUnknownPort;
    case PortRole::kPod:
      return CheckPodSource(t, h, *slot, ends);
    case PortRole::kUnderlay:
      return CheckUnderlaySource(t, h, ends);
  }
  return DropReason::kUnknownPort;
}

Forwarding DecideForwarding(const Tables& t, const Headers& h, const Ends& ends) {
  if (IsMulticast(h.dst)) return Drop(DropReason::kMulticast);
  if (ends.dst_is_own) return {.action = Action::kLocal};
  if (IsLinkLocal(h.dst)) return Drop(DropReason::kLinkLocal);
  if (ends.dst != nullptr) return {.action = Action::kDeliver, .next_hop = ends.dst->adjacency};
  const FibEntry* route = t.fib.Find(h.dst);
  if (route == nullptr || route->kind == RouteKind::kSubnetLocal) return Drop(DropReason::kNoRoute);
  const Adjacency& adjacency = t.adjacencies[route->next_hop.value()];
  if (h.dst.is_v6() && adjacency.hop.kind == NextHop::Kind::kUdp) return Drop(DropReason::kNoRoute);
  // No transit: what came from the underlay never goes back there.
  if (h.in_port == adjacency.port) return Drop(DropReason::kNoRoute);
  return {.action = Action::kForward,
          .next_hop = route->next_hop,
          .neighbor = adjacency.hop.neighbor.empty() ? h.dst : adjacency.hop.neighbor};
}

PolicyDecision DecidePolicy(const Tables& t, const Headers& h, const Ends& ends) {
  PolicyDecision d;
  const Endpoint* src = ends.src;
  const Endpoint* dst = ends.dst;
  if (src != nullptr) {
    d.src_endpoint = src->id;
    d.src_version = src->version;
  }
  if (dst != nullptr) {
    d.dst_endpoint = dst->id;
    d.dst_version = dst->version;
  }
  if (src != nullptr && src == dst) return d;  // a pod cannot be cut off from itself
  if (src != nullptr && src->policy.egress != kNotIsolated && !ends.dst_is_own) {
    d.egress = t.policy->Check(Direction::kEgress, src->policy.egress, h.dst, h.proto, h.dst_port);
    // NetworkPolicies never keep a pod from its own node; ClusterNetworkPolicies say nothing of that.
    if (d.egress.isolated && dst != nullptr && dst->is_host) d.egress = {};
    if (!d.egress.allowed) {
      d.allowed = false;
      d.reason = DropReason::kPolicyDeniedEgress;
    }
  }
  if (dst != nullptr && dst->policy.ingress != kNotIsolated && !IsOwnNode(ends.src_is_own, src)) {
    d.ingress = t.policy->Check(Direction::kIngress, dst->policy.ingress, h.src, h.proto, h.dst_port);
    if (d.allowed && !d.ingress.allowed) {
      d.allowed = false;
      d.reason = DropReason::kPolicyDeniedIngress;
    }
  }
  return d;
}

namespace {

Decision DecideQuietly(const Tables& t, const Headers& h) {
  Decision d;
  const Ends ends = EndsOf(t, h);
  d.reason = CheckSource(t, h, ends);
  if (d.reason != DropReason::kNone) return d;
  d.policy = DecidePolicy(t, h, ends);
  d.forwarding = DecideForwarding(t, h, ends);
  const bool egress_denied = d.policy.reason == DropReason::kPolicyDeniedEgress;
  if (d.forwarding.action == Action::kDrop && !egress_denied) {
    d.reason = d.forwarding.reason;
  } else if (!d.policy.allowed) {
    d.reason = d.policy.reason;
  } else {
    d.action = d.forwarding.action;
  }
  return d;
}

std::string NameOf(const Tables& t, const IpAddress& a) {
  const Endpoint* e = t.EndpointOf(a);
  return e == nullptr ? ToString(a) : fmt::format("pod {} ({})", ToString(e->pod), ToString(a));
}

TraceStep SourceStep(const Tables& t, const Headers& h, DropReason reason) {
  if (h.in_port == kNoPort) return {"source", "pass", "sent by the switch itself", {}};
  const PortSlot* slot = SlotOf(t, h.in_port);
  const std::string port = slot == nullptr ? fmt::format("port {}", h.in_port.value()) : "port " + slot->name;
  if (reason != DropReason::kNone) {
    return {"source",
            "drop",
            fmt::format("{} may not come in on {}: {}", ToString(h.src), port, InfoOf(reason).help),
            {}};
  }
  return {"source", "pass", fmt::format("{} comes in on {}", NameOf(t, h.src), port), {}};
}

TraceStep PolicyStep(const Tables& t, const Headers& h, Direction direction, const PolicyDecision& d) {
  const bool egress = direction == Direction::kEgress;
  const IpAddress& self = egress ? h.src : h.dst;
  const PolicyVerdict& v = egress ? d.egress : d.ingress;
  const char* stage = egress ? "egress policy" : "ingress policy";
  const char* word = egress ? "egress" : "ingress";
  const Endpoint* e = t.EndpointOf(self);
  if (e == nullptr) {
    return {stage,
            "pass",
            fmt::format("{} is no pod of this node: its {} is enforced elsewhere, if at all", ToString(self),
                        word),
            {}};
  }
  if (h.src == h.dst) return {stage, "allow", "a pod always reaches itself", {}};
  const IpAddress& other = egress ? h.dst : h.src;
  if (v.rule == kNoRule && IsOwnNode(IsOwnAddress(t.local, other), t.EndpointOf(other))) {
    return {stage,
            "allow",
            egress ? "nothing keeps a pod from its own node" : "a node always reaches its own pods",
            {}};
  }
  const char* outcome = v.allowed ? "allow" : "deny";
  std::string passed;
  if (v.passed_by != kNoRule) passed = "; passed on by " + t.policy->NameOf(direction, v.passed_by);
  if (v.rule != kNoRule) {
    const std::string_view did = v.allowed ? "allows" : "denies";
    return {stage, outcome, fmt::format("{} {} it{}", t.policy->NameOf(direction, v.rule), did, passed), {}};
  }
  if (v.isolated) {
    return {
        stage,
        outcome,
        fmt::format("no NetworkPolicy that isolates {} for {} allows it{}", NameOf(t, self), word, passed),
        {}};
  }
  if (passed.empty() && e->policy.Of(direction) == kNotIsolated)
    return {stage, outcome, fmt::format("no NetworkPolicy isolates {} for {}", NameOf(t, self), word), {}};
  return {stage, outcome, fmt::format("no policy decides for {} of {}{}", word, NameOf(t, self), passed), {}};
}

TraceStep RouteStep(const Tables& t, const Headers& h, const Forwarding& f) {
  switch (f.action) {
    case Action::kDrop:
      return {"route", "drop", fmt::format("{}: {}", ToString(h.dst), InfoOf(f.reason).help), {}};
    case Action::kLocal:
      return {"route", "pass", fmt::format("{} is the switch's own address", ToString(h.dst)), {}};
    case Action::kDeliver:
      return {"route", "pass", fmt::format("{} is attached to this node", NameOf(t, h.dst)), {}};
    case Action::kForward:
      break;
  }
  IpPrefix matched;
  const FibEntry* route = t.fib.Find(h.dst, &matched);
  const Adjacency& a = t.adjacencies[f.next_hop.value()];
  return {"route",
          "pass",
          fmt::format("{} ({}), neighbour {}, MTU {}", ToString(matched), route->why, ToString(f.neighbor),
                      a.hop.mtu),
          {}};
}

TraceStep OutputStep(const Tables& t, const Decision& d) {
  if (d.action == Action::kDrop) {
    return {
        "output", "drop", fmt::format("dropped: {} ({})", InfoOf(d.reason).name, InfoOf(d.reason).help), {}};
  }
  if (d.action == Action::kLocal) return {"output", "pass", "answered by the switch", {}};
  const PortId port = t.adjacencies[d.forwarding.next_hop.value()].port;
  const PortSlot* slot = SlotOf(t, port);
  return {"output", "pass", fmt::format("leaves by port {}", slot == nullptr ? "?" : slot->name), {}};
}

}  // namespace

Decision Decide(const Tables& t, const Headers& h, Trace* trace) {
  const Decision d = DecideQuietly(t, h);
  if (trace == nullptr) return d;
  const DropReason source = CheckSource(t, h);
  trace->push_back(SourceStep(t, h, source));
  if (source == DropReason::kNone) {
    trace->push_back(PolicyStep(t, h, Direction::kEgress, d.policy));
    trace->push_back(RouteStep(t, h, d.forwarding));
    trace->push_back(PolicyStep(t, h, Direction::kIngress, d.policy));
  }
  trace->push_back(OutputStep(t, d));
  return d;
}

}  // namespace podwire
