"""Real connections: sockets of all namespaces in one process, tried all at once."""
import ctypes
import errno
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
IP_FREEBIND, IPV6_FREEBIND, IP_BIND_ADDRESS_NO_PORT, SCTP = 15, 78, 24, 132
LONGEST = 3.2  # seconds that an answer may take: a lost SYN is sent again after one, and after three
AGAIN = 0.4  # seconds after which a datagram that should be answered is sent again
QUIET = 0.025  # seconds without news after which nothing more comes, once the switch has handled all that was sent
QUIET_UNSURE = 0.08  # the same where that is not known


def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


CRC32C = crc32c_table()


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc = CRC32C[(crc ^ b) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


def sctp_packet(sport, dport, tag, chunk):
    head = struct.pack("!HHI", sport, dport, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def init_chunk(kind, tag, cookie=b""):
    """INIT (1) or INIT ACK (2, with a state cookie), RFC 9260 3.3.2 and 3.3.3."""
    parameter = struct.pack("!HH", 7, 4 + len(cookie)) + cookie if cookie else b""
    return struct.pack("!BBHIIHHI", kind, 0, 20 + len(parameter), tag, 65536, 1, 1, tag) + parameter


def ones_complement(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~((total >> 16) + total) & 0xffff


def echo_request(number, six):
    """Of ICMPv6 the kernel makes the checksum."""
    body = struct.pack("!HH", number & 0xffff, 1)
    return struct.pack("!BBH", 128 if six else 8, 0, 0 if six else ones_complement(b"\x08\x00\x00\x00" + body)) + body


@dataclass
class Attempt:
    """One connection that is tried. `outcome` is "" until something came of it."""
    slot: object
    source: str
    target: str
    protocol: str
    port: int
    expected: str
    outcome: str = ""  # allow: it was answered; else what went wrong
    delivered: bool = False  # the other end has seen it
    sock: object = None


class Wire:
    """Listens on every port that is probed, and tries connections."""

    def __init__(self, gateway, gateway6):
        self.gateway, self.gateway6 = gateway, gateway6
        self.epoll = select.epoll()
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.handlers, self.listeners, self.raw = {}, {}, {}
        self.attempts, self.barriers = {}, set()
        self.number = int.from_bytes(os.urandom(3), "big")
        self.sport = 20000
        self.news = 0.0

    def close(self):
        for s in [*self.listeners.values(), *self.raw.values()]:
            s.close()
        self.epoll.close()
        os.close(self.home)

    # Sockets
    def _enter(self, fd):
        if LIBC.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def _socket(self, ip, kind, protocol=0, port=0):
        """A socket of the namespace that was entered, bound to the address, which may not be there yet."""
        six = ":" in ip
        s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind | socket.SOCK_NONBLOCK, protocol)
        s.setsockopt(socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, IPV6_FREEBIND if six else IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if port == 0:
                s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        s.bind((ip, port))
        return s

    def _watch(self, s, events, handler):
        self.handlers[s.fileno()] = handler
        self.epoll.register(s.fileno(), events)

    def _unwatch(self, s):
        if self.handlers.pop(s.fileno(), None):
            self.epoll.unregister(s.fileno())
        s.close()

    def listen(self, placed, probes):
        """Servers for these (protocol, port) on each address of an end."""
        for ip in placed.ips:
            missing = [p for p in probes if (placed.slot.ns, ip, *p) not in self.listeners]
            if not missing:
                continue
            self._enter(placed.slot.fd)
            try:
                for protocol, port in missing:
                    self._listen(placed.slot, ip, protocol, port)
            finally:
                self._enter(self.home)

    def _listen(self, slot, ip, protocol, port):
        key = (slot.ns, ip, protocol, port)
        if protocol == "TCP":
            s = self._socket(ip, socket.SOCK_STREAM, port=port)
            s.listen(4096)
            self._watch(s, select.EPOLLIN, lambda _: self._accept(s))
        elif protocol == "UDP":
            s = self._socket(ip, socket.SOCK_DGRAM, port=port)
            self._watch(s, select.EPOLLIN, lambda _: self._echo(s))
        else:
            self._raw_socket(slot, ip, SCTP)
            return
        self.listeners[key] = s

    def _raw_socket(self, slot, ip, protocol):
        """Raw sockets are an address's, whatever the ports. The namespace must have been entered."""
        key = (slot.ns, ip, protocol)
        s = self.raw.get(key)
        if s is None:
            s = self.raw[key] = self._socket(ip, socket.SOCK_RAW, protocol)
            handler = self._sctp if protocol == SCTP else self._echo_reply
            self._watch(s, select.EPOLLIN, lambda _: handler(s, ip))
        return s

    def release(self, slot, ips):
        """Closes what listens on addresses that leave a namespace."""
        for table in (self.listeners, self.raw):
            for key in [k for k in table if k[0] == slot.ns and k[1] in ips]:
                self._unwatch(table.pop(key))

    # Servers
    def _accept(self, s):
        try:
            while True:
                s.accept()[0].close()
        except BlockingIOError:
            pass
        except OSError:
            pass  # reset before it was accepted

    def _echo(self, s):
        for data, peer in self._receive(s):
            attempt = self.attempts.get(struct.unpack("!Q", data)[0]) if len(data) == 8 else None
            if attempt:
                attempt.delivered = True
                self._send(s, data, peer)

    @staticmethod
    def _send(s, data, peer):
        try:
            s.sendto(data, peer)
            return ""
        except OSError as e:
            return f"cannot send: {errno.errorcode.get(e.errno, e.errno)}"

    @staticmethod
    def _receive(s):
        try:
            while True:
                yield s.recvfrom(2048)
        except OSError:
            return

    def _sctp(self, s, ip):
        """Answers INIT with INIT ACK; takes INIT ACK as the answer to an INIT of its own."""
        for data, peer in self._receive(s):
            packet = data if ":" in ip else data[(data[0] & 15) * 4:]
            if len(packet) < 32:
                continue
            sport, dport, tag = struct.unpack_from("!HHI", packet)
            kind, _, _, initiate = struct.unpack_from("!BBHI", packet, 12)
            if kind == 1 and (attempt := self.attempts.get(initiate)) and attempt.port == dport:
                attempt.delivered = True
                self._send(s, sctp_packet(dport, sport, initiate, init_chunk(2, initiate ^ 0x55555555 or 1, b"cookie..")), (peer[0], 0))
            elif kind == 2 and (attempt := self.attempts.get(tag)) and attempt.port == sport:
                self._answered(attempt, peer[0])

    def _echo_reply(self, s, ip):
        six = ":" in ip
        for data, _ in self._receive(s):
            icmp = data if six else data[(data[0] & 15) * 4:]
            if len(icmp) >= 8 and icmp[0] == (129 if six else 0):
                self.barriers.discard((s.fileno(), struct.unpack_from("!H", icmp, 4)[0]))
                self.news = time.monotonic()

    # Clients
    def _answered(self, attempt, by):
        if by.split("%")[0] == attempt.target:
            self._outcome(attempt, "allow")

    def _outcome(self, attempt, outcome):
        if not attempt.outcome:
            attempt.outcome = outcome
            self.news = time.monotonic()

    def _connected(self, attempt):
        error = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # A reset comes from the other end too: the switch makes none.
        answered = error in (0, errno.ECONNRESET, errno.ECONNREFUSED)
        self._outcome(attempt, "allow" if answered else f"error {errno.errorcode.get(error, error)}")
        self._unwatch(attempt.sock)
        attempt.sock = None

    def _udp_answers(self, s):
        for data, peer in self._receive(s):
            attempt = self.attempts.get(struct.unpack("!Q", data)[0]) if len(data) == 8 else None
            if attempt and peer[1] == attempt.port:
                self._answered(attempt, peer[0])

    def _begin(self, number, attempt, clients):
        """Sends the first packet; the namespace has been entered."""
        if attempt.protocol == "TCP":
            s = attempt.sock = self._socket(attempt.source, socket.SOCK_STREAM)
            error = s.connect_ex((attempt.target, attempt.port))
            if error in (0, errno.EINPROGRESS):
                self._watch(s, select.EPOLLOUT, lambda _: self._connected(attempt))
                return
            s.close()
            attempt.sock = None
            self._outcome(attempt, f"error {errno.errorcode.get(error, error)}")
            return
        client = clients.get(attempt.source)
        if attempt.protocol == "UDP" and client is None:
            client = clients[attempt.source] = self._socket(attempt.source, socket.SOCK_DGRAM)
            self._watch(client, select.EPOLLIN, lambda _: self._udp_answers(client))
        if attempt.protocol == "SCTP":
            self._raw_socket(attempt.slot, attempt.source, SCTP)
        self._transmit(number, attempt, client)

    def _transmit(self, number, attempt, client):
        """UDP and SCTP."""
        if attempt.protocol == "UDP":
            error = self._send(client, struct.pack("!Q", number), (attempt.target, attempt.port))
        else:
            raw = self.raw[(attempt.slot.ns, attempt.source, SCTP)]
            error = self._send(raw, sctp_packet(self.sport, attempt.port, 0, init_chunk(1, number)), (attempt.target, 0))
        if error:
            self._outcome(attempt, error)

    def _barrier(self, slot, ip):
        """Asks the gateway for an echo: the switch answers it when it has handled all that the pod sent before."""
        six = ":" in ip
        s = self._raw_socket(slot, ip, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
        number = self.number & 0xffff
        self.barriers.add((s.fileno(), number))
        self._send(s, echo_request(number, six), (self.gateway6 if six else self.gateway, 0))

    def run(self, attempts, pods):
        """Fills in every attempt's outcome. `pods`: namespaces whose gateway is the switch."""
        self.number += 1
        self.sport = 20000 + self.number % 40000
        base = self.number % 0x7ff << 20
        self.attempts = {base + 1 + i: a for i, a in enumerate(attempts)}
        self.barriers = set()
        clients, unsure = {}, False
        by_slot = {}
        for number, a in self.attempts.items():
            by_slot.setdefault(a.slot.ns, []).append((number, a))
        try:
            for group in by_slot.values():
                slot = group[0][1].slot
                clients[slot.ns] = {}
                self._enter(slot.fd)
                for number, a in group:
                    self._begin(number, a, clients[slot.ns])
                # One for each family, which may be handled one after the other.
                for source in {":" in a.source: a.source for _, a in group}.values():
                    if slot.ns in pods:
                        self._barrier(slot, source)
                unsure = unsure or (slot.ns not in pods and any(a.expected == "deny" for _, a in group))
                self._enter(self.home)
                self._poll(0)
            self._wait(clients, QUIET_UNSURE if unsure else QUIET)
        finally:
            self._enter(self.home)
            for a in attempts:
                if a.sock:
                    self._unwatch(a.sock)
                    a.sock = None
            for client in (c for group in clients.values() for c in group.values()):
                self._unwatch(client)
            self.attempts = {}

    def _poll(self, seconds):
        for fd, _ in self.epoll.poll(seconds):
            handler = self.handlers.get(fd)
            if handler:
                handler(fd)

    def _wait(self, clients, quiet):
        begin = self.news = time.monotonic()
        again = begin + AGAIN
        while True:
            self._poll(0.004)
            now = time.monotonic()
            missing = [(n, a) for n, a in self.attempts.items() if a.expected == "allow" and not a.outcome]
            if now - begin > LONGEST or (not missing and not self.barriers and now - self.news > quiet):
                return
            if now > again:
                again = now + AGAIN
                for number, a in missing:
                    if a.protocol != "TCP":
                        self._transmit(number, a, clients[a.slot.ns].get(a.source))
