#include "control/cli/proto_json.h"

#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

namespace podwire::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::ordered_json;

Json Single(const Message& message, const Reflection& reflection, const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.GetFloat(message, &field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnum(message, &field)->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(reflection.GetMessage(message, &field));
  }
  return nullptr;
}

Json Map(const Message& message, const Reflection& reflection, const FieldDescriptor& field) {
  Json map = Json::object();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Json entry = ToJson(reflection.GetRepeatedMessage(message, &field, i));
    map[entry["key"].get<std::string>()] = entry["value"];
  }
  return map;
}

/// The API repeats strings and messages only.
Json List(const Message& message, const Reflection& reflection, const FieldDescriptor& field) {
  Json list = Json::array();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      list.push_back(reflection.GetRepeatedString(message, &field, i));
    } else {
      list.push_back(ToJson(reflection.GetRepeatedMessage(message, &field, i)));
    }
  }
  return list;
}

}  // namespace

Json ToJson(const Message& message) {
  const auto& descriptor = *message.GetDescriptor();
  const auto& reflection = *message.GetReflection();
  Json json = Json::object();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    Json& value = json[field.json_name()];
    if (field.is_map()) {
      value = Map(message, reflection, field);
    } else if (field.is_repeated()) {
      value = List(message, reflection, field);
    } else {
      value = Single(message, reflection, field);
    }
  }
  return json;
}

}  // namespace podwire::cli
