#include <charconv>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/proto_json.h"
#include "inspect.grpc.pb.h"
#include "net/address.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

struct ExplainOptions {
  std::string from;
  std::string to;
  std::string protocol = "tcp";
  uint32_t port = 0;
  uint32_t source_port = 0;
  std::string default_namespace = "default";
};

std::optional<uint32_t> ParsePort(std::string_view text) {
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0 || port > 65535)
    return std::nullopt;
  return port;
}

/// Takes ":PORT" off "POD:PORT", "IP:PORT" and "[IPv6]:PORT"; a bare IPv6 address is left whole.
void TakePort(ExplainOptions& options) {
  std::string& to = options.to;
  if (ParseIp(to).ok()) return;
  const auto colon = to.rfind(':');
  if (colon != std::string::npos && !to.ends_with(']')) {
    const auto port = ParsePort(std::string_view(to).substr(colon + 1));
    if (!port.has_value())
      throw CLI::ValidationError("--to", fmt::format("\"{}\": the port must be 1 to 65535", to));
    if (options.port != 0 && options.port != *port)
      throw CLI::ValidationError("--port", "--to names another port");
    options.port = *port;
    to.resize(colon);
  }
  if (to.starts_with('[') && to.ends_with(']')) to = to.substr(1, to.size() - 2);
  if (to.empty()) throw CLI::ValidationError("--to", "no pod or address before the port");
}

bool HasPorts(const std::string& protocol) {
  return protocol == "tcp" || protocol == "udp" || protocol == "sctp";
}

/// "web (10.244.1.2)", or the address alone when that is what the user gave.
std::string End(const std::string& given, const std::string& address) {
  return address.empty() || address == given ? given : fmt::format("{} ({})", given, address);
}

std::string ExplanationText(const v1::Explanation& e, const ExplainOptions& options) {
  const std::string port = options.port == 0 ? "" : fmt::format("/{}", options.port);
  std::string text = fmt::format("{} -> {} {}{}: {}{}\n", End(options.from, e.src()),
                                 End(options.to, e.dst()), options.protocol, port, e.verdict(),
                                 e.reason().empty() ? "" : fmt::format(" ({})", e.reason()));
  if (!e.summary().empty()) text += e.summary() + "\n";
  text += "\n";
  for (const v1::ExplainStep& step : e.steps()) {
    text += fmt::format("{:<16} {:<6} {}\n", step.stage(), step.outcome(), step.text());
    for (const auto& detail : step.details()) text += fmt::format("{:>25}{}\n", "- ", detail);
  }
  return text;
}

absl::StatusOr<Exit> Explain(Session& session, const ExplainOptions& options) {
  v1::ExplainRequest request;
  request.set_from(options.from);
  request.set_to(options.to);
  request.set_protocol(options.protocol);
  request.set_port(options.port);
  request.set_src_port(options.source_port);
  request.set_default_namespace(options.default_namespace);
  v1::Explanation explanation;
  RETURN_IF_ERROR(session.Call<v1::Inspect>(&v1::Inspect::Stub::Explain, request, &explanation));
  if (session.options().format == Format::kJson) {
    Print(ToJson(explanation).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  } else {
    Print(ExplanationText(explanation, options));
  }
  return explanation.verdict() == "allowed" ? Exit::kOk : Exit::kRefused;
}

}  // namespace

void AddExplainCommand(CLI::App& app, Context& context) {
  auto* explain = app.add_subcommand(
      "explain",
      "What becomes of a packet, step by step, and which policy says so; exit status 0 allowed, 1 denied");
  auto options = std::make_shared<ExplainOptions>();
  explain->add_option("--from", options->from, "Source: a pod or an address")
      ->required()
      ->type_name("[NS/]POD|IP");
  explain->add_option("--to", options->to, "Destination: a pod or an address, with its port")
      ->required()
      ->type_name("[NS/]POD|IP[:PORT]");
  explain->add_option("--proto", options->protocol, "tcp (default), udp, sctp, icmp, icmpv6 or a number");
  explain->add_option("--port", options->port, "Destination port, if --to has none")
      ->check(CLI::Range(1u, 65535u));
  explain->add_option("--src-port", options->source_port, "Source port (any)")->check(CLI::Range(1u, 65535u));
  explain->add_option("-n,--namespace", options->default_namespace,
                      "Namespace of pods without one (default)");
  explain->callback([&context, options] {
    TakePort(*options);
    if (HasPorts(options->protocol) && options->port == 0) {
      throw CLI::ValidationError(
          "--to", fmt::format("{} needs a port: --to {}:PORT, or --port", options->protocol, options->to));
    }
    context.run = [options](Session& session) { return Explain(session, *options); };
  });
}

}  // namespace podwire::cli
