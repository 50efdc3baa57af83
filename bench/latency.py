"""How long packets take through podwired at half of the load that it carries: from a program on another CPU (load.c), which sends
them into one memif port at an even rate and takes them from another one."""
import os
import statistics
import subprocess

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


def devargs(index, role, socket):
    return f"net_memif{index},role={role},id={index},socket={socket},socket-abstract=no"


def parse(line):
    """load's numbers by name."""
    return {key: float(value) for key, value in (word.split("=") for word in line.split())}


class Latency:
    """`start(config)` is a context with a podwired."""

    def __init__(self, directory, start, captures, seconds):
        self.directory, self.start, self.captures, self.seconds = directory, start, captures, seconds
        self.program = os.path.join(directory, "load")

    def _load(self, case, rate):
        inputs, socket = case.inputs(self.captures, FLOWS), os.path.join(self.directory, "memif")
        config = case.config((None, None), FLOWS, 256)
        for index, port in enumerate(config["ports"]):
            port["devargs"] = devargs(index, "server", socket)
        with self.start(config) as podwired:
            case.set_up(podwired)
            podwired.favour()
            command = [self.program, *EAL]
            for index in range(2):
                command += ["--vdev", devargs(index, "client", socket)]
            command += ["--", str(rate), str(self.seconds), *(path or "-" for path in inputs)]
            return self._measured(command)

    def _measured(self, command):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            try:
                favour(process.pid, process.pid)
                out, err = process.communicate(timeout=self.seconds * 2 + START)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0 or "p50=" not in out:
            raise RuntimeError(f"load: {(err + out).strip()[-300:]}")
        return parse(out.splitlines()[-1])

    def run(self, case):
        if not os.path.exists(self.program):
            build(self.program)
        full = self._load(case, 0)
        half = self._load(case, full["received"] / 2)
        return {"mpps": full["received"] / 1e6, "half_mpps": half["received"] / 1e6,
                "lost_share": max(0, 1 - half["received"] / ((half["sent"] + half["full"]) or 1)),
                "skipped_share": half["skipped"] / (half["received"] or 1),
                **{f"{p}_us": half[p] / 1000 for p in ("p50", "p99", "p99.9", "max")}}


HEADS = ("CASE", "Mpps", "at half", "p50 us", "p99 us", "p99.9 us", "max us", "lost", "skipped")
KEYS = ("mpps", "half_mpps", "p50_us", "p99_us", "p99.9_us", "max_us")


def table(results):
    """{case: [run()'s, ...]} as medians for people."""
    lines = [HEADS]
    for case, runs in results.items():
        median = {key: statistics.median(r[key] for r in runs) for key in (*KEYS, "lost_share", "skipped_share")}
        lines.append((case, *(f"{median[k]:.{2 if 'mpps' in k else 1}f}" for k in KEYS), f"{median['lost_share']:.3%}",
                      f"{median['skipped_share']:.1%}"))
    return "\n".join("".join(text.rjust(10) if i else text.ljust(7) for i, text in enumerate(line)) for line in lines)
