"""Timed windows on a machine that others may share.

A window is made of half-second slices. Before and after each the measured core is probed (htprobe) for a neighbour on
its sibling hyperthread; slices with one, or in which the measured thread waited for the CPU for more than 2 %, are set
aside. Slices are taken until `seconds` are clean or 3 * `seconds` have gone; with less than a quarter clean, all count.
Cycles are TSC cycles: every thread measured here polls without pause, so cycles a packet = TSC rate / packets a second.
"""
import os
import re
import subprocess
import time

SLICE = 0.5
HT_LIMIT = 1.4
WAIT_LIMIT = 0.02


class Probe:
    """The htprobe program; without a compiler every slice counts as clean, and the TSC rate is the nominal one."""

    def __init__(self, program):
        self.program = program if program and os.access(program, os.X_OK) else None

    @staticmethod
    def build(source, program):
        done = subprocess.run(["gcc", "-O2", "-o", program, source], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Probe(program if done.returncode == 0 else None)

    def _run(self, word):
        if self.program is None:
            return None
        done = subprocess.run([self.program, word], capture_output=True, text=True)
        return [float(x) for x in done.stdout.split()] if done.returncode == 0 else None

    def core(self, core):
        """(sharing, core clock / TSC) of a core; (0, 0) when it cannot be said."""
        return tuple(self._run(str(core)) or (0.0, 0.0))

    def tsc_hz(self):
        if os.environ.get("TSC_HZ"):
            return float(os.environ["TSC_HZ"])
        measured = self._run("tsc")
        if measured:
            return measured[0]
        with open("/proc/cpuinfo") as f:
            found = re.search(r"@ ([\d.]+)GHz", f.read())
        if not found:
            raise SystemExit("bench: the TSC's rate is unknown: install gcc, or give TSC_HZ")
        return float(found.group(1)) * 1e9


def find_thread(pid, pattern):
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm") as f:
            if re.match(pattern, f.read().strip()):
                return tid
    raise RuntimeError(f"process {pid} has no thread {pattern}")


def favour(pid, tid):
    """The measured thread first: nice counts only inside a session's autogroup, so raise both (the process must be the
    leader of a session of its own)."""
    subprocess.run(["renice", "-n", "-20", "-p", str(tid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with open(f"/proc/{pid}/autogroup", "w") as f:
            f.write("-20")
    except OSError:
        pass  # a kernel without autogroups


def cpu_ticks():
    """By cpu: (busy, steal)."""
    ticks = {}
    with open("/proc/stat") as f:
        for line in f:
            found = re.match(r"cpu(\d+) (.*)", line)
            if found:
                v = [int(x) for x in found.group(2).split()]
                ticks[int(found.group(1))] = (v[0] + v[1] + v[2] + v[5] + v[6], v[7])
    return ticks


def ran(pid, tid):
    """CPU seconds of the thread."""
    with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
        return int(f.read().split()[0]) / 1e9


def waited(pid, tid):
    """Seconds the thread has waited for its CPU."""
    with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
        return int(f.read().split()[1]) / 1e9


def measure(pid, tid, core, seconds, probe, tsc_hz, one):
    """one() runs a slice and returns (packets, TSC cycles, numbers to add up). Returns a dict: mpps, cycles (a packet),
    packets, sums of the numbers, slices (cycles a packet each), and noise."""
    clean, dirty, shares, worst_wait = [], [], [], 0.0
    begin, ticks0 = time.monotonic(), cpu_ticks()
    before = probe.core(core)
    while len(clean) * SLICE < seconds and time.monotonic() - begin < 3 * seconds:
        w0, t0 = waited(pid, tid), time.monotonic()
        result = one()
        wait = (waited(pid, tid) - w0) / (time.monotonic() - t0)
        after = probe.core(core)
        shares.append(after[0])
        worst_wait = max(worst_wait, wait)
        (clean if max(before[0], after[0]) < HT_LIMIT and wait < WAIT_LIMIT else dirty).append(result)
        before = after
    elapsed, ticks1 = time.monotonic() - begin, cpu_ticks()
    per_tick = 1 / os.sysconf("SC_CLK_TCK") / elapsed
    used = clean if len(clean) * SLICE >= seconds / 4 else clean + dirty
    packets, cycles = sum(r[0] for r in used), sum(r[1] for r in used)
    sums = {}
    for r in used:
        for key, value in r[2].items():
            sums[key] = sums.get(key, 0) + value
    return {
        "mpps": tsc_hz * packets / cycles / 1e6 if cycles else 0.0,
        "cycles": cycles / packets if packets else float("inf"),
        "packets": packets,
        "seconds": cycles / tsc_hz,
        "sums": sums,
        "slices": [r[1] / r[0] for r in used if r[0]],
        "noise": {
            "clean_slices": len(clean), "slices": len(clean) + len(dirty), "dirty_used": used is not clean,
            "sharing": sum(shares) / len(shares), "clock_per_tsc": before[1], "worst_wait": worst_wait,
            "steal": (ticks1[core][1] - ticks0[core][1]) * per_tick,
            "other_cpus_busy": sum(ticks1[c][0] - ticks0[c][0] for c in ticks1 if c != core) * per_tick,
        },
    }
