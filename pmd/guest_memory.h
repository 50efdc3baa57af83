#pragma once

#include <cstdint>

#include <absl/status/status.h>

namespace podwire {

/// Has this process outlive a guest that takes back memory which it shares over vhost-user: a virtio-user pod
/// can truncate the file, and a touch of it is SIGBUS then. All of that mapping reads as zeros from there on,
/// of which the rings make nothing. Holds for every mapping that is shared with other processes, EAL's own
/// memory excepted. Main, once, before ports come up.
absl::Status OutliveLostGuestMemory();

/// How many mappings were lost so. Any thread.
uint64_t LostGuestMappings();

}  // namespace podwire
