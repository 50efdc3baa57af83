"""A pod's end of many connections, as a program: talks on them all the time and remembers what it sent and got, with the time.

Commands come on standard input, a JSON list each: ["talk", id, "udp"|"tcp", address, port], ["stop", id], ["report"]. A report is a JSON
object: what this side sent since the last one and what was answered (`sent`: id, time, answered), what it got to answer
(`got`: id, sent at, got at), the answers (`answers`: id, sent at by the server, got at), and of each TCP connection whether it is open, and
segments sent again that were lost (`tcp`: id to [open, again]). Times are nanoseconds of the monotonic clock, which all pods share."""
import json
import selectors
import socket
import struct
import sys
import time

MESSAGE = struct.Struct("!HIQQ")  # id, number, sent by the client, sent by the server
PERIOD_NS = 10_000_000
PORTS = (80, 81)
TCP_INFO_RETRANS, TCP_INFO_DSACK = 100, 216  # offsets of tcpi_total_retrans and tcpi_dsack_dups


def lost_segments(s):
    """Sent again and not, as the other side told, in vain."""
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    retrans = struct.unpack_from("=I", info, TCP_INFO_RETRANS)[0]
    again = struct.unpack_from("=I", info, TCP_INFO_DSACK)[0] if len(info) >= TCP_INFO_DSACK + 4 else 0
    return max(0, retrans - again)


class Talk:
    """The client's end of one connection."""

    def __init__(self, number, proto, address, port):
        self.id, self.proto, self.target = number, proto, (address, port)
        self.number, self.sent, self.buffer, self.ready = 0, {}, b"", False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        if proto == "tcp":
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.connect_ex(self.target)

    def open(self):
        if self.proto == "tcp" and not self.ready:
            try:
                self.socket.getpeername()
                self.ready = True
            except OSError:
                pass
        return self.proto == "udp" or self.ready

    def send(self):
        if not self.open():
            return
        now = time.monotonic_ns()
        try:
            if self.socket.send(MESSAGE.pack(self.id, self.number, now, 0)) != MESSAGE.size:
                raise OSError("cut short")
        except OSError:
            return  # the buffer is full, or the other side's ICMP error: nothing was sent
        self.sent[self.number] = now
        self.number += 1

    def answers(self):
        try:
            self.buffer += self.socket.recv(65536)
        except OSError:
            return []
        found = []
        while len(self.buffer) >= MESSAGE.size:
            found.append(MESSAGE.unpack_from(self.buffer))
            self.buffer = self.buffer[MESSAGE.size:]
        return found


class Talker:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.talks, self.sent, self.got, self.answers = {}, {}, [], []
        for port in PORTS:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", port))
            udp.setblocking(False)
            tcp = socket.socket()
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("0.0.0.0", port))
            tcp.listen(64)
            self.selector.register(udp, selectors.EVENT_READ, self.serve_udp)
            self.selector.register(tcp, selectors.EVENT_READ, self.accept)
        self.selector.register(sys.stdin.buffer.raw, selectors.EVENT_READ, self.command)
        self.input = b""

    def serve_udp(self, s):
        try:
            data, peer = s.recvfrom(100)
        except OSError:
            return
        s.sendto(self.answer(data), peer)

    def answer(self, data):
        number, count, sent, _ = MESSAGE.unpack(data)
        now = time.monotonic_ns()
        self.got.append((number, sent, now))
        return MESSAGE.pack(number, count, sent, now)

    def accept(self, listener):
        s, _ = listener.accept()
        s.setblocking(False)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()

        def serve(s):
            try:
                data = s.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.selector.unregister(s)
                s.close()
                return
            buffer.extend(data)
            while len(buffer) >= MESSAGE.size:
                answer = self.answer(bytes(buffer[:MESSAGE.size]))
                del buffer[:MESSAGE.size]
                try:
                    s.send(answer)
                except OSError:
                    return
        self.selector.register(s, selectors.EVENT_READ, serve)

    def hear(self, talk):
        for _, number, _, served in talk.answers():
            now = time.monotonic_ns()
            self.answers.append((talk.id, served, now))
            if number in talk.sent:
                self.sent.setdefault(talk.id, []).append((talk.sent.pop(number), True))

    def command(self, _):
        data = sys.stdin.buffer.raw.read(65536)
        if not data:
            sys.exit(0)
        self.input += data
        *lines, self.input = self.input.split(b"\n")
        for line in lines:
            name, *words = json.loads(line)
            getattr(self, name)(*words)

    def talk(self, number, proto, address, port):
        self.stop(number)
        t = Talk(number, proto, address, port)
        self.talks[number] = t
        self.selector.register(t.socket, selectors.EVENT_READ, lambda _: self.hear(t))

    def stop(self, number):
        t = self.talks.pop(number, None)
        if t:
            self.selector.unregister(t.socket)
            t.socket.close()

    def report(self, patience_ms):
        """What is older than that and has no answer is reported as such, once."""
        before = time.monotonic_ns() - patience_ms * 1_000_000
        for t in self.talks.values():
            for number in [n for n, at in t.sent.items() if at < before]:
                self.sent.setdefault(t.id, []).append((t.sent.pop(number), False))
        tcp = {i: [t.open(), lost_segments(t.socket)] for i, t in self.talks.items() if t.proto == "tcp"}
        print(json.dumps({"sent": self.sent, "got": self.got, "answers": self.answers, "tcp": tcp}), flush=True)
        self.sent, self.got, self.answers = {}, [], []

    def run(self):
        print("ready", flush=True)
        due = time.monotonic_ns()
        while True:
            now = time.monotonic_ns()
            if now >= due:
                due = max(due + PERIOD_NS, now)
                for t in self.talks.values():
                    t.send()
            for key, _ in self.selector.select(max(0.0, (due - time.monotonic_ns()) / 1e9)):
                key.data(key.fileobj)


if __name__ == "__main__":
    Talker().run()
