#!/usr/bin/python3
"""A vhost-user guest that lies in its rings, 10,000 times: the switch lives, and other pods lose nothing.
usage: lying_guest.py [--seed N] [--lies N]"""
import argparse
import random
import struct
import time

from harness import main
from lab import Flood, Node
from lab.lab import wait_for
from lab.vhost_frontend import BUFFERS, HEADER, INDIRECT, NEXT, RING, SIZE, WRITE, Frontend

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
A_CONNECTION = 4  # lies; a ring stands still at the first that makes no sense, then the guest starts again


def ports(node):
    return {p["name"]: p for p in node.json("get", "ports")["items"]}


def frame(endpoint, to):
    """UDP from the pod to another, with a right header checksum."""
    ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 48, 1, 0, 64, 17, 0, *(bytes(map(int, a.split("."))) for a in (endpoint["addresses"][0].split("/")[0], to))))
    total = sum(struct.unpack("!10H", ip))
    ip[10:12] = struct.pack("!H", 0xFFFF - (total % 0xFFFF))
    macs = b"".join(bytes.fromhex(m.replace(":", "")) for m in (endpoint["gatewayMac"], endpoint["mac"]))
    return macs + b"\x08\x00" + bytes(ip) + struct.pack("!HHHH", 4000, 4000, 28, 0) + bytes(20)


def number(rng, bits):
    """Of the field's size, with a weight on its ends and on what is nearly right."""
    return rng.choice([0, 1, 2, RING - 1, RING, SIZE, SIZE - 1, SIZE - 16, BUFFERS, (1 << bits) - 1, 1 << bits - 1, rng.getrandbits(bits),
                       rng.randrange(SIZE), rng.randrange(RING)]) & (1 << bits) - 1


def descriptor(rng, ring, which, table=None):
    ring.describe(which, number(rng, 64), number(rng, 32), rng.choice([0, NEXT, WRITE, INDIRECT, NEXT | WRITE, NEXT | INDIRECT, rng.getrandbits(16)]),
                  number(rng, 16), table)


def lie(rng, guest, honest):
    """One wrong thing in a ring, or several."""
    ring = guest.rings[rng.random() < 0.7]
    head = rng.randrange(RING)
    kind = rng.randrange(8)
    if kind == 0:  # a descriptor of nonsense
        descriptor(rng, ring, head)
        ring.offer(head)
    elif kind == 1:  # a chain that never ends
        other = rng.randrange(RING)
        ring.describe(head, BUFFERS, rng.randrange(2048), NEXT, other)
        ring.describe(other, BUFFERS, rng.randrange(2048), NEXT, head)
        ring.offer(head)
    elif kind == 2:  # heads that are none
        ring.offer(*(number(rng, 16) for _ in range(rng.randrange(1, 40))))
    elif kind == 3:  # an index that jumps
        ring.index = number(rng, 16)
        ring.offer(head)
    elif kind == 4:  # an indirect table: of nonsense, of tables, of a length that is no multiple of a descriptor's
        for i in range(4):
            descriptor(rng, ring, i, table=BUFFERS + 0x4000)
        ring.describe(head, BUFFERS + 0x4000, rng.choice([64, 63, 16, 0, 1 << 20, 0xFFFFFFF0]), INDIRECT)
        ring.offer(head)
    elif kind == 5:  # a right frame under a header that asks for what it cannot have
        guest.memory[BUFFERS:BUFFERS + HEADER + len(honest)] = struct.pack("<BBHHHHH", rng.getrandbits(8), rng.choice([0, 1, 3, 4, 5, 0x80, 0x81, rng.getrandbits(8)]),
                                                                           *(number(rng, 16) for _ in range(5))) + honest
        guest.rings[1].describe(head, BUFFERS, HEADER + len(honest))
        guest.rings[1].offer(head)
    elif kind == 6:  # a frame of nonsense, or cut off
        length = rng.randrange(0, 2000)
        guest.memory[BUFFERS:BUFFERS + length] = (honest + rng.randbytes(2000))[:length] if rng.random() < 0.5 else rng.randbytes(length)
        guest.rings[1].describe(head, BUFFERS, length)
        guest.rings[1].offer(head)
    else:  # the rings themselves overwritten
        at = ring.at + rng.randrange(0x3000)
        guest.memory[at:at + 64] = rng.randbytes(64)
    guest.kick()


def works(node, endpoint, honest, path):
    """An honest guest's frame comes in; returns the guest."""
    guest = Frontend(path)
    guest.post_buffers()
    wait_for(lambda: ports(node)[endpoint["port"]].get("linkUp"), timeout=10, what="the guest's link")
    before = int(ports(node)[endpoint["port"]].get("rxPackets", 0))

    def comes():
        guest.transmit(honest)
        return int(ports(node)[endpoint["port"]].get("rxPackets", 0)) > before
    wait_for(comes, timeout=10, what="the honest guest's frame")
    return guest


def test(lab, checks):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lies", type=int, default=10000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    node.apply(node.node_object())
    for worker in node.json("workers")["items"]:  # none sleeps between a guest's coming and its going
        node.cli("workers", "mode", str(worker.get("worker", 0)), "poll")
    a, b = node.attach("a"), node.attach("b")
    liar = node.attach("liar", config={"attach": "vhost-user"})
    endpoint = node.json("get", "endpoints", "liar")
    honest = frame(endpoint, a.address)
    works(node, endpoint, honest, endpoint["socket"]).close()
    checks.check(True, "an honest guest's frame comes in")
    flood = Flood(a, b)
    to_liar = a.spawn("ping", "-f", "-i", "0.005", liar.address)  # so that its receive ring is looked at as well
    told = connections = looked_at = 0
    while told < args.lies and node.process.poll() is None:
        guest = Frontend(endpoint["socket"])
        guest.post_buffers()
        connections += 1
        try:
            for _ in range(min(A_CONNECTION, args.lies - told)):
                lie(rng, guest, honest)
                told += 1
            time.sleep(0.005)
            looked_at += guest.rings[1].used_index() > 0
            if connections % 50 == 0:  # its memory is taken back while the switch uses it
                guest.take_back(rng.choice([0, BUFFERS, SIZE // 2]))
                guest.kick()
                time.sleep(0.02)
        finally:
            guest.close()
    sent, answered = flood.end()
    lab.end(to_liar)
    checks.check(looked_at > connections // 10, "its rings were looked at", f"something was taken from {looked_at} of {connections}")
    checks.check(node.process.poll() is None, f"podwired lives after {told} lies over {connections} connections", f"seed {args.seed}")
    checks.check(sent == answered > 20, "two pods talking meanwhile lose nothing", f"{answered} of {sent} pings answered")
    works(node, endpoint, honest, endpoint["socket"]).close()
    checks.check(True, "an honest guest's frame comes in again")
    node.detach(liar)


main(test)
