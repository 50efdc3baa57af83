#include "control/services.h"

#include "net/status.h"

namespace podwire {
namespace {

constexpr size_t kLongestMessage = 1500;

}  // namespace

Engine EngineOf(Switch& s, OffloadManager* offload) {
  return {.publish =
              [&s, offload](std::unique_ptr<Tables> t) {
                auto published = s.Publish(std::move(t));
                if (offload != nullptr) offload->Revalidate(*published);
                return published;
              },
          .tables = [&s] { return s.tables(); },
          .forget_endpoint = [&s](EndpointId id) { s.ForgetEndpoint(id); },
          .announce_underlay = [&s] { s.AnnounceUnderlay(); }};
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

std::string PodOf(const Tables& t, EndpointId id) {
  const Endpoint* e = t.EndpointAt(id);
  return e == nullptr ? "" : ToString(e->pod);
}

}  // namespace podwire
