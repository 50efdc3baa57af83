"""How long packets take through podwired at half of the load that it carries: from a program on another CPU (load.c), which sends
them into one memif port at an even rate and takes them from another one."""
import os
import statistics
import subprocess
import time

from window import favour

HERE = os.path.dirname(os.path.abspath(__file__))
FLOWS = 1000
CPU = 0  # the worker has the other one
EAL = ("--lcores", str(CPU), "--no-pci", "--no-huge", "--no-shconf", "-m", "128", "--no-telemetry")
START = 20  # seconds that load has beside those that it counts


def build(program):
    """Compiles load.c. RuntimeError: it cannot be."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libdpdk"], capture_output=True, text=True).stdout.split()
    done = subprocess.run(["gcc", "-O2", "-o", program, os.path.join(HERE, "load.c"), *flags], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"load.c: gcc: {done.stderr.strip()[-300:]}")


def memif(index, server, socket):
    role = "server" if server else "client"
    return f"net_memif{index},role={role},id={index},socket={socket},socket-abstract=no"


def vhost(index, server, socket):
    return f"net_vhost{index},iface={socket}{index},queues=1" if server else f"net_virtio_user{index},path={socket}{index},queue_size=1024"


def parse(line):
    """load's numbers by name."""
    return {key: float(value) for key, value in (word.split("=") for word in line.split())}


class Latency:
    """`start(config)` is a context with a podwired."""

    def __init__(self, directory, start, captures, seconds):
        self.directory, self.start, self.captures, self.seconds = directory, start, captures, seconds
        self.program = os.path.join(directory, "load")

    def load(self, case, rate, link=memif, flows=FLOWS, seconds=None, **config):
        """load's numbers of so many seconds (the run's own), podwired's ends of the ports being `link`s and its configuration the case's with `config`; and the
        shares of the time that its worker ran (`cpu`) and waited for its CPU, and of the packets that it dropped."""
        if not os.path.exists(self.program):
            build(self.program)
        inputs, socket = case.inputs(self.captures, flows), os.path.join(self.directory, "link")
        config = {**case.config((None, None), flows, 256), **config}
        for index, port in enumerate(config["ports"]):
            port["devargs"] = link(index, True, socket)
        with self.start(config) as podwired:
            case.set_up(podwired)
            podwired.favour()
            before, ran, waited, begin = podwired.counters(), podwired.ran(), sum(podwired.waited()), time.monotonic()
            command = [self.program, *EAL]
            for index in range(2):
                command += ["--vdev", link(index, False, socket)]
            command += ["--", str(rate), str(seconds or self.seconds), *(path or "-" for path in inputs)]
            result = self._measured(command, seconds or self.seconds)
            after, passed = podwired.counters(), time.monotonic() - begin
            return {**result, "cpu": (podwired.ran() - ran) / passed, "waited": (sum(podwired.waited()) - waited) / passed,
                    "dropped": (after["dropped"] - before["dropped"]) / max(1, after["received"] - before["received"])}

    def _measured(self, command, seconds):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            try:
                favour(process.pid, process.pid)
                out, err = process.communicate(timeout=seconds * 2 + START)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0 or "p50=" not in out:
            raise RuntimeError(f"load: {(err + out).strip()[-300:]}")
        return parse(out.splitlines()[-1])

    def run(self, case):
        full = self.load(case, 0)
        half = self.load(case, full["received"] / 2)
        return {"mpps": full["received"] / 1e6, "half_mpps": half["received"] / 1e6,
                "lost_share": max(0, 1 - half["received"] / ((half["sent"] + half["full"]) or 1)),
                "full_share": half["full"] / ((half["sent"] + half["full"]) or 1), "dropped_share": half["dropped"],
                "waited_share": half["waited"], "away_share": half["away"],
                "skipped_share": half["skipped"] / (half["received"] or 1),
                **{f"{p}_us": half[p] / 1000 for p in ("p50", "p99", "p99.9", "max")}}


HEADS = ("CASE", "Mpps", "at half", "p50 us", "p99 us", "p99.9 us", "max us", "lost", "ring full", "dropped", "waited", "away", "skipped")
KEYS = ("mpps", "half_mpps", "p50_us", "p99_us", "p99.9_us", "max_us")
SHARES = ("lost_share", "full_share", "dropped_share", "waited_share", "away_share", "skipped_share")


def table(results):
    """{case: [run()'s, ...]} as medians for people."""
    lines = [HEADS]
    for case, runs in results.items():
        median = {key: statistics.median(r[key] for r in runs) for key in (*KEYS, *SHARES)}
        lines.append((case, *(f"{median[k]:.{2 if 'mpps' in k else 1}f}" for k in KEYS), *(f"{median[k]:.3%}" for k in SHARES)))
    return "\n".join("".join(text.rjust(10) if i else text.ljust(7) for i, text in enumerate(line)) for line in lines)
