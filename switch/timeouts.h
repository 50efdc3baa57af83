#pragma once

#include <cstdint>

namespace podwire {

/// How long an idle connection is kept, seconds. Defaults: what Linux's nf_conntrack has.
struct Timeouts {
  uint32_t tcp_syn_sent = 120;
  uint32_t tcp_syn_recv = 60;
  uint32_t tcp_established = 432000;
  uint32_t tcp_fin_wait = 120;
  uint32_t tcp_close_wait = 60;
  uint32_t tcp_last_ack = 30;
  uint32_t tcp_time_wait = 120;
  uint32_t tcp_close = 10;
  uint32_t udp_new = 30;
  uint32_t udp_established = 120;
  uint32_t icmp = 30;
  uint32_t sctp_new = 30;
  uint32_t sctp_established = 210;
  uint32_t other = 600;
};

}  // namespace podwire
