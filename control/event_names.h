#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/explain.h"
#include "control/controller.h"
#include "switch/event_ring.h"
#include "switch/switch.h"

namespace podwire {

/// What the policies of one end say of a connection, for people.
struct PolicyAnswer {
  bool allowed = true;
  std::string policy;  ///< ns/name that allows; empty: none, or the pod is not isolated
  int rule = -1;       ///< its rule
  std::vector<std::string>
      isolating;     ///< of those that deny: ns/name, or "ClusterNetworkPolicy name (Admin, priority 5)"
  std::string hint;  ///< PolicyExplanation::Hint
};

/// An event with names in place of numbers.
struct NamedEvent {
  std::chrono::system_clock::time_point time;
  uint16_t worker = 0;
  EventKind kind = EventKind::kDrop;
  DropReason reason = DropReason::kNone;
  std::string port;  ///< that the packet came in on
  TupleRecord tuple;
  std::string src_pod, dst_pod;        ///< ns/name, of any node's pods; empty: none
  std::string pod;                     ///< whom it happened to, of this node's
  bool reply = false;                  ///< of a connection that the policies deny the other end
  std::optional<Direction> direction;  ///< as that pod sees it
  /// Of a denial or cut the side that said no. Of an allowed verdict both.
  PolicyAnswer egress, ingress;

  const PolicyAnswer& denial() const { return direction == Direction::kEgress ? egress : ingress; }
  bool is_policy() const {
    return reason == DropReason::kPolicyDeniedEgress || reason == DropReason::kPolicyDeniedIngress;
  }
};

/// Finds the names, and asks the policies in force: an event is some milliseconds old, and if they have
/// changed meanwhile, the answer is of now. One thread.
class EventNames {
 public:
  explicit EventNames(const Controller& controller) : controller_(controller) {}

  /// `t`: the tables in force.
  NamedEvent Name(const EventRecord& record, const Tables& t);
  /// To be called now and then: more questions may be asked. Those beyond get no hint, but names.
  void Refill() { questions_ = kQuestions; }

  static constexpr uint32_t kQuestions = 100;  ///< of those that scan all pods
  static constexpr size_t kCachedAnswers = 1024;

 private:
  struct Question {
    EndpointId endpoint;
    Direction direction = Direction::kIngress;
    IpAddress peer;
    uint8_t proto = 0;
    uint16_t port = 0;
    bool operator==(const Question&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const Question& q) {
      return H::combine(std::move(h), q.endpoint, static_cast<uint8_t>(q.direction), q.peer, q.proto, q.port);
    }
  };
  void Refresh(const ControlState& state, std::chrono::system_clock::time_point now);
  std::string PodAt(const Tables& t, const IpAddress& a) const;
  void AskDenial(const ControlState& state, const Tables& t, NamedEvent& named);
  PolicyAnswer Ask(const ControlState& state, const Tables& t, Direction direction, const TupleRecord& tuple);

  const Controller& controller_;
  uint64_t answers_revision_ = 0, pods_revision_ = 0;  // of the policy model
  std::chrono::system_clock::time_point pods_time_;
  uint32_t questions_ = kQuestions;
  absl::flat_hash_map<Question, PolicyAnswer> answers_;
  absl::flat_hash_map<IpAddress, std::string> pods_;  // other nodes' too
};

}  // namespace podwire
