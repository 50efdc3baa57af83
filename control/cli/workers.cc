#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/switch_views.h"
#include "net/status.h"
#include "workers.grpc.pb.h"

namespace podwire::cli {
namespace {

absl::StatusOr<Exit> List(Session& session) {
  ASSIGN_OR_RETURN(const auto workers, (session.List<v1::Workers, v1::ListWorkersRequest, v1::WorkerStatus>(
                                           &v1::Workers::Stub::List, v1::ListWorkersRequest())));
  Print(Render(WorkerView(), workers, session.options().format, /*single=*/false));
  return Exit::kOk;
}

/// In the table format what was done, else the worker.
void Show(Session& session, const v1::WorkerStatus& worker, const std::string& done) {
  const Format format = session.options().format;
  Print(format == Format::kTable ? done : Render(WorkerView(), {worker}, format, /*single=*/true));
}

absl::StatusOr<Exit> Add(Session& session, const v1::AddWorkerRequest& request) {
  v1::WorkerStatus worker;
  RETURN_IF_ERROR(session.Call<v1::Workers>(&v1::Workers::Stub::Add, request, &worker));
  Show(session, worker, fmt::format("worker/{} created on CPU {}\n", worker.worker(), worker.lcore()));
  return Exit::kOk;
}

absl::StatusOr<Exit> Remove(Session& session, const v1::RemoveWorkerRequest& request) {
  v1::RemoveWorkerResponse response;
  RETURN_IF_ERROR(session.Call<v1::Workers>(&v1::Workers::Stub::Remove, request, &response));
  Print(fmt::format("worker \"{}\" deleted\n", request.worker()));
  return Exit::kOk;
}

absl::StatusOr<Exit> SetMode(Session& session, const v1::SetWorkerModeRequest& request) {
  v1::WorkerStatus worker;
  RETURN_IF_ERROR(session.Call<v1::Workers>(&v1::Workers::Stub::SetMode, request, &worker));
  Show(session, worker, fmt::format("worker/{} is {} now\n", worker.worker(), worker.mode()));
  return Exit::kOk;
}

void AddAdd(CLI::App& workers, Context& context) {
  auto* add =
      workers.add_subcommand("add", "Start a worker on a CPU; it lives until it is removed or podwired ends");
  auto request = std::make_shared<v1::AddWorkerRequest>();
  add->add_option_function<uint32_t>(
         "CPU", [request](uint32_t v) { request->set_cpu(v); }, "The CPU's number")
      ->required();
  add->add_option_function<std::string>(
         "--mode", [request](const std::string& v) { request->set_mode(v); },
         "adaptive (default): sleeps when there is nothing to do; poll: never")
      ->check(CLI::IsMember({"adaptive", "poll"}).description(""))
      ->type_name("MODE");
  add->callback(
      [&context, request] { context.run = [request](Session& session) { return Add(session, *request); }; });
}

void AddRemove(CLI::App& workers, Context& context) {
  auto* remove = workers.add_subcommand("remove", "End a worker; the others take over its queues");
  auto request = std::make_shared<v1::RemoveWorkerRequest>();
  remove
      ->add_option_function<uint32_t>(
          "WORKER", [request](uint32_t v) { request->set_worker(v); }, "The worker's number")
      ->required();
  remove->callback([&context, request] {
    context.run = [request](Session& session) { return Remove(session, *request); };
  });
}

void AddMode(CLI::App& workers, Context& context) {
  auto* mode = workers.add_subcommand("mode", "Say what a worker does when there is nothing to do");
  auto request = std::make_shared<v1::SetWorkerModeRequest>();
  mode->add_option_function<uint32_t>(
          "WORKER", [request](uint32_t v) { request->set_worker(v); }, "The worker's number")
      ->required();
  mode->add_option_function<std::string>(
          "MODE", [request](const std::string& v) { request->set_mode(v); },
          "adaptive: sleeps; poll: never sleeps")
      ->required()
      ->check(CLI::IsMember({"adaptive", "poll"}).description(""));
  mode->callback([&context, request] {
    context.run = [request](Session& session) { return SetMode(session, *request); };
  });
}

}  // namespace

void AddWorkerCommands(CLI::App& app, Context& context) {
  auto* workers = app.add_subcommand("workers", "Show, add and remove the threads that move packets");
  workers->require_subcommand(0, 1);
  auto* list = workers->add_subcommand("list", "Show them (also without a command)");
  const auto run_list = [&context] { context.run = [](Session& session) { return List(session); }; };
  list->callback(run_list);
  AddAdd(*workers, context);
  AddRemove(*workers, context);
  AddMode(*workers, context);
  workers->callback([workers, run_list] {
    if (workers->get_subcommands().empty()) run_list();
  });
}

}  // namespace podwire::cli
