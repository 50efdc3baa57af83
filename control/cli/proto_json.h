#pragma once

#include <nlohmann/json.hpp>

namespace google::protobuf {
class Message;
}

namespace podwire::cli {

/// Every field by its JSON name (camelCase), also those that are empty; numbers of 64 bits as numbers, not as
/// strings as protobuf's own JSON has them.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

}  // namespace podwire::cli
