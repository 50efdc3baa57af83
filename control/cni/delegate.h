#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "control/cni/config.h"
#include "control/cni/environment.h"
#include "control/cni/result.h"

namespace podwire::cni {

/// The IPAM plugin that the configuration names, run as the specification says: the same environment and
/// configuration, in the newest version that both it and the configuration's version allow.
class Delegate {
 public:
  /// Finds `conf.ipam_type` in `env.path` and asks for its versions. Code 7 if it is in none of the
  /// directories, 1 if there is no version in common.
  static absl::StatusOr<Delegate> Create(const NetConf& conf, const Environment& env);

  /// Reserves addresses: at least one. Errors are the plugin's own, its name before the message.
  absl::StatusOr<Result> Add() const;
  /// Gives the addresses of `id` back. `netns` may be empty.
  absl::Status Del(const AttachmentId& id, const std::string& netns) const;
  /// CHECK, if its version has it (0.4.0).
  absl::Status Check() const;
  /// STATUS and GC, if its version has them (1.1.0).
  absl::Status Status() const;
  absl::Status CollectGarbage() const;

  const std::string& version() const { return version_; }

 private:
  Delegate(const NetConf& conf, const Environment& env, std::string path)
      : conf_(conf), env_(env), path_(std::move(path)) {}
  absl::Status ChooseVersion();
  std::string Input() const;
  absl::StatusOr<std::string> Run(Command command, const AttachmentId& id, const std::string& netns,
                                  const std::string& input) const;
  absl::Status FailureOf(int exit_status, const std::string& output) const;

  const NetConf& conf_;  // both outlive the delegate
  const Environment& env_;
  std::string path_;
  std::string version_;
};

}  // namespace podwire::cni
