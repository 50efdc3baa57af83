#pragma once

#include <string>

#include <absl/status/status.h>
#include <nlohmann/json.hpp>

namespace podwire::cni {

/// Codes of the CNI specification (section "Error"); 100 and up are this plugin's own.
enum class Code : int {
  kIncompatibleVersion = 1,
  kUnsupportedField = 2,
  kUnknownContainer = 3,
  kInvalidEnvironment = 4,
  kIo = 5,
  kDecode = 6,
  kInvalidConfig = 7,
  kInvalidNetns = 8,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kRefused = 100,          // podwired refused the request
  kAlreadyAttached = 101,  // ADD of a container and interface that exist
  kNoAddress = 102,        // the node's subnet is used up
  kCheckFailed = 103,      // CHECK found a difference
  kDelegateFailed = 104,   // the IPAM plugin failed without a CNI error of its own
};

/// A status that carries a CNI error code and, optionally, the specification's `details`.
absl::Status Failure(Code code, std::string msg, std::string details = {});
/// The same for a code that another plugin chose.
absl::Status Failure(int code, std::string msg, std::string details);

/// The code that `status` carries; kRefused for a status that was not made by Failure.
int CodeOf(const absl::Status& status);

/// The specification's error object: cniVersion, code, msg and, if there are any, details.
nlohmann::ordered_json ErrorJson(const std::string& cni_version, const absl::Status& status);

/// JSON text on one line; bytes that are no UTF-8 (an environment may hold any) are replaced, never thrown
/// upon.
std::string Dump(const nlohmann::ordered_json& json);

}  // namespace podwire::cni
