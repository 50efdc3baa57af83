"""What fails is named and left out; what was measured before is kept."""
import os
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import bench  # noqa: E402
import window  # noqa: E402
from podwired import Client  # noqa: E402

RUN = {"cycles": 100.0, "mpps": 1.0}
DEATHS = (RuntimeError("hugepages"), FileNotFoundError("/proc/7/task"), bench.subprocess.TimeoutExpired("run.sh", 240))


class RpcError(Exception):
    def code(self):
        return types.SimpleNamespace(name="UNAVAILABLE")

    def details(self):
        return "socket closed"


def dying(error):
    def run(*_, **__):
        raise error
    return run


class FailuresTest(unittest.TestCase):
    def setUp(self):
        self.bench = bench.Bench.__new__(bench.Bench)
        self.bench.args = types.SimpleNamespace(rounds=1, seconds=1)
        self.bench.captures = self.bench.probe = self.bench.tsc_hz = None
        self.bench.results, self.bench.specials, self.bench.problems = {}, {}, []
        silent = mock.patch.object(bench, "say")
        silent.start()
        self.addCleanup(silent.stop)

    def test_a_switch_that_dies_is_left_out(self):
        case = types.SimpleNamespace(inputs=lambda *_: None)
        for error in DEATHS:
            self.bench.problems = []
            self.bench.columns = lambda *_: [("podwire", lambda: RUN), ("ovs", dying(error))]
            with mock.patch.dict(bench.CASES, {"l3": case}):
                self.bench.measure([("l3", 1000)])
            self.assertEqual(self.bench.results["l3", 1000], {"podwire": [RUN], "ovs": []})
            self.assertIn("ovs left out", self.bench.problems[0])

    def test_a_scenario_that_dies_is_left_out(self):
        for error in DEATHS:
            self.bench.problems = []
            with mock.patch.object(bench.Special, "run", dying(error)):
                self.bench.measure_specials(["cps"])
            self.assertIn("cps left out", self.bench.problems[0])

    def test_a_case_that_cannot_be_verified_is_left_out(self):
        for error in DEATHS:
            self.bench.problems = []
            self.bench.verify = lambda case: dying(error)() if case is bench.CASES["l3"] else True
            self.assertEqual(self.bench.verified([("l3", 1), ("ct", 1), ("l3", 2)]), [("ct", 1)])
            self.assertIn("l3 left out", self.bench.problems[0])

    def test_a_call_that_fails_is_named(self):
        client = Client(None, None)
        client.calls["Ports", "List"] = (lambda **_: None), True, dying(RpcError())
        with mock.patch.dict(sys.modules, {"grpc": types.SimpleNamespace(RpcError=RpcError)}):
            with self.assertRaisesRegex(RuntimeError, "Ports.List: UNAVAILABLE: socket closed"):
                client("Ports", "List")

    def test_a_thread_that_is_not_there_does_not_end_the_benchmark(self):
        with self.assertRaisesRegex(RuntimeError, "no thread nobody"):
            window.find_thread(os.getpid(), "nobody")


if __name__ == "__main__":
    unittest.main()
