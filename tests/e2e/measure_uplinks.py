#!/usr/bin/python3
"""Pods of two nodes by each way of the uplink, in one run, alternating: not a test, run it by hand on a quiet machine.

    measure_uplinks.py [ROUNDS] [SECONDS]

exclusive  a netdev that is podwire's alone (AF_PACKET)
af_packet  an interface that the host keeps, by AF_PACKET
af_xdp     the same, by AF_XDP (native, copying: the wires are veths)

Each by VXLAN and by host-gw: TCP by iperf3, Gbit/s; and UDP datagrams of 18 bytes (64-byte frames), thousands a second that arrive.
iperf3's ends run on CPU 0, podwired's workers on CPU 1. Medians, with the lowest and highest of the rounds."""
import fcntl
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lab import Lab, Node, announce  # noqa: E402
from lab.lab import wait_for  # noqa: E402


def prefer(process):
    """Before whatever else the machine does: the kernel schedules sessions as groups."""
    try:
        with open(f"/proc/{process}/autogroup", "w", encoding="ascii") as group:
            group.write("-15")
    except OSError:
        pass  # none here, or the process has ended


class PreferredLab(Lab):
    def spawn(self, *words, **options):
        process = super().spawn(*words, **options)
        prefer(process.pid)
        return process


def small_datagrams(source, target, seconds):
    server = target.spawn("iperf3", "-s", "-1", "-p", 5202, "-A", 0)
    wait_for(lambda: ":5202" in target.run("ss", "-ltn").stdout, what="iperf3 server")
    out = source.run("iperf3", "-u", "-c", target.address, "-p", 5202, "-t", seconds, "-b", 0, "-l", 18, "-J", "-A", 0, timeout=seconds + 20).stdout
    source.lab.end(server)
    end = json.loads(out)["end"]["sum"]
    return (end["packets"] - end["lost_packets"]) / end["seconds"] / 1000


def pair(lab, way, backend, number):
    conf = {"Network": "10.244.0.0/16", "Backend": {"Type": backend}}
    nodes = [Node(lab, f"{way.replace('_', '-')[:9]}{backend[0]}{side}", host=number + side, pod_cidr=f"10.244.{number + side}.0/24", network=conf,
                  shared=None if way == "exclusive" else way, connections=4096).start() for side in (0, 1)]
    announce(nodes, backend)
    return nodes[0].attach("p"), nodes[1].attach("q")


def main():
    rounds, seconds = (int(w) for w in (sys.argv[1:] + ["3", "2"][len(sys.argv) - 1:])[:2])
    with open("/tmp/bench.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(f"{os.cpu_count()} CPUs, Linux {os.uname().release}, {rounds} rounds of {seconds} s, load {os.getloadavg()[0]:.1f}")
        prefer("self")
        with PreferredLab() as lab:
            ways = [(way, backend) for backend in ("vxlan", "host-gw") for way in ("exclusive", "af_packet", "af_xdp")]
            pods = {key: pair(lab, *key, 1 + 2 * i) for i, key in enumerate(ways)}
            tcp, udp = {key: [] for key in ways}, {key: [] for key in ways}
            for source, target in pods.values():
                source.wait_reaches(target)
            for _ in range(rounds):
                for key, (source, target) in pods.items():
                    tcp[key].append(source.iperf(target, seconds, "-A", "0,0")[0])
                    udp[key].append(small_datagrams(source, target, seconds))
        for key in ways:
            t, u = tcp[key], udp[key]
            print(f"{key[1]:8} {key[0]:10} TCP {statistics.median(t):6.2f} Gbit/s ({min(t):.2f} to {max(t):.2f})"
                  f"   64 B {statistics.median(u):6.0f} k/s ({min(u):.0f} to {max(u):.0f})")


main()
