#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/kinds.h"
#include "control/cli/manifest_files.h"
#include "control/cli/proto_json.h"
#include "net/status.h"
#include "objects.grpc.pb.h"

namespace podwire::cli {
namespace {

struct ApplyOptions {
  std::vector<std::string> files;
  std::string default_namespace;
  bool dry_run = false;
};

struct DeleteOptions {
  std::vector<std::string> files;
  std::string kind;
  std::vector<std::string> names;
  std::string default_namespace;
  bool ignore_not_found = false;
};

std::string NamespaceOr(const std::string& given, const std::string& otherwise) {
  return given.empty() ? otherwise : given;
}

/// As kubectl: -n and a manifest that names another namespace contradict each other.
absl::Status CheckNamespaces(const std::vector<Manifest>& manifests, const std::string& wanted) {
  std::string errors;
  for (const Manifest& manifest : manifests) {
    const std::string own = manifest.object_namespace();
    if (wanted.empty() || own.empty() || own == wanted) continue;
    errors += fmt::format("{}{}: {}: metadata.namespace: is not the namespace {} given by -n",
                          errors.empty() ? "" : "\n", manifest.Where(),
                          ObjectName(manifest.kind(), own, manifest.name()), wanted);
  }
  return errors.empty() ? absl::OkStatus() : InvalidArgument("{}", errors);
}

/// podwired's list of what is wrong, each with the file that it is in. Its message as it is if it sent no
/// list.
absl::Status NameFiles(const absl::Status& status, const std::string& details,
                       const std::vector<Manifest>& manifests) {
  v1::ApplyErrors errors;
  if (details.empty() || !errors.ParseFromString(details) || errors.errors().empty()) return status;
  std::string text;
  for (const v1::ObjectError& error : errors.errors()) {
    const bool known = error.document() < manifests.size();
    text += fmt::format("{}{}{}: {}{}{}", text.empty() ? "" : "\n",
                        known ? manifests[error.document()].Where() + ": " : "",
                        ObjectName(error.kind(), error.namespace_(), error.name()), error.field(),
                        error.field().empty() ? "" : ": ", error.message());
  }
  return Error(status.code(), "{}\nnothing was applied", text);
}

std::string_view Verb(v1::Change change) {
  switch (change) {
    case v1::CREATED:
      return "created";
    case v1::REPLACED:
      return "configured";
    case v1::DELETED:
      return "deleted";
    default:
      return "unchanged";
  }
}

template <class Response>
std::string ChangesJson(const Response& response) {
  return ToJson(response).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Exit> Apply(Session& session, const ApplyOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<Manifest> manifests, ReadManifests(options.files));
  RETURN_IF_ERROR(CheckNamespaces(manifests, options.default_namespace));
  v1::ApplyRequest request;
  for (const Manifest& manifest : manifests) request.add_json(manifest.json.dump());
  request.set_default_namespace(options.default_namespace);
  request.set_dry_run(options.dry_run);
  v1::ApplyResponse response;
  std::string details;
  const absl::Status status =
      session.Call<v1::Objects>(&v1::Objects::Stub::Apply, request, &response, &details);
  if (!status.ok()) return NameFiles(status, details, manifests);
  if (session.options().format == Format::kJson) {
    Print(ChangesJson(response));
    return Exit::kOk;
  }
  for (const v1::ObjectChange& change : response.changes()) {
    for (const auto& warning : change.warnings()) {
      fmt::print(stderr, "Warning: {}: {}\n", ObjectName(change.kind(), change.namespace_(), change.name()),
                 warning);
    }
    Print(fmt::format("{} {}{}\n", ResourceName(change.kind(), change.name()), Verb(change.change()),
                      options.dry_run ? " (dry run)" : ""));
  }
  return Exit::kOk;
}

absl::StatusOr<v1::DeleteRequest> DeletionOf(const DeleteOptions& options) {
  v1::DeleteRequest request;
  const auto add = [&](const std::string& kind, const std::string& object_namespace,
                       const std::string& name) {
    const KindInfo* info = FindKind(kind);
    auto& key = *request.add_objects();
    key.set_kind(kind);
    key.set_name(name);
    if (info == nullptr || info->namespaced) key.set_namespace_(NamespaceOr(object_namespace, "default"));
  };
  for (const std::string& name : options.names)
    add(FindKind(options.kind)->kind, options.default_namespace, name);
  if (options.files.empty()) return request;
  ASSIGN_OR_RETURN(const std::vector<Manifest> manifests, ReadManifests(options.files));
  RETURN_IF_ERROR(CheckNamespaces(manifests, options.default_namespace));
  for (const Manifest& manifest : manifests) {
    if (manifest.name().empty())
      return InvalidArgument("{}: {}: metadata.name: missing", manifest.Where(), manifest.kind());
    add(manifest.kind(), NamespaceOr(manifest.object_namespace(), options.default_namespace),
        manifest.name());
  }
  return request;
}

absl::StatusOr<Exit> Delete(Session& session, const DeleteOptions& options) {
  ASSIGN_OR_RETURN(const v1::DeleteRequest request, DeletionOf(options));
  v1::DeleteResponse response;
  RETURN_IF_ERROR(session.Call<v1::Objects>(&v1::Objects::Stub::Delete, request, &response));
  Exit exit = Exit::kOk;
  if (session.options().format == Format::kJson) Print(ChangesJson(response));
  for (const v1::ObjectChange& change : response.changes()) {
    if (change.change() == v1::DELETED) {
      if (session.options().format == Format::kJson) continue;
      const std::string resource = ResourceName(change.kind(), "");
      Print(fmt::format("{} \"{}\" deleted\n", resource.substr(0, resource.size() - 1), change.name()));
    } else if (!options.ignore_not_found) {
      fmt::print(stderr, "podwire: {} not found\n",
                 ObjectName(change.kind(), change.namespace_(), change.name()));
      exit = Exit::kRefused;
    }
  }
  return exit;
}

/// Delete takes -f, or a kind and names: which, CLI11 cannot say by itself.
void CheckDeletion(const DeleteOptions& options) {
  if (options.files.empty() && options.kind.empty())
    throw CLI::ValidationError("delete", "needs -f FILE, or KIND NAME");
  if (!options.files.empty() && !options.kind.empty())
    throw CLI::ValidationError("delete", "takes -f FILE or KIND NAME, not both");
  if (options.kind.empty()) return;
  const KindInfo* info = FindKind(options.kind);
  if (info == nullptr || !info->object)
    throw CLI::ValidationError("KIND", fmt::format("\"{}\" is no kind of object", options.kind));
  if (options.names.empty())
    throw CLI::ValidationError("delete", fmt::format("which of the {}? NAME is missing", info->plural));
}

}  // namespace

void AddApplyCommands(CLI::App& app, Context& context) {
  auto* apply = app.add_subcommand(
      "apply", "Create or replace the objects of Kubernetes manifests: all of them or, if one is bad, none");
  auto apply_options = std::make_shared<ApplyOptions>();
  apply
      ->add_option("-f,--filename", apply_options->files,
                   "YAML or JSON file, directory, or - for standard input; repeatable")
      ->required()
      ->allow_extra_args(false)
      ->type_name("FILE");
  apply->add_option("-n,--namespace", apply_options->default_namespace,
                    "Namespace of objects that name none (default)");
  apply->add_flag("--dry-run", apply_options->dry_run, "Validate only");
  apply->callback([&context, apply_options] {
    context.run = [apply_options](Session& session) { return Apply(session, *apply_options); };
  });

  auto* remove = app.add_subcommand("delete", "Delete objects by manifest, or by kind and name");
  auto options = std::make_shared<DeleteOptions>();
  remove
      ->add_option("-f,--filename", options->files,
                   "YAML or JSON file, directory, or - for standard input; repeatable")
      ->allow_extra_args(false)
      ->type_name("FILE");
  remove->add_option("KIND", options->kind,
                     "Kind, as kubectl knows it: pod, netpol, node, namespace, configmap");
  remove->add_option("NAME", options->names, "Names");
  remove->add_option("-n,--namespace", options->default_namespace,
                     "Namespace of objects that name none (default)");
  remove->add_flag("--ignore-not-found", options->ignore_not_found,
                   "An object that does not exist is no failure");
  remove->callback([&context, options] {
    CheckDeletion(*options);
    context.run = [options](Session& session) { return Delete(session, *options); };
  });
}

}  // namespace podwire::cli
