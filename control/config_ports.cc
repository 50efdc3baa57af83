#include <charconv>

#include <nlohmann/json.hpp>

#include "control/config.h"
#include "control/json_reader.h"
#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;

void RequireString(JsonReader& r, std::string_view key, std::string_view expected, std::string& out) {
  r.Require(key, expected);
  r.String(key, out);
  if (r.ok() && out.empty()) r.Fail(key, fmt::format("expected {}, not \"\"", expected));
}

TapOptions ReadTap(JsonReader& r) {
  TapOptions o;
  r.String("netns", o.netns);
  r.Bool("trunk", o.trunk);
  if (o.trunk && !o.netns.empty())
    r.Fail("netns", "expected none for a trunk: podwired makes the pods' interfaces on it");
  o.persistent = o.trunk;  // or a restart would take the pods' interfaces along
  std::string mac;
  r.String("mac", mac);
  RequireString(r, "interface", "the interface's name", o.ifname);
  if (o.ifname.size() > 15) r.Fail("interface", "expected at most 15 bytes");
  if (!o.netns.empty() && o.netns[0] != '/')
    r.Fail("netns", "expected the absolute path of a network namespace");
  if (!mac.empty()) {
    if (const auto m = ParseMac(mac); m.ok()) {
      o.mac = *m;
    } else {
      r.Fail("mac", Message(m.status()));
    }
  }
  return o;
}

NetdevOptions ReadNetdev(JsonReader& r) {
  NetdevOptions o;
  RequireString(r, "interface", "the name of a kernel interface", o.interface);
  if (o.interface.size() > 15) r.Fail("interface", "expected at most 15 bytes");
  r.Bool("shared", o.shared);
  std::string mode{ToString(o.mode)};
  r.Choice("mode", mode, {"auto", "af_xdp", "af_packet"});
  if (mode == "af_xdp") o.mode = SharedMode::kAfXdp;
  if (mode == "af_packet") o.mode = SharedMode::kAfPacket;
  r.Number("queues", o.queues, 1, 64);
  for (const char* key : {"mode", "queues"}) {
    if (!o.shared && r.Get(key) != nullptr) r.Fail(key, "expected with \"shared\": true only");
  }
  return o;
}

VhostUserOptions ReadVhostUser(JsonReader& r) {
  VhostUserOptions o;
  RequireString(r, "socket", "the absolute path of the socket", o.socket_path);
  if (r.ok() && (o.socket_path[0] != '/' || o.socket_path.size() > 107)) {
    r.Fail("socket", "expected an absolute path of at most 107 bytes");
  }
  r.Number("queues", o.queues, 1, 16);
  r.Bool("client", o.client);
  return o;
}

PciOptions ReadPci(JsonReader& r) {
  PciOptions o;
  RequireString(r, "address", "a PCI address like 0000:03:02.1", o.address);
  constexpr std::string_view kWithoutDomain = "03:02.1";
  if (o.address.size() == kWithoutDomain.size()) o.address.insert(0, "0000:");
  r.Number("queues", o.queues, 1, 16);
  r.Bool("promiscuous", o.promiscuous);
  return o;
}

VdevOptions ReadVdev(JsonReader& r) {
  VdevOptions o;
  RequireString(r, "devargs", "a DPDK virtual device like net_null0,size=64", o.devargs);
  if (const json* mac = r.Get("mac"); mac != nullptr) {
    if (const auto m = ReadUnicastMac(*mac); m.ok()) {
      o.mac = *m;
    } else {
      r.Fail("mac", Message(m.status()));
    }
  }
  return o;
}

bool IsPortName(const std::string& name) {
  if (name.empty() || name.size() > 63) return false;
  for (const char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<MacAddr> ReadUnicastMac(const json& value) {
  if (!value.is_string()) return InvalidArgument("expected a MAC address, not {}", Brief(value));
  ASSIGN_OR_RETURN(const MacAddr mac, ParseMac(value.get_ref<const std::string&>()));
  if (mac.empty() || (mac.bytes[0] & 1) != 0)
    return InvalidArgument("{} is no station's address", ToString(mac));
  return mac;
}

absl::StatusOr<PortConfig> ParsePort(const json& value, const std::string& path) {
  JsonReader r(value, path);
  PortConfig port;
  r.Require("name", "the port's name");
  r.String("name", port.name);
  if (r.ok() && !IsPortName(port.name)) {
    r.Fail("name", fmt::format("\"{}\" is not 1 to 63 letters, digits, '-', '_' and '.'", port.name));
  }
  std::string kind;
  r.Require("kind", "one of tap, netdev, vhost-user, pci, vdev");
  r.Choice("kind", kind, {"tap", "netdev", "vhost-user", "pci", "vdev"});
  r.Number("mtu", port.mtu, kMinMtu, kMaxMtu);
  RETURN_IF_ERROR(r.ok() ? absl::OkStatus() : r.Finish());
  ASSIGN_OR_RETURN(const PortKind parsed, ParsePortKind(kind));
  switch (parsed) {
    case PortKind::kTap:
      port.options = ReadTap(r);
      break;
    case PortKind::kNetdev:
      port.options = ReadNetdev(r);
      break;
    case PortKind::kVhostUser:
      port.options = ReadVhostUser(r);
      break;
    case PortKind::kPci:
      port.options = ReadPci(r);
      break;
    case PortKind::kVdev:
      port.options = ReadVdev(r);
      break;
    case PortKind::kTrunkMember:  // nobody can ask for it
      break;
  }
  RETURN_IF_ERROR(r.Finish());
  return port;
}

std::vector<std::pair<std::string, std::string>> PortOptions(const PortConfig& port) {
  struct Visitor {
    using Options = std::vector<std::pair<std::string, std::string>>;
    Options operator()(const TapOptions& o) const {
      Options result{{"interface", o.ifname}};
      if (!o.netns.empty()) result.emplace_back("netns", o.netns);
      if (o.mac) result.emplace_back("mac", ToString(*o.mac));
      if (o.trunk) result.emplace_back("trunk", "true");
      return result;
    }
    Options operator()(const NetdevOptions& o) const {
      Options result{{"interface", o.interface}};
      if (!o.shared) return result;
      result.emplace_back("shared", "true");
      result.emplace_back("mode", ToString(o.mode));
      if (o.queues != 0) result.emplace_back("queues", std::to_string(o.queues));
      return result;
    }
    Options operator()(const VhostUserOptions& o) const {
      return {{"socket", o.socket_path},
              {"queues", std::to_string(o.queues)},
              {"client", o.client ? "true" : "false"}};
    }
    Options operator()(const PciOptions& o) const {
      return {{"address", o.address},
              {"queues", std::to_string(o.queues)},
              {"promiscuous", o.promiscuous ? "true" : "false"}};
    }
    Options operator()(const VdevOptions& o) const {
      Options result{{"devargs", o.devargs}};
      if (o.mac) result.emplace_back("mac", ToString(*o.mac));
      return result;
    }
    Options operator()(const TrunkMemberOptions& o) const {
      Options result{{"trunk", o.trunk_name}};
      if (!o.mac.empty()) result.emplace_back("mac", ToString(o.mac));
      if (o.vlan != 0) result.emplace_back("vlan", std::to_string(o.vlan));
      return result;
    }
  };
  return std::visit(Visitor{}, port.options);
}

absl::StatusOr<PortConfig> ParsePortOptions(const std::string& name, const std::string& kind, uint16_t mtu,
                                            const std::vector<std::pair<std::string, std::string>>& options) {
  json value = {{"name", name}, {"kind", kind}};
  if (mtu != 0) value["mtu"] = mtu;
  for (const auto& [key, text] : options) {
    if (value.contains(key)) return InvalidArgument("options.{}: is not an option of a port", key);
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool is_number = error == std::errc{} && end == text.data() + text.size();
    if (key == "queues" && is_number) {
      value[key] = number;
    } else if ((key == "client" || key == "promiscuous" || key == "trunk" || key == "shared") &&
               (text == "true" || text == "false")) {
      value[key] = text == "true";
    } else {
      value[key] = text;
    }
  }
  return ParsePort(value, "port");
}

}  // namespace podwire
