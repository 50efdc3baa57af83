#!/usr/bin/python3
"""podwired is killed: pods keep their addresses and policies, and nothing half-made survives."""
import glob
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

from harness import MANIFESTS, main
from lab import Node, Stream
from lab.lab import wait_for
from lab.run import LabError, in_ns, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
PODS = 100


def endpoints(node):
    return {e["key"]["containerId"]: e for e in node.json("get", "endpoints", "-A")["items"]}


def rows(node):
    """Rows of podwired's database, by table."""
    with sqlite3.connect(f"file:{node.config['stateDir']}/podwire.db?mode=ro", uri=True) as db:
        tables = [t for (t,) in db.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")]
        return {t: db.execute(f"select count(*) from {t}").fetchone()[0] for t in tables}


def killed_under_traffic(checks, node):
    a, b, closed = node.attach("a"), node.attach("b"), node.attach("closed", labels={"app": "myapp"})
    closed.listen(8080)
    b.listen(8080)
    node.apply(os.path.join(MANIFESTS, "allow-netpol-demo.yaml"))
    checks.check(a.connects(b, 8080) and not a.connects(closed, 8080), "before: one port is open, one closed by policy")
    stream = Stream(a, b)
    before = endpoints(node)
    node.kill()
    killed = time.monotonic()
    node.start()
    checks.check(a.wait_reaches(b, timeout=30) < 30, "killed and started under traffic: pings pass again")
    wait_for(stream.moves, timeout=30, what="the TCP connection after the restart")
    gap = stream.longest_gap(killed - 1)
    checks.check(gap < 30, "a TCP connection outlives it", f"{gap * 1000:.0f} ms without a byte")
    after = endpoints(node)
    same = all(before[k][f] == after[k][f] for k in before for f in ("addresses", "mac", "port", "netns"))
    checks.check(before.keys() == after.keys() and same, "the pods have the addresses, MACs and ports that they had")
    checks.check(a.connects(b, 8080) and not a.connects(closed, 8080), "the policy is still in force")
    checks.equal(node.cni("CHECK", a.ns, "c-a", config={"prevResult": a.result}, check=False)[0], 0, "CNI CHECK finds the pod in order")
    other = node.attach("d")
    checks.check(other.address not in {p.address for p in (a, b, closed)}, "a new pod gets an address of its own", other.address)
    stream.end()
    status, seconds = node.stop()
    checks.check(status == 0 and seconds < 2, "SIGTERM under attached pods: status 0", f"{seconds:.2f} s")
    node.start()
    checks.check(a.wait_reaches(other, timeout=20) < 20, "and after that start they reach each other too")
    for pod in (a, b, closed, other):
        node.detach(pod)


def killed_amid_adds(lab, checks, node):
    spaces = {f"m{i}": lab.add_ns(f"m{i}") for i in range(PODS)}
    done = {}

    def add(name):
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
        try:
            done[name] = node.cni("ADD", spaces[name], name, args=args, check=False)
        except (LabError, ValueError) as error:
            done[name] = (1, str(error))

    with ThreadPoolExecutor(16) as pool:
        for name in spaces:
            pool.submit(add, name)
        wait_for(lambda: len(done) >= PODS // 3, timeout=60, step=0.005, what="a third of the ADDs")
        node.kill()
    added = {n: r for n, (status, r) in done.items() if status == 0}
    failed = [n for n in spaces if n not in added]
    checks.check(len(done) == PODS and added and failed, f"killed amid {PODS} ADDs", f"{len(added)} succeeded, {len(failed)} failed")
    node.start()
    known = endpoints(node)
    unanswered = set(known) - set(added)  # recorded, and then the answer never came: to the runtime a failed ADD
    checks.check(set(known) >= set(added), "after the start those whose ADD succeeded are attached", f"{len(unanswered)} others")
    addresses = [e["addresses"][0] for e in known.values()]
    checks.equal(len(set(addresses)), len(addresses), "no address is there twice")
    told = {n: r["ips"][0]["address"] for n, r in added.items()}
    checks.check(all(known[n]["addresses"][0] == told[n] for n in added if n in known), "each has the address that its ADD told")
    with ThreadPoolExecutor(8) as pool:
        pings = dict(zip(added, pool.map(lambda n: works(spaces[n]), added)))
    checks.check(all(pings.values()), "each of them works", [n for n in pings if not pings[n]] or None)
    half = [n for n in set(failed) - unanswered if "eth0" in sh(["ip", "-n", spaces[n], "link"]).stdout]
    checks.check(not half, "the failed ones have no interface", half or None)
    retried = [n for n in failed[:10] if node.cni("DEL", spaces[n], n, check=False)[0] or node.cni("ADD", spaces[n], n, check=False)[0]]
    checks.check(not retried, "a failed ADD, deleted and tried again, succeeds", retried or None)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda n: node.cni("DEL", spaces[n], n, check=False)[0], spaces))
    checks.check(not any(statuses), "DEL of all")
    checks.equal(endpoints(node), {}, "leaves no endpoint")
    left = [n for n, ns in spaces.items() if "eth0" in sh(["ip", "-n", ns, "link"]).stdout]
    checks.check(not left and "tap" not in node.run("ip", "-br", "link").stdout, "no interface", left or None)
    counts = {t: n for t, n in rows(node).items() if t in ("attachments", "addresses")}
    checks.check(counts and not any(counts.values()), "and no attachment or address on disk", counts)
    checks.equal(glob.glob(f"{node.config['stateDir']}/vhost/*"), [], "nor a socket")


def works(ns):
    return sh(in_ns(ns, ["ping", "-n", "-c2", "-i0.2", "-W2", "10.244.1.1"]), check=False).returncode == 0


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    node.apply(node.node_object())
    killed_under_traffic(checks, node)
    killed_amid_adds(lab, checks, node)


main(test)
