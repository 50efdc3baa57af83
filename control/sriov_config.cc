#include "control/sriov_config.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>

#include <nlohmann/json.hpp>

#include "control/json_reader.h"
#include "net/status.h"
#include "pmd/pod_interface.h"

namespace podwire {
namespace {

using nlohmann::json;

constexpr unsigned kMaxFunction = 4095;
constexpr unsigned kLastVlan = 4094;

/// The number that `text` begins with, which is taken off it.
bool TakeNumber(std::string_view& text, unsigned max, unsigned& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc() && number <= max;
}

/// "0-3" or "5".
bool TakeRange(std::string_view& text, unsigned max, unsigned& first, unsigned& last) {
  if (!TakeNumber(text, max, first)) return false;
  last = first;
  if (!text.starts_with('-')) return true;
  text.remove_prefix(1);
  return TakeNumber(text, max, last) && first <= last;
}

/// "0-3,5"
bool ParseFunctions(std::string_view text, std::vector<unsigned>& functions) {
  std::set<unsigned> numbers;
  for (bool more = true; more;) {
    unsigned first = 0, last = 0;
    if (!TakeRange(text, kMaxFunction, first, last)) return false;
    for (unsigned n = first; n <= last; ++n) numbers.insert(n);
    more = text.starts_with(',');
    if (more) text.remove_prefix(1);
  }
  functions.assign(numbers.begin(), numbers.end());
  return text.empty();
}

bool IsPciAddress(std::string_view text) {
  constexpr std::string_view kLike = "0000:03:00.0";
  if (text.size() != kLike.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit =
        std::isdigit(static_cast<unsigned char>(text[i])) || (text[i] >= 'a' && text[i] <= 'f');
    if (kLike[i] == ':' || kLike[i] == '.' ? text[i] != kLike[i] : !digit) return false;
  }
  return true;
}

/// "NAME" or "NAME#0-3,5", as the SR-IOV device plugin's selectors have it. False: the key is not there.
bool ReadFunctionsOf(JsonReader& r, std::string_view key, std::string& name, SriovPool& pool) {
  std::string text;
  r.String(key, text);
  if (r.Get(key) == nullptr || !r.ok()) return false;
  const size_t hash = text.find('#');
  name = text.substr(0, hash);
  if (hash != std::string::npos && !ParseFunctions(std::string_view(text).substr(hash + 1), pool.functions))
    r.Fail(key,
           fmt::format("expected numbers of virtual functions after '#', like #0-3,5; not \"{}\"", text));
  return true;
}

void ReadPf(JsonReader& r, SriovPool& pool) {
  const bool named = ReadFunctionsOf(r, "pfName", pool.pf_name, pool);
  const bool addressed = ReadFunctionsOf(r, "rootDevice", pool.pf_address, pool);
  if (!r.ok()) return;
  if (named == addressed)
    return r.Fail(
        "pfName",
        "expected either pfName, the physical function's interface, or rootDevice, its PCI address");
  if (named) {
    if (const absl::Status status = CheckInterfaceName(pool.pf_name); !status.ok())
      r.Fail("pfName", Message(status));
  } else if (!IsPciAddress(pool.pf_address)) {
    r.Fail("rootDevice",
           fmt::format("expected a PCI address like 0000:03:00.0, not \"{}\"", pool.pf_address));
  }
}

void ReadResource(JsonReader& r, SriovPool& pool) {
  r.Require("resourceName", "the pool's name");
  r.String("resourceName", pool.resource);
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '-'; };
  if (r.ok() &&
      (pool.resource.empty() || pool.resource.size() > 63 || !std::ranges::all_of(pool.resource, plain)))
    r.Fail("resourceName",
           fmt::format("\"{}\" is not 1 to 63 letters, digits, '_', '.' and '-'", pool.resource));
}

void ReadVlans(JsonReader& r, SriovPool& pool) {
  constexpr std::string_view kExpected =
      "a range of VLANs that the network outside does not carry, one for each pod, like \"3000-3099\"";
  r.Require("vlans", kExpected);
  std::string text;
  r.String("vlans", text);
  if (!r.ok()) return;
  unsigned first = 0, last = 0;
  std::string_view rest = text;
  if (!TakeRange(rest, kLastVlan, first, last) || !rest.empty() || first < 2) {
    r.Fail("vlans", fmt::format("expected {}, of 2 to {}; not \"{}\"", kExpected, kLastVlan, text));
    return;
  }
  pool.first_vlan = static_cast<uint16_t>(first);
  pool.last_vlan = static_cast<uint16_t>(last);
}

void ReadTrunk(JsonReader& r, const std::vector<PortConfig>& ports, const std::string& underlay,
               SriovPool& pool) {
  r.Require("trunk", "the name of one of ports, of kind pci: a virtual function of the same NIC");
  r.String("trunk", pool.trunk);
  if (!r.ok()) return;
  const auto port = std::ranges::find(ports, pool.trunk, &PortConfig::name);
  if (port == ports.end())
    return r.Fail("trunk", fmt::format("no port in ports is called \"{}\"", pool.trunk));
  if (port->kind() != PortKind::kPci) {
    return r.Fail("trunk", fmt::format("port \"{}\" is of kind {}: expected one of kind pci", pool.trunk,
                                       ToString(port->kind())));
  }
  if (pool.trunk == underlay)
    r.Fail("trunk", fmt::format("port \"{}\" is the underlay's: expected one of its own", pool.trunk));
}

bool VlansOverlap(const SriovPool& a, const SriovPool& b) {
  return a.first_vlan <= b.last_vlan && b.first_vlan <= a.last_vlan;
}

}  // namespace

absl::StatusOr<std::vector<SriovPool>> ParseSriov(const json& value, const std::vector<PortConfig>& ports,
                                                  const std::string& underlay) {
  std::vector<SriovPool> pools;
  for (size_t i = 0; i < value.size(); ++i) {
    JsonReader r(value[i], fmt::format("sriov[{}]", i));
    SriovPool pool;
    ReadResource(r, pool);
    ReadPf(r, pool);
    ReadTrunk(r, ports, underlay, pool);
    ReadVlans(r, pool);
    for (const SriovPool& other : pools) {
      if (other.resource == pool.resource)
        r.Fail("resourceName", fmt::format("\"{}\" is another pool's name too", pool.resource));
      // On one NIC two pods of one VLAN would reach each other past the switch.
      if (VlansOverlap(other, pool)) r.Fail("vlans", fmt::format("pool {} has some of them", other.resource));
    }
    RETURN_IF_ERROR(r.Finish());
    pools.push_back(std::move(pool));
  }
  return pools;
}

}  // namespace podwire
