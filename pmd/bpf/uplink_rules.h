#pragma once

#include <linux/types.h>

// What the uplink's filter (uplink_filter.bpf.c) and the code that loads it share. C and C++.

/// The one value of the map `rules`. All zero: nothing is taken.
struct UplinkRules {
  __u8 mac[6];            ///< the interface's
  __be16 tunnel_port_be;  ///< UDP; 0: no tunnel
  __be32 vtep4_be;        ///< 0: none
  __u8 vtep6[16];         ///< all zero: none
};

/// Keys of the maps `pods4` and `pods6`: prefixes of the node's own pods.
struct UplinkPrefix4 {
  __u32 length;  ///< bits, host order
  __u8 address[4];
};
struct UplinkPrefix6 {
  __u32 length;
  __u8 address[16];
};

#define UPLINK_MAX_PREFIXES 64
#define UPLINK_MAX_QUEUES 64
