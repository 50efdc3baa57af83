#include "control/cni/result.h"

#include <limits>
#include <utility>

#include <fmt/format.h>

#include "control/cni/config.h"
#include "control/cni/error.h"
#include "control/cni/version.h"
#include "net/address.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

/// Reads members of one object of a result; remembers the first fault.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) Fail("", "an object");
  }

  Reader& String(std::string_view key, std::string& out) {
    const Json* value = Get(key);
    if (value == nullptr) return *this;
    if (!value->is_string()) return Fail(key, "a string");
    out = value->get<std::string>();
    return *this;
  }

  /// A CIDR or an address by `parse`; may be absent unless `required`.
  template <class Parse>
  Reader& Checked(std::string_view key, std::string& out, Parse parse, std::string_view expected,
                  bool required) {
    String(key, out);
    if (out.empty() ? required : !parse(out).ok()) return Fail(key, expected);
    return *this;
  }

  Reader& Number(std::string_view key, std::optional<uint32_t>& out) {
    const Json* value = Get(key);
    if (value == nullptr) return *this;
    if (!value->is_number_unsigned() || value->get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
      return Fail(key, "a number that is not negative");
    }
    out = value->get<uint32_t>();
    return *this;
  }

  absl::Status status() const { return status_; }

 private:
  const Json* Get(std::string_view key) const {
    const Json* value = Find(object_, key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  Reader& Fail(std::string_view key, std::string_view expected) {
    if (status_.ok()) {
      status_ = Failure(Code::kDecode,
                        fmt::format("{}{}{}: must be {}", where_, key.empty() ? "" : ".", key, expected));
    }
    return *this;
  }

  const Json& object_;
  std::string where_;
  absl::Status status_;
};

absl::StatusOr<ResultInterface> ParseInterface(const Json& json, std::string where) {
  ResultInterface out;
  std::optional<uint32_t> mtu;
  RETURN_IF_ERROR(Reader(json, std::move(where))
                      .String("name", out.name)
                      .String("mac", out.mac)
                      .String("sandbox", out.sandbox)
                      .String("socketPath", out.socket_path)
                      .String("pciID", out.pci_id)
                      .Number("mtu", mtu)
                      .status());
  out.mtu = mtu.value_or(0);
  return out;
}

absl::StatusOr<ResultIp> ParseResultIp(const Json& json, std::string where) {
  ResultIp out;
  RETURN_IF_ERROR(
      Reader(json, std::move(where))
          .Checked("address", out.address, ParseInterfaceAddress, "an address like 10.244.1.7/24", true)
          .Checked("gateway", out.gateway, ParseIp, "an address", false)
          .Number("interface", out.interface)
          .status());
  return out;
}

absl::StatusOr<ResultRoute> ParseRoute(const Json& json, std::string where) {
  ResultRoute out;
  RETURN_IF_ERROR(Reader(json, std::move(where))
                      .Checked("dst", out.dst, ParsePrefix, "a prefix like 10.0.0.0/8", true)
                      .Checked("gw", out.gw, ParseIp, "an address", false)
                      .status());
  return out;
}

/// Reads the list `key` item by item; absent and null are empty.
template <class T, class Parse>
absl::Status ReadList(const Json& json, std::string_view what, std::string_view key, Parse parse,
                      std::vector<T>& out) {
  const Json* list = Find(json, key);
  if (list == nullptr || list->is_null()) return absl::OkStatus();
  if (!list->is_array()) return Failure(Code::kDecode, fmt::format("{}: {}: must be a list", what, key));
  for (const Json& item : *list) {
    ASSIGN_OR_RETURN(T value, parse(item, fmt::format("{}: {}[{}]", what, key, out.size())));
    out.push_back(std::move(value));
  }
  return absl::OkStatus();
}

void AddUnlessEmpty(OrderedJson& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

OrderedJson InterfaceJson(const ResultInterface& interface, std::string_view version) {
  OrderedJson json{{"name", interface.name}};
  AddUnlessEmpty(json, "mac", interface.mac);
  AddUnlessEmpty(json, "sandbox", interface.sandbox);
  if (!AtLeast(version, "1.1.0")) return json;
  if (interface.mtu != 0) json["mtu"] = interface.mtu;
  AddUnlessEmpty(json, "socketPath", interface.socket_path);
  AddUnlessEmpty(json, "pciID", interface.pci_id);
  return json;
}

OrderedJson IpJson(const ResultIp& ip, std::string_view version) {
  OrderedJson json = OrderedJson::object();
  if (!AtLeast(version, "1.0.0")) json["version"] = ip.address.find(':') == std::string::npos ? "4" : "6";
  json["address"] = ip.address;
  AddUnlessEmpty(json, "gateway", ip.gateway);
  if (ip.interface.has_value()) json["interface"] = *ip.interface;
  return json;
}

}  // namespace

absl::StatusOr<Result> ParseResult(const Json& json, std::string_view what) {
  if (!json.is_object()) return Failure(Code::kDecode, fmt::format("{}: must be an object", what));
  Result result;
  RETURN_IF_ERROR(ReadList(json, what, "interfaces", ParseInterface, result.interfaces));
  RETURN_IF_ERROR(ReadList(json, what, "ips", ParseResultIp, result.ips));
  RETURN_IF_ERROR(ReadList(json, what, "routes", ParseRoute, result.routes));
  const Json* dns = Find(json, "dns");
  if (dns != nullptr && dns->is_object() && !dns->empty()) result.dns = *dns;
  return result;
}

OrderedJson ToJson(const Result& result, std::string_view version) {
  OrderedJson json{{"cniVersion", version}};
  for (const auto& interface : result.interfaces)
    json["interfaces"].push_back(InterfaceJson(interface, version));
  for (const auto& ip : result.ips) json["ips"].push_back(IpJson(ip, version));
  for (const auto& route : result.routes) {
    OrderedJson item{{"dst", route.dst}};
    AddUnlessEmpty(item, "gw", route.gw);
    json["routes"].push_back(std::move(item));
  }
  if (result.dns.is_object() && !result.dns.empty()) json["dns"] = result.dns;
  return json;
}

}  // namespace podwire::cni
