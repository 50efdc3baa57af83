#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/switch_views.h"
#include "net/status.h"
#include "ports.grpc.pb.h"

namespace podwire::cli {
namespace {

struct AddOptions {
  v1::AddPortRequest request;
  std::vector<std::string> options;
};

std::string ValidateOption(const std::string& text) {
  const auto equals = text.find('=');
  return equals == std::string::npos || equals == 0 ? fmt::format("\"{}\" is not KEY=VALUE", text) : "";
}

absl::StatusOr<Exit> Add(Session& session, const v1::AddPortRequest& request) {
  v1::AddPortResponse response;
  RETURN_IF_ERROR(session.Call<v1::Ports>(&v1::Ports::Stub::Add, request, &response));
  if (session.options().format == Format::kTable) {
    Print(fmt::format("port/{} created\n", request.port().name()));
  } else {
    Print(Render(PortView(), {response.port()}, session.options().format, /*single=*/true));
  }
  return Exit::kOk;
}

absl::StatusOr<Exit> Remove(Session& session, const std::string& name) {
  v1::RemovePortRequest request;
  request.set_name(name);
  v1::RemovePortResponse response;
  RETURN_IF_ERROR(session.Call<v1::Ports>(&v1::Ports::Stub::Remove, request, &response));
  Print(fmt::format("port \"{}\" deleted\n", name));
  return Exit::kOk;
}

}  // namespace

void AddPortCommands(CLI::App& app, Context& context) {
  auto* ports = app.add_subcommand("ports", "Add and remove switch ports (`get ports` shows them)");
  ports->require_subcommand(1);

  auto* add = ports->add_subcommand("add", "Add a port; it lives until it is removed or podwired ends");
  auto options = std::make_shared<AddOptions>();
  auto& port = *options->request.mutable_port();
  add->add_option_function<std::string>(
         "NAME", [&port](const std::string& v) { port.set_name(v); }, "The port's name")
      ->required();
  add->add_option_function<std::string>(
         "--kind", [&port](const std::string& v) { port.set_kind(v); },
         "tap, netdev, vhost-user, pci or vdev")
      ->required();
  add->add_option("--option", options->options,
                  "An option of the kind, as in the configuration file; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->check(ValidateOption);
  add->add_option_function<uint32_t>(
         "--mtu", [&port](uint32_t v) { port.set_mtu(v); }, "MTU (the kind's own)")
      ->check(CLI::Range(576u, 65535u));
  add->callback([&context, options] {
    for (const std::string& text : options->options) {
      const auto equals = text.find('=');
      (*options->request.mutable_port()->mutable_options())[text.substr(0, equals)] = text.substr(equals + 1);
    }
    context.run = [options](Session& session) { return Add(session, options->request); };
  });

  auto* remove = ports->add_subcommand("remove", "Remove a port");
  auto name = std::make_shared<std::string>();
  remove->add_option("NAME", *name, "The port's name")->required();
  remove->callback(
      [&context, name] { context.run = [name](Session& session) { return Remove(session, *name); }; });
}

}  // namespace podwire::cli
