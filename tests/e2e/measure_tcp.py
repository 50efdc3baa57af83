#!/usr/bin/python3
"""TCP of ordinary pods beside the kernel's own path, in one run, alternating: not a test, run it by hand on a quiet machine.

    measure_tcp.py [ROUNDS] [SECONDS]

tap-tap       two pods of one podwire node
veth          two namespaces joined by a veth pair
podwire vxlan pods of two podwire nodes
kernel vxlan  pods behind veths of two Linux nodes with the kernel's VXLAN device, offloads on

iperf3's ends run on CPU 0, podwired's workers on CPU 1. Medians, with the lowest and highest of the rounds."""
import fcntl
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lab import KernelNode, Lab, Node, Pod, announce  # noqa: E402
from lab.run import ip  # noqa: E402

CONF = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}


def veth_pair(lab):
    x, y = lab.add_ns("veth-x"), lab.add_ns("veth-y")
    ip(x, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", y)
    for ns, address in ((x, "10.9.0.1"), (y, "10.9.0.2")):
        ip(ns, "addr", "add", f"{address}/24", "dev", "eth0")
        ip(ns, "link", "set", "eth0", "up")
    return Pod(lab, "veth-x", x, "10.9.0.1"), Pod(lab, "veth-y", y, "10.9.0.2")


def kernel_nodes(lab):
    one = KernelNode(lab, "k1", host=21, pod_cidr="10.244.21.0/24", offload=True)
    two = KernelNode(lab, "k2", host=22, pod_cidr="10.244.22.0/24", offload=True)
    one.add_peer(two)
    two.add_peer(one)
    return one.pod, two.pod


def main():
    rounds, seconds = (int(w) for w in (sys.argv[1:] + ["5", "3"][len(sys.argv) - 1:])[:2])
    with open("/tmp/bench.lock", "w") as lock, Lab() as lab:
        fcntl.flock(lock, fcntl.LOCK_EX)
        a = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24", network=CONF).start()
        b = Node(lab, "node-b", host=2, pod_cidr="10.244.2.0/24", network=CONF).start()
        announce([a, b])
        a1, a2, b1 = a.attach("a1"), a.attach("a2"), b.attach("b1")
        pairs = {"tap-tap": (a1, a2), "veth": veth_pair(lab), "podwire vxlan": (a1, b1), "kernel vxlan": kernel_nodes(lab)}
        rates = {name: [] for name in pairs}
        for source, target in pairs.values():
            source.wait_reaches(target)
        for _ in range(rounds):
            for name, (source, target) in pairs.items():
                rates[name].append(source.iperf(target, seconds, "-A", "0,0")[0])
        cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
        print(f"{cpu}, {os.cpu_count()} CPUs, Linux {os.uname().release}, {rounds} rounds of {seconds} s, load {os.getloadavg()[0]:.1f}")
        for name, values in rates.items():
            print(f"{name:14} {statistics.median(values):6.2f} Gbit/s   ({min(values):.2f} to {max(values):.2f})")
        median = {name: statistics.median(values) for name, values in rates.items()}
        print(f"tap-tap / veth             {median['tap-tap'] / median['veth']:.2f}")
        print(f"podwire vxlan / kernel's   {median['podwire vxlan'] / median['kernel vxlan']:.2f}")


main()
