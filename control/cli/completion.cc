#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/kinds.h"

namespace podwire::cli {
namespace {

/// "--server -o --output ...": a command's options and those before it.
std::string OptionsOf(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) text += " --" + name;
    for (const auto& name : option->get_snames()) text += " -" + name;
  }
  return text.empty() ? text : text.substr(1);
}

std::string CommandsOf(const CLI::App& app) {
  std::string text;
  for (const CLI::App* command : app.get_subcommands({}))
    text += (text.empty() ? "" : " ") + command->get_name();
  return text;
}

std::string Kinds(bool objects_only) {
  std::string text;
  for (const KindInfo& info : AllKinds()) {
    if (info.object || !objects_only) text += (text.empty() ? "" : " ") + info.plural;
  }
  return text;
}

/// Lines of a case statement: what each command takes.
std::string Cases(const CLI::App& app) {
  std::string text;
  for (const CLI::App* command : app.get_subcommands({})) {
    text += fmt::format("    {}) options=\"{}\"; commands=\"{}\" ;;\n", command->get_name(),
                        OptionsOf(*command), CommandsOf(*command));
  }
  return text;
}

// Names come from podwired (`get KIND -o name`); without one there are none to offer.
constexpr char kScript[] = R"BASH(# bash completion of podwire: source <(podwire completion bash)
_podwire_names() {{
  local ns=() i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
      -n | --namespace) ns=(-n "${{COMP_WORDS[i + 1]}}") ;;
      -A | --all-namespaces) ns=(-A) ;;
    esac
  done
  podwire get "$1" "${{ns[@]}}" -o name --timeout 2 2>/dev/null | sed 's|^[^/]*/||'
}}
_podwire_pods() {{
  podwire get pods -A --timeout 2 2>/dev/null | awk 'NR > 1 {{ print $1 "/" $2 }}'
}}
_podwire() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
  local global="{0}" all="{1}" kinds="{2}" objects="{3}"
  local command="" kind="" words="" options="" commands="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i - 1]}} in
      --server | -o | --output | --timeout | -n | --namespace | -f | --filename) continue ;;
    esac
    [[ ${{COMP_WORDS[i]}} == -* ]] && continue
    if [[ -z $command ]]; then command=${{COMP_WORDS[i]}}; elif [[ -z $kind ]]; then kind=${{COMP_WORDS[i]}}; fi
  done
  case $command in
{4}  esac
  case $prev in
    -o | --output) words="table wide json name" ;;
    --proto) words="tcp udp sctp icmp icmpv6" ;;
    --verdict) words="allowed denied" ;;
    --reason) words=$(podwire drops --all --timeout 2 2>/dev/null | awk 'NR > 1 && NF == 0 {{ exit }} NR > 1 {{ print $1 }}') ;;
    --kind) words="tap netdev vhost-user pci vdev" ;;
    --from | --to | --pod) words=$(_podwire_pods) ;;
    -n | --namespace) words=$(_podwire_names namespaces) ;;
    -f | --filename) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    *)
      if [[ $cur == -* ]]; then words="$global $options"
      elif [[ -z $command ]]; then words=$all
      elif [[ -n $commands && -z $kind ]]; then words=$commands
      elif [[ $command == ports && $kind == remove ]]; then words=$(_podwire_names ports)
      elif [[ $command == get && -z $kind ]]; then words=$kinds
      elif [[ $command == delete && -z $kind ]]; then words=$objects
      elif [[ $command == get || $command == delete ]]; then words=$(_podwire_names "$kind")
      fi ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _podwire podwire
)BASH";

}  // namespace

void AddCompletionCommand(CLI::App& app, Context& context) {
  auto* completion =
      app.add_subcommand("completion", "Print a completion script: source <(podwire completion bash)");
  completion->require_subcommand(1);
  completion->add_subcommand("bash", "For bash")->callback([&app, &context] {
    context.run = [&app](Session&) -> absl::StatusOr<Exit> {
      Print(fmt::format(kScript, OptionsOf(app), CommandsOf(app), Kinds(false), Kinds(true), Cases(app)));
      return Exit::kOk;
    };
  });
}

}  // namespace podwire::cli
