#include "control/machine/pci_functions.h"
#include "control/services.h"
#include "net/status.h"
#include "ports.grpc.pb.h"

namespace podwire {
namespace {

std::string RoleName(PortRole role) {
  switch (role) {
    case PortRole::kNone:
      return "none";
    case PortRole::kPod:
      return "pod";
    case PortRole::kUnderlay:
      return "underlay";
    case PortRole::kTrunk:
      return "trunk";
  }
  return "";
}

v1::Port ToProto(const PortEntry& entry, size_t id, const OffloadManager* offload) {
  v1::Port p;
  p.set_id(static_cast<uint32_t>(id));
  p.set_name(entry.config.name);
  p.set_kind(std::string(ToString(entry.config.kind())));
  for (const auto& [key, value] : PortOptions(entry.config)) (*p.mutable_options())[key] = value;
  if (const std::string how = entry.port->how(); !how.empty()) (*p.mutable_options())["how"] = how;
  p.set_mtu(entry.port->mtu());
  p.set_mac(entry.port->mac().empty() ? "" : ToString(entry.port->mac()));
  p.set_role(RoleName(entry.role));
  if (entry.role == PortRole::kPod) p.set_pod(ToString(entry.pod));
  p.set_link_up(entry.port->link_up());
  const std::string vanished = entry.port->Vanished();
  p.set_state(!vanished.empty() ? "gone: " + vanished : p.link_up() ? "up" : "down");
  const PortStats stats = entry.port->Stats();
  p.set_rx_packets(stats.rx_packets);
  p.set_tx_packets(stats.tx_packets);
  p.set_rx_bytes(stats.rx_bytes);
  p.set_tx_bytes(stats.tx_bytes);
  p.set_rx_missed(stats.rx_missed + stats.rx_errors);
  p.set_tx_errors(stats.tx_errors);
  p.set_tx_segments(stats.tx_segments);
  if (entry.config.kind() == PortKind::kTap || entry.config.kind() == PortKind::kNetdev) {
    p.add_offloads("checksum");
    p.add_offloads("tso");
  }
  if (offload != nullptr) {
    for (const std::string& c : offload->CapabilitiesOf(PortId(static_cast<uint16_t>(id)))) p.add_offloads(c);
  }
  return p;
}

v1::Device ToProto(const PciFunction& f) {
  v1::Device d;
  d.set_address(f.address);
  d.set_id(f.id);
  d.set_driver(f.driver);
  for (const std::string& interface : f.interfaces) d.add_interfaces(interface);
  d.set_physical_function(f.physical_function);
  d.set_vfs(f.vfs);
  d.set_max_vfs(f.max_vfs);
  if (f.max_vfs > 0) d.set_eswitch(f.switchdev ? "switchdev" : "legacy");
  if (f.numa_node) d.set_numa_node(std::to_string(*f.numa_node));
  d.set_iommu_group(f.iommu_group);
  return d;
}

/// The name of the port on a PCI device.
std::string PortOn(const ControlState& s, const std::string& address) {
  for (const PortEntry& p : s.ports) {
    const auto* pci = std::get_if<PciOptions>(&p.config.options);
    if (p.port != nullptr && pci != nullptr && pci->address == address) return p.config.name;
  }
  return "";
}

class PortsService final : public v1::Ports::Service {
 public:
  explicit PortsService(Daemon& d) : d_(d) {}

  grpc::Status Add(grpc::ServerContext*, const v1::AddPortRequest* request,
                   v1::AddPortResponse* response) override {
    const v1::Port& port = request->port();
    if (port.mtu() > kMaxMtu) return ToGrpc(InvalidArgument("mtu: expected {} to {}", kMinMtu, kMaxMtu));
    const std::vector<std::pair<std::string, std::string>> options(port.options().begin(),
                                                                   port.options().end());
    const auto config =
        ParsePortOptions(port.name(), port.kind(), static_cast<uint16_t>(port.mtu()), options);
    if (!config.ok()) return ToGrpc(config.status());
    if (IsTrunk(*config))
      return ToGrpc(InvalidArgument(
          "options.trunk: a trunk must be there from the start: put it into podwired's configuration"));
    if (IsShared(*config)) {
      return ToGrpc(InvalidArgument(
          "options.shared: only the underlay's port, in the configuration file, shares its interface"));
    }
    const std::lock_guard lock(mutex_);  // the name is free until the port is in
    const bool exists =
        d_.controller.Read([&](const ControlState& s) { return s.FindPort(config->name) != nullptr; });
    if (exists) return ToGrpc(Error(absl::StatusCode::kAlreadyExists, "port {} exists", config->name));
    auto created = CreatePort(*config, {.pools = *d_.pools, .workers = d_.sw.max_workers()});
    if (!created.ok()) return ToGrpc(created.status());
    const auto id = d_.controller.AddPort(*config, *std::move(created), PortRole::kNone);
    if (!id.ok()) return ToGrpc(id.status());
    *response->mutable_port() = d_.controller.Read(
        [&](const ControlState& s) { return ToProto(s.ports[id->value()], id->value(), d_.offload); });
    return grpc::Status::OK;
  }

  grpc::Status Remove(grpc::ServerContext*, const v1::RemovePortRequest* request,
                      v1::RemovePortResponse*) override {
    const std::lock_guard lock(mutex_);
    return ToGrpc(d_.controller.RemovePort(request->name()));
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListPortsRequest* request,
                    grpc::ServerWriter<v1::Port>* writer) override {
    std::vector<v1::Port> found;
    d_.controller.Read([&](const ControlState& s) {
      for (size_t i = 0; i < s.ports.size(); ++i) {
        const PortEntry& p = s.ports[i];
        if (p.port == nullptr || p.leaving) continue;
        if (request->name().empty() || request->name() == p.config.name)
          found.push_back(ToProto(p, i, d_.offload));
      }
    });
    if (found.empty() && !request->name().empty()) {
      return ToGrpc(Error(absl::StatusCode::kNotFound, "there is no port {}", request->name()));
    }
    for (const v1::Port& p : found) {
      if (!writer->Write(p)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status ListDevices(grpc::ServerContext*, const v1::ListDevicesRequest*,
                           grpc::ServerWriter<v1::Device>* writer) override {
    for (const PciFunction& function : ListPciFunctions(Machine::Own())) {
      v1::Device device = ToProto(function);
      device.set_port(d_.controller.Read([&](const ControlState& s) { return PortOn(s, function.address); }));
      if (!writer->Write(device)) break;
    }
    return grpc::Status::OK;
  }

 private:
  Daemon& d_;
  std::mutex mutex_;  // one port comes or goes at a time
};

}  // namespace

std::unique_ptr<grpc::Service> MakePortsService(Daemon& d) { return std::make_unique<PortsService>(d); }

}  // namespace podwire
