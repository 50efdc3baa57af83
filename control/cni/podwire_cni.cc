// The CNI plugin "podwire": the container runtime runs it for each pod; it asks podwired and prints the
// result. docs/cni.md describes its configuration.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "control/cni/error.h"
#include "control/cni/plugin.h"
#include "control/cni/version.h"

namespace podwire::cni {
namespace {

std::string ReadInput() {
  std::string input;
  char buffer[65536];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), stdin)) > 0;) input.append(buffer, n);
  return input;
}

int Print(const std::string& text) {
  if (text.empty()) return 0;
  const bool ok = fwrite(text.data(), 1, text.size(), stdout) == text.size() && putc('\n', stdout) != EOF;
  return ok && fflush(stdout) == 0 ? 0 : 1;
}

int Fail(const std::string& version, const absl::Status& status) {
  Print(Dump(ErrorJson(version, status)));
  return 1;
}

int Run() {
  const auto env = ReadEnvironment([](const char* name) -> const char* { return std::getenv(name); });
  if (!env.ok()) return Fail(std::string(kVersions.back()), env.status());
  const std::string input = ReadInput();
  const auto output = Execute(*env, input);
  if (output.ok()) return Print(*output);
  const std::string asked = PeekVersion(input);
  return Fail(VersionRank(asked) >= 0 ? asked : std::string(kVersions.back()), output.status());
}

int Main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && (std::string_view(argv[1]) == "--version" || std::string_view(argv[1]) == "--help")) {
    fmt::print("podwire-cni {}\nThe CNI plugin of podwire; a container runtime runs it. It speaks CNI {}.\n",
               PODWIRE_VERSION, VersionList());
    return 0;
  }
  return Run();
}

}  // namespace
}  // namespace podwire::cni

int main(int argc, char** argv) { return podwire::cni::Main(argc, argv); }
