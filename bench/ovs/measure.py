#!/usr/bin/env python3
"""measure.py ovs PID | dpdk PID SOCKET | probe SOCKET     (called by run.sh; windows as window.py has them)"""
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from window import Probe, favour, find_thread, measure    # noqa: E402

E = os.environ
CORE = int(E["PMD_CORE"])
SLICE = 0.5
PROBE = Probe(E.get("HTPROBE"))


def app(*words):
    return subprocess.run(["ovs-appctl", "-t", E["R"] + "/vs.ctl", *words], check=True, capture_output=True,
                          text=True).stdout


def window(pid, tid, one, hz):
    """Prints a window's result; returns it and what to say of its noise."""
    r = measure(pid, tid, CORE, float(E["SECS"]), PROBE, hz, one)
    print(f"case={E['CASE']} flows={E['N']} mpps={r['mpps']:.3f} cycles_per_pkt={r['cycles']:.1f}", flush=True)
    n = r["noise"]
    note = (f"clean={n['clean_slices']}/{n['slices']}{'(DIRTY)' if n['dirty_used'] else ''} "
            f"slices={min(r['slices']):.1f}..{max(r['slices']):.1f} ht={n['sharing']:.2f} clk/tsc={n['clock_per_tsc']:.2f} "
            f"wait_max={n['worst_wait']:.2%} steal={n['steal']:.2%} other_cpus_busy={n['other_cpus_busy']:.0%}")
    return r, note


def pmd_stats():
    found = re.search(r"pmd thread numa_id \d+ core_id %d:\n((?:  .*\n)+)" % CORE, app("dpif-netdev/pmd-stats-show"))
    d = {}
    for line in found.group(1).splitlines():
        key, _, value = line.strip().partition(":")
        d[key] = float(value.split()[0]) if value.split() else 0.0
    d["upcalls"] = d["miss with success upcall"] + d["miss with failed upcall"]
    d["lookups"] = d["avg. subtable lookups per megaflow hit"] * d["megaflow hits"]
    return d


def ports():
    out, name = {}, None
    for line in app("dpctl/show", "-s").splitlines():
        found = re.match(r"\s+port \d+: (\S+)", line)
        if found:
            name = found.group(1)
        found = re.search(r"([RT])X packets:(\d+).*dropped:(\d+)", line)
        if found and name:
            out[name, found.group(1)] = (int(found.group(2)), int(found.group(3)))
    return out


def warm_up():
    """Waits until upcalls have died down and the whole capture has come twice and a half: a connection is made without an upcall.
    Returns the seconds it took."""
    begin, received, least = time.monotonic(), 0, 2.5 * float(E.get("PACKETS", 0))
    while True:
        app("dpif-netdev/pmd-stats-clear")
        time.sleep(1)
        s = pmd_stats()
        took = time.monotonic() - begin
        received += s["packets received"]
        if received > least and s["upcalls"] <= 1e-6 * s["packets received"] and took > 2:
            return took
        if took > float(E["WARM_MAX"]):
            print("# warm-up limit reached, misses still %.2e" % (s["upcalls"] / max(1, s["packets received"])),
                  file=sys.stderr)
            return took


def ovs(pid):
    tid = find_thread(pid, r"pmd-c%02d" % CORE)
    favour(pid, tid)
    warm = warm_up()

    def one():
        app("dpif-netdev/pmd-stats-clear")
        time.sleep(SLICE)
        s = pmd_stats()
        return s["packets received"], s["idle cycles"] + s["processing cycles"], s

    for _ in range(int(E["WINDOWS"])):
        p0 = ports()
        # OVS counts its own cycles; the TSC's rate only says how many packets a second that is.
        r, note = window(pid, tid, one, float(E["TSC_HZ"]))
        p1 = ports()
        s, rx = r["sums"], r["packets"]
        tx, received = p1["p1", "T"][0] - p0["p1", "T"][0], p1["p0", "R"][0] - p0["p0", "R"][0]
        share = {key: 100 * s.get(key, 0) / rx for key in
                 ("emc hits", "smc hits", "megaflow hits", "simple match hits")}
        print(f"# {E['CASE']}/{E['N']} cfg={E['OVS_CFG']} passes={1 + s['packet recirculations'] / rx:.2f} "
              f"emc={share['emc hits']:.1f}% smc={share['smc hits']:.1f}% mega={share['megaflow hits']:.1f}% "
              f"simple={share['simple match hits']:.1f}% upcall={s['upcalls'] / rx:.1e} "
              f"subtables={s['lookups'] / max(1, s['megaflow hits']):.2f} tx/rx={tx / max(received, 1):.4f} "
              f"txdrop={p1['p1', 'T'][1] - p0['p1', 'T'][1]} warm={warm:.0f}s {note}", file=sys.stderr)


class Telemetry:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.socket.recv(65536)

    def stats(self, port):
        self.socket.send(b"/ethdev/stats,%d" % port)
        return json.loads(self.socket.recv(65536))["/ethdev/stats"]


def dpdk(pid, path):
    t = Telemetry(path)
    tid = pid if E["CASE"].startswith("l3fwd-") else find_thread(pid, r"(lcore|rte|dpdk)-worker-?%d$" % CORE)
    favour(pid, tid)
    time.sleep(2)
    hz = float(E["TSC_HZ"])

    def one():
        t0, r0, x0 = time.monotonic(), t.stats(0), t.stats(1)
        time.sleep(SLICE)
        t1, r1, x1 = time.monotonic(), t.stats(0), t.stats(1)
        return r1["ipackets"] - r0["ipackets"], (t1 - t0) * hz, {"tx": x1["opackets"] - x0["opackets"]}

    for _ in range(int(E["WINDOWS"])):
        r, note = window(pid, tid, one, hz)
        print("# %s/%s tx/rx=%.4f %s" % (E["CASE"], E["N"], r["sums"]["tx"] / r["packets"], note), file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "ovs":
        ovs(sys.argv[2])
    elif sys.argv[1] == "probe":
        if Telemetry(sys.argv[2]).stats(0)["ipackets"] > 0:
            print("up")
    else:
        dpdk(sys.argv[2], sys.argv[3])
