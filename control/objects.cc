#include "control/objects.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "acl/parse.h"
#include "control/json_reader.h"
#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;

constexpr std::string_view kNetworkConfigMap = "kube-flannel-cfg";
constexpr size_t kLongestDocument = 16 << 20;

struct KindInfo {
  std::string_view kind;
  std::string_view api_version;
  std::array<std::string_view, 3> names;  // lower case, besides the kind's own
  bool namespaced;
};
constexpr std::array<KindInfo, 6> kKinds{{
    {"Node", "v1", {"nodes", "no", ""}, false},
    {"Namespace", "v1", {"namespaces", "ns", ""}, false},
    {"Pod", "v1", {"pods", "po", ""}, true},
    {"NetworkPolicy",
     "networking.k8s.io/v1",
     {"networkpolicies", "netpol", "networkpolicy.networking.k8s.io"},
     true},
    {"ClusterNetworkPolicy",
     "policy.networking.k8s.io/v1alpha2",
     {"clusternetworkpolicies", "cnp", "clusternetworkpolicy.policy.networking.k8s.io"},
     false},
    {"ConfigMap", "v1", {"configmaps", "cm", ""}, true},
}};

/// What stands in for kinds that the API has given up; empty: nothing does.
std::string_view SuccessorOf(std::string_view kind) {
  if (kind.ends_with("List")) kind.remove_suffix(4);
  if (kind == "AdminNetworkPolicy")
    return "ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with spec.tier Admin";
  if (kind == "BaselineAdminNetworkPolicy")
    return "ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with spec.tier Baseline";
  return {};
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

const KindInfo* FindKind(std::string_view name) {
  const std::string lower = Lower(name);
  for (const KindInfo& k : kKinds) {
    if (lower == Lower(k.kind) || (!lower.empty() && std::ranges::find(k.names, lower) != k.names.end()))
      return &k;
  }
  return nullptr;
}

std::string TextOf(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

/// Splits "spec.x[0]: words" of a parser's message; a message without a path stays whole.
ObjectProblem ProblemOf(size_t document, ObjectId id, const absl::Status& status) {
  const std::string message = Message(status);
  const size_t colon = message.find(": ");
  const auto in_path = [](unsigned char c) {
    return std::isalnum(c) || std::string_view(".[]-_/").find(static_cast<char>(c)) != std::string_view::npos;
  };
  const bool has_path =
      colon != std::string::npos &&
      std::all_of(message.begin(), message.begin() + static_cast<ptrdiff_t>(colon), in_path);
  if (!has_path) return {document, std::move(id), "", message};
  return {document, std::move(id), message.substr(0, colon), message.substr(colon + 2)};
}

class Parser {
 public:
  Parser(std::string_view default_namespace, ParsedObjects& out)
      : default_namespace_(default_namespace), out_(out) {}

  void Document(size_t index, const std::string& text) {
    document_ = index;
    if (text.size() > kLongestDocument)
      return Refuse({}, InvalidArgument("is longer than {} bytes", kLongestDocument));
    const auto value = ParseJson(text);
    if (!value.ok()) return Refuse({}, value.status());
    Any(*value, nullptr);
  }

 private:
  void Refuse(ObjectId id, const absl::Status& status) {
    out_.problems.push_back(ProblemOf(document_, std::move(id), status));
  }

  static absl::Status UnknownKind(const std::string& kind) {
    if (const std::string_view successor = SuccessorOf(kind); !successor.empty())
      return InvalidArgument("kind: podwire takes no {}: write a {}", kind, successor);
    return InvalidArgument(
        "kind: podwire takes Node, Namespace, Pod, NetworkPolicy, ClusterNetworkPolicy, ConfigMap "
        "(kube-flannel-cfg) and List, not {}",
        kind);
  }

  /// `list`: the typed list whose item it is, which need not say its kind and version then; nullptr: none.
  void Any(const json& value, const KindInfo* list) {
    if (!value.is_object()) return Refuse({}, InvalidArgument("expected an object, not {}", Brief(value)));
    const bool has_kind = value.contains("kind") || list == nullptr;
    const std::string kind = has_kind ? TextOf(value, "kind") : std::string(list->kind);
    const KindInfo* info = FindKind(kind);
    if (info != nullptr && info->kind != kind) info = nullptr;
    const ObjectId id = IdOf(info, kind, value);
    if (kind.empty()) return Refuse(id, InvalidArgument("kind: missing"));
    if (kind.ends_with("List") && list == nullptr) return Items(value, kind);
    if (info == nullptr) return Refuse(id, UnknownKind(kind));
    if (list != nullptr && info != list)
      return Refuse(id, InvalidArgument("kind: a {} in a {}List", kind, list->kind));
    const bool implied = list != nullptr && !value.contains("apiVersion");
    if (const auto status = CheckVersion(value, info->api_version); !implied && !status.ok())
      return Refuse(id, status);
    Object(*info, value, id);
  }

  ObjectId IdOf(const KindInfo* info, const std::string& kind, const json& value) const {
    const json metadata = value.value("metadata", json());
    ObjectId id{kind, "", TextOf(metadata, "name")};
    if (info == nullptr || !info->namespaced) return id;
    id.ns = TextOf(metadata, "namespace");
    if (id.ns.empty()) id.ns = default_namespace_;
    return id;
  }

  static absl::Status CheckVersion(const json& value, std::string_view wanted) {
    const auto version = value.find("apiVersion");
    if (version == value.end()) return InvalidArgument("apiVersion: missing, expected {}", wanted);
    if (*version == wanted) return absl::OkStatus();
    return InvalidArgument("apiVersion: expected {}, not {}", wanted, Brief(*version));
  }

  void Items(const json& list, const std::string& kind) {
    const ObjectId id{kind, "", ""};
    const std::string item_kind = kind.substr(0, kind.size() - 4);
    const KindInfo* typed = FindKind(item_kind);
    if (!item_kind.empty() && (typed == nullptr || typed->kind != item_kind))
      return Refuse(id, UnknownKind(kind));
    if (const auto status = CheckVersion(list, typed == nullptr ? "v1" : typed->api_version); !status.ok())
      return Refuse(id, status);
    const auto items = list.find("items");
    if (items == list.end() || !items->is_array())
      return Refuse(id, InvalidArgument("items: expected an array"));
    for (const json& item : *items) {
      if (TextOf(item, "kind").ends_with("List")) {
        Refuse({TextOf(item, "kind"), "", ""}, InvalidArgument("kind: a List inside a List"));
      } else {
        Any(item, typed);
      }
    }
  }

  void Object(const KindInfo& info, const json& value, ObjectId id) {
    ParsedObject object{.document = document_, .id = id};
    if (const absl::Status status = Fill(info, value, object); !status.ok())
      return Refuse(std::move(id), status);
    json whole = value;
    whole["kind"] = info.kind;
    whole["apiVersion"] = info.api_version;
    if (info.namespaced) whole["metadata"]["namespace"] = object.id.ns;
    object.json = whole.dump(-1, ' ', false, json::error_handler_t::replace);
    out_.objects.push_back(std::move(object));
  }

  absl::Status Fill(const KindInfo& info, const json& value, ParsedObject& object) {
    if (info.kind == "Node") {
      ASSIGN_OR_RETURN(object.value, ParseNode(value));
    } else if (info.kind == "Namespace") {
      ASSIGN_OR_RETURN(object.value, ParseNamespace(value));
      ReadPolicyLog(value, object);
    } else if (info.kind == "Pod") {
      ASSIGN_OR_RETURN(object.value, ParsePod(value, default_namespace_));
    } else if (info.kind == "NetworkPolicy") {
      ASSIGN_OR_RETURN(object.value, ParseNetworkPolicy(value, default_namespace_));
    } else if (info.kind == "ClusterNetworkPolicy") {
      ASSIGN_OR_RETURN(object.value, ParseClusterNetworkPolicy(value));
    } else {
      return FillNetwork(value, object);
    }
    return absl::OkStatus();
  }

  /// Kubernetes takes any text as an annotation: what makes no sense is no reason to refuse a namespace.
  static void ReadPolicyLog(const json& value, ParsedObject& object) {
    const json metadata = value.value("metadata", json::object());
    const json annotations = metadata.value("annotations", json());
    if (!annotations.is_object() || !annotations.contains(kPolicyLogAnnotation)) return;
    const json& level = annotations[kPolicyLogAnnotation];
    if (level == "denied") {
      object.policy_log = PolicyLogLevel::kDenied;
    } else if (level == "all") {
      object.policy_log = PolicyLogLevel::kAll;
    } else {
      object.warnings.push_back(
          fmt::format("metadata.annotations[\"{}\"]: expected denied or all, not {}: "
                      "nothing is logged",
                      kPolicyLogAnnotation, Brief(level)));
    }
  }

  absl::Status FillNetwork(const json& value, ParsedObject& object) {
    ASSIGN_OR_RETURN(const ObjectMeta meta, ParseMetadata(value, default_namespace_));
    if (meta.key.name != kNetworkConfigMap) {
      return InvalidArgument(
          "metadata.name: the only ConfigMap that podwire takes is {} (the network's "
          "configuration), not \"{}\"",
          kNetworkConfigMap, meta.key.name);
    }
    ASSIGN_OR_RETURN(NetConf conf, ParseNetConfConfigMap(value));
    for (const std::string& key : conf.unknown_keys) {
      object.warnings.push_back(fmt::format("net-conf.json: key {} is unknown and ignored", key));
    }
    object.value = std::move(conf);
    return absl::OkStatus();
  }

  std::string default_namespace_;
  ParsedObjects& out_;
  size_t document_ = 0;
};

}  // namespace

std::optional<std::string> CanonicalKind(std::string_view name) {
  const KindInfo* info = FindKind(name);
  if (info == nullptr) return std::nullopt;
  return std::string(info->kind);
}

bool IsNamespaced(std::string_view kind) {
  const KindInfo* info = FindKind(kind);
  return info != nullptr && info->namespaced;
}

std::string ToString(const ObjectProblem& p) {
  std::string text = fmt::format("document {}: ", p.document + 1);
  if (!p.id.kind.empty()) {
    const std::string name = fmt::format("{}{}{}", p.id.ns, p.id.ns.empty() ? "" : "/", p.id.name);
    text += fmt::format("{}{}{}: ", p.id.kind, name.empty() ? "" : " ", name);
  }
  if (!p.field.empty()) text += p.field + ": ";
  return text + p.message;
}

ParsedObjects ParseObjects(std::span<const std::string> documents, std::string_view default_namespace) {
  ParsedObjects result;
  Parser parser(default_namespace.empty() ? "default" : default_namespace, result);
  for (size_t i = 0; i < documents.size(); ++i) parser.Document(i, documents[i]);
  return result;
}

}  // namespace podwire
