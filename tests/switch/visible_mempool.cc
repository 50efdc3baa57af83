#include "tests/switch/visible_mempool.h"

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <vector>

#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

namespace podwire::testing {
namespace {

constexpr const char* kName = "visible";

struct Stack {
  std::mutex mutex;
  std::vector<void*> objects;  // under mutex
};

Stack& StackOf(const rte_mempool* pool) { return *static_cast<Stack*>(pool->pool_data); }

int Alloc(rte_mempool* pool) {
  auto* stack = new Stack;
  stack->objects.reserve(pool->size);
  pool->pool_data = stack;
  return 0;
}

void Free(rte_mempool* pool) { delete &StackOf(pool); }

int Enqueue(rte_mempool* pool, void* const* objects, unsigned n) {
  Stack& stack = StackOf(pool);
  const std::lock_guard lock(stack.mutex);
  stack.objects.insert(stack.objects.end(), objects, objects + n);
  return 0;
}

int Dequeue(rte_mempool* pool, void** objects, unsigned n) {
  Stack& stack = StackOf(pool);
  const std::lock_guard lock(stack.mutex);
  if (stack.objects.size() < n) return -ENOBUFS;
  for (unsigned i = 0; i < n; ++i) {
    objects[i] = stack.objects.back();
    stack.objects.pop_back();
  }
  return 0;
}

unsigned Count(const rte_mempool* pool) {
  Stack& stack = StackOf(pool);
  const std::lock_guard lock(stack.mutex);
  return static_cast<unsigned>(stack.objects.size());
}

rte_mempool_ops Ops() {
  rte_mempool_ops ops{};
  std::snprintf(ops.name, sizeof ops.name, "%s", kName);
  ops.alloc = Alloc;
  ops.free = Free;
  ops.enqueue = Enqueue;
  ops.dequeue = Dequeue;
  ops.get_count = Count;
  return ops;
}

}  // namespace

void UseVisibleMempools() {
  static const rte_mempool_ops kOps = Ops();
  static const int kIndex = rte_mempool_register_ops(&kOps);
  if (kIndex < 0 || rte_mbuf_set_user_mempool_ops(kName) != 0) std::abort();
}

}  // namespace podwire::testing
