#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "pmd/netns.h"

namespace podwire {

/// Runs a shell command; true when it ended with status 0.
inline bool Shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// A network namespace of the test's own, removed with it.
class TestNetns {
 public:
  explicit TestNetns(const std::string& label) : name_(fmt::format("pw-{}-{}", label, getpid())) {
    Shell("ip netns del " + name_);
    if (!Shell("ip netns add " + name_)) std::abort();
  }
  TestNetns(const TestNetns&) = delete;
  TestNetns& operator=(const TestNetns&) = delete;
  ~TestNetns() { Remove(); }

  void Remove() { Shell("ip netns del " + name_); }
  const std::string& name() const { return name_; }
  std::string path() const { return "/run/netns/" + name_; }
  /// `ip -n NAME ...`
  bool Ip(const std::string& arguments) const { return Shell(fmt::format("ip -n {} {}", name_, arguments)); }
  /// `ip netns exec NAME ...`
  bool Exec(const std::string& command) const {
    return Shell(fmt::format("ip netns exec {} {}", name_, command));
  }

 private:
  std::string name_;
};

}  // namespace podwire
