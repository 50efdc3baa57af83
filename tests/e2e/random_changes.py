#!/usr/bin/python3
"""Random changes of policies, labels, namespaces and pods under live TCP and UDP traffic: no packet of a connection that is allowed
throughout is lost, and none of a forbidden one passes after the answer to the change that forbids it. A naive evaluator knows which are
which. --changes N (50), --seed N (random; printed)."""
import argparse
import json
import os
import random
import subprocess
import sys
import time

import harness
from lab import LabError, Node
from lab.run import in_ns

TALKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab", "talker.py")
PODS = {"a": "one", "b": "one", "c": "one", "d": "two", "e": "two"}  # that talk, with their namespaces
CONNECTIONS, POLICIES = 14, 5
DWELL_S, REPORT_EVERY, PATIENCE_MS = 0.06, 20, 2000
IN_FLIGHT_NS = 200_000_000  # a packet sent so long before a change that forbids it may be met by it on its way


class Model:
    """What NetworkPolicy says, in the simplest words (networking.k8s.io/v1)."""

    def __init__(self):
        self.namespaces, self.pods, self.policies = {}, {}, {}  # labels; (namespace, name) to labels; to spec

    @staticmethod
    def selects(selector, labels):
        return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())

    def peer_matches(self, peer, policy_ns, pod):
        ns, labels = pod[0], self.pods[pod]
        if "namespaceSelector" not in peer and ns != policy_ns:
            return False
        if "namespaceSelector" in peer and not self.selects(peer["namespaceSelector"], self.namespaces[ns]):
            return False
        return self.selects(peer.get("podSelector", {}), labels)

    def side(self, kind, pod, other, proto, port):
        rules, isolated = [], False
        for (ns, _), spec in self.policies.items():
            if ns == pod[0] and kind in spec["policyTypes"] and self.selects(spec["podSelector"], self.pods[pod]):
                isolated = True
                rules += [(ns, r) for r in spec.get(kind.lower(), [])]
        peers = "from" if kind == "Ingress" else "to"
        return not isolated or any(
            (peers not in r or any(self.peer_matches(p, ns, other) for p in r[peers]))
            and ("ports" not in r or any(p["protocol"] == proto.upper() and p["port"] == port for p in r["ports"]))
            for ns, r in rules)

    def allows(self, source, target, proto, port):
        return self.side("Egress", source, target, proto, port) and self.side("Ingress", target, source, proto, port)


class Connection:
    def __init__(self, number, source, target, proto, port):
        self.number, self.source, self.target, self.proto, self.port = number, source, target, proto, port
        self.states = []  # (change begun, answered, allowed): from the answer on it holds
        self.opened, self.suspect = 0, 0  # when; segments that were sent again at the last look

    def __str__(self):
        return f"{self.proto} {'/'.join(self.source)} > {'/'.join(self.target)}:{self.port}"

    @property
    def allowed(self):
        return self.states[-1][2]

    def during(self, begin, end):
        """True or False if it was so all that time, None if it changed or a change was being made."""
        now = None
        for begun, answered, allowed in self.states:
            if answered <= begin:
                now = allowed
            elif begun < end:
                return None
        return now


class Agent:
    """A pod with the program that talks for it."""

    def __init__(self, lab, pod):
        self.pod = pod
        self.process = subprocess.Popen(in_ns(pod.ns, [sys.executable, TALKER]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True)
        lab.processes.append(self.process)
        if self.process.stdout.readline() != "ready\n":
            raise LabError(f"the talker of {pod.name} is not ready")

    def tell(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def report(self):
        self.tell("report", PATIENCE_MS)
        return json.loads(self.process.stdout.readline())


class Changes:
    def __init__(self, lab, node, rng):
        self.lab, self.node, self.rng, self.model = lab, node, rng, Model()
        self.churned, self.churns = None, 0

    def labels(self):
        return {k: self.rng.choice(v) for k, v in (("app", "xyz"), ("tier", "12")) if self.rng.random() < 0.8}

    def selector(self):
        if self.rng.random() < 0.25:
            return {}
        key = self.rng.choice(("app", "tier"))
        return {"matchLabels": {key: self.rng.choice("xyz" if key == "app" else "12")}}

    def peer(self):
        kind = self.rng.random()
        if kind < 0.4:
            return {"podSelector": self.selector()}
        space = {"namespaceSelector": {} if self.rng.random() < 0.5 else {"matchLabels": {"team": self.rng.choice("rb")}}}
        return space if kind < 0.7 else {**space, "podSelector": self.selector()}

    def rule(self, peers):
        rule = {}
        if self.rng.random() < 0.85:
            rule[peers] = [self.peer() for _ in range(self.rng.randint(1, 3))]
        if self.rng.random() < 0.4:
            rule["ports"] = [{"protocol": self.rng.choice(("TCP", "UDP")), "port": self.rng.choice((80, 81))} for _ in range(2)]
        return rule

    def spec(self):
        types = self.rng.choice((["Ingress"], ["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        spec = {"podSelector": self.selector(), "policyTypes": types}
        for kind, peers in (("Ingress", "from"), ("Egress", "to")):
            if kind in types:
                spec[kind.lower()] = [self.rule(peers) for _ in range(self.rng.choice((0, 1, 2, 2, 3)))]
        return spec

    def pod(self, ns, name, labels):
        self.node.apply(self.node.pod_object(name, labels), namespace=ns)
        self.model.pods[ns, name] = labels

    def namespace(self, name, labels):
        self.node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.model.namespaces[name] = labels

    def policy(self, key, spec):
        self.node.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": key[1], "namespace": key[0]},
                         "spec": spec})
        self.model.policies[key] = spec

    def churn(self):
        """A pod that only policies know goes, or comes with another address."""
        if self.churned:
            self.node.detach(self.churned)
            self.node.cli("delete", "pod", self.churned.name, "-n", "one")
            self.model.pods.pop(("one", self.churned.name))
            self.churned = None
        else:
            self.churns += 1
            name, labels = f"churn-{self.churns}", self.labels()
            self.churned = self.node.attach(name, namespace="one", labels=labels)
            self.model.pods["one", name] = labels

    def forbid_all(self):
        for ns in ("one", "two"):
            self.policy((ns, "p0"), {"podSelector": {}, "policyTypes": ["Ingress"]})
        return "all forbidden"

    def make(self):
        """One change; returns its name."""
        kind = self.rng.random()
        keys = list(self.model.policies)
        if keys and (kind < 0.2 or (kind < 0.5 and len(keys) >= POLICIES)):
            key = self.rng.choice(keys)
            self.node.cli("delete", "networkpolicy", key[1], "-n", key[0])
            self.model.policies.pop(key)
            return f"policy {'/'.join(key)} deleted"
        if kind < 0.5:
            key = self.rng.choice(("one", "two")), f"p{self.rng.randrange(POLICIES)}"
            self.policy(key, self.spec())
            return f"policy {'/'.join(key)} {json.dumps(self.model.policies[key])}"
        if kind < 0.8:
            name = self.rng.choice(list(PODS))
            self.pod(PODS[name], name, self.labels())
            return f"pod {name} {self.model.pods[PODS[name], name]}"
        if kind < 0.95:
            name = self.rng.choice(("one", "two"))
            self.namespace(name, {"team": self.rng.choice("rb")} if self.rng.random() < 0.8 else {})
            return f"namespace {name} {self.model.namespaces[name]}"
        self.churn()
        return "a pod that does not talk"


class Run:
    def __init__(self, changes, agents, connections):
        self.changes, self.agents, self.connections = changes, agents, connections
        self.wrong, self.made = [], []
        self.counts = dict.fromkeys(("sent while allowed", "sent while forbidden", "got", "verdicts changed", "TCP connections"), 0)

    def open(self, c):
        self.counts["TCP connections"] += c.proto == "tcp"
        c.opened, c.suspect = time.monotonic_ns(), 0
        self.agents[c.source].tell("talk", c.number, c.proto, self.agents[c.target].pod.address, c.port)

    def step(self, change):
        """Makes a change, and what follows from it for the connections."""
        begun = time.monotonic_ns()
        what = change()
        answered = time.monotonic_ns()
        self.made.append((answered, what))
        for c in self.connections:
            allowed = self.changes.model.allows(c.source, c.target, c.proto, c.port)
            before = c.allowed if c.states else None
            if allowed == before:
                continue
            self.counts["verdicts changed"] += 1
            c.states.append((begun, answered, allowed))
            if before is None or (allowed and c.proto == "tcp"):
                self.open(c)  # one that was cut tries too seldom: another in its place

    def blame(self, c, what, at):
        last = next((text for answered, text in reversed(self.made) if answered <= at), "the start")
        self.wrong.append(f"{c}: {what}, {(time.monotonic_ns() - at) / 1e9:.3f} s ago, after {last}")

    def look(self):
        """What the agents have seen since the last look."""
        for agent in self.agents.values():
            report = agent.report()
            for number, entries in report["sent"].items():
                c = self.connections[int(number)]
                for at, answered in entries if c.proto == "udp" else ():
                    self.sent(c, at, answered)
            for kind, what in (("got", "a packet"), ("answers", "an answer")):
                for number, sent, got in report[kind]:
                    self.counts["got"] += 1
                    if self.connections[number].during(sent, got) is False:
                        self.blame(self.connections[number], f"{what} passed though forbidden", sent)
            for number, (is_open, lost) in report["tcp"].items():
                self.tcp(self.connections[int(number)], is_open, lost)

    def sent(self, c, at, answered):
        allowed = c.during(at, at + IN_FLIGHT_NS)
        self.counts["sent while allowed"] += allowed is True
        self.counts["sent while forbidden"] += allowed is False
        if allowed is True and not answered:
            self.blame(c, "a packet was lost though allowed throughout", at)

    def tcp(self, c, is_open, lost):
        now = time.monotonic_ns()
        if c.during(c.opened, now) is not True:
            return
        sure = min(lost, c.suspect)  # that one was sent in vain the other side tells later
        c.suspect = lost
        if sure:
            self.blame(c, f"{sure} segments were lost though allowed throughout", now)
        if not is_open and now - c.opened > 3_000_000_000:
            self.blame(c, "did not open though allowed", c.opened)


def connections(rng):
    keys = [(ns, name) for name, ns in PODS.items()]
    pairs = [(s, t, proto, port) for s in keys for t in keys if s != t for proto in ("tcp", "udp") for port in (80, 81)]
    return [Connection(i, *words) for i, words in enumerate(rng.sample(pairs, CONNECTIONS))]


def run(lab, checks, count, rng):
    node = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24", network={"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}).start()
    changes = Changes(lab, node, rng)
    for ns in ("one", "two"):
        changes.namespace(ns, {"team": "r"})
    agents = {}
    for name, ns in PODS.items():
        labels = changes.labels()
        agents[ns, name] = Agent(lab, node.attach(name, namespace=ns, labels=labels))
        changes.model.pods[ns, name] = labels
    r = Run(changes, agents, connections(rng))
    for change in (lambda: "the start", changes.forbid_all):  # so that there is something of either to see
        r.step(change)
        time.sleep(0.5)
    for i in range(count):
        r.step(changes.make)
        time.sleep(DWELL_S)
        if i % REPORT_EVERY == REPORT_EVERY - 1:
            r.look()
    time.sleep(PATIENCE_MS / 1000 + 0.2)
    r.look()
    time.sleep(0.5)
    r.look()
    for line in r.wrong[:10]:
        print("    " + line)
    checks.check(not r.wrong, f"{count} changes: nothing allowed throughout is lost, nothing forbidden passes", f"{len(r.wrong)} wrong")
    seen = ", ".join(f"{v} {k}" for k, v in r.counts.items())
    checks.check(all(r.counts.values()), "there was something to see", seen)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"--changes {arguments.changes} --seed {arguments.seed}", flush=True)
    harness.DEADLINE = max(harness.DEADLINE, arguments.changes)
    harness.main(lambda lab, checks: run(lab, checks, arguments.changes, random.Random(arguments.seed)))


main()
