#!/usr/bin/python3
"""Two workers: connections whose directions cross them, and workers that come, go and change under traffic."""
import json

from harness import main
from lab import Node
from lab.traffic import Flood, Stream

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
POLICY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "only-a", "namespace": "default"},
          "spec": {"podSelector": {"matchLabels": {"app": "b"}},
                   "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]}}


def workers(node):
    return {int(w["worker"]): w for w in node.json("status")["workers"]}


def owner(node, port):
    return next(n for n, w in workers(node).items() if any(q["port"] == port for q in w.get("queues", [])))


def port_of(node, pod):
    return next(p["name"] for p in node.json("get", "ports")["items"] if p.get("pod") == f"default/{pod.name}")


def crossing(node, checks):
    a, b, c = (node.attach(n, labels={"app": n}) for n in "abc")
    node.apply(POLICY)
    checks.equal(sorted(w["lcore"] for w in workers(node).values()), [0, 1], "two workers, a CPU each")
    counts = [len(w["queues"]) for w in workers(node).values()]
    checks.check(max(counts) - min(counts) <= 1 and sum(counts) == 4, "the ports are spread over both", counts)
    checks.check(any("shares CPU 0" in w for w in node.json("status").get("warnings", [])), "sharing control's CPU is warned of")
    pairs = [(s, t) for s in (a, b, c) for t in (a, b, c) if s is not t]
    apart = next((p for p in pairs if owner(node, port_of(node, p[0])) != owner(node, port_of(node, p[1])) and p[1] is not b), None)
    checks.check(apart, "some two pods are on different workers")
    for source, target in ((a, b), apart):
        checks.equal(source.ping(target), 3, f"{source.name} pings {target.name}")
        rate, stalls = source.iperf(target, 1)
        checks.check(rate > 0.2 and stalls == 0, f"TCP {source.name} to {target.name}", f"{rate:.1f} Gbit/s, {stalls} stalls")
    checks.equal(c.ping(b), 0, "c may not reach b, whichever worker is asked")
    b.listen(5000)
    checks.check(a.connects(b, 5000) and not c.connects(b, 5000), "nor by TCP")
    flows = node.json("flows")["items"]
    seen = {int(f.get("worker", 0)) for f in flows if f["tuple"]["protocol"] == "tcp"}
    checks.equal(seen, {0, 1}, "a connection's directions are cached by different workers")
    return a, b, c


def under_traffic(node, checks, a, b, c):
    stream, other, flood = Stream(a, b), Stream(c, a, 7100), Flood(a, b)
    received = 0
    for _ in range(4):
        for number in (1, 0):
            cpu = workers(node)[number]["lcore"]
            node.cli("workers", "remove", number)
            checks.equal(len(workers(node)), 1, f"worker {number} is gone")
            now = node.counter("received")
            checks.check(now >= received, "its counts stay in the books", now)
            received = now
            node.cli("workers", "add", cpu, "--mode", "poll")
            node.cli("workers", "mode", number, "adaptive")
            checks.equal(sorted(workers(node)), [0, 1], f"and back, on CPU {cpu}")
    sent, answered = flood.end()
    checks.check(sent == answered > 100, "no ping is lost", f"{answered} of {sent}")
    for s, name in ((stream, "a to b"), (other, "c to a")):
        checks.check(s.moves() and s.longest_gap() < 1, f"TCP {name} goes on", f"longest gap {s.longest_gap() * 1000:.0f} ms")
        s.end()
    counts = [len(w["queues"]) for w in workers(node).values()]
    checks.check(max(counts) - min(counts) <= 1, "queues are spread again", counts)


def refusals(node, checks):
    for words, status, said in ((("add", 1), 1, "CPU 1 has worker"), (("add", 1000), 1, "as many as lcores.maxWorkers"), (("remove", 7), 1, "no worker 7"),
                                (("mode", 7, "poll"), 1, "no worker 7"), (("mode", 0, "lazy"), 2, "lazy"), (("add", "x"), 2, "CPU")):
        checks.refused(node.cli("workers", *words, check=False), status, said)
    node.cli("workers", "remove", 0)
    checks.refused(node.cli("workers", "remove", 1, check=False), 1, "last")
    checks.refused(node.cli("workers", "add", 1000, check=False), 1, "CPU 1000 does not exist")
    checks.equal(json.loads(node.cli("workers", "add", 0, "-o", "json").stdout)["mode"], "adaptive", "a new worker is adaptive")


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK,
                lcores={"workers": [0, {"cpu": 1, "mode": "adaptive"}], "maxWorkers": 2, "control": 0}).start()
    node.apply(node.node_object())
    pods = crossing(node, checks)
    under_traffic(node, checks, *pods)
    checks.books(node)
    refusals(node, checks)
    checks.equal(pods[0].ping(pods[1]), 3, "all works at the end")


main(test)
