#pragma once

#include <string>

#include <absl/status/status.h>

#include "control/attachment.h"

namespace podwire {

// What a vhost-user pod mounts: a directory by its UID (without one: the container's ID), in which each
// interface has a socket, IFNAME.sock, and IFNAME.json, which says what a DPDK program must be told. The pod
// may write there, so nothing in it is trusted: no link is followed.

/// The socket of an attachment, whose own path is not yet known.
std::string VhostUserSocket(const std::string& state_dir, const Attachment& a);

/// Makes the directory and writes the description, again if it is there. Errors name the path.
absl::Status WriteVhostUserFiles(const Attachment& a);

/// Removes socket and description, whatever the pod has made of them; and with `whole_directory` all of it.
/// What is gone is no error.
absl::Status RemoveVhostUserFiles(const Attachment& a, bool whole_directory);

}  // namespace podwire
