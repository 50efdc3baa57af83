#include <nlohmann/json.hpp>

#include "control/explain.h"
#include "control/services.h"
#include "endpoints.grpc.pb.h"
#include "net/status.h"

namespace podwire {
namespace {

AttachmentKey KeyOf(const v1::AttachmentKey& key) { return {key.container_id(), key.ifname()}; }

absl::StatusOr<std::vector<InterfaceAddress>> ParseAddresses(
    const google::protobuf::RepeatedPtrField<std::string>& texts) {
  std::vector<InterfaceAddress> addresses;
  for (const std::string& text : texts) {
    const auto a = ParseInterfaceAddress(text);
    if (!a.ok()) return InvalidArgument("addresses[{}]: {}", addresses.size(), Message(a.status()));
    addresses.push_back(*a);
  }
  return addresses;
}

absl::StatusOr<AttachSpec> SpecOf(const v1::AttachRequest& r) {
  AttachSpec spec{.key = KeyOf(r.key()),
                  .netns = r.netns(),
                  .network = r.network(),
                  .pod = {r.pod_namespace().empty() ? "default" : r.pod_namespace(),
                          r.pod_name().empty() ? r.key().container_id() : r.pod_name()},
                  .pod_uid = r.pod_uid()};
  if (!r.attach().empty()) {
    const auto kind = ParseAttachKind(r.attach());
    if (!kind.ok()) return InvalidArgument("attach: {}", Message(kind.status()));
    spec.kind = *kind;
  }
  spec.port = r.port();
  spec.host = r.host();
  spec.vhost.client = r.vhost_client();
  if (r.queues() > kMaxVhostQueues)
    return InvalidArgument("queues: expected 1 to {}, not {}", kMaxVhostQueues, r.queues());
  if (r.queues() != 0) spec.vhost.queues = static_cast<uint16_t>(r.queues());
  spec.vf = {.resource = r.resource_name(), .address = r.device_id(), .driver = r.vf_driver()};
  if (!r.mac().empty()) {
    const auto mac = ReadUnicastMac(r.mac());
    if (!mac.ok()) return InvalidArgument("mac: {}", Message(mac.status()));
    spec.mac = *mac;
  }
  if (r.mtu() > kMaxMtu) return InvalidArgument("mtu: expected {} to {}, not {}", kMinMtu, kMaxMtu, r.mtu());
  spec.mtu = static_cast<uint16_t>(r.mtu());
  ASSIGN_OR_RETURN(spec.addresses, ParseAddresses(r.addresses()));
  for (const v1::Route& route : r.routes()) {
    const std::string path = fmt::format("routes[{}]", spec.routes.size());
    PodRoute parsed;
    const auto dst = ParsePrefix(route.dst());
    if (!dst.ok()) return InvalidArgument("{}.dst: {}", path, Message(dst.status()));
    parsed.dst = *dst;
    if (!route.gw().empty()) {
      const auto via = ParseIp(route.gw());
      if (!via.ok()) return InvalidArgument("{}.gw: {}", path, Message(via.status()));
      parsed.via = *via;
    }
    spec.routes.push_back(parsed);
  }
  return spec;
}

/// Of an attachment that is in the switch.
std::string LinkStateOf(const LiveAttachment& a, const ControlState& s) {
  if (a.port == kNoPort || s.ports[a.port.value()].port->link_up()) return "up";
  switch (a.record.kind) {
    case AttachKind::kTap:
    case AttachKind::kMacvlan:
    case AttachKind::kVf:
      return "down: its interface is gone, or was set down";
    case AttachKind::kVhostUser:
      return "down: nobody is at its socket";
    case AttachKind::kPort:
      if (const std::string why = s.ports[a.port.value()].port->Vanished(); !why.empty())
        return fmt::format("down: port {} is gone: {}", a.record.port, why);
      return fmt::format("down: port {} has no link", a.record.port);
  }
  return "";
}

/// One that was detached before its answer was made.
LiveAttachment Ended(LiveAttachment a) {
  a.port = kNoPort;
  a.trouble = "being detached";
  return a;
}

std::string StateOf(const LiveAttachment& a, const ControlState& s) {
  if (!a.trouble.empty()) return a.trouble;
  switch (a.record.state) {
    case AttachState::kAdding:
      return "being attached";
    case AttachState::kUp:
      return LinkStateOf(a, s);
    case AttachState::kDeleting:
      return "being detached";
  }
  return "";
}

v1::Endpoint ToProto(const LiveAttachment& a, const ControlState& s) {
  const Attachment& r = a.record;
  v1::Endpoint e;
  e.mutable_key()->set_container_id(r.key.container_id);
  e.mutable_key()->set_ifname(r.key.ifname);
  e.set_netns(r.netns);
  e.set_network(r.network);
  e.set_pod_namespace(r.pod.ns);
  e.set_pod_name(r.pod.name);
  e.set_attach(std::string(ToString(r.kind)));
  e.set_port(r.port);
  e.set_mac(ToString(r.mac));
  for (const InterfaceAddress& address : r.addresses) e.add_addresses(ToString(address));
  for (const IpAddress& gateway : r.gateways) e.add_gateways(ToString(gateway));
  e.set_gateway_mac(ToString(r.gateway_mac));
  e.set_mtu(r.mtu);
  for (const PodRoute& route : r.routes) {
    v1::Route& out = *e.add_routes();
    out.set_dst(ToString(route.dst));
    if (!route.via.empty()) out.set_gw(ToString(route.via));
  }
  e.set_state(StateOf(a, s));
  e.set_delegated_ipam(r.delegated_ipam);
  e.set_socket(r.socket);
  e.set_node(s.desired.node());
  e.set_host(r.host);
  e.set_trunk(r.trunk);
  if (r.kind == AttachKind::kVf) {
    v1::VirtualFunction& vf = *e.mutable_vf();
    vf.set_pci_address(r.vf.address);
    vf.set_pf_pci_address(r.vf.pf_address);
    vf.set_resource_name(r.vf.resource);
    vf.set_vlan(r.vf.vlan);
    for (const std::string& file : r.vf.device_files) vf.add_device_files(file);
  }
  for (std::string& p : IsolatingPolicies(s.desired.model(), r.pod, Direction::kIngress)) {
    e.add_policies_ingress(std::move(p));
  }
  for (std::string& p : IsolatingPolicies(s.desired.model(), r.pod, Direction::kEgress)) {
    e.add_policies_egress(std::move(p));
  }
  return e;
}

class EndpointsService final : public v1::Endpoints::Service {
 public:
  explicit EndpointsService(Daemon& d) : d_(d) {}

  grpc::Status Attach(grpc::ServerContext*, const v1::AttachRequest* request,
                      v1::AttachResponse* response) override {
    const auto spec = SpecOf(*request);
    if (!spec.ok()) return ToGrpc(spec.status());
    const auto attached = d_.attacher.Attach(*spec);
    if (!attached.ok()) return ToGrpc(attached.status());
    *response->mutable_endpoint() = d_.controller.Read([&](const ControlState& s) {
      // As it is now: its interface may be gone already.
      const LiveAttachment* live = s.desired.FindAttachment(attached->record.key);
      return ToProto(live != nullptr ? *live : Ended(*attached), s);
    });
    return grpc::Status::OK;
  }

  grpc::Status Detach(grpc::ServerContext*, const v1::DetachRequest* request,
                      v1::DetachResponse* response) override {
    const auto existed = d_.attacher.Detach(KeyOf(request->key()));
    if (!existed.ok()) return ToGrpc(existed.status());
    response->set_existed(*existed);
    return grpc::Status::OK;
  }

  grpc::Status Check(grpc::ServerContext*, const v1::CheckRequest* request, v1::CheckResponse*) override {
    const auto addresses = ParseAddresses(request->addresses());
    if (!addresses.ok()) return ToGrpc(addresses.status());
    return ToGrpc(d_.attacher.Check(KeyOf(request->key()), request->netns(), *addresses));
  }

  grpc::Status Collect(grpc::ServerContext*, const v1::CollectRequest* request,
                       v1::CollectResponse* response) override {
    std::set<AttachmentKey> valid;
    for (const v1::AttachmentKey& key : request->valid()) valid.insert(KeyOf(key));
    const auto collected = d_.attacher.Collect(request->network(), valid);
    if (!collected.ok()) return ToGrpc(collected.status());
    for (const AttachmentKey& key : *collected) {
      v1::AttachmentKey& out = *response->add_collected();
      out.set_container_id(key.container_id);
      out.set_ifname(key.ifname);
    }
    return grpc::Status::OK;
  }

  grpc::Status Ready(grpc::ServerContext*, const v1::ReadyRequest*, v1::ReadyResponse*) override {
    return ToGrpc(d_.attacher.Ready());
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListEndpointsRequest* request,
                    grpc::ServerWriter<v1::Endpoint>* writer) override {
    std::vector<v1::Endpoint> found;
    d_.controller.Read([&](const ControlState& s) {
      for (const auto& [key, a] : s.desired.attachments()) {
        if (!request->pod_namespace().empty() && a.record.pod.ns != request->pod_namespace()) continue;
        if (!request->pod_name().empty() && a.record.pod.name != request->pod_name()) continue;
        found.push_back(ToProto(a, s));
      }
    });
    for (const v1::Endpoint& e : found) {
      if (!writer->Write(e)) break;
    }
    return grpc::Status::OK;
  }

 private:
  Daemon& d_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeEndpointsService(Daemon& d) {
  return std::make_unique<EndpointsService>(d);
}

}  // namespace podwire
