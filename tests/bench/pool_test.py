"""Open vSwitch's mbuf pool for captures that are larger than it."""
import os
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
sys.path.insert(0, BENCH)
import others  # noqa: E402

# In DPDK's place: says what it was asked for.
LIBRARY = r"""
#include <stdint.h>
#include <stdio.h>
void *rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache, uint16_t priv, uint16_t room, int socket)
{ printf("%s %u %u %u %u %d\n", name, n, cache, priv, room, socket); return 0; }
"""
PROGRAM = r"""
#include <stdint.h>
void *rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache, uint16_t priv, uint16_t room, int socket);
int main(void) { rte_pktmbuf_pool_create("pool", 262144, 512, 64, 2176, -1); return 0; }
"""


class PoolTest(unittest.TestCase):
    def test_only_the_number_of_mbufs_changes(self):
        with tempfile.TemporaryDirectory() as directory:
            def path(name):
                return os.path.join(directory, name)
            for name, text in (("real.c", LIBRARY), ("main.c", PROGRAM)):
                with open(path(name), "w") as f:
                    f.write(text)
            shared = ["gcc", "-shared", "-fPIC", "-o"]
            subprocess.run([*shared, path("libreal.so"), path("real.c")], check=True)
            subprocess.run([*shared, path("pool.so"), "-Wall", "-Wextra", "-Werror", os.path.join(BENCH, "ovs", "pool.c")], check=True)
            subprocess.run(["gcc", "-o", path("main"), path("main.c"), f"-L{directory}", "-lreal", f"-Wl,-rpath,{directory}"], check=True)
            for mbufs, made in (("1032768", 1032768), ("1000", 262144), ("", 262144)):
                done = subprocess.run([path("main")], capture_output=True, text=True, check=True,
                                      env={"LD_PRELOAD": path("pool.so"), "BENCH_MBUFS": mbufs})
                self.assertEqual(done.stdout, f"pool {made} 512 64 2176 -1\n")

    def test_only_captures_that_do_not_fit_have_a_larger_one(self):
        seen = []

        def run(_command, environment, _timeout):
            seen.append(environment.get("OVS_MBUFS"))
            return types.SimpleNamespace(returncode=0, stdout="mpps=1 cycles_per_pkt=2", stderr="")
        with mock.patch.object(others, "run_script", run), mock.patch.dict(os.environ, {"HTPROBE": ""}):
            for packets in (1000, 200_000, 1_000_000):
                others.OVS[0].run("l3", packets, 1, types.SimpleNamespace(directory="/nowhere"), packets)
        self.assertEqual(seen, [None, None, "1032768"])
        self.assertGreater(others.OVS[0].memory_mb(1_000_000), 1_032_768 * others.OVS_MBUF_BYTES >> 20)


if __name__ == "__main__":
    unittest.main()
