#pragma once

namespace podwire::testing {

/// Makes pools created from now on keep their mbufs under a mutex of this program. DPDK's own rings are
/// library code that TSan does not see into: an mbuf freed by one worker and taken by another would look like
/// a race. EAL must be up.
void UseVisibleMempools();

}  // namespace podwire::testing
