#include "control/attachment.h"

#include "control/json_reader.h"
#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;

template <class T>
json Texts(const std::vector<T>& items) {
  json list = json::array();
  for (const T& item : items) list.push_back(ToString(item));
  return list;
}

template <class T, class Parse>
void ReadTexts(JsonReader& r, std::string_view key, Parse parse, std::vector<T>& out) {
  const json* list = r.Array(key, "an array");
  if (list == nullptr) return;
  for (const json& item : *list) {
    const auto value = parse(item.is_string() ? item.get_ref<const std::string&>() : std::string());
    if (!value.ok()) return r.Fail(key, Message(value.status()));
    out.push_back(*value);
  }
}

absl::StatusOr<PodRoute> RouteFromJson(const json& value) {
  JsonReader r(value, "routes");
  std::string dst, via;
  r.String("dst", dst);
  r.String("via", via);
  RETURN_IF_ERROR(r.Finish());
  PodRoute route;
  ASSIGN_OR_RETURN(route.dst, ParsePrefix(dst));
  if (!via.empty()) {
    ASSIGN_OR_RETURN(route.via, ParseIp(via));
  }
  return route;
}

json VfToJson(const VfAttachment& vf) {
  return {{"resource", vf.resource},
          {"address", vf.address},
          {"pfAddress", vf.pf_address},
          {"pf", vf.pf},
          {"number", vf.number},
          {"vlan", vf.vlan},
          {"vfio", vf.vfio},
          {"deviceFiles", vf.device_files},
          {"formerDriver", vf.former_driver},
          {"formerName", vf.former_name}};
}

absl::Status VfFromJson(const json& value, VfAttachment& vf) {
  JsonReader r(value, "vf");
  r.String("resource", vf.resource);
  r.String("address", vf.address);
  r.String("pfAddress", vf.pf_address);
  r.String("pf", vf.pf);
  r.Number("number", vf.number);
  r.Number("vlan", vf.vlan);
  r.Bool("vfio", vf.vfio);
  if (const json* files = r.Array("deviceFiles", "an array"); files != nullptr) {
    for (const json& file : *files)
      vf.device_files.push_back(file.is_string() ? file.get<std::string>() : "");
  }
  r.String("formerDriver", vf.former_driver);
  r.String("formerName", vf.former_name);
  return r.Finish();
}

/// Version 0.1 had a flag instead of the kind.
void ReadKind(JsonReader& r, Attachment& a) {
  bool vhost_user = false;
  r.Bool("vhostUser", vhost_user);
  std::string text(ToString(vhost_user ? AttachKind::kVhostUser : AttachKind::kTap));
  r.String("attach", text);
  if (const auto kind = ParseAttachKind(text); kind.ok()) {
    a.kind = *kind;
  } else {
    r.Fail("attach", Message(kind.status()));
  }
}

}  // namespace

std::string_view ToString(AttachKind kind) {
  switch (kind) {
    case AttachKind::kTap:
      return "tap";
    case AttachKind::kVhostUser:
      return "vhost-user";
    case AttachKind::kPort:
      return "port";
    case AttachKind::kMacvlan:
      return "macvlan";
    case AttachKind::kVf:
      return "vf";
  }
  return "";
}

absl::StatusOr<AttachKind> ParseAttachKind(std::string_view text) {
  for (const AttachKind kind :
       {AttachKind::kTap, AttachKind::kVhostUser, AttachKind::kPort, AttachKind::kMacvlan, AttachKind::kVf}) {
    if (text == ToString(kind)) return kind;
  }
  return InvalidArgument("expected tap, vhost-user, port, macvlan or vf, not \"{}\"", text);
}

std::string ToString(const AttachmentKey& key) {
  return fmt::format("{}/{}", key.container_id.substr(0, 12), key.ifname);
}

std::string ToJson(const Attachment& a) {
  json routes = json::array();
  for (const PodRoute& r : a.routes) {
    routes.push_back({{"dst", ToString(r.dst)}, {"via", r.via.empty() ? "" : ToString(r.via)}});
  }
  json document{{"netns", a.netns},
                {"network", a.network},
                {"podNamespace", a.pod.ns},
                {"podName", a.pod.name},
                {"podUid", a.pod_uid},
                {"attach", ToString(a.kind)},
                {"port", a.port},
                {"mac", ToString(a.mac)},
                {"gatewayMac", ToString(a.gateway_mac)},
                {"addresses", Texts(a.addresses)},
                {"gateways", Texts(a.gateways)},
                {"routes", routes},
                {"mtu", a.mtu},
                {"delegatedIpam", a.delegated_ipam},
                {"socket", a.socket},
                {"trunk", a.trunk},
                {"vhostClient", a.vhost.client},
                {"vhostQueues", a.vhost.queues},
                {"host", a.host}};
  if (a.kind == AttachKind::kVf) document["vf"] = VfToJson(a.vf);
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<Attachment> AttachmentFromJson(const std::string& text) {
  ASSIGN_OR_RETURN(const json document, ParseJson(text));
  JsonReader r(document, "");
  Attachment a;
  std::string mac, gateway_mac;
  r.String("netns", a.netns);
  r.String("network", a.network);
  r.String("podNamespace", a.pod.ns);
  r.String("podName", a.pod.name);
  r.String("podUid", a.pod_uid);
  ReadKind(r, a);
  r.String("port", a.port);
  r.String("mac", mac);
  r.String("gatewayMac", gateway_mac);
  ReadTexts(r, "addresses", ParseInterfaceAddress, a.addresses);
  ReadTexts(r, "gateways", ParseIp, a.gateways);
  if (const json* routes = r.Array("routes", "an array"); routes != nullptr) {
    for (const json& item : *routes) {
      auto route = RouteFromJson(item);
      if (!route.ok()) {
        r.Fail(route.status());
        break;
      }
      a.routes.push_back(*route);
    }
  }
  r.Number("mtu", a.mtu);
  r.Bool("delegatedIpam", a.delegated_ipam);
  r.String("socket", a.socket);
  r.String("trunk", a.trunk);
  r.Bool("vhostClient", a.vhost.client);
  r.Number("vhostQueues", a.vhost.queues, 1, kMaxVhostQueues);
  r.Bool("host", a.host);
  if (const json* vf = r.Get("vf"); vf != nullptr) r.Fail(VfFromJson(*vf, a.vf));
  RETURN_IF_ERROR(r.Finish());
  ASSIGN_OR_RETURN(a.mac, ParseMac(mac));
  ASSIGN_OR_RETURN(a.gateway_mac, ParseMac(gateway_mac));
  return a;
}

}  // namespace podwire
