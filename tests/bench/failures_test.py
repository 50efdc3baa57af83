"""What fails is named and left out; what was measured before is kept."""
import contextlib
import glob
import io
import json
import os
import signal
import sys
import tempfile
import time
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import bench  # noqa: E402
import others  # noqa: E402
import window  # noqa: E402
from lab.api import Client  # noqa: E402
from podwired import Podwired  # noqa: E402

RUN = {"cycles": 100.0, "mpps": 1.0}
DEATHS = (RuntimeError("hugepages"), bench.LabError("a namespace"), FileNotFoundError("/proc/7/task"), bench.subprocess.TimeoutExpired("run.sh", 240))


class RpcError(Exception):
    def code(self):
        return types.SimpleNamespace(name="UNAVAILABLE")

    def details(self):
        return "socket closed"


# In place of ovs/run.sh: what it started must be removed by its trap.
RUN_SH = """#!/bin/bash
trap 'echo done >"$TEST_DIR/removed"' EXIT
trap 'exit 130' INT TERM
echo started >"$TEST_DIR/started"
sleep 60
"""


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
        self.bench.idle, self.bench.latency = {}, {}
        self.bench.idle_vhost = dying(DEATHS[0])
        silent = mock.patch.object(bench, "say")
        silent.start()
        self.addCleanup(silent.stop)

    def test_a_switch_that_dies_is_left_out(self):
        case = types.SimpleNamespace(inputs=lambda *_: None, packets=lambda flows: flows)
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

    def test_an_idle_case_that_dies_is_left_out(self):
        measured = {"tap": {"adaptive": {"cpu_percent": 0.1}}}
        for error in DEATHS:
            self.bench.problems, self.bench.idle = [], {}
            with mock.patch.object(bench.idle, "measure", lambda case: measured.get(case) or dying(error)()):
                self.bench.measure_idle()
            self.assertEqual(self.bench.idle, measured)
            self.assertIn("idle vdev left out", self.bench.problems[0])

    def test_latency_of_a_case_that_fails_is_left_out(self):
        class Runner:
            def __init__(self, *_):
                pass

            def run(self, case):
                return {"p50_us": 1.0, "p99_us": 2.0} if case.name == "l3" else dying(DEATHS[0])()
        with mock.patch.object(bench.latency, "Latency", Runner):
            self.bench.dir = None
            self.bench.start = None
            self.bench.measure_latency(["l3", "ct"])
        self.assertEqual(self.bench.latency, {"l3": [{"p50_us": 1.0, "p99_us": 2.0}]})
        self.assertIn("latency of ct left out", self.bench.problems[0])

    def test_the_table_of_idle_workers(self):
        times = {"median": 50.0, "p90": 6808.1, "p99": 7000.0, "min": 1.0, "max": 7389.7}
        mode = {"cpu_percent": 0.21, "first_packet_us": times, "busy_us": times}
        text = bench.idle.table({"tap": {"adaptive": mode, "poll": {**mode, "cpu_percent": 99.0}, "extra_us": {**times, "p90": 60.0}, "bare_wake_us": times},
                                 "vdev": {"adaptive": {**mode, "cpu_percent": 3.2}, "poll": mode, "extra_us": times, "bare_wake_us": times}})
        self.assertEqual(len(text.splitlines()), 1 + 4 + 2)
        self.assertIn("50.0  6808.1  7000.0  7389.7", text)
        self.assertIn("tap: sleeping adds 50.0 us to a first packet, p90 60.0 (within 100 us; a bare program's wake-up here: 50.0, p90 6808.1); idle CPU within 2 %", text)
        self.assertIn("p90 6808.1 (MORE THAN 100 us; a bare program's wake-up here: 50.0, p90 6808.1); idle CPU MORE THAN 2 %", text)

    def test_interrupted_when_idle(self):
        before = signal.getsignal(signal.SIGTERM)

        def interrupted(_):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Lab does
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        with mock.patch.object(bench.idle, "measure", interrupted), self.assertRaises(bench.Interrupted) as raised:
            self.bench.measure_idle()
        self.assertEqual(raised.exception.code, 143)
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_the_slower_tunings_of_ovs_have_one_round(self):
        cycles = {"podwire": 100, "ovs": 300, "ovs emc1": 200, "ovs smc": 250}
        self.bench.args.rounds = 3
        self.bench.columns = lambda *_: [(name, lambda c=c: {"cycles": c, "mpps": 1.0}) for name, c in cycles.items()]
        case = types.SimpleNamespace(inputs=lambda *_: None)
        with mock.patch.dict(bench.CASES, {"l3": case}):
            self.bench.measure([("l3", 1000)])
        runs = self.bench.results["l3", 1000]
        self.assertEqual({name: len(r) for name, r in runs.items()}, {"podwire": 3, "ovs": 3, "ovs emc1": 3, "ovs smc": 1})
        runs["ovs smc"][0]["cycles"] = 1  # by luck
        self.assertEqual(bench.report.best_ovs(runs), "ovs emc1")

    def test_how_long_it_takes(self):
        def total(*words):
            args = bench.arguments.parse(list(words))
            points = [(c, bench.CASES[c].packets(f), ["podwire", "ovs", "testpmd io"]) for c, f in bench.points_of(args)]
            return bench.estimate.seconds(points, bench.specials_of(args), args)
        self.assertLess(total("--quick"), 180)
        self.assertEqual(total("--idle"), bench.estimate.IDLE)
        self.assertAlmostEqual(total("--idle", "--quick"), total("--idle") + total("--quick"))
        self.assertLess(total("--rounds", "3"), total("--rounds", "5"))
        self.assertGreater(total("--case", "ct", "--flows", "1000000"), total("--case", "l3", "--flows", "1000000"))
        self.assertEqual(bench.estimate.text(80), "this takes about 80 seconds")
        self.assertEqual(bench.estimate.text(600), "this takes about 10 minutes")

    def test_idle_alone_and_beside_cases(self):
        calls = []
        self.bench.announce = lambda *_: None
        for name in ("measure_idle", "measure_latency", "verified", "measure", "measure_specials"):
            setattr(self.bench, name, lambda *_, name=name: calls.append(name) or [])
        for words, wanted in ((["--idle"], ["measure_idle"]), (["--idle", "--quick"], ["measure_idle", "verified", "measure"]),
                              (["--latency"], ["measure_latency"]), (["--idle", "--latency"], ["measure_idle", "measure_latency"]),
                              (["--quick"], ["verified", "measure"]),
                              (["--idle", "--case", "cps"], ["measure_idle", "measure_specials"])):
            calls.clear()
            self.bench.args = bench.arguments.parse(words)
            self.assertEqual(self.bench.run(), 0)
            self.assertEqual(calls, wanted, words)

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

    def interrupted(self, runs):
        """main with a podwire of these runs in turn, interrupted after them: its exit code, and what it saved."""
        args = types.SimpleNamespace(rounds=5, seconds=1, quick=True, idle=False, latency=False, case=None, flows=None, no_verify=True)
        self.bench.args, self.bench.closed = args, False
        self.bench.close = lambda: setattr(self.bench, "closed", True)
        left = iter(runs)
        self.bench.columns = lambda *_: [("podwire", lambda: next(left, None) or os.kill(os.getpid(), signal.SIGINT))]
        case = types.SimpleNamespace(inputs=lambda *_: None, packets=lambda flows: flows)
        machine = {key: "-" for key in ("cpu", "cpus", "tsc_ghz", "kernel", "dpdk", "openvswitch", "commit")}
        noise = {"clean_slices": 1, "slices": 1, "dirty_used": 0, "worst_wait": 0, "steal": 0, "other_cpus_busy": 0}
        for run in runs:
            run["noise"] = noise
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        with tempfile.TemporaryDirectory() as directory, mock.patch.multiple(
                bench, HERE=directory, Lock=contextlib.nullcontext, Bench=lambda _: self.bench, describe=lambda *_: machine,
                QUICK=(("l3", 1000),)), mock.patch.dict(bench.CASES, {"l3": case}), \
                mock.patch.object(bench.arguments, "parse", lambda: args), contextlib.redirect_stdout(io.StringIO()) as shown:
            try:
                code = bench.main()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
            saved = []
            for path in glob.glob(os.path.join(directory, "results", "*.json")):
                with open(path) as f:
                    saved.append(json.load(f))
        self.assertTrue(self.bench.closed, "the hugepages are given back")
        return code, saved, shown.getvalue()

    def test_an_interrupted_benchmark_keeps_the_rounds_that_are_done(self):
        code, saved, shown = self.interrupted([dict(RUN), dict(RUN, cycles=120.0)])
        self.assertEqual(code, 130)
        self.assertEqual([r["cycles"] for r in saved[0]["results"][0]["columns"]["podwire"]], [100.0, 120.0])
        self.assertIn("interrupted", saved[0]["problems"][0])
        self.assertIn("110 [100-120]", shown)
        self.assertIn("note: interrupted", shown)

    def test_one_that_is_interrupted_before_has_nothing_to_save(self):
        self.assertEqual(self.interrupted([])[:2], (130, []))

    def run_other(self, timeout, interrupt):
        """Runs a switch that goes on for longer, until `timeout` or until it is interrupted; whether it removed itself."""
        with tempfile.TemporaryDirectory() as directory:
            os.mkdir(os.path.join(directory, "ovs"))
            script = os.path.join(directory, "ovs", "run.sh")
            with open(script, "w") as f:
                f.write(RUN_SH)
            os.chmod(script, 0o755)
            removed = os.path.join(directory, "removed")
            captures = types.SimpleNamespace(directory=directory)
            before = signal.signal(signal.SIGALRM, lambda *_: sys.exit(130))
            if interrupt:
                signal.setitimer(signal.ITIMER_REAL, 0.5)
            try:
                with mock.patch.object(others, "HERE", directory), mock.patch.object(others, "TIMEOUT", timeout, create=True), \
                        mock.patch.dict(os.environ, {"TEST_DIR": directory, "HTPROBE": ""}):
                    with self.assertRaises(SystemExit if interrupt else others.subprocess.TimeoutExpired):
                        others.OVS[0].run("l3", 1, 1, captures, 1)
            finally:
                signal.signal(signal.SIGALRM, before)
            self.assertTrue(os.path.exists(os.path.join(directory, "started")))
            return os.path.exists(removed)

    def test_a_switch_removes_what_it_started_when_it_is_interrupted(self):
        begin = time.monotonic()
        self.assertTrue(self.run_other(240, interrupt=True))
        self.assertLess(time.monotonic() - begin, 30)

    def test_a_switch_removes_what_it_started_when_it_takes_too_long(self):
        self.assertTrue(self.run_other(0.5, interrupt=False))

    def test_a_podwired_that_is_not_there_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(tempfile, "tempdir", directory):
            with self.assertRaises(OSError):
                Podwired("/nonexistent", None, {})
            self.assertEqual(os.listdir(directory), [])


if __name__ == "__main__":
    unittest.main()
