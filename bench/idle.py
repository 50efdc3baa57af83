#!/usr/bin/python3
"""What an idle worker costs, and what the first packet after a pause waits for it.

Two nodes' worth of ports: `tap`, pods whose taps wake the worker by epoll; `vdev`, an uplink without a descriptor (DPDK's
net_af_packet), which an idle worker looks at again and again between short sleeps. CPU time is the worker threads' own
(schedstat), in percent of one CPU. Latency is one way: from the sender's clock just before sendto() to the kernel's
receive time stamp in the other namespace, so the receiver's own wake-up is not in it, the sender's system call is.
`poll` is the same with a worker that never sleeps: the floor. Needs root and a build."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests"))
from lab import Lab, LabError, Node  # noqa: E402
from lab.run import in_ns, ip  # noqa: E402

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}
TARGET_CPU_PERCENT, TARGET_EXTRA_US = 2.0, 100.0

RECEIVE = r"""
import socket, struct, sys
SO_TIMESTAMPNS = 35
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
s.bind(("0.0.0.0", 9000)); print("ready", flush=True)
while True:
    data, control, *_ = s.recvmsg(100, 100)
    seconds, ns = struct.unpack("qq", control[0][2])
    print(data.decode(), seconds * 10**9 + ns, flush=True)
"""
SEND = r"""
import socket, sys, time
SO_NO_CHECK = 11  # net_af_packet does not say that a checksum is still to be completed
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1); s.connect((sys.argv[1], 9000))
pause, count = float(sys.argv[2]), int(sys.argv[3])
for i in range(count):
    time.sleep(pause * (1 + i % 7 * 0.0113))  # in no step with the worker's sleeps
    now = time.clock_gettime_ns(time.CLOCK_REALTIME); s.send(str(i).encode()); print(i, now, flush=True)
"""


def one_way(source_ns, target_ns, address, pause, count):
    """Microseconds of each packet that arrived, in order."""
    receiver = subprocess.Popen(in_ns(target_ns, [sys.executable, "-c", RECEIVE]), stdout=subprocess.PIPE, text=True)
    try:
        receiver.stdout.readline()
        sent = subprocess.run(in_ns(source_ns, [sys.executable, "-c", SEND, address, pause, count]), stdout=subprocess.PIPE, text=True,
                              check=True, timeout=count * (pause + 1) + 10).stdout.split("\n")[:-1]
        time.sleep(0.5)  # what is on its way arrives
    finally:
        receiver.kill()
    arrived = dict(map(int, line.split()) for line in receiver.stdout.read().split("\n")[:-1])
    receiver.wait()
    times = [(arrived[int(i)] - int(t)) / 1000 for i, t in (line.split() for line in sent) if int(i) in arrived]
    if len(times) < count * 0.9:
        raise LabError(f"{count - len(times)} of {count} packets were lost")
    return times


def worker_ns(pid):
    """CPU nanoseconds of each worker thread so far."""
    spent = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        if open(f"/proc/{pid}/task/{task}/comm").read().startswith("pw-worker"):
            spent[task] = int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
    return spent


def cpu_percent(pid, seconds):
    before, begin = worker_ns(pid), time.monotonic()
    time.sleep(seconds)
    after, passed = worker_ns(pid), time.monotonic() - begin
    return max((after[t] - before[t]) / passed / 1e7 for t in after)


def summary(values):
    ordered = sorted(values)
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))]  # noqa: E731
    return {"median": statistics.median(ordered), "p90": at(.9), "p99": at(.99), "min": ordered[0], "max": ordered[-1]}


def tap_case(lab):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    node.apply(node.node_object())
    a, b = node.attach("a"), node.attach("b")
    return node, a.ns, b


def vdev_case(lab):
    node = Node(lab, "node-b", pod_cidr="10.244.2.0/24", network=NETWORK, host=2)
    node.config["ports"] = [{"name": "uplink", "kind": "vdev", "devargs": "net_af_packet0,iface=eth0"}]
    node.start()
    node.apply(node.node_object())
    pod = node.attach("c")
    host = lab.add_ns("host")
    lab.plug(host, "a", "host")
    ip(host, "addr", "add", "192.0.2.77/24", "dev", "eth0")
    ip(host, "route", "add", node.pod_cidr, "via", node.address)
    return node, host, pod


def measure(lab, case, options):
    node, source_ns, pod = {"tap": tap_case, "vdev": vdev_case}[case](lab)
    one_way(source_ns, pod.ns, pod.address, 0.01, 50)  # ARP, flows, page faults
    result = {}
    for mode in ("adaptive", "poll"):
        node.cli("workers", "mode", "0", mode)
        time.sleep(0.5)
        result[mode] = {"cpu_percent": cpu_percent(node.process.pid, options.cpu_seconds),
                        "first_packet_us": summary(one_way(source_ns, pod.ns, pod.address, options.pause, options.samples)),
                        "busy_us": summary(one_way(source_ns, pod.ns, pod.address, 0.0001, 500))}
    result["extra_us"] = {k: result["adaptive"]["first_packet_us"][k] - result["poll"]["first_packet_us"]["median"]
                          for k in ("median", "p90", "p99", "max")}
    node.stop()
    return result


def show(case, r):
    for mode in ("adaptive", "poll"):
        print(f"{case:5} {mode:9} idle CPU {r[mode]['cpu_percent']:6.2f} %", end="")
        for name, key in (("first packet", "first_packet_us"), ("next ones", "busy_us")):
            s = r[mode][key]
            print(f"   {name}: median {s['median']:6.1f} us, p90 {s['p90']:6.1f}, p99 {s['p99']:6.1f}, max {s['max']:7.1f}", end="")
        print()
    e = r["extra_us"]
    print(f"{case:5} sleeping adds {e['median']:.1f} us to a first packet (p90 {e['p90']:.1f}, max {e['max']:.1f}): "
          f"{'within' if e['p90'] <= TARGET_EXTRA_US else 'MORE THAN'} {TARGET_EXTRA_US:.0f} us at p90; idle CPU "
          f"{'within' if r['adaptive']['cpu_percent'] <= TARGET_CPU_PERCENT else 'MORE THAN'} {TARGET_CPU_PERCENT:.0f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["tap", "vdev"], action="append", help="only this one (both)")
    parser.add_argument("--samples", type=int, default=30, help="first packets (%(default)s)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds of silence before each (%(default)s)")
    parser.add_argument("--cpu-seconds", type=float, default=5, help="over which idle CPU time is taken (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    results = {}
    for case in options.case or ["tap", "vdev"]:
        with Lab() as lab:
            results[case] = measure(lab, case, options)
        show(case, results[case])
    if options.json:
        with open(options.json, "w") as f:
            json.dump(results, f, indent=1)


if __name__ == "__main__":
    main()
