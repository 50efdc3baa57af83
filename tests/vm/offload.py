#!/usr/bin/python3
"""Rules of a real rte_flow driver: DPDK's net_tap, whose rules are the kernel's (tc flower), in a virtual machine with Debian's kernel.
A denied flood is dropped by the kernel before podwired sees it; when the policy goes, so has the rule by the time the command returns.
usage: offload.py [IMAGES]   kernel and initrd are made there (default: a directory of the test's own, some 300 MB)"""
import json
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))
import harness  # noqa: E402
from guest import Guest, image  # noqa: E402
from lab.lab import wait_for  # noqa: E402
from lab.run import LabError  # noqa: E402

harness.DEADLINE = 600
MODULES = ["virtio_pci", "tun", "cls_flower", "act_gact", "act_skbedit", "act_mirred", "sch_multiq", "sch_ingress", "9pnet_virtio", "9p", "veth"]
PORT, SOURCE = 9999, 7000  # UDP, of the pod and of who floods it
CONFIG = {
    "node": "node-a", "stateDir": "/run/pw", "listen": "unix:///run/pw.sock", "lcores": {"workers": [1], "control": 0}, "memoryMb": 128,
    "hugepages": "off", "connections": 4096, "ports": [{"name": "uplink", "kind": "vdev", "devargs": "net_tap0,iface=dtap0"}],
    "underlay": {"port": "uplink", "address": "192.0.2.1/24"}, "network": {"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}},
    "offload": {"mode": "auto", "installPps": 100, "keepPps": 10, "holdSeconds": 2}}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "annotations": {
    "flannel.alpha.coreos.com/backend-type": "host-gw", "flannel.alpha.coreos.com/backend-data": "null",
    "flannel.alpha.coreos.com/kube-subnet-manager": "true", "flannel.alpha.coreos.com/public-ip": "192.0.2.1"}},
    "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
       "spec": {"nodeName": "node-a", "containers": [{"name": "c"}]}}
DENY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}}
CNI = {"cniVersion": "1.0.0", "name": "podwire", "type": "podwire", "server": "unix:///run/pw.sock"}
RECEIVE = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", {PORT}))
n = 0
while True:
    s.recv(100); n += 1
    with open("/run/received", "w") as f: f.write(str(n))
"""
FLOOD = f"""
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("192.0.2.9", {SOURCE})); s.connect((sys.argv[1], {PORT}))
pps, end, n = int(sys.argv[2]), time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    s.send(b"x" * 40); n += 1
    time.sleep(1 / pps)
print(n)
"""


class Machine:
    """The guest with this machine's files, read only, and podwired on a net_tap device in it."""

    def __init__(self, lab, images):
        self.lab = lab
        share = ["-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]
        self.guest = Guest(lab, "machine", images, share, modules=MODULES, memory_mb=1024, cpus=2)
        self.guest.wait_up(240)
        self.guest.run("mkdir /host && mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose root /host && "
                       "mount -t proc proc /host/proc && mount --bind /dev /host/dev && mount --bind /sys /host/sys && mount -t tmpfs run /host/run")
        for name, value in (("config", CONFIG), ("node", NODE), ("pod", POD), ("deny", DENY), ("cni", CNI)):
            self.write(name, json.dumps(value))
        self.write("receive.py", RECEIVE)
        self.write("flood.py", FLOOD)

    def write(self, name, text):
        with open(os.path.join(self.lab.dir, name), "w") as f:
            f.write(text)

    def file(self, name):
        return os.path.join(self.lab.dir, name)

    def run(self, command, timeout=60, check=True):
        """In the guest, with this machine's programs."""
        said = self.guest.run(f"chroot /host {command}", timeout=timeout, check=check)
        return re.split(r"echo done''-\d+:\$\?\n", said)[-1]  # behind what the terminal echoes

    def cli(self, words, check=True):
        return self.run(f"{self.lab.program('podwire')} --server unix:///run/pw.sock --timeout 30 {words}", check=check)

    def json(self, words):
        return json.loads(self.cli(words + " -o json"))

    def start(self):
        self.guest.run(f"(chroot /host {self.lab.program('podwired')} --config {self.file('config')} >/host/run/log 2>&1 &)")
        # Its log rather than the client, which takes an emulated CPU long to load.
        wait_for(lambda: 'msg="serving"' in self.guest.run("cat /host/run/log", check=False), 240, step=2, what="podwired in the guest")
        wait_for(lambda: "node-a" in self.cli("status", check=False), 60, step=2, what="podwired's answer")
        ip = "/usr/sbin/ip"
        # The kernel's end has the port's MAC at first.
        self.run(f"{ip} link set dtap0 address 02:00:00:00:00:99 up")
        self.run(f"{ip} addr add 192.0.2.9/24 dev dtap0")
        self.run(f"{ip} route add 10.244.0.0/16 via 192.0.2.1")
        self.cli(f"apply -f {self.file('node')}")
        self.cli(f"apply -f {self.file('pod')}")
        self.run(f"{ip} netns add web")
        added = self.run(f"/usr/bin/env CNI_COMMAND=ADD CNI_CONTAINERID=c-web CNI_IFNAME=eth0 CNI_NETNS=/run/netns/web CNI_PATH=/ "
                         f"'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web' {self.lab.program('podwire-cni')} "
                         f"<{'/host' + self.file('cni')}")
        self.pod = re.search(r"(10\.244\.1\.\d+)/", added).group(1)
        self.guest.run(f"(chroot /host {ip} netns exec web /usr/bin/python3 {self.file('receive.py')} >/host/run/receiver 2>&1 &)")

    def flood(self, pps, seconds):
        """Packets sent."""
        said = self.run(f"/usr/bin/python3 {self.file('flood.py')} {self.pod} {pps} {seconds}", timeout=seconds + 60)
        return int(re.findall(r"^(\d+)$", said, re.M)[-1])

    def received(self):
        said = self.guest.run("cat /host/run/received 2>/dev/null; true")
        return int((re.findall(r"^(\d+)", said, re.M) or ["0"])[-1])

    def filters(self):
        """(drop rules of the kernel, packets dropped by them)."""
        said = self.run("/usr/sbin/tc -s filter show dev dtap0 parent 1:", check=False)
        return len(re.findall(rf"src_port {SOURCE}", said)), sum(int(n) for n in re.findall(r"\(dropped (\d+),", said))

    def seen(self):
        """Packets that the uplink has given to podwired."""
        return next(int(p["rxPackets"]) for p in self.json("get ports")["items"] if p["name"] == "uplink")

    def denied(self):
        return next(int(c["value"]) for c in self.json("counters")["counters"] if c["name"] == "drop_policy_denied_ingress")


def test(lab, checks):
    images = sys.argv[1] if len(sys.argv) > 1 else os.path.join(lab.dir, "images")
    image(images, MODULES)
    m = Machine(lab, images)
    try:
        m.start()
        flood(checks, m)
    except (LabError, StopIteration, ValueError):
        print(m.guest.run("tail -20 /host/run/log; cat /host/run/receiver", check=False))
        raise
    m.guest.end()


def flood(checks, m):
    wait_for(lambda: m.flood(20, 1) and m.received() > 0, 30, step=0, what="packets to reach the pod")
    uplink = next(p for p in m.json("get ports")["items"] if p["name"] == "uplink")
    checks.check("drop" in uplink.get("offloads", []), "net_tap can drop by rule", ", ".join(uplink.get("offloads", [])))
    checks.equal(m.filters(), (0, 0), "allowed: rules in the kernel, packets dropped by them")
    m.cli(f"apply -f {m.file('deny')}")
    before = m.received()
    m.flood(400, 4)
    checks.equal(m.filters()[0], 1, "denied flood: rules in the kernel")
    print(m.run("/usr/sbin/tc -s filter show dev dtap0 parent 1:"))
    flows = m.cli("flows")
    checks.check("drop by NIC" in flows, "podwire flows marks it", next((line for line in flows.splitlines() if "NIC" in line), flows))
    # net_tap does not count, so its rule is taken out for a look now and then: not in this second, for it has lasted.
    wait_for(lambda: m.flood(400, 1) and m.filters()[0] == 1, 10, step=0, what="the rule")
    seen, dropped = m.seen(), m.filters()[1]
    sent = m.flood(400, 1)
    more, unseen = m.filters()[1] - dropped, sent - (m.seen() - seen)
    checks.check(more > 0.9 * sent and unseen > 0.9 * sent, f"{sent} packets more", f"dropped by the kernel {more}, unseen by podwired {unseen}")
    checks.equal(m.received(), before, "packets that the pod has got")
    wait_for(lambda: m.flood(400, 1) and m.filters()[0] == 1, 10, step=0, what="the rule")
    m.cli(f"delete -f {m.file('deny')}")
    checks.equal(m.filters()[0], 0, "the policy is deleted: rules when the command has returned")
    sent = m.flood(50, 1)
    time.sleep(1)
    checks.equal(m.received() - before, sent, "packets that reach the pod")
    m.cli(f"apply -f {m.file('deny')}")
    m.flood(400, 3)
    wait_for(lambda: m.flood(400, 1) and m.filters()[0] == 1, 10, step=0, what="a rule again")
    checks.check(True, "denied again: a rule again")
    begin = time.monotonic()
    wait_for(lambda: m.filters()[0] == 0, 60, step=1, what="the rule to go after the flood")
    checks.check(True, "after the flood the rule goes", f"{time.monotonic() - begin:.0f} s")


harness.main(test)
