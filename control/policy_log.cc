#include "control/policy_log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/spdlog.h>

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

#include "control/protocol_names.h"

namespace podwire {
namespace {

using Json = nlohmann::ordered_json;

void AddSide(Json& line, const char* side, const PolicyAnswer& answer) {
  if (answer.policy.empty()) return;
  line[std::string(side) + "Policy"] = answer.policy;
  line[std::string(side) + "Rule"] = answer.rule;
}

}  // namespace

std::string TimeText(std::chrono::system_clock::time_point time) {
  using std::chrono::microseconds;
  const auto us = std::chrono::duration_cast<microseconds>(time.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(static_cast<std::time_t>(us / 1'000'000)),
                     us % 1'000'000);
}

std::string PolicyLogLine(const NamedEvent& v, const std::string& node, uint64_t left_out) {
  const bool allowed = v.reason == DropReason::kNone;
  Json line{{"time", TimeText(v.time)}, {"node", node}, {"verdict", allowed ? "allowed" : "denied"}};
  if (!allowed) line["reason"] = InfoOf(v.reason).name;
  line["protocol"] = ProtocolName(v.tuple.proto);
  line["src"] = ToString(v.tuple.src);
  line["srcPort"] = v.tuple.src_port;
  line["dst"] = ToString(v.tuple.dst);
  line["dstPort"] = v.tuple.dst_port;
  if (!v.src_pod.empty()) line["srcPod"] = v.src_pod;
  if (!v.dst_pod.empty()) line["dstPod"] = v.dst_pod;
  if (allowed) {
    AddSide(line, "egress", v.egress);
    AddSide(line, "ingress", v.ingress);
  } else {
    line["direction"] = ToString(*v.direction);
    line["policies"] = v.denial().isolating;
    if (!v.denial().hint.empty()) line["hint"] = v.denial().hint;
  }
  if (left_out != 0) line["leftOut"] = left_out;
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

PolicyLog::PolicyLog(const PolicyLogConfig& config, const std::string& state_dir, std::string node)
    : config_(config), path_(state_dir + "/" + config.file), node_(std::move(node)) {}

PolicyLog::~PolicyLog() = default;

void PolicyLog::Write(const NamedEvent& verdict, uint64_t left_out_before) {
  const auto second = std::chrono::floor<std::chrono::seconds>(verdict.time);
  if (second != second_) lines_ = 0;
  second_ = second;
  if (lines_ == kLinesPerSecond) {
    ++left_out_;
    return;
  }
  ++lines_;
  const uint64_t left_out = left_out_before + left_out_;
  if (Append(PolicyLogLine(verdict, node_, left_out - told_))) {
    told_ = left_out;
  } else {
    ++left_out_;
  }
}

/// False: the file does not take it, a full disk for instance. That is logged once, until it works again, and
/// tried once a second, for the library waits a while for a file.
bool PolicyLog::Append(const std::string& line) {
  if (failed_ == second_) return false;
  try {
    if (sink_ == nullptr) {
      constexpr size_t kMegabyte = 1 << 20;
      auto sink = std::make_unique<spdlog::sinks::rotating_file_sink_st>(path_, config_.max_mb * kMegabyte,
                                                                         config_.files - 1);
      sink->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));
      sink_ = std::move(sink);
    }
    sink_->log(spdlog::details::log_msg("", spdlog::level::info, line));
    failed_.reset();
    return true;
  } catch (const spdlog::spdlog_ex& e) {
    if (!failed_) spdlog::error("msg=\"policy log\" file={} error=\"{}\"", path_, e.what());
    failed_ = second_;
    return false;
  }
}

void PolicyLog::Flush() {
  if (sink_ == nullptr) return;
  try {
    sink_->flush();
  } catch (const spdlog::spdlog_ex&) {
    // The next line meets it too, and says so.
  }
}

}  // namespace podwire
