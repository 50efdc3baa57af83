"""Runs scenarios.py's scenarios: each returns what there is to say of it as {name: number}."""
import statistics
import time

from scenarios import SCENARIOS, collide, one_pods_policy

SETTLE = 2.0  # seconds from the last pod's attachment to the first figure


class Special:
    """One scenario's figures, several rounds of them. `start(config, workers' CPUs)` is a context with a podwired."""

    def __init__(self, start, captures, seconds, probe, tsc_hz):
        self.start, self.captures, self.seconds, self.probe, self.tsc_hz = start, captures, seconds, probe, tsc_hz

    def run(self, name):
        return getattr(self, name)(SCENARIOS[name](self.captures))

    def _running(self, scenario, workers=(1,)):
        return self.start(scenario.config(self.captures), workers)

    def _window(self, podwired):
        return podwired.measure(self.seconds, self.probe, self.tsc_hz)

    def _simple(self, scenario):
        with self._running(scenario) as podwired:
            scenario.set_up(podwired)
            time.sleep(SETTLE)
            r = self._window(podwired)
        return {"cycles": r["cycles"], "mpps": r["mpps"], "new_per_second": r["sums"]["connections_created"] / r["seconds"],
                "new_share": r["sums"]["connections_created"] / r["packets"], "dropped_share": r["sums"]["dropped"] / r["packets"]}

    def cps(self, scenario):
        return self._simple(scenario)

    cps_syn = cps

    def mixed(self, scenario):
        return self._simple(scenario)

    def collide(self, scenario):
        colliding, plain = self._simple(scenario), self._simple(collide(self.captures, random_tuples=True))
        return {"cycles": colliding["cycles"], "random_cycles": plain["cycles"],
                "throughput_share": plain["cycles"] / colliding["cycles"]}

    def _clean(self, scenario):
        """Packets a second that are not hostile, their share of all, what share of the pod `clean`'s was dropped, and cycles a
        packet of all."""
        hostile = {p.name: p.hostile for p in scenario.pods}
        with self._running(scenario) as podwired:
            scenario.set_up(podwired)
            time.sleep(SETTLE)
            lossy = "clean" in hostile
            before, drops = podwired.received(), podwired.pod_drops("clean") if lossy else 0
            r = self._window(podwired)
            after = podwired.received()
            lost = podwired.pod_drops("clean") - drops if lossy else 0
        packets = {n: after[n] - before[n] for n in after}
        clean = sum(count * (1 - hostile.get(name, 0)) for name, count in packets.items())
        share = clean / max(1, sum(packets.values()))
        return {"pps": r["mpps"] * 1e6 * share, "share": share, "cycles": r["cycles"],  # of the clean slices
                **({"lost": lost / max(1, packets["clean"])} if lossy else {})}

    def _beside(self, scenario):
        """The clean packets beside the hostile ones, alone, and beside hostile ones that are received and dropped and cost
        nothing else: more is not possible as long as each port has its turn."""
        noisy, quiet, least = (self._clean(s) for s in (scenario, scenario.alone(), scenario.dropped()))
        figures = {"clean_mpps": noisy["pps"] / 1e6, "clean_mpps_alone": quiet["pps"] / 1e6, "cycles": noisy["cycles"],
                   "throughput_share": noisy["pps"] / quiet["pps"], "possible_share": least["pps"] / quiet["pps"],
                   "hostile_share": 1 - noisy["share"]}
        return {**figures, "clean_lost": noisy["lost"]} if "lost" in noisy else figures

    def attack(self, scenario):
        return self._beside(scenario)

    attack1 = synflood = attack

    def update(self, scenario):
        """Packets a second in tenths of a second: without updates, then with one in each."""
        with self._running(scenario) as podwired:
            scenario.set_up(podwired)
            time.sleep(SETTLE)
            rates, took = {False: [], True: []}, []
            for updating in (False, True, False, True):
                end, turn = time.monotonic() + self.seconds, 0
                while time.monotonic() < end:
                    c0, t0 = podwired.counters()["received"], time.monotonic()
                    if updating:
                        podwired.apply(one_pods_policy(turn := turn + 1))
                        took.append(time.monotonic() - t0)
                    time.sleep(max(0, t0 + 0.1 - time.monotonic()))
                    c1, t1 = podwired.counters()["received"], time.monotonic()
                    rates[updating].append((c1 - c0) / (t1 - t0))
        quiet, during = (statistics.mean(rates[u]) for u in (False, True))
        return {"mpps": during / 1e6, "mpps_alone": quiet / 1e6, "throughput_share": during / quiet,
                "worst_tenth_share": min(rates[True]) / statistics.median(rates[False]),
                "worst_tenth_share_alone": min(rates[False]) / statistics.median(rates[False]),
                "update_ms": statistics.median(took) * 1000}

    def workers(self, scenario):
        """One worker, then one more on CPU 0, which the control thread and this program leave to it but for a look at the
        counters; `waited_share` says how far they did."""
        mpps, waited_share = [], 0
        for cpus in ((1,), (0, 1)):
            with self._running(scenario, cpus) as podwired:
                scenario.set_up(podwired)
                time.sleep(SETTLE)
                before, begin = podwired.waited(), time.monotonic()
                mpps.append(self._window(podwired)["mpps"])
                passed = time.monotonic() - begin
                waited_share = max((after - w) / passed for w, after in zip(before, podwired.waited()))
        return {"mpps_one": mpps[0], "mpps_two": mpps[1], "ratio": mpps[1] / mpps[0], "waited_share": waited_share}


def text(name, runs):
    """A line of medians with the least and most of each."""
    words = []
    for key in runs[0]:
        values = [r[key] for r in runs]
        digits = 0 if abs(values[0]) >= 1000 else 1 if abs(values[0]) >= 10 else 3
        words.append(f"{key}={statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]")
    return f"{name:9} " + "  ".join(words)
