#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace podwire {

/// A directory of a test's own, gone with it.
class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/podwire-test-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace podwire
