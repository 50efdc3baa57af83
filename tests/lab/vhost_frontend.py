"""The guest's side of a vhost-user socket with split rings, in plain Python: slow, and free to lie about everything."""
import array
import mmap
import os
import socket
import struct

# Of QEMU's vhost-user specification.
GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ENABLE = 8, 9, 10, 12, 13, 18
VERSION = 1
# virtio 1.1: checksums and segments of the guest's, mergeable buffers, indirect descriptors, version 1; and the protocol's own.
FEATURES = 1 << 0 | 1 << 11 | 1 << 12 | 1 << 15 | 1 << 28 | 1 << 32 | 1 << 30
NEXT, WRITE, INDIRECT = 1, 2, 4  # flags of a descriptor

BASE = 0x7F0000000000  # what the guest's memory is said to be mapped at
SIZE = 1 << 20
RING = 256
HEADER = 12  # bytes of virtio_net_hdr before a frame
BUFFERS = 0x10000  # where they begin; a page each


class Ring:
    """Descriptors at `at`, then the available ring, then the used one."""

    def __init__(self, memory, at):
        self.memory, self.at = memory, at
        self.available, self.used = at + 16 * RING, at + 0x2000
        self.index = 0

    def describe(self, number, address, length, flags=0, following=0, table=None):
        struct.pack_into("<QIHH", self.memory, (self.at if table is None else table) + 16 * number, address & (2**64 - 1), length, flags, following)

    def offer(self, *heads):
        for head in heads:
            struct.pack_into("<H", self.memory, self.available + 4 + 2 * (self.index % RING), head)
            self.index = (self.index + 1) & 0xFFFF
        struct.pack_into("<H", self.memory, self.available + 2, self.index)

    def used_index(self):
        return struct.unpack_from("<H", self.memory, self.used + 2)[0]


class Frontend:
    def __init__(self, path):
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, SIZE)
        self.memory = mmap.mmap(self.fd, SIZE)
        self.rings = [Ring(self.memory, 0), Ring(self.memory, 0x4000)]  # the guest's receive queue, its transmit queue
        self.kicks = [os.eventfd(0, os.EFD_NONBLOCK) for _ in self.rings]
        self.calls = [os.eventfd(0, os.EFD_NONBLOCK) for _ in self.rings]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self._negotiate()

    def send(self, request, payload=b"", fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([struct.pack("<III", request, VERSION, len(payload)) + payload], ancillary)

    def _negotiate(self):
        self.send(GET_FEATURES)
        offered, = struct.unpack("<12xQ", self.socket.recv(20))
        self.send(SET_OWNER)
        self.send(SET_FEATURES, struct.pack("<Q", offered & FEATURES))
        self.send(SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, 0, SIZE, BASE, 0), [self.fd])
        for number, ring in enumerate(self.rings):
            self.send(SET_VRING_NUM, struct.pack("<II", number, RING))
            self.send(SET_VRING_BASE, struct.pack("<II", number, 0))
            self.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", number, 0, BASE + ring.at, BASE + ring.used, BASE + ring.available, 0))
            self.send(SET_VRING_CALL, struct.pack("<Q", number), [self.calls[number]])
            self.send(SET_VRING_KICK, struct.pack("<Q", number), [self.kicks[number]])
            self.send(SET_VRING_ENABLE, struct.pack("<II", number, 1))
        self.send(GET_FEATURES)  # answered when all before it is done
        self.socket.recv(20)

    def kick(self):
        for kick in self.kicks:
            os.eventfd_write(kick, 1)

    def post_buffers(self, count=RING // 2):
        """Room for frames from the switch, honestly."""
        for i in range(count):
            self.rings[0].describe(i, BUFFERS + 0x80000 + i * 2048, 2048, WRITE)
            self.rings[0].offer(i)

    def transmit(self, frame):
        """A frame as it should be sent."""
        self.memory[BUFFERS:BUFFERS + HEADER + len(frame)] = bytes(HEADER) + frame
        self.rings[1].describe(0, BUFFERS, HEADER + len(frame))
        self.rings[1].offer(0)
        self.kick()

    def take_back(self, left=0):
        """Leaves so many bytes of the memory that was shared; who touches the others gets SIGBUS, this program too."""
        os.ftruncate(self.fd, left)

    def close(self):
        self.socket.close()
        for fd in (self.fd, *self.kicks, *self.calls):
            os.close(fd)
        self.memory.close()
