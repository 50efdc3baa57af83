#pragma once

#include "pmd/mempool.h"

namespace podwire {

/// The pools of the test program; its first use starts EAL without hugepages (one lcore), freed at the
/// program's end.
MbufPools& TestPools();

}  // namespace podwire
