#include "control/cli/switch_views.h"

#include <utility>

#include <fmt/format.h>

#include "control/cli/kinds.h"
#include "control/cli/proto_json.h"

namespace podwire::cli {
namespace {

/// A view of messages: JSON is the message whole, the name is `kind`/`name`.
template <class Message>
View<Message> MessageView(std::string kind, std::function<std::string(const Message&)> name) {
  View<Message> view;
  view.json = [](const Message& message) { return ToJson(message); };
  view.name = [kind = std::move(kind), name = std::move(name)](const Message& message) {
    return ResourceName(kind, name(message));
  };
  return view;
}

template <class List>
std::string Join(const List& list) {
  std::string text;
  for (const auto& item : list) text += (text.empty() ? "" : ",") + item;
  return text;
}

/// The node itself has no namespace.
std::string PodName(const v1::Endpoint& e) {
  return e.pod_namespace().empty() ? e.pod_name() : fmt::format("{}/{}", e.pod_namespace(), e.pod_name());
}

std::string OptionsText(const v1::Port& port) {
  std::string text;
  for (const auto& [key, value] : port.options())
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", key, value);
  return text;
}

std::string Number(uint64_t value) { return value == 0 ? std::string() : std::to_string(value); }

std::string QueueNames(const v1::WorkerStatus& worker) {
  std::string text;
  for (const auto& q : worker.queues())
    text += fmt::format("{}{}/{}", text.empty() ? "" : ",", q.port(), q.queue());
  return text;
}

/// Microseconds; empty without samples.
std::string Microseconds(const v1::Latency& latency, double value) {
  return latency.samples() == 0 ? std::string() : fmt::format("{:.1f}us", value);
}

std::string From(const v1::Tuple& tuple) { return AddressAndPort(tuple.src(), tuple.src_port()); }
std::string To(const v1::Tuple& tuple) { return AddressAndPort(tuple.dst(), tuple.dst_port()); }
std::string TupleName(const v1::Tuple& t) { return fmt::format("{}-{}-{}", t.protocol(), From(t), To(t)); }

}  // namespace

std::string AddressAndPort(const std::string& address, uint32_t port) {
  if (port == 0) return address;
  if (address.find(':') == std::string::npos) return fmt::format("{}:{}", address, port);
  return fmt::format("[{}]:{}", address, port);
}

View<v1::Port> PortView() {
  using P = v1::Port;
  auto view = MessageView<P>("ports", [](const P& p) { return p.name(); });
  view.columns = {
      {"NAME", [](const P& p) { return p.name(); }},
      {"KIND", [](const P& p) { return p.kind(); }},
      {"ROLE", [](const P& p) { return p.role(); }},
      {"POD", [](const P& p) { return p.pod(); }},
      {"LINK", [](const P& p) { return p.state().substr(0, p.state().find(':')); }},
      {"MTU", [](const P& p) { return Number(p.mtu()); }},
      {"MAC", [](const P& p) { return p.mac(); }},
      {"RX-PACKETS", [](const P& p) { return std::to_string(p.rx_packets()); }},
      {"TX-PACKETS", [](const P& p) { return std::to_string(p.tx_packets()); }},
      {"RX-BYTES", [](const P& p) { return std::to_string(p.rx_bytes()); }, true},
      {"TX-BYTES", [](const P& p) { return std::to_string(p.tx_bytes()); }, true},
      {"RX-MISSED", [](const P& p) { return std::to_string(p.rx_missed()); }, true},
      {"TX-ERRORS", [](const P& p) { return std::to_string(p.tx_errors()); }, true},
      {"TX-SEGMENTS", [](const P& p) { return std::to_string(p.tx_segments()); }, true},
      {"OFFLOADS", [](const P& p) { return Join(p.offloads()); }, true},
      {"OPTIONS", OptionsText, true},
  };
  return view;
}

View<v1::Device> DeviceView() {
  using D = v1::Device;
  auto view = MessageView<D>("devices", [](const D& d) { return d.address(); });
  view.columns = {
      {"ADDRESS", [](const D& d) { return d.address(); }},
      {"ID", [](const D& d) { return d.id(); }},
      {"DRIVER", [](const D& d) { return d.driver(); }},
      {"INTERFACE", [](const D& d) { return Join(d.interfaces()); }},
      {"VFS",
       [](const D& d) {
         return d.max_vfs() == 0 ? std::string() : fmt::format("{}/{}", d.vfs(), d.max_vfs());
       }},
      {"ESWITCH", [](const D& d) { return d.eswitch(); }},
      {"PF", [](const D& d) { return d.physical_function(); }},
      {"PORT", [](const D& d) { return d.port(); }},
      {"NUMA", [](const D& d) { return d.numa_node(); }, true},
      {"IOMMU-GROUP", [](const D& d) { return d.iommu_group(); }, true},
  };
  return view;
}

View<v1::RouteEntry> RouteView() {
  using R = v1::RouteEntry;
  auto view = MessageView<R>("routes", [](const R& r) { return r.prefix(); });
  view.columns = {
      {"PREFIX", [](const R& r) { return r.prefix(); }},
      {"KIND", [](const R& r) { return r.kind(); }},
      {"VIA", [](const R& r) { return r.via(); }},
      {"NODE", [](const R& r) { return r.node(); }},
      {"PORT", [](const R& r) { return r.port(); }},
      {"MTU", [](const R& r) { return Number(r.mtu()); }},
      {"NEIGHBOR", [](const R& r) { return r.neighbor_state(); }},
      {"NEIGHBOR-MAC", [](const R& r) { return r.neighbor_mac(); }, true},
  };
  return view;
}

View<v1::Endpoint> EndpointView() {
  using E = v1::Endpoint;
  auto view = MessageView<E>("endpoints", PodName);
  view.columns = {
      {"POD", PodName},
      {"IFNAME", [](const E& e) { return e.key().ifname(); }},
      {"ADDRESS", [](const E& e) { return Join(e.addresses()); }},
      {"MAC", [](const E& e) { return e.mac(); }},
      {"MTU", [](const E& e) { return Number(e.mtu()); }},
      {"ATTACH", [](const E& e) { return e.attach(); }},
      {"PORT", [](const E& e) { return e.port(); }},
      {"STATE", [](const E& e) { return e.state(); }},
      {"CONTAINER", [](const E& e) { return e.key().container_id(); }, true},
      {"NETNS", [](const E& e) { return e.netns(); }, true},
      {"NETWORK", [](const E& e) { return e.network(); }, true},
      {"GATEWAY", [](const E& e) { return Join(e.gateways()); }, true},
      {"IPAM", [](const E& e) -> std::string { return e.delegated_ipam() ? "delegated" : "podwire"; }, true},
  };
  return view;
}

View<v1::Flow> FlowView() {
  using F = v1::Flow;
  auto view = MessageView<F>("flows", [](const F& f) { return TupleName(f.tuple()); });
  view.columns = {
      {"PROTO", [](const F& f) { return f.tuple().protocol(); }},
      {"FROM", [](const F& f) { return From(f.tuple()); }},
      {"TO", [](const F& f) { return To(f.tuple()); }},
      {"ACTION", [](const F& f) { return f.action() + (f.offloaded() ? " by NIC" : ""); }},
      {"OUT", [](const F& f) { return f.out_port(); }},
      {"NEXT-HOP", [](const F& f) { return f.next_hop(); }},
      {"REASON", [](const F& f) { return f.reason(); }},
      {"PACKETS", [](const F& f) { return std::to_string(f.packets()); }},
      {"BYTES", [](const F& f) { return std::to_string(f.bytes()); }},
      {"IDLE", [](const F& f) { return HumanSeconds(f.idle_seconds()); }},
      {"IN", [](const F& f) { return f.in_port(); }, true},
      {"FROM-POD", [](const F& f) { return f.src_pod(); }, true},
      {"TO-POD", [](const F& f) { return f.dst_pod(); }, true},
      {"WORKER", [](const F& f) { return std::to_string(f.worker()); }, true},
  };
  return view;
}

View<v1::Connection> ConnectionView() {
  using C = v1::Connection;
  auto view = MessageView<C>("connections", [](const C& c) { return TupleName(c.tuple()); });
  view.columns = {
      {"PROTO", [](const C& c) { return c.tuple().protocol(); }},
      {"FROM", [](const C& c) { return From(c.tuple()); }},
      {"TO", [](const C& c) { return To(c.tuple()); }},
      {"STATE", [](const C& c) { return c.state(); }},
      {"VERDICT", [](const C& c) { return c.verdict(); }},
      {"FROM-POD", [](const C& c) { return c.src_pod(); }},
      {"TO-POD", [](const C& c) { return c.dst_pod(); }},
      {"IDLE", [](const C& c) { return HumanSeconds(c.idle_seconds()); }},
      {"EXPIRES", [](const C& c) { return HumanSeconds(c.expires_seconds()); }},
      {"EGRESS-RULE", [](const C& c) { return c.egress_rule(); }, true},
      {"INGRESS-RULE", [](const C& c) { return c.ingress_rule(); }, true},
  };
  return view;
}

View<v1::DropCount> DropView() {
  using D = v1::DropCount;
  auto view = MessageView<D>("drops", [](const D& d) { return d.reason(); });
  view.columns = {
      {"REASON", [](const D& d) { return d.reason(); }},
      {"PACKETS", [](const D& d) { return std::to_string(d.packets()); }},
      {"MEANING", [](const D& d) { return d.help(); }},
  };
  return view;
}

View<v1::PodDrops> PodDropView() {
  using D = v1::PodDrops;
  auto view = MessageView<D>("drops", [](const D& d) { return d.pod(); });
  view.columns = {
      {"POD", [](const D& d) { return d.pod(); }},
      {"REASON", [](const D& d) { return d.reason(); }},
      {"PACKETS", [](const D& d) { return std::to_string(d.packets()); }},
      {"POLICIES", [](const D& d) { return Join(d.policies()); }},
      {"LAST", [](const D& d) { return d.last().time(); }, true},
      {"FROM", [](const D& d) { return AddressAndPort(d.last().src(), d.last().src_port()); }, true},
      {"TO", [](const D& d) { return AddressAndPort(d.last().dst(), d.last().dst_port()); }, true},
      {"HINT", [](const D& d) { return d.last().hint(); }, true},
  };
  return view;
}

View<v1::CutCount> CutView() {
  using C = v1::CutCount;
  auto view = MessageView<C>("cuts", [](const C& c) { return c.policies(); });
  view.columns = {
      {"CUT-BY", [](const C& c) { return c.policies(); }},
      {"CONNECTIONS", [](const C& c) { return std::to_string(c.connections()); }},
  };
  return view;
}

View<v1::Counter> CounterView() {
  using C = v1::Counter;
  auto view = MessageView<C>("counters", [](const C& c) { return c.name(); });
  view.columns = {
      {"COUNTER", [](const C& c) { return c.name(); }},
      {"VALUE", [](const C& c) { return std::to_string(c.value()); }},
      {"MEANING", [](const C& c) { return c.help(); }},
  };
  return view;
}

View<v1::WorkerStatus> WorkerView() {
  using W = v1::WorkerStatus;
  auto view = MessageView<W>("workers", [](const W& w) { return std::to_string(w.worker()); });
  view.columns = {
      {"WORKER", [](const W& w) { return std::to_string(w.worker()); }},
      {"LCORE", [](const W& w) { return std::to_string(w.lcore()); }},
      {"MODE", [](const W& w) { return w.mode(); }},
      {"QUEUES", [](const W& w) { return std::to_string(w.queues_size()); }},
      {"BUSY", [](const W& w) { return fmt::format("{:.0f}%", w.busy_percent()); }},
      {"RX-PACKETS", [](const W& w) { return std::to_string(w.rx_packets()); }},
      {"FLOWS", [](const W& w) { return std::to_string(w.flows()); }},
      {"FLOW-CAPACITY", [](const W& w) { return std::to_string(w.flow_capacity()); }},
      {"P50", [](const W& w) { return Microseconds(w.latency(), w.latency().p50_us()); }},
      {"P99", [](const W& w) { return Microseconds(w.latency(), w.latency().p99_us()); }},
      {"P99.9", [](const W& w) { return Microseconds(w.latency(), w.latency().p999_us()); }},
      {"MAX", [](const W& w) { return Microseconds(w.latency(), w.latency().max_us()); }},
      {"RECEIVES-FROM", QueueNames, true},
  };
  return view;
}

}  // namespace podwire::cli
