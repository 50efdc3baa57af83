#!/usr/bin/python3
"""What dropped my packet, by name: `podwire drops --watch`, `podwire drops`, connections that a policy cuts, and the policy log, with
real packets."""
import glob
import json
import os
import signal
import subprocess
import sys
import time

from harness import main
from lab import Node, Stream
from lab.lab import wait_for

BURST = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[3])):
    s.sendto(b"x" * int(sys.argv[4]), (sys.argv[1], int(sys.argv[2]) + i % 500))
"""


NEW_CONNECTIONS = r"""
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port = 0
while True:
    try: s.sendto(b"x", (sys.argv[1], 1024 + port % 60000))
    except OSError: pass
    port += 1
    time.sleep(0.001)
"""
SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}


class Watch:
    """`podwire drops --watch -o json` and what it has printed."""

    def __init__(self, node, *words, stdout=None):
        self.lab = node.lab
        self.path = f"{self.lab.dir}/watch-{time.monotonic_ns()}"
        command = [self.lab.program("podwire"), "--server", f"unix://{node.socket}", "drops", "--watch", *words]
        with open(self.path, "w") as out:
            self.process = subprocess.Popen(command, stdout=stdout or out, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.lab.processes.append(self.process)

    def records(self):
        return [json.loads(line) for line in open(self.path).read().split("\n")[:-1]]

    def wait(self, wanted, what, timeout=5):
        """The first record that is as wanted."""
        def found():
            return next((r for r in self.records() if wanted(r)), None)
        return wait_for(found, timeout, what=what)

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(10)


def policy(name, selector, ingress=None, types=("Ingress",)):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
            "spec": {"podSelector": {"matchLabels": selector}, "policyTypes": list(types), **({"ingress": ingress} if ingress else {})}}


def watched(checks, a, web, client):
    """A denied connection's record names pods, policies and what would have let it pass."""
    a.apply(policy("deny-all", {"app": "web"}))
    text = Watch(a, "--pod", "default/web", "--reason", "policy_denied_ingress")
    wait_for(lambda: "watching" in open(text.path).read(), what="the watch's first line")
    json_watch, other = Watch(a, "-o", "json"), Watch(a, "--pod", "default/nobody", "-o", "json")
    time.sleep(0.5)
    checks.check(not client.connects(web, 80), "deny-all denies")
    r = json_watch.wait(lambda r: r["reason"] == "policy_denied_ingress", "a record of the denied SYN")
    seen = {k: r[k] for k in ("kind", "srcPod", "dstPod", "pod", "direction", "dstPort", "policies", "inPort")}
    checks.equal(seen, {"kind": "drop", "srcPod": "default/client", "dstPod": "default/web", "pod": "default/web", "direction": "ingress",
                        "dstPort": 80, "policies": ["default/deny-all"], "inPort": "pod-c-client-eth0"}, "the record has names")
    checks.check("allowed TCP 80 from pod default/client" in r["hint"], "and says what would let it pass", r["hint"])
    a.apply(policy("by-role", {"app": "web"}, [{"from": [{"podSelector": {"matchLabels": {"role": "api"}}}], "ports": [{"port": 443}]}]))
    client.connects(web, 80)
    hint = "would pass ingress[0] of default/by-role if pod default/client had the label role=api and it were TCP 443"
    r = json_watch.wait(lambda r: r["hint"] == hint, "the nearest rule's hint", timeout=8)
    checks.equal(r["policies"], ["default/by-role", "default/deny-all"], "both policies isolate, and the hint is of the nearest rule")
    wait_for(lambda: hint in open(text.path).read(), what="the same in the text format")
    checks.equal([w.end(n) for w, n in ((text, signal.SIGINT), (json_watch, signal.SIGTERM), (other, signal.SIGINT))], [0, 0, 0],
                 "SIGINT and SIGTERM end a watch cleanly")
    checks.equal(other.records(), [], "another pod's watch saw nothing")
    lines = a.cli("drops").stdout
    checks.check("default/by-role,default/deny-all" in lines, "`podwire drops` names the policies too")
    checks.check(hint in a.cli("drops", "--pod", "web", "-o", "wide").stdout, "and with -o wide the last packet's hint")
    checks.refused(a.cli("drops", "--watch", "--reason", "bad_luck", check=False), 1, "there is no reason", "bad_luck")
    a.delete(policy("deny-all", {"app": "web"}), policy("by-role", {"app": "web"}))


def cut(checks, a, web, client):
    """The label goes, the connection is cut, and it is told by which policy."""
    a.apply(policy("by-role", {"app": "web"}, [{"from": [{"podSelector": {"matchLabels": {"role": "api"}}}]}]))
    a.apply(a.pod_object("client", {"role": "api"}))
    stream, watch = Stream(client, web), Watch(a, "-o", "json")
    time.sleep(0.5)
    a.apply(a.pod_object("client", {"role": "none"}))
    checks.check(not stream.moves(1.0), "a label's change cuts a live connection")
    r = watch.wait(lambda r: r["kind"] == "cut", "a record of the cut")
    checks.equal([r["policies"], r["pod"], r["srcPod"], r["dstPort"]], [["default/by-role"], "default/web", "default/client", 7000],
                 "the cut names the policy and the connection")
    drop = watch.wait(lambda r: r["kind"] == "drop" and r["reply"], "a reply's drop")
    checks.equal(drop["policies"], ["default/by-role"], "a dropped reply names the policy that denies its connection")
    cuts = {c["policies"]: int(c["connections"]) for c in a.json("drops")["cuts"]}
    checks.equal(cuts, {"default/by-role": 1}, "cut connections are counted by policy")
    watch.end()
    stream.end()
    a.delete(policy("by-role", {"app": "web"}))


def flood(checks, a, web, client, other):
    """A flood is counted whole; records are few; who does not read loses, and nobody waits for him."""
    a.apply(policy("deny-all", {"app": "web"}))
    reader, writer = os.pipe()  # nobody reads
    stuck, watch = Watch(a, "-o", "json", stdout=writer), Watch(a, "-o", "json")
    os.close(writer)
    time.sleep(0.5)
    before = a.drops("policy_denied_ingress")
    client.run(sys.executable, "-c", BURST, web.address, 2000, 20000, 8)
    dropped = a.drops("policy_denied_ingress") - before
    other.connects(web, 80, timeout=0.3)
    watch.wait(lambda r: r["srcPod"] == "default/other", "a record of another pod's packet after the flood")
    def left_out():
        return sum(int(r["leftOut"]) for r in watch.records() if r["kind"] == "missed")

    def records():
        return sum(r["kind"] == "drop" for r in watch.records())

    wait_for(lambda: records() + left_out() >= dropped, what="as many records and left-out ones as drops")
    told, missed = records(), left_out()
    checks.check(dropped >= 15000 and told < dropped / 4, "a flood is counted whole and told of in part",
                 f"{dropped} dropped, {told} records, {missed} left out")
    checks.check(watch.end() == 0 and stuck.end(signal.SIGKILL) is not None, "a watcher that is stuck disturbs no other")
    os.close(reader)
    a.delete(policy("deny-all", {"app": "web"}))


def log_files(a):
    """The oldest first."""
    return sorted(glob.glob(os.path.join(a.config["stateDir"], "verdicts*.log")), key=os.path.getmtime)


def lines_of(a):
    """Of all the log's files, the oldest first."""
    return [json.loads(line) for f in log_files(a) for line in open(f).read().split("\n")[:-1]]


def log_level(a, value):
    return a.cli("apply", "-f", "-", stdin=json.dumps(
        {**SPACE, "metadata": {"name": "default", "annotations": {"podwire.io/policy-log": value}}})).stdout


def log(checks, a, web, client):
    client.connects(web, 80)
    checks.equal(lines_of(a), [], "nothing is logged without the annotation")
    a.apply(policy("web", {"app": "web"}, [{"ports": [{"port": 80}]}]))
    log_level(a, "denied")
    client.connects(web, 80)
    client.connects(web, 81, timeout=0.3)
    line = wait_for(lambda: lines_of(a), what="a line in the policy log")[0]
    seen = {k: line.get(k) for k in ("verdict", "reason", "protocol", "srcPod", "dstPod", "dstPort", "direction", "policies")}
    checks.equal(seen, {"verdict": "denied", "reason": "policy_denied_ingress", "protocol": "tcp", "srcPod": "default/client",
                        "dstPod": "default/web", "dstPort": 81, "direction": "ingress", "policies": ["default/web"]},
                 "`denied` logs the denied connection and not the allowed one")
    log_level(a, "all")
    client.connects(web, 80)
    wait_for(lambda: any(entry["verdict"] == "allowed" for entry in lines_of(a)), what="an allowed connection's line")
    line = next(entry for entry in lines_of(a) if entry["verdict"] == "allowed")
    checks.equal([line["dstPort"], line["ingressPolicy"], line["ingressRule"]], [80, "default/web", 0],
                 "`all` logs an allowed one with the rule that allows it")
    checks.check("expected denied or all" in log_level(a, "some"), "another value is warned of")
    log_level(a, "denied")
    for i in range(3):
        client.run(sys.executable, "-c", BURST, web.address, 2000 + 500 * i, 3000, 8)
        time.sleep(1)
    left_out = sum(entry.get("leftOut", 0) for entry in lines_of(a))
    checks.check(left_out > 0, "what is left out is counted", left_out)
    a.apply(SPACE)
    time.sleep(0.3)
    before = len(lines_of(a))
    client.connects(web, 82, timeout=0.3)
    time.sleep(0.3)
    checks.equal(len(lines_of(a)), before, "without the annotation no more")


def rotated(checks, a, web, client, other):
    """New connections without end: the log keeps to its size and its number of files, and the oldest lines go."""
    log_level(a, "all")
    first = lines_of(a)[0]
    floods = [source.spawn(sys.executable, "-c", NEW_CONNECTIONS, target.address)
              for source, target in ((client, web), (client, other), (other, client))]
    olds, most_files, largest = set(), 0, 0

    def turned_twice():
        nonlocal most_files, largest
        files = log_files(a)
        most_files, largest = max(most_files, len(files)), max(largest, *(os.path.getsize(f) for f in files))
        with open(os.path.join(a.config["stateDir"], "verdicts.1.log")) as f:
            olds.add(f.readline())  # the time in its first line is its name
        return len(olds) >= 3

    def looked():
        try:
            return turned_twice()
        except FileNotFoundError:  # it has just been renamed, or there is none yet
            return False
    wait_for(looked, timeout=60, what="the policy log's third file")
    for flood in floods:
        a.lab.end(flood)
    a.apply(SPACE)
    time.sleep(0.3)
    checks.check(most_files == 2 and largest <= 1 << 20, "the log's files are two, of a megabyte at most, all the while",
                 f"{most_files} files, the largest {largest} bytes")
    lines = lines_of(a)
    checks.check(first not in lines and len(lines) > 1000, "the oldest lines have gone, every line is whole", f"{len(lines)} lines")


def test(lab, checks):
    network = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
    a = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24", network=network,
             policyLog={"file": "verdicts.log", "maxMB": 1, "files": 2}).start()
    a.apply(a.node_object())
    web = a.attach("web", labels={"app": "web"})
    client, other = a.attach("client", labels={"role": "none"}), a.attach("other")
    web.listen(80)
    watched(checks, a, web, client)
    cut(checks, a, web, client)
    flood(checks, a, web, client, other)
    log(checks, a, web, client)
    rotated(checks, a, web, client, other)
    last = Watch(a)
    time.sleep(0.5)
    status, seconds = a.stop()
    checks.check(status == 0 and seconds < 1.5, "a watch does not keep podwired from ending", f"{seconds:.2f} s")
    checks.equal(last.process.wait(5), 3, "and ends itself, with the status for that")


main(test)
