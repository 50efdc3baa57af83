#include "pmd/offload.h"

#include <rte_errno.h>

#include "net/status.h"

namespace podwire {

absl::Status RegisterOffloadField() {
  static constexpr rte_mbuf_dynfield kField = {
      .name = "podwire_offload", .size = sizeof(Offload), .align = alignof(Offload), .flags = 0};
  const int offset = rte_mbuf_dynfield_register(&kField);
  if (offset < 0) return ErrnoError(rte_errno, "register mbuf field {}", kField.name);
  internal::offload_dynfield = offset;
  return absl::OkStatus();
}

}  // namespace podwire
