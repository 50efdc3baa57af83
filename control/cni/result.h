#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>

namespace podwire::cni {

struct ResultInterface {
  std::string name;
  std::string mac;
  std::string sandbox;      // the network namespace's path; empty: on the host
  uint32_t mtu = 0;         // bytes, since 1.1.0; 0: not said
  std::string socket_path;  // vhost-user, since 1.1.0
  std::string pci_id;       // a virtual function's address, since 1.1.0
};

struct ResultIp {
  std::string address;  // CIDR with host bits: "10.244.1.7/24"
  std::string gateway;  // may be empty
  std::optional<uint32_t> interface;
};

struct ResultRoute {
  std::string dst;  // CIDR
  std::string gw;   // may be empty
};

/// What ADD answers, in no version's spelling. Also what an IPAM plugin answers (without interfaces) and what
/// prevResult holds.
struct Result {
  std::vector<ResultInterface> interfaces;
  std::vector<ResultIp> ips;
  std::vector<ResultRoute> routes;
  nlohmann::json dns;  // object, or null
};

/// Reads a result of any version from 0.3.0 to 1.1.0; keys without regard to case, unknown keys ignored.
/// Errors: code 6, naming `what` and the key.
absl::StatusOr<Result> ParseResult(const nlohmann::json& json, std::string_view what);

/// In the spelling of `version` (one of kVersions): ips[].version up to 0.4.0; mtu, socketPath and pciID
/// from 1.1.0.
nlohmann::ordered_json ToJson(const Result& result, std::string_view version);

}  // namespace podwire::cni
