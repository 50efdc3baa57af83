#!/usr/bin/python3
"""Two virtual machines on vhost-user and a tap pod: traffic each to each, super-packets, restarts of podwired and of a machine.
usage: vhost_user.py [IMAGES]   kernel and initrd are made there (default: a directory of the test's own, some 300 MB)"""
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))
import harness  # noqa: E402
from guest import Guest, image  # noqa: E402
from lab import Node  # noqa: E402
from lab.lab import wait_for  # noqa: E402
from lab.run import LabError  # noqa: E402

harness.DEADLINE = 900
NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}


class GuestPod:
    """A pod whose program is a virtual machine."""

    def __init__(self, node, name, images, client=False, queues=1, cpus=1):
        self.node, self.name, self.images, self.client, self.queues, self.cpus = node, name, images, client, queues, cpus
        mode = {"mode": "client" if client else "server", "queues": queues}
        self.pod = node.attach(name, config={"attach": "vhost-user", "vhostUser": mode})
        self.address = self.pod.address
        self.endpoint = node.json("get", "endpoints", name)
        self.guest = None

    def boot(self):
        e = self.endpoint
        side = "server=on,wait=off" if self.client else "reconnect-ms=500"
        devices = ["-chardev", f"socket,id=vhost,path={e['socket']},{side}", "-netdev", f"vhost-user,id=net,chardev=vhost,queues={self.queues}",
                   "-device", f"virtio-net-pci,netdev=net,mac={e['mac']},mq={'on' if self.queues > 1 else 'off'}"]
        self.guest = Guest(self.node.lab, self.name, self.images, devices, cpus=self.cpus)
        seconds = self.guest.wait_up()
        gateway = e["gateways"][0]
        self.guest.run(f"ip link set eth0 mtu {e['mtu']} up && ip addr add {self.address}/32 dev eth0 && ip route add {gateway} dev eth0 && "
                       f"ip route add default via {gateway} && iperf3 -s -D")
        return seconds

    def ping(self, to, count=3):
        said = self.guest.run(f"ping -q -c {count} -i 0.2 -W 2 {to.address}", check=False)
        found = re.search(r"(\d+) (?:packets )?received", said)
        if not found:
            raise LabError(f"ping in {self.name}: {said[-300:]}")
        return int(found.group(1))

    def iperf(self, to, seconds):
        """Gbit/s of TCP from here to the other."""
        said = self.guest.run(f"iperf3 -c {to.address} -t {seconds} -f m", timeout=seconds + 30)
        return float(re.search(r"([\d.]+) Mbits/sec\s+receiver", said).group(1)) / 1000


def iperf(source, to, seconds=3):
    if isinstance(source, GuestPod):
        return source.iperf(to, seconds)
    said = source.run("iperf3", "-c", to.address, "-t", seconds, "-f", "m", timeout=seconds + 30).stdout
    return float(re.search(r"([\d.]+) Mbits/sec\s+receiver", said).group(1)) / 1000


def each_to_each(checks, pods):
    for source in pods:
        for to in pods:
            if source is to:
                continue
            checks.equal(source.ping(to, count=3), 3, f"{source.name} pings {to.name}")
            rate = iperf(source, to)
            checks.check(rate > 0.01, f"TCP from {source.name} to {to.name}", f"{rate:.2f} Gbit/s")


def super_packets(checks, node, tap, guest):
    """A segment of the guest's arrives at the tap pod in one piece, and the other way."""
    for source, to, interface in ((guest, tap, None), (tap, guest, "eth0")):
        before = ports(node)
        iperf(source, to, 2)
        after = ports(node)
        name = guest.endpoint["port"]
        way = "rx" if source is guest else "tx"
        packets, size = (after[name][f"{way}{what}"] - before[name][f"{way}{what}"] for what in ("Packets", "Bytes"))
        packets = max(packets, 1)
        checks.check(size / packets > 2000, f"{source.name} to {to.name}: packets pass whole", f"{size / packets:.0f} bytes a packet on the average")
        checks.equal(after[name].get("txSegments", 0), before[name].get("txSegments", 0), f"{source.name} to {to.name}: none was cut by podwired")


def ports(node):
    def numbers(port):
        return {k: int(v) if isinstance(v, str) and v.isdigit() else v for k, v in port.items()}
    zero = {f"{way}{what}": 0 for way in ("rx", "tx") for what in ("Packets", "Bytes")}
    return {p["name"]: {**zero, **numbers(p)} for p in node.json("get", "ports")["items"]}


def restarts(checks, node, tap, guests):
    """podwired is killed while TCP runs to each machine: seconds until it goes on."""
    for guest in guests:
        how = "podwired listens" if not guest.client else "the machine listens"
        stream = tap.spawn("iperf3", "-c", guest.address, "-t", "30", "-i", "0.5", "--forceflush", "-f", "m")
        time.sleep(2)
        node.kill()
        killed = time.monotonic()
        node.start()
        up = time.monotonic() - killed
        wait_for(lambda: tap.ping(guest, count=1), timeout=20, what=f"{guest.name}'s answer")
        checks.check(True, f"{how}: podwired was killed under iperf3; answers again", f"{time.monotonic() - killed:.1f} s after, {up:.1f} s of it podwired's start")
        checks.equal(guest.ping(tap), 3, f"{guest.name} pings {tap.name}")
        node.lab.end(stream)


def machine_restarts(checks, tap, guest):
    guest.guest.end()
    wait_for(lambda: not ports(guest.node)[guest.endpoint["port"]].get("linkUp"), timeout=10, what="the link's end")
    checks.check(True, f"{guest.name} ended: the port's link is down")
    guest.boot()
    wait_for(lambda: tap.ping(guest, count=1), timeout=20, what=f"{guest.name}'s answer")
    checks.equal(tap.ping(guest), 3, f"{guest.name} started again on its socket: answers")


def test(lab, checks):
    images = sys.argv[1] if len(sys.argv) > 1 else os.path.join(lab.dir, "images")
    begin = time.monotonic()
    image(images)
    checks.check(os.path.exists(f"{images}/initrd"), "kernel and initrd are made", f"{time.monotonic() - begin:.0f} s")
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    node.apply(node.node_object())
    tap = node.attach("tap")
    tap.spawn("iperf3", "-s")
    guests = [GuestPod(node, "vm-a", images), GuestPod(node, "vm-b", images, client=True, queues=2, cpus=2)]
    for guest in guests:
        checks.check(True, f"{guest.name} has booted", f"{guest.boot():.0f} s")
    for guest in guests:
        wait_for(lambda g=guest: tap.ping(g, count=1), timeout=20, what=f"{guest.name}'s answer")
    each_to_each(checks, [tap, *guests])
    for guest in guests:
        super_packets(checks, node, tap, guest)
    restarts(checks, node, tap, guests)
    machine_restarts(checks, tap, guests[0])
    for guest in guests:
        guest.guest.end()
        node.detach(guest.pod)


harness.main(test)
