"""What an idle worker costs, and what the first packet after a pause waits for it.

Three kinds of ports: `tap`, pods whose taps wake the worker by epoll; `vdev`, an uplink without a descriptor (DPDK's
net_af_packet), which an idle worker looks at again and again between short sleeps; `vhost`, vhost-user ports, which have
interrupts. CPU time is the worker threads' own
(schedstat), in percent of one CPU. Latency is one way: from the sender's clock just before sendto() to the kernel's
receive time stamp in the other namespace, so the receiver's own wake-up is not in it, the sender's system call is. `vhost` is from and to a program that polls (load.c).
`poll` is the same with a worker that never sleeps: the floor. Needs the build's podwire as well."""
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests"))
from lab import Lab, LabError, Node  # noqa: E402
from lab.run import in_ns, ip  # noqa: E402
from latency import vhost  # noqa: E402
from window import favour  # noqa: E402

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}
TARGET_CPU_PERCENT, TARGET_EXTRA_US = 2.0, 100.0
PINNED = ("taskset", "-c", "0")  # the worker has CPU 1
SAMPLES, PAUSE = 30, 1.0  # first packets, and the seconds of silence before each
CPU_SECONDS = 5  # over which idle CPU time is taken

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
WAKE = r"""
import os, sys, time
there, back = os.pipe(), os.pipe()
if os.fork() == 0:
    os.sched_setaffinity(0, {1}); os.close(there[1])
    while os.read(there[0], 1): os.write(back[1], b"%20d" % time.monotonic_ns())
    os._exit(0)
os.sched_setaffinity(0, {0})
for i in range(int(sys.argv[2])):
    time.sleep(float(sys.argv[1]))
    now = time.monotonic_ns(); os.write(there[1], b"x"); print((int(os.read(back[0], 20)) - now) / 1000)
"""


def bare_wake_us(pause=PAUSE, count=10):
    """What the machine alone takes: microseconds from a write to a pipe until a program runs that slept on the worker's CPU."""
    done = subprocess.run([sys.executable, "-c", WAKE, str(pause), str(count)], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=count * (pause + 1) + 10)
    return [float(line) for line in done.stdout.split()]


def one_way(source_ns, target_ns, address, pause, count):
    """Microseconds of each packet that arrived, in order."""
    receiver = subprocess.Popen(in_ns(target_ns, [*PINNED, sys.executable, "-c", RECEIVE]), stdout=subprocess.PIPE, text=True)
    try:
        receiver.stdout.readline()
        sent = subprocess.run(in_ns(source_ns, [*PINNED, sys.executable, "-c", SEND, address, pause, count]), stdout=subprocess.PIPE, text=True,
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


CASES = {"tap": tap_case, "vdev": vdev_case}


def measure(case):
    """{"adaptive", "poll": {cpu_percent, first_packet_us, busy_us}, "extra_us", "bare_wake_us"}; each time is a summary()."""
    result = {"bare_wake_us": summary(bare_wake_us())}
    with Lab() as lab:
        node, source_ns, pod = CASES[case](lab)
        one_way(source_ns, pod.ns, pod.address, 0.01, 50)  # ARP, flows, page faults
        for task in worker_ns(node.process.pid):
            favour(node.process.pid, task)
        for mode in ("adaptive", "poll"):
            node.cli("workers", "mode", "0", mode)
            time.sleep(0.5)
            result[mode] = {"cpu_percent": cpu_percent(node.process.pid, CPU_SECONDS),
                            "first_packet_us": summary(one_way(source_ns, pod.ns, pod.address, PAUSE, SAMPLES)),
                            "busy_us": summary(one_way(source_ns, pod.ns, pod.address, 0.0001, 500))}
        node.stop()
    result["extra_us"] = extra_us(result)
    return result


def measure_vhost(runner, case):
    """The same from latency.Latency's load: one packet a second."""
    result = {"bare_wake_us": summary(bare_wake_us())}
    for mode in ("adaptive", "poll"):
        lcores = {"workers": [{"cpu": 1, "mode": mode}], "control": 0}
        seldom = runner.load(case, 1 / PAUSE, vhost, 1, SAMPLES * PAUSE, lcores=lcores)
        often = runner.load(case, 10_000, vhost, 1, lcores=lcores)
        result[mode] = {"cpu_percent": 100 * seldom["cpu"]}
        for key, r in (("first_packet_us", seldom), ("busy_us", often)):
            result[mode][key] = {name: r[k] / 1000 for name, k in (("median", "p50"), ("p90", "p90"), ("p99", "p99"), ("max", "max"))}
    result["extra_us"] = extra_us(result)
    return result


def extra_us(result):
    """What sleeping adds to a first packet."""
    floor = result["poll"]["first_packet_us"]["median"]
    return {k: result["adaptive"]["first_packet_us"][k] - floor for k in ("median", "p90", "p99", "max")}


def table(results):
    """{case: measure()'s} as lines for people."""
    lines = [f"{'PORTS':6}{'WORKER':10}{'idle CPU':>9}   first packet, us: median     p90     p99     max   next ones: median     p90     p99     max"]
    for case, r in results.items():
        for mode in ("adaptive", "poll"):
            line = f"{case:6}{mode:10}{r[mode]['cpu_percent']:7.2f} %"
            for key, width in (("first_packet_us", 27), ("busy_us", 20)):
                s = r[mode][key]
                line += f"{s['median']:{width}.1f}" + "".join(f"{s[k]:8.1f}" for k in ("p90", "p99", "max"))
            lines.append(line)
    for case, r in results.items():
        e, cpu = r["extra_us"], r["adaptive"]["cpu_percent"]
        lines.append(f"{case}: sleeping adds {e['median']:.1f} us to a first packet, p90 {e['p90']:.1f} "
                     f"({'within' if e['p90'] <= TARGET_EXTRA_US else 'MORE THAN'} {TARGET_EXTRA_US:.0f} us; a bare program's wake-up here: {r['bare_wake_us']['median']:.1f}, p90 {r['bare_wake_us']['p90']:.1f}); idle CPU "
                     f"{'within' if cpu <= TARGET_CPU_PERCENT else 'MORE THAN'} {TARGET_CPU_PERCENT:.0f} %")
    return "\n".join(lines)
