#include "overlay/net_conf.h"

#include <map>

#include <absl/strings/ascii.h>
#include <nlohmann/json.hpp>

#include "net/status.h"

namespace podwire {
namespace {

using Json = nlohmann::json;

std::string Lower(const std::string& s) { return absl::AsciiStrToLower(s); }

/// An object read without regard to case, as Go's encoding/json does; remembers which keys were asked for.
class Fields {
 public:
  Fields(const Json& object, std::string path) : path_(std::move(path)) {
    for (const auto& [key, value] : object.items()) fields_[Lower(key)] = {key, &value};
  }

  /// nullptr: absent or null.
  const Json* Find(const std::string& name) {
    const auto it = fields_.find(Lower(name));
    if (it == fields_.end()) return nullptr;
    it->second.asked = true;
    return it->second.value->is_null() ? nullptr : it->second.value;
  }

  absl::Status String(const std::string& name, std::string& out) {
    const Json* v = Find(name);
    if (v == nullptr) return absl::OkStatus();
    if (!v->is_string()) return InvalidArgument("{}{}: expected a string, not {}", path_, name, v->dump());
    out = v->get<std::string>();
    return absl::OkStatus();
  }

  absl::Status Bool(const std::string& name, bool& out) {
    const Json* v = Find(name);
    if (v == nullptr) return absl::OkStatus();
    if (!v->is_boolean())
      return InvalidArgument("{}{}: expected true or false, not {}", path_, name, v->dump());
    out = v->get<bool>();
    return absl::OkStatus();
  }

  template <class T>
  absl::Status Number(const std::string& name, uint64_t max, T& out) {
    const Json* v = Find(name);
    if (v == nullptr) return absl::OkStatus();
    const bool fits = v->is_number_unsigned() && v->get<uint64_t>() <= max;
    if (!fits)
      return InvalidArgument("{}{}: expected a number from 0 to {}, not {}", path_, name, max, v->dump());
    out = static_cast<T>(v->get<uint64_t>());
    return absl::OkStatus();
  }

  void AddUnknown(std::vector<std::string>& out) const {
    for (const auto& [lower, field] : fields_) {
      if (!field.asked) out.push_back(path_ + field.name);
    }
  }

 private:
  struct Field {
    std::string name;
    const Json* value = nullptr;
    bool asked = false;
  };
  std::string path_;
  std::map<std::string, Field> fields_;
};

/// What differs between the families in flannel's rules.
struct FamilyRules {
  const char* network;
  const char* length;
  const char* min;
  const char* max;
  uint8_t longest_network;  // longer is too small for four subnets
  uint8_t longest_subnet;   // of SubnetLen
  uint8_t default_length;   // of a network at least two bits shorter
};
constexpr FamilyRules kRules4{"Network", "SubnetLen", "SubnetMin", "SubnetMax", 28, 30, 24};
constexpr FamilyRules kRules6{"IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", 124, 126, 64};

/// The `n`th subnet of the layout's length.
IpAddress SubnetAt(const SubnetLayout& l, uint64_t n) {
  auto bytes = l.network.address.bytes();
  // Adds n at the subnet's last bit, whichever byte that is in.
  const unsigned last = l.subnet_length - 1u;
  uint64_t carry = n << (7 - last % 8);
  for (int i = static_cast<int>(last / 8); i >= 0 && carry != 0; --i) {
    carry += bytes[i];
    bytes[i] = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
  if (l.network.address.is_v6()) return Ipv6{bytes};
  Ipv4 v4;
  std::memcpy(&v4.be, bytes.data(), 4);
  return v4;
}

absl::Status ReadBound(Fields& f, const SubnetLayout& l, const char* name, IpAddress& bound) {
  std::string text;
  RETURN_IF_ERROR(f.String(name, text));
  if (text.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const IpAddress a, [&]() -> absl::StatusOr<IpAddress> {
    auto parsed = ParseIp(text);
    return parsed.ok() ? parsed : Annotate(parsed.status(), name);
  }());
  if (!l.network.Contains(a))
    return InvalidArgument("{}: {} is not in the network {}", name, text, ToString(l.network));
  if (IpPrefix::Make(a, l.subnet_length).address != a) {
    return InvalidArgument("{}: {} is not on a SubnetLen boundary: a /{} subnet begins at {}", name, text,
                           l.subnet_length, ToString(IpPrefix::Make(a, l.subnet_length).address));
  }
  bound = a;
  return absl::OkStatus();
}

absl::Status ReadLength(Fields& f, const FamilyRules& rules, SubnetLayout& l) {
  uint8_t length = 0;
  RETURN_IF_ERROR(f.Number(rules.length, 128, length));
  const auto shortest = static_cast<uint8_t>(l.network.length + 2);
  if (length != 0) {
    if (length > rules.longest_subnet)
      return InvalidArgument("{}: must be at most {}, not {}", rules.length, rules.longest_subnet, length);
    if (length < shortest) {
      return InvalidArgument("{}: must be at least {}, so that {} holds four subnets, not {}", rules.length,
                             shortest, ToString(l.network), length);
    }
    l.subnet_length = length;
    return absl::OkStatus();
  }
  if (l.network.length > rules.longest_network) {
    return InvalidArgument("{}: {} is too small: at most a /{} can be cut into subnets", rules.network,
                           ToString(l.network), rules.longest_network);
  }
  l.subnet_length = std::max(rules.default_length, shortest);
  return absl::OkStatus();
}

absl::StatusOr<SubnetLayout> ReadLayout(Fields& f, const FamilyRules& rules, IpFamily family) {
  std::string text;
  RETURN_IF_ERROR(f.String(rules.network, text));
  if (text.empty())
    return InvalidArgument("{}: missing (the pods' network, like {})", rules.network,
                           family == IpFamily::kV4 ? "10.244.0.0/16" : "fd44::/48");
  const auto network = ParsePrefix(text);
  if (!network.ok()) return Annotate(network.status(), rules.network);
  if (network->address.family() != family)
    return InvalidArgument("{}: {} is of the other address family", rules.network, text);
  SubnetLayout l{.network = *network};
  RETURN_IF_ERROR(ReadLength(f, rules, l));
  const unsigned bits = std::min(63u, unsigned{l.subnet_length} - l.network.length);
  l.subnet_min = SubnetAt(l, 1);
  l.subnet_max = SubnetAt(l, (uint64_t{1} << bits) - 1);
  RETURN_IF_ERROR(ReadBound(f, l, rules.min, l.subnet_min));
  RETURN_IF_ERROR(ReadBound(f, l, rules.max, l.subnet_max));
  if (l.subnet_min > l.subnet_max) {
    return InvalidArgument("{}: {} is before {} {}", rules.max, ToString(l.subnet_max), rules.min,
                           ToString(l.subnet_min));
  }
  return l;
}

absl::Status ReadBackend(const Json* document, NetConf& conf) {
  if (document == nullptr) {
    conf.port = 8285;
    return absl::OkStatus();
  }
  if (!document->is_object()) return InvalidArgument("Backend: expected an object, not {}", document->dump());
  Fields f(*document, "Backend.");
  std::string type = "udp";
  RETURN_IF_ERROR(f.String("Type", type));
  if (type == "vxlan") {
    conf.backend = BackendType::kVxlan;
  } else if (type == "host-gw") {
    conf.backend = BackendType::kHostGw;
  } else if (type == "udp") {
    conf.backend = BackendType::kUdp;
  } else {
    return InvalidArgument("Backend.Type: podwire has no backend \"{}\"; it has vxlan, host-gw and udp",
                           type);
  }
  uint32_t vni = 1;
  uint16_t port = 0;  // the default, as Go's zero value
  bool direct_routing = false;
  RETURN_IF_ERROR(f.Number("VNI", 0xffffff, vni));
  RETURN_IF_ERROR(f.Number("Port", 65535, port));
  RETURN_IF_ERROR(f.Number("MTU", 65535, conf.mtu));
  RETURN_IF_ERROR(f.Bool("DirectRouting", direct_routing));
  // What the backend does not have is read all the same, so that a wrong type is told, but is not in force.
  if (conf.backend == BackendType::kVxlan) {
    conf.vni = Vni{vni};
    conf.direct_routing = direct_routing;
  }
  conf.port = conf.backend == BackendType::kUdp ? 8285 : 8472;
  if (port != 0 && conf.backend != BackendType::kHostGw) conf.port = port;
  if (conf.mtu != 0 && conf.mtu < 576)
    return InvalidArgument("Backend.MTU: must be at least 576, not {}", conf.mtu);
  for (const char* known : {"GBP", "Learning"}) {
    const Json* v = f.Find(known);
    if (v != nullptr && *v == true) return InvalidArgument("Backend.{}: podwire does not have it", known);
  }
  f.AddUnknown(conf.unknown_keys);
  return absl::OkStatus();
}

}  // namespace

std::string_view ToString(BackendType type) {
  switch (type) {
    case BackendType::kVxlan:
      return "vxlan";
    case BackendType::kHostGw:
      return "host-gw";
    case BackendType::kUdp:
      return "udp";
  }
  return "unknown";
}

absl::StatusOr<NetConf> ParseNetConf(const Json& document) {
  if (!document.is_object())
    return InvalidArgument("expected an object like {{\"Network\": \"10.244.0.0/16\", ...}}, not {}",
                           document.type_name());
  Fields f(document, "");
  NetConf conf;
  bool v4 = true, v6 = false;
  RETURN_IF_ERROR(f.Bool("EnableIPv4", v4));
  RETURN_IF_ERROR(f.Bool("EnableIPv6", v6));
  if (!v4 && !v6) return InvalidArgument("EnableIPv4 and EnableIPv6: at least one must be true");
  if (v4) {
    ASSIGN_OR_RETURN(conf.v4, ReadLayout(f, kRules4, IpFamily::kV4));
  }
  if (v6) {
    ASSIGN_OR_RETURN(conf.v6, ReadLayout(f, kRules6, IpFamily::kV6));
  }
  RETURN_IF_ERROR(ReadBackend(f.Find("Backend"), conf));
  // Known, but of the family that is off, or flannel's own business.
  for (const FamilyRules& rules : {kRules4, kRules6}) {
    for (const char* name : {rules.network, rules.length, rules.min, rules.max}) f.Find(name);
  }
  for (const char* name : {"EnableNFTables", "EnableIPv4", "EnableIPv6"}) f.Find(name);
  f.AddUnknown(conf.unknown_keys);
  return conf;
}

absl::StatusOr<NetConf> ParseNetConfText(std::string_view text) {
  const Json document = Json::parse(text, nullptr, false);
  if (document.is_discarded()) return InvalidArgument("not JSON: {}", text.substr(0, 80));
  return ParseNetConf(document);
}

absl::StatusOr<NetConf> ParseNetConfConfigMap(const Json& config_map) {
  const auto data = config_map.find("data");
  if (data == config_map.end() || !data->is_object()) return InvalidArgument("data: missing");
  const auto text = data->find("net-conf.json");
  if (text == data->end() || !text->is_string())
    return InvalidArgument("data.net-conf.json: missing (flannel's network configuration, as JSON text)");
  auto conf = ParseNetConfText(std::string_view(text->get_ref<const std::string&>()));
  if (!conf.ok()) return Annotate(conf.status(), "data.net-conf.json");
  return conf;
}

std::string ToString(const NetConf& conf) {
  nlohmann::ordered_json j;
  const auto put = [&j](const std::optional<SubnetLayout>& l, const FamilyRules& rules) {
    if (!l) return;
    j[rules.network] = ToString(l->network);
    j[rules.length] = l->subnet_length;
    j[rules.min] = ToString(l->subnet_min);
    j[rules.max] = ToString(l->subnet_max);
  };
  put(conf.v4, kRules4);
  if (!conf.v4) j["EnableIPv4"] = false;
  if (conf.v6) j["EnableIPv6"] = true;
  put(conf.v6, kRules6);
  auto& backend = j["Backend"];
  backend["Type"] = ToString(conf.backend);
  if (conf.backend == BackendType::kVxlan) {
    backend["VNI"] = conf.vni.value();
    backend["DirectRouting"] = conf.direct_routing;
  }
  if (conf.backend != BackendType::kHostGw) backend["Port"] = conf.port;
  if (conf.mtu != 0) backend["MTU"] = conf.mtu;
  return j.dump();
}

}  // namespace podwire
