#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "switch/conn_table.h"

namespace podwire {

using ConnTable4 = ConnTable<FlowKey4>;
inline constexpr uint64_t kHashSeed = 0x5deece66d1234567;

inline FlowKey4 TupleOf(uint32_t n, uint8_t proto = 17) {
  return {.src = {0x0a000000 + n},
          .dst = {0x0b000000},
          .src_port_be = 1,
          .dst_port_be = 2,
          .in_port = PortId{1},
          .proto = proto};
}
inline uint32_t HashOf(const FlowKey4& key) { return SymmetricHash(key, kHashSeed); }

/// A table with grace periods of its own; thread 0 is the test's, a reader that is online.
struct TableAndReaders {
  static constexpr uint32_t kReaders = 8;

  explicit TableAndReaders(const ConnTableOptions& options) {
    const size_t size = rte_rcu_qsbr_get_memsize(kReaders);
    qsbr.reset(static_cast<rte_rcu_qsbr*>(std::aligned_alloc(64, (size + 63) / 64 * 64)));
    rte_rcu_qsbr_init(qsbr.get(), kReaders);
    Register(0);
    table = *ConnTable4::Create(options, qsbr.get());
  }
  void Register(uint32_t reader) {
    rte_rcu_qsbr_thread_register(qsbr.get(), reader);
    rte_rcu_qsbr_thread_online(qsbr.get(), reader);
  }
  void Quiescent(uint32_t reader = 0) { rte_rcu_qsbr_quiescent(qsbr.get(), reader); }

  struct Free {
    void operator()(rte_rcu_qsbr* p) const { std::free(p); }
  };
  std::unique_ptr<rte_rcu_qsbr, Free> qsbr;
  std::unique_ptr<ConnTable4> table;
};

}  // namespace podwire
