#!/usr/bin/env python3
"""Measures podwired's packet path beside Open vSwitch with DPDK and dpdk-testpmd on the same packets, and prints a table
of TSC cycles a packet, source and sink included (docs/benchmark.md)."""
import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(HERE, "pcap")]

from captures import Captures  # noqa: E402
from cases import CASES, memory_mb  # noqa: E402
from machine import Hugepages, Lock, describe  # noqa: E402
from others import OVS, TESTPMD  # noqa: E402
from podwired import Podwired  # noqa: E402  (which finds lab)
from progress import say  # noqa: E402
from lab import LabError  # noqa: E402
from lab.api import Api  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from special import Special  # noqa: E402
from window import Probe  # noqa: E402
import arguments  # noqa: E402
import estimate  # noqa: E402
import idle  # noqa: E402
import latency  # noqa: E402
import plan  # noqa: E402
import report  # noqa: E402
import special  # noqa: E402

QUICK = (("l3", 1000), ("encap", 1000), ("ct", 1000))
ALL_FLOWS = (1, 1000, 100_000, 1_000_000)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WARM_LIMIT = 30
FAILURES = (RuntimeError, OSError, LabError, subprocess.SubprocessError)  # of a switch; the others are measured all the same


class Interrupted(SystemExit):
    """By a signal."""


class Bench:
    def __init__(self, args):
        self.args = args
        self.build = os.environ.get("PODWIRE_BUILD", os.path.join(ROOT, "build"))
        self.dir = tempfile.mkdtemp(prefix="podwire-bench-files-")
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        self.captures = Captures(os.environ.get("BENCH_PCAPS", os.path.join(self.dir, "pcaps")))
        self.probe = Probe.build(os.path.join(HERE, "htprobe.c"), os.path.join(self.dir, "htprobe"))
        os.environ["HTPROBE"] = os.path.join(self.dir, "htprobe")
        self.tsc_hz = self.probe.tsc_hz()
        os.environ["TSC_HZ"] = str(self.tsc_hz)
        self.hugepages = Hugepages()
        self.api = Api()
        self.results, self.specials, self.idle, self.latency, self.problems = {}, {}, {}, {}, []

    def close(self):
        self.hugepages.restore()

    def problem(self, text):
        say(text)
        self.problems.append(text)

    def pages(self, mb):
        missing = self.hugepages.need(mb)
        if missing:
            raise RuntimeError(f"{mb} MB of hugepages are needed, and {missing} MB of them cannot be had")

    def start(self, config, workers=(1,)):
        """A podwired of that configuration, up but without pods; a context."""
        self.pages(config["memoryMb"] + 32)  # somebody else may take some meanwhile
        return Podwired(self.build, self.api, config, workers)

    def podwired(self, case, inputs, flows, outputs=(None, None)):
        """One of the case's configuration."""
        sources = [p for p in inputs if p]
        mb = memory_mb(sum(self.captures.packets(p) for p in sources))
        return self.start(case.config(inputs, flows, mb, outputs, self.captures.empty()))

    def verify(self, case):
        """Sends a small capture a few times and compares what comes out with the plan. Returns whether that is right."""
        source = self.captures.made(case.name, 1000)
        inputs = case.inputs(self.captures, 1000)
        outputs = [self.captures.path(f"out-{name}.pcap") for name in ("pods", "wire")]
        with self.podwired(case, inputs, 1000, outputs) as podwired:
            case.set_up(podwired)
            before, end = podwired.counters()["received"], time.monotonic() + 10
            while (now := podwired.counters())["received"] < before + 100_000 and time.monotonic() < end:
                time.sleep(0.01)
        with open(outputs[0], "ab") as out, open(outputs[1], "rb") as more:
            more.seek(24)
            shutil.copyfileobj(more, out)
        command = [sys.executable, "-B", os.path.join(HERE, "pcap", "expect.py"), case.name, source, outputs[0],
                   "--pod-mac", plan.SENDER_MAC, "--allow-all"]
        if case.name == "ct":
            command += ["--source-mac", plan.ROUTER_MAC]
        done = subprocess.run(command, capture_output=True, text=True)
        say(f"verify {case.name}: {done.stdout.strip() or done.stderr.strip()[-300:]}")
        for path in outputs:
            os.unlink(path)
        if done.returncode != 0:
            self.problem(f"{case.name}: what comes out is not what plan.py says; drops: "
                         f"{ {k: v for k, v in now.items() if k.startswith('drop_') and v} }")
        return done.returncode == 0

    def verified(self, points):
        """Those of them whose cases come out right."""
        right = {}
        for case in dict.fromkeys(case for case, _ in points):
            try:
                right[case] = self.verify(CASES[case])
            except FAILURES as error:
                right[case] = False
                self.problem(f"{case} left out: {error}")
        return [p for p in points if right[p[0]]]

    def run_podwire(self, case, flows):
        inputs = case.inputs(self.captures, flows)
        with self.podwired(case, inputs, flows) as podwired:
            case.set_up(podwired)
            warm = podwired.warm(WARM_LIMIT)
            run = podwired.measure(self.args.seconds, self.probe, self.tsc_hz)
        run["warm_seconds"] = warm
        lost = run["sums"]["dropped"] / run["packets"] if run["packets"] else 1
        if lost > 0.001:
            self.problem(f"{case.name} {flows}: {lost:.2%} of the packets were dropped")
        return run

    def columns(self, case, flows):
        """[(column's name, function that makes a run)]"""
        columns = [("podwire", lambda: self.run_podwire(case, flows))]
        packets = case.packets(flows)
        ovs = [] if self.args.no_ovs else OVS[:1] if self.args.quick else OVS
        testpmd = [] if self.args.no_testpmd else TESTPMD[:1] if self.args.quick else TESTPMD
        for other in ovs + testpmd:
            def run(other=other):
                self.pages(other.memory_mb(packets))
                return other.run(case.name, flows, self.args.seconds, self.captures, packets)
            columns.append((other.column, run))
        return columns

    def measure(self, points):
        """Round by round through all points and columns, so that what changes with time hits all alike."""
        columns = {point: self.columns(CASES[point[0]], point[1]) for point in points}
        self.results = {point: {name: [] for name, _ in columns[point]} for point in points}
        for case, flows in points:
            say(f"capture {case} {flows}")
            CASES[case].inputs(self.captures, flows)
        for turn in range(self.args.rounds):
            for case, flows in points:
                if turn == 1:
                    slower = report.slower_ovs(self.results[case, flows])
                    columns[case, flows] = [c for c in columns[case, flows] if c[0] not in slower]
                for name, run in list(columns[case, flows]):
                    try:
                        result = run()
                    except FAILURES as error:
                        self.problem(f"{case} {flows}: {name} left out: {error}")
                        columns[case, flows] = [c for c in columns[case, flows] if c[0] != name]
                        continue
                    self.results[case, flows][name].append(result)
                    say(f"round {turn + 1}/{self.args.rounds} {case} {flows} {name}: {result['cycles']:.1f} cycles, "
                        f"{result['mpps']:.2f} Mpps")

    def measure_specials(self, names):
        runner = Special(self.start, self.captures, self.args.seconds, self.probe, self.tsc_hz)
        for turn in range(self.args.rounds):
            for name in names:
                try:
                    result = runner.run(name)
                except FAILURES as error:
                    self.problem(f"{name} left out: {error}")
                    continue
                self.specials.setdefault(name, []).append(result)
                say(f"round {turn + 1}/{self.args.rounds} {special.text(name, [result])}")

    def measure_idle(self):
        handlers = {number: signal.getsignal(number) for number in SIGNALS}  # Lab has its own
        try:
            for case, measure in {**{c: partial(idle.measure, c) for c in idle.CASES}, "vhost": self.idle_vhost}.items():
                try:
                    self.idle[case] = measure()
                except FAILURES as error:
                    self.problem(f"idle {case} left out: {error}")
                    continue
                say(f"idle {case}: {self.idle[case]['adaptive']['cpu_percent']:.2f} % CPU")
        except SystemExit as interruption:
            raise Interrupted(interruption.code)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def idle_vhost(self):
        return idle.measure_vhost(latency.Latency(self.dir, self.start, self.captures, self.args.seconds), CASES["l3"])

    def measure_latency(self, cases):
        runner = latency.Latency(self.dir, self.start, self.captures, self.args.seconds)
        for turn in range(self.args.rounds):
            for case in cases:
                try:
                    result = runner.run(CASES[case])
                except FAILURES as error:
                    self.problem(f"latency of {case} left out: {error}")
                    continue
                self.latency.setdefault(case, []).append(result)
                say(f"round {turn + 1}/{self.args.rounds} latency of {case}: p50 {result['p50_us']:.1f} us, p99 {result['p99_us']:.1f}")

    def announce(self, points, specials):
        columns = [(case, CASES[case].packets(flows), [name for name, _ in self.columns(CASES[case], flows)]) for case, flows in points]
        say(estimate.text(estimate.seconds(columns, specials, self.args)))

    def run(self):
        """All that the arguments ask for. 0, or the exit code of an interruption: what was measured before it is there."""
        args = self.args
        points, specials = points_of(args), specials_of(args)
        self.announce(points, specials)
        try:
            if args.idle:
                self.measure_idle()
            if args.latency:
                self.measure_latency([c for c in CASES if c in (args.case or CASES)])
            if points:
                self.measure(points if args.no_verify else self.verified(points))
            if specials:
                self.measure_specials(specials)
        except Interrupted as interruption:
            self.problem("interrupted: the values are of the rounds until then")
            return interruption.code
        return 0

    def has_measured(self):
        return bool(self.specials or self.idle or self.latency) or any(runs for columns in self.results.values() for runs in columns.values())


def is_without_table(args):
    return (args.idle or args.latency) and not (args.case or args.flows or args.quick)


def points_of(args):
    if is_without_table(args):
        return []
    if args.quick and not args.case and not args.flows:
        return list(QUICK)
    cases = [c for c in args.case or CASES if c in CASES]
    return [(case, flows) for case in cases for flows in args.flows or ((1000,) if args.quick else ALL_FLOWS)]


def specials_of(args):
    if is_without_table(args) or args.quick and not args.case:
        return []
    return [s for s in SCENARIOS if s in (args.case or SCENARIOS)]


def interrupt(number, _):
    raise Interrupted(128 + number)


def show(bench, path):
    rounds = bench.args.rounds
    if bench.results:
        print(f"\nTSC cycles a packet, source and sink included: median [least-most] of {rounds} windows\n")
        print(report.table(bench.results))
        print(f"\nnoise: {report.noise(bench.results)}")
    if bench.specials:
        print(f"\npodwire alone: median [least-most] of {rounds}\n")
    for name, runs in bench.specials.items():
        print(special.text(name, runs))
    if bench.latency:
        print(f"\nat half of the load, {latency.FLOWS:,} flows, from another process's memif port to the other one\n\n{latency.table(bench.latency)}")
    if bench.idle:
        print(f"\nan idle worker, and packets after a second of silence\n\n{idle.table(bench.idle)}")
    for problem in dict.fromkeys(bench.problems):
        print(f"note: {problem}")
    print(f"raw values: {os.path.relpath(path)}")


def main():
    args = arguments.parse()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    with Lock():  # from before the hugepages are counted until they are given back
        bench = Bench(args)
        try:
            machine = describe(bench.probe, bench.tsc_hz, ROOT)
            say(f"{machine['cpu']}, {machine['cpus']} CPUs, TSC {machine['tsc_ghz']} GHz, kernel {machine['kernel']}, DPDK "
                f"{machine['dpdk']}, OVS {machine['openvswitch'] or 'not installed'}, podwire {machine['commit']}")
            interrupted = bench.run()
            if interrupted and not bench.has_measured():
                return interrupted
            path = report.save(os.path.join(HERE, "results"), machine, vars(args), bench.results, bench.specials, bench.idle,
                               bench.latency, bench.problems)
        finally:
            bench.close()
    show(bench, path)
    if interrupted:
        return interrupted
    return 1 if not bench.has_measured() or any("not what plan.py says" in p for p in bench.problems) else 0


if __name__ == "__main__":
    sys.exit(main())
