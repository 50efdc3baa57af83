#include "control/config_underlay.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "control/json_reader.h"
#include "net/status.h"

namespace podwire {
namespace {

using nlohmann::json;

constexpr size_t kMaxNeighbors = 2048;  // half of the table: the rest is for those that ARP finds

/// The prefix's network or broadcast address, which is no host's (a /31 has none, RFC 3021), or in IPv6 the
/// routers' anycast address (a /127 has none, RFC 6164).
bool IsNoHost(const IpPrefix& prefix, const IpAddress& address) {
  const uint8_t bits = address.bits();
  if (prefix.length + 1 >= bits) return false;
  if (address == prefix.address) return true;
  const uint64_t last = (uint64_t{1} << (32 - prefix.length % 32)) - 1;
  return address.is_v4() && address == Offset(prefix.address, last);
}

std::string NoHostError(const IpAddress& address) {
  return fmt::format("{} is the prefix's {} address", ToString(address),
                     address.is_v4() ? "network or broadcast" : "routers' anycast");
}

bool IsUnicast(const IpAddress& a) {
  if (a.is_v4()) return a.bytes()[0] < 224;
  return a.bytes()[0] != 0xff && a != *ParseIp("::") && a != *ParseIp("::1");
}

/// The value of `key`: one string, or an array of strings.
std::vector<std::string> ReadStrings(JsonReader& r, std::string_view key, std::string_view expected) {
  std::vector<std::string> texts;
  const json* value = r.Get(key);
  if (value == nullptr) return texts;
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array() || value->empty()) {
    r.Fail(key, fmt::format("expected {}, not {}", expected, Brief(*value)));
    return texts;
  }
  for (const json& item : *value) {
    if (!item.is_string()) {
      r.Fail(key, fmt::format("expected {}, not {}", expected, Brief(*value)));
      return {};
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace

bool IsShared(const PortConfig& port) {
  const auto* netdev = std::get_if<NetdevOptions>(&port.options);
  return netdev != nullptr && netdev->shared;
}

bool IsTrunk(const PortConfig& port) {
  const auto* tap = std::get_if<TapOptions>(&port.options);
  const auto* pci = std::get_if<PciOptions>(&port.options);
  return (tap != nullptr && tap->trunk) || (pci != nullptr && pci->trunk);
}

std::string SharedInterface(const Config& config) {
  if (!config.underlay || !config.underlay->shared) return "";
  const auto port = std::ranges::find(config.ports, config.underlay->port, &PortConfig::name);
  return port == config.ports.end() ? "" : std::get<NetdevOptions>(port->options).interface;
}

absl::Status CheckUnderlayAddress(const InterfaceAddress& a) {
  const unsigned longest = a.address.bits() - 1u, shortest = a.address.is_v4() ? 8 : 16;
  if (a.length < shortest || a.length > longest) {
    return InvalidArgument("expected a prefix length from {} to {}, not {}", shortest, longest, a.length);
  }
  if (IsNoHost(a.prefix(), a.address)) return InvalidArgument("{}", NoHostError(a.address));
  if (!IsUnicast(a.address)) return InvalidArgument("{} is not a unicast address", ToString(a.address));
  if (IsLinkLocal(a.address)) {
    return InvalidArgument("{} is link-local: expected an address by which other nodes reach this one",
                           ToString(a.address));
  }
  return absl::OkStatus();
}

namespace {

absl::Status CheckGateway(const InterfaceAddress& own, const IpAddress& gateway) {
  if (own.address.empty()) {
    return InvalidArgument("{}: underlay.address has no {} address", ToString(gateway),
                           gateway.is_v6() ? "IPv6" : "IPv4");
  }
  const IpPrefix prefix = own.prefix();
  if (!prefix.Contains(gateway) && !IsLinkLocal(gateway))
    return InvalidArgument("{} is not in {}", ToString(gateway), ToString(prefix));
  if (IsNoHost(prefix, gateway)) return InvalidArgument("{}", NoHostError(gateway));
  if (gateway == own.address) return InvalidArgument("is this node's own address");
  return absl::OkStatus();
}

void ReadUnderlayAddresses(JsonReader& r, UnderlayConfig& u) {
  if (u.shared && r.Get("address") == nullptr) {
    for (const char* key : {"gateway", "neighbors"}) {
      if (r.Get(key) != nullptr) r.Fail(key, "expected with underlay.address only");
    }
    return;
  }
  r.Require("address", "this node's address on the underlay with its prefix length, like 192.0.2.1/24");
  for (const std::string& text :
       ReadStrings(r, "address", "an address like 192.0.2.1/24, or an array of one a family")) {
    const auto parsed = ParseInterfaceAddress(text);
    if (!parsed.ok()) return r.Fail("address", Message(parsed.status()));
    InterfaceAddress& own = parsed->address.is_v6() ? u.address6 : u.address;
    if (!own.address.empty())
      return r.Fail("address", fmt::format("{} and {}: expected one a family", ToString(own), text));
    if (const auto status = CheckUnderlayAddress(*parsed); !status.ok())
      return r.Fail("address", Message(status));
    own = *parsed;
  }
  if (!r.ok()) return;
  for (const std::string& text : ReadStrings(r, "gateway", "an address, or an array of one a family")) {
    const auto via = ParseIp(text);
    if (!via.ok()) return r.Fail("gateway", Message(via.status()));
    IpAddress& own = via->is_v6() ? u.gateway6 : u.gateway;
    if (!own.empty())
      return r.Fail("gateway", fmt::format("{} and {}: expected one a family", ToString(own), text));
    const auto status = CheckGateway(via->is_v6() ? u.address6 : u.address, *via);
    if (!status.ok()) return r.Fail("gateway", Message(status));
    own = *via;
  }
}

absl::Status CheckNeighbor(const UnderlayConfig& u, const IpAddress& address) {
  const InterfaceAddress& own = address.is_v6() ? u.address6 : u.address;
  if (own.address.empty()) {
    return InvalidArgument("underlay.address has no {} address", address.is_v6() ? "IPv6" : "IPv4");
  }
  if (IsLinkLocal(address)) return absl::OkStatus();
  const IpPrefix prefix = own.prefix();
  if (!prefix.Contains(address) || address == own.address)
    return InvalidArgument("is no other node's address in {}", ToString(prefix));
  if (IsNoHost(prefix, address)) return InvalidArgument("{}", NoHostError(address));
  return absl::OkStatus();
}

/// Neighbours by address, each on the underlay's own prefixes or link-local.
absl::Status ReadNeighbors(const json& value, UnderlayConfig& u) {
  constexpr std::string_view kPath = "underlay.neighbors";
  if (!value.is_object())
    return InvalidArgument("{}: expected an object of address and MAC, not {}", kPath, Brief(value));
  if (value.size() > kMaxNeighbors) return InvalidArgument("{}: more than {}", kPath, kMaxNeighbors);
  for (const auto& [text, mac_text] : value.items()) {
    const std::string path = fmt::format("{}[\"{}\"]", kPath, text);
    const auto address = ParseIp(text);
    if (!address.ok()) return InvalidArgument("{}: {}", path, Message(address.status()));
    if (const auto status = CheckNeighbor(u, *address); !status.ok())
      return InvalidArgument("{}: {}", path, Message(status));
    const auto mac = ReadUnicastMac(mac_text);
    if (!mac.ok()) return InvalidArgument("{}: {}", path, Message(mac.status()));
    u.neighbors.emplace_back(*address, *mac);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadUnderlay(const json& value, Config& c) {
  JsonReader r(value, "underlay");
  UnderlayConfig u;
  r.Require("port", "the name of one of ports");
  r.String("port", u.port);
  const auto port = std::ranges::find(c.ports, u.port, &PortConfig::name);
  if (r.ok() && port == c.ports.end())
    r.Fail("port", fmt::format("no port in ports is called \"{}\"", u.port));
  if (r.ok() && IsTrunk(*port))
    r.Fail("port", fmt::format("port {} is a trunk for pods: expected another", u.port));
  u.shared = r.ok() && IsShared(*port);
  ReadUnderlayAddresses(r, u);
  r.Number("mtu", u.mtu, kMinMtu, kMaxMtu);
  if (const json* neighbors = r.Get("neighbors"); neighbors != nullptr && r.ok())
    r.Fail(ReadNeighbors(*neighbors, u));
  RETURN_IF_ERROR(r.Finish());
  c.underlay = std::move(u);
  return absl::OkStatus();
}

}  // namespace podwire
