"""load.c and what is read from it."""
import os
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import latency  # noqa: E402
from bench import CASES  # noqa: E402

LINE = "sent={0:.0f} received={0:.0f} full=0 skipped=0 away=0.001 p50=4000 p90=6000 p99=9000 p99.9=20000 max=70000"


class Podwired:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def counters(self):
        return {"received": 0, "dropped": 0}

    def ran(self):
        return 1

    def waited(self):
        return [0.5]

    def __getattr__(self, name):
        return lambda *_, **__: None


class LatencyTest(unittest.TestCase):
    def test_half_of_what_came_through_is_offered(self):
        rates, configs = [], []

        def run(_, command, seconds):
            rates.append(float(command[command.index("--") + 1]))
            return latency.parse(LINE.format(rates[-1] or 6e6))

        def start(config):
            configs.append(config)
            return Podwired()
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(latency.Latency, "_measured", run), \
                mock.patch.object(latency, "build"):
            captures = types.SimpleNamespace(made=lambda *_: "/capture", split=lambda *_: ("/a", "/b"))
            result = latency.Latency(directory, start, captures, 1).run(CASES["ct"])
        self.assertEqual(rates, [0, 3e6])
        self.assertTrue(all("net_memif" in p["devargs"] for c in configs for p in c["ports"]))
        self.assertEqual((result["mpps"], result["half_mpps"], result["p99_us"], result["lost_share"]), (6, 3, 9, 0))
        self.assertEqual((result["full_share"], result["dropped_share"], result["waited_share"], result["away_share"]), (0, 0, 0, 0.001))
        self.assertIn("ct", latency.table({"ct": [result]}))
        self.assertIn("20.0", latency.table({"ct": [result]}))

    def test_a_program_that_fails_is_named(self):
        with tempfile.TemporaryDirectory() as directory:
            runner = latency.Latency(directory, None, None, 1)
            with self.assertRaisesRegex(RuntimeError, "load: port 0 is not connected"):
                runner._measured(["sh", "-c", "echo port 0 is not connected >&2; exit 1"], 1)

    def test_one_that_does_not_end_is_killed(self):
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(latency, "START", 0):
            with self.assertRaises(subprocess.TimeoutExpired):
                latency.Latency(directory, None, None, 0.1)._measured(["sleep", "60"], 0.1)

    def test_the_program_compiles_and_checks_its_arguments(self):
        with tempfile.TemporaryDirectory() as directory:
            program = os.path.join(directory, "load")
            latency.build(program)
            done = subprocess.run([program, *latency.EAL, "--", "1"], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("usage: load", done.stdout + done.stderr)
        self.assertNotIn("EAL common options", done.stdout + done.stderr, "its own arguments are wrong, not EAL's")


if __name__ == "__main__":
    unittest.main()
