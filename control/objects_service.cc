#include "control/services.h"
#include "net/status.h"
#include "objects.grpc.pb.h"

namespace podwire {
namespace {

v1::Change ChangeOf(ObjectOutcome o) {
  switch (o) {
    case ObjectOutcome::kUnchanged:
      return v1::UNCHANGED;
    case ObjectOutcome::kCreated:
      return v1::CREATED;
    case ObjectOutcome::kReplaced:
      return v1::REPLACED;
    case ObjectOutcome::kDeleted:
      return v1::DELETED;
  }
  return v1::CHANGE_UNSPECIFIED;
}

template <class Response>
void Fill(const std::vector<ObjectResult>& results, Response& response) {
  for (const ObjectResult& r : results) {
    v1::ObjectChange& change = *response.add_changes();
    change.set_kind(r.id.kind);
    change.set_namespace_(r.id.ns);
    change.set_name(r.id.name);
    change.set_change(ChangeOf(r.outcome));
    for (const std::string& w : r.warnings) change.add_warnings(w);
  }
}

/// As many problems as a client takes: clients refuse more than 8 KB behind an answer.
std::string Details(const std::vector<ObjectProblem>& problems) {
  constexpr size_t kLongestDetails = 3000;
  constexpr size_t kLongestField = 300;
  v1::ApplyErrors errors;
  for (const ObjectProblem& p : problems) {
    if (errors.ByteSizeLong() > kLongestDetails - 5 * kLongestField) {
      v1::ObjectError& rest = *errors.add_errors();
      rest.set_document(UINT32_MAX);
      rest.set_message(fmt::format("{} more problems", problems.size() + 1 - errors.errors().size()));
      break;
    }
    v1::ObjectError& e = *errors.add_errors();
    e.set_document(static_cast<uint32_t>(p.document));
    e.set_kind(Shorten(p.id.kind, kLongestField));
    e.set_namespace_(Shorten(p.id.ns, kLongestField));
    e.set_name(Shorten(p.id.name, kLongestField));
    e.set_field(Shorten(p.field, kLongestField));
    e.set_message(Shorten(p.message, kLongestField));
  }
  return errors.SerializeAsString();
}

absl::StatusOr<std::string> KindOf(const std::string& name) {
  if (auto kind = CanonicalKind(name)) return *kind;
  return InvalidArgument(
      "kind: expected Node, Namespace, Pod, NetworkPolicy, ClusterNetworkPolicy or ConfigMap, not \"{}\"",
      name);
}

class ObjectsService final : public v1::Objects::Service {
 public:
  explicit ObjectsService(Daemon& d) : d_(d) {}

  grpc::Status Apply(grpc::ServerContext*, const v1::ApplyRequest* request,
                     v1::ApplyResponse* response) override {
    const std::vector<std::string> documents(request->json().begin(), request->json().end());
    ParsedObjects parsed = ParseObjects(documents, request->default_namespace());
    const auto results = d_.controller.Apply(parsed, request->dry_run());
    if (!results.ok()) {
      const grpc::Status status = ToGrpc(results.status());
      return parsed.problems.empty()
                 ? status
                 : grpc::Status(status.error_code(), status.error_message(), Details(parsed.problems));
    }
    Fill(*results, *response);
    return grpc::Status::OK;
  }

  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                      v1::DeleteResponse* response) override {
    std::vector<ObjectId> ids;
    for (const v1::ObjectKey& key : request->objects()) {
      const auto kind = KindOf(key.kind());
      if (!kind.ok()) return ToGrpc(kind.status());
      if (key.name().empty()) return ToGrpc(InvalidArgument("name: missing for a {}", *kind));
      ObjectId id{*kind, "", key.name()};
      if (IsNamespaced(*kind)) id.ns = key.namespace_().empty() ? "default" : key.namespace_();
      ids.push_back(std::move(id));
    }
    const auto results = d_.controller.Delete(ids);
    if (!results.ok()) return ToGrpc(results.status());
    Fill(*results, *response);
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListObjectsRequest* request,
                    grpc::ServerWriter<v1::Object>* writer) override {
    std::string kind;
    if (!request->kind().empty()) {
      const auto canonical = KindOf(request->kind());
      if (!canonical.ok()) return ToGrpc(canonical.status());
      kind = *canonical;
    }
    std::vector<StoredObject> found;
    d_.controller.Read([&](const ControlState& s) {
      for (const auto& [id, json] : s.desired.objects()) {
        if (!kind.empty() && id.kind != kind) continue;
        if (!request->namespace_().empty() && !id.ns.empty() && id.ns != request->namespace_()) continue;
        if (!request->name().empty() && id.name != request->name()) continue;
        found.push_back({id, json});
      }
    });
    if (found.empty() && !request->name().empty()) {
      return ToGrpc(Error(absl::StatusCode::kNotFound, "there is no {} {}", kind.empty() ? "object" : kind,
                          request->name()));
    }
    for (const StoredObject& o : found) {
      v1::Object object;
      object.set_kind(o.id.kind);
      object.set_namespace_(o.id.ns);
      object.set_name(o.id.name);
      object.set_json(o.json);
      if (!writer->Write(object)) break;
    }
    return grpc::Status::OK;
  }

 private:
  Daemon& d_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeObjectsService(Daemon& d) { return std::make_unique<ObjectsService>(d); }

}  // namespace podwire
