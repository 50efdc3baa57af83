#include "control/cli/manifest_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "net/status.h"

namespace podwire::cli {
namespace {

constexpr size_t kMaxBytes = 64u << 20;

absl::StatusOr<std::string> ReadStream(std::FILE* stream, const std::string& name) {
  std::string text;
  char buffer[65536];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), stream)) > 0;) {
    text.append(buffer, n);
    if (text.size() > kMaxBytes) return InvalidArgument("{}: longer than {} MB", name, kMaxBytes >> 20);
  }
  if (std::ferror(stream) != 0) return ErrnoError(errno, "{}", name);
  return text;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  if (path == "-") return ReadStream(stdin, "standard input");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) return ErrnoError(errno, "{}", path);
  return ReadStream(file.get(), path);
}

absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (path == "-" || !fs::is_directory(path, error)) return std::vector{path};
  std::vector<std::string> files;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string extension = it->path().extension();
    const bool manifest = extension == ".yaml" || extension == ".yml" || extension == ".json";
    if (manifest && it->is_regular_file(error)) files.push_back(it->path());
  }
  if (error) return ErrnoError(error.value(), "{}", path);
  if (files.empty()) return InvalidArgument("{}: no *.yaml, *.yml or *.json in this directory", path);
  std::ranges::sort(files);
  return files;
}

absl::Status ReadOne(const std::string& file, std::vector<Manifest>& all) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  ASSIGN_OR_RETURN(std::vector<Manifest> manifests, ParseManifests(text, file == "-" ? "stdin" : file));
  if (manifests.empty()) return InvalidArgument("{}: no object in it", file == "-" ? "stdin" : file);
  std::ranges::move(manifests, std::back_inserter(all));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Manifest>> ReadManifests(const std::vector<std::string>& paths) {
  std::vector<Manifest> all;
  std::string errors;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesOf(path));
    for (const std::string& file : files) {
      const absl::Status status = ReadOne(file, all);
      if (!status.ok()) errors.append(errors.empty() ? "" : "\n").append(Message(status));
    }
  }
  if (!errors.empty()) return InvalidArgument("{}", errors);
  return all;
}

}  // namespace podwire::cli
