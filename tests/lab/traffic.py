"""Long-lived traffic between pods, and what passes on a wire."""
import re
import signal
import subprocess
import sys
import tempfile
import time

from .lab import wait_for
from .run import LabError, in_ns

ECHO = r"""
import socket, sys, threading
six = ":" in sys.argv[2]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if six: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind((sys.argv[2], int(sys.argv[1]))); s.listen(16); print("ready", flush=True)
def serve(c):
    try:
        while data := c.recv(65536): c.sendall(data)
    except OSError: pass
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
STREAM = r"""
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3); s.settimeout(None)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
n = 0
while True:
    s.sendall(b"x"); s.recv(1); n += 1
    print(n, time.monotonic(), flush=True); time.sleep(0.01)
"""


class Stream:
    """A TCP connection on which a byte goes there and back a hundred times a second. The log has the time of each."""

    def __init__(self, source, target, port=7000):
        self.lab = source.lab
        self.server = target.reports_ready("-c", ECHO, port, "::" if ":" in target.address else "0.0.0.0")
        names = f"{source.name}-{target.name}".replace("/", "-")
        self.path = f"{self.lab.dir}/stream-{names}-{port}-{time.monotonic_ns()}"
        self.client = source.spawn(sys.executable, "-c", STREAM, target.address, port, log=self.path)
        wait_for(lambda: self.times(), what=f"a TCP connection from {source.name} to {target.name}")

    def times(self):
        lines = open(self.path).read().split("\n")[:-1]
        if any("Traceback" in line for line in lines):
            raise LabError("the TCP connection broke: " + lines[-1])
        return [float(line.split()[1]) for line in lines]

    def moves(self, seconds=0.5):
        """True if bytes come back in the time from now on."""
        before = len(self.times())
        time.sleep(seconds)
        return len(self.times()) > before + 1

    def longest_gap(self, since=0.0):
        times = [t for t in self.times() if t >= since]
        return max((b - a for a, b in zip(times, times[1:])), default=float("inf"))

    def end(self):
        self.lab.end(self.client)
        self.lab.end(self.server)


class Flood:
    """Pings every 5 ms until end(), which returns (sent, answered); what is on its way just then does not count."""

    def __init__(self, source, to, interval=0.005):
        self.lab, self.output = source.lab, tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(in_ns(source.ns, ["ping", "-n", "-i", interval, "-W", "1", to.address]), text=True,
                                        stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True)
        self.lab.processes.append(self.process)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)
        self.output.seek(0)
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", self.output.read())}
        return max(answered, default=0), len(answered)


class Capture:
    """Counts packets that match a tcpdump filter on an interface of a namespace, from entering to leaving the block."""

    def __init__(self, lab, ns, interface, expression):
        self.lab, self.count = lab, None
        self.process = subprocess.Popen(in_ns(ns, ["tcpdump", "-n", "--immediate-mode", "-i", interface, "-w", "/dev/null", expression]),
                                        text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        lab.processes.append(self.process)
        while "listening on" not in (line := self.process.stderr.readline()):
            if not line:
                raise LabError(f"tcpdump on {interface}: it ended")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        time.sleep(0.3)  # what was sent has come by
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=10)[1]
        self.count = int(re.search(r"(\d+) packets? captured", text)[1])
