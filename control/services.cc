#include "control/services.h"

#include <charconv>

#include "net/status.h"

namespace podwire {
namespace {

constexpr size_t kLongestMessage = 1500;

constexpr std::pair<const char*, uint8_t> kProtocols[] = {
    {"tcp", 6}, {"udp", 17}, {"sctp", 132}, {"icmp", 1}, {"icmpv6", 58}};

}  // namespace

Engine EngineOf(Switch& s) {
  return {.publish = [&s](std::unique_ptr<Tables> t) { return s.Publish(std::move(t)); },
          .tables = [&s] { return s.tables(); },
          .forget_endpoint = [&s](EndpointId id) { s.ForgetEndpoint(id); }};
}

std::string Shorten(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (text[limit] & 0xC0) == 0x80) --limit;
  return text.substr(0, limit) + "...";
}

grpc::Status ToGrpc(const absl::Status& s) {
  if (s.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(s.code()), Shorten(Message(s), kLongestMessage)};
}

std::string ProtocolName(uint8_t proto) {
  for (const auto& [name, number] : kProtocols) {
    if (number == proto) return name;
  }
  return std::to_string(proto);
}

absl::StatusOr<uint8_t> ParseProtocol(const std::string& text) {
  for (const auto& [name, number] : kProtocols) {
    if (text == name) return number;
  }
  uint8_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  return InvalidArgument(
      "protocol: expected tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255, not \"{}\"", text);
}

std::string PodOf(const Tables& t, EndpointId id) {
  const Endpoint* e = t.EndpointAt(id);
  return e == nullptr ? "" : e->ns + "/" + e->name;
}

std::vector<std::string> IsolatingPolicies(const Model& model, const ObjectKey& pod, Direction direction) {
  std::vector<std::string> names;
  const auto labels = model.pods.find(pod);
  for (auto it = model.policies.lower_bound({pod.ns, ""});
       it != model.policies.end() && it->first.ns == pod.ns; ++it) {
    const NetworkPolicy& p = it->second;
    const bool selects =
        p.pod_selector.Matches(labels == model.pods.end() ? Labels() : labels->second.labels);
    if (selects && p.Isolates(direction)) names.push_back(ToString(p.key));
  }
  return names;
}

}  // namespace podwire
