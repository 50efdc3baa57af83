#include "control/event_names.h"

#include "control/explain.h"

namespace podwire {
namespace {

/// A cluster's pods come and go; a name that is a second late is not worth a walk over all of them each time.
constexpr std::chrono::seconds kPodsPeriod(1);

/// A NetworkPolicy goes by its namespace and name alone.
std::string PolicyName(const PolicyInfo& policy) {
  return policy.tier == Tier::kNetworkPolicy ? ToString(policy.key) : ToString(policy);
}

std::optional<Direction> DirectionOf(const EventRecord& r, const Tables& t) {
  if (r.event.reason == DropReason::kPolicyDeniedEgress) return Direction::kEgress;
  if (r.event.reason == DropReason::kPolicyDeniedIngress) return Direction::kIngress;
  if (r.event.victim == kNoEndpoint) return std::nullopt;
  if (r.event.kind == EventKind::kVerdict) {
    const Endpoint* src = t.EndpointOf(r.event.tuple.src);
    return src != nullptr && src->id == r.event.victim ? Direction::kEgress : Direction::kIngress;
  }
  const PortId port = r.event.in_port;
  const bool sent = port.value() < t.ports.size() && t.ports[port.value()].endpoint == r.event.victim;
  return sent ? Direction::kEgress : Direction::kIngress;
}

}  // namespace

void EventNames::Refresh(const ControlState& state, std::chrono::system_clock::time_point now) {
  const uint64_t revision = state.desired.policy_revision();
  if (revision != answers_revision_ || answers_.size() >= kCachedAnswers) answers_.clear();
  answers_revision_ = revision;
  if (revision == pods_revision_ || now - pods_time_ < kPodsPeriod) return;
  pods_revision_ = revision;
  pods_time_ = now;
  pods_.clear();
  for (const auto& [key, pod] : state.desired.model().pods) {
    if (!pod.IsPeer()) continue;
    for (const IpAddress& a : pod.addresses) pods_.insert_or_assign(a, ToString(key));
  }
}

std::string EventNames::PodAt(const Tables& t, const IpAddress& a) const {
  if (const Endpoint* e = t.EndpointOf(a); e != nullptr) return ToString(e->pod);
  const auto it = pods_.find(a);
  return it == pods_.end() ? std::string() : it->second;
}

/// Which policies deny. A packet may go in the reply direction of what they deny: then the question is the
/// other way round, and the isolated pod is the sender.
void EventNames::AskDenial(const ControlState& state, const Tables& t, NamedEvent& named) {
  PolicyAnswer& answer = *named.direction == Direction::kEgress ? named.egress : named.ingress;
  answer = Ask(state, t, *named.direction, named.tuple);
  if (!answer.allowed || named.kind != EventKind::kDrop) return;
  const TupleRecord original{.src = named.tuple.dst,
                             .dst = named.tuple.src,
                             .src_port = named.tuple.dst_port,
                             .dst_port = named.tuple.src_port,
                             .proto = named.tuple.proto};
  PolicyAnswer reversed = Ask(state, t, *named.direction, original);
  if (reversed.allowed) return;
  answer = std::move(reversed);
  named.reply = true;
  named.pod = *named.direction == Direction::kEgress ? named.dst_pod : named.src_pod;
}

PolicyAnswer EventNames::Ask(const ControlState& state, const Tables& t, Direction direction,
                             const TupleRecord& tuple) {
  const bool egress = direction == Direction::kEgress;
  const Endpoint* e = t.EndpointOf(egress ? tuple.src : tuple.dst);
  PolicyAnswer answer;
  const Question question{.endpoint = e == nullptr ? kNoEndpoint : e->id,
                          .direction = direction,
                          .peer = egress ? tuple.dst : tuple.src,
                          .proto = tuple.proto,
                          .port = tuple.dst_port};
  if (e == nullptr || e->policy.Of(question.direction) == kNotIsolated) return answer;
  if (const auto it = answers_.find(question); it != answers_.end()) return it->second;
  const PolicyVerdict v = t.policy->Check(question.direction, e->policy.Of(question.direction), question.peer,
                                          question.proto, question.port);
  answer.allowed = v.allowed;
  if (v.allowed && v.rule != kNoRule) {
    answer.policy = PolicyName(t.policy->PolicyOf(v.rule));
    answer.rule = static_cast<int>(v.rule.rule);
  }
  if (!v.allowed && questions_ == 0) {
    answer.isolating = IsolatingPolicies(state.desired.model(), e->pod, question.direction);
    return answer;  // without a hint: not to be kept
  }
  if (!v.allowed) {
    --questions_;
    const auto explained = ExplainPolicy(*t.policy, state.desired.model(),
                                         {.direction = question.direction,
                                          .pod = e->pod,
                                          .peer = question.peer,
                                          .ip_proto = question.proto,
                                          .port = question.port});
    if (!explained.ok()) return answer;
    if (explained->decided_by) {
      answer.isolating = {PolicyName(explained->decided_by->policy)};
    } else {
      for (const PolicyTrace& p : explained->isolating) answer.isolating.push_back(ToString(p.policy));
    }
    answer.hint = explained->Hint();
  }
  answers_.emplace(question, answer);
  return answer;
}

NamedEvent EventNames::Name(const EventRecord& record, const Tables& t) {
  const PacketEvent& event = record.event;
  NamedEvent named{.time = record.time,
                   .worker = record.worker,
                   .kind = event.kind,
                   .reason = event.reason,
                   .tuple = event.tuple,
                   .direction = DirectionOf(record, t)};
  if (event.in_port.value() < t.ports.size()) named.port = t.ports[event.in_port.value()].name;
  const Endpoint* victim = t.EndpointAt(event.victim);
  if (victim != nullptr) named.pod = ToString(victim->pod);
  controller_.Read([&](const ControlState& state) {
    Refresh(state, record.time);
    named.src_pod = PodAt(t, event.tuple.src);
    named.dst_pod = PodAt(t, event.tuple.dst);
    if (event.kind == EventKind::kVerdict && event.reason == DropReason::kNone) {
      named.egress = Ask(state, t, Direction::kEgress, event.tuple);
      named.ingress = Ask(state, t, Direction::kIngress, event.tuple);
    } else if (named.is_policy()) {
      AskDenial(state, t, named);
    }
  });
  return named;
}

}  // namespace podwire
