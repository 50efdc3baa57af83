#pragma once

#include <span>

namespace podwire {

/// uplink_filter.bpf.c as compiled: an ELF object for libbpf.
std::span<const unsigned char> UplinkObject();

}  // namespace podwire
