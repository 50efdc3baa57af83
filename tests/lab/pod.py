import copy
import json
import re
import subprocess
import sys
import time

from .lab import wait_for
from .run import LabError, in_ns, sh

LISTEN = r"""
import socket, sys
proto, port = sys.argv[1], int(sys.argv[2])
kind = {"tcp": (socket.SOCK_STREAM, 6), "udp": (socket.SOCK_DGRAM, 17), "sctp": (socket.SOCK_STREAM, 132)}[proto]
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[3] else socket.AF_INET, *kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if ":" in sys.argv[3]: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind((sys.argv[3], port))
if proto != "udp": s.listen(64)
print("ready", flush=True)
while True:
    if proto == "udp":
        data, peer = s.recvfrom(65536); s.sendto(data, peer)
    else:
        c, _ = s.accept(); c.sendall(b"hello"); c.close()
"""
CONNECT = r"""
import socket, sys
proto, host, port, timeout = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
kind = {"tcp": (socket.SOCK_STREAM, 6), "udp": (socket.SOCK_DGRAM, 17), "sctp": (socket.SOCK_STREAM, 132)}[proto]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, *kind)
s.settimeout(timeout)
try:
    s.connect((host, port))
    if proto == "udp": s.send(b"hello")
    sys.exit(0 if s.recv(100) else 1)
except OSError as e:
    print(e); sys.exit(1)
"""

CONNECT_ALL = r"""
import asyncio, json, sys
async def one(host, port):
    writer = None
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), float(sys.argv[1]))
        return bool(await asyncio.wait_for(reader.read(100), float(sys.argv[1])))
    except (OSError, asyncio.TimeoutError): return False
    finally:
        if writer: writer.close()
async def main(): return await asyncio.gather(*(one(*t) for t in json.loads(sys.argv[2])))
print(json.dumps(asyncio.run(main())))
"""


class Pod:
    """A network namespace with an eth0, whoever made that."""

    def __init__(self, lab, name, ns, address=None):
        self.lab, self.name, self.ns, self.address = lab, name, ns, address
        self.address6 = None  # if it has one
        self.result = None  # of CNI ADD

    def by_ipv6(self):
        """The same pod, addressed by its IPv6 address."""
        pod = copy.copy(self)
        pod.name, pod.address = f"{self.name}/IPv6", self.address6
        return pod

    def run(self, *command, check=True, timeout=60):
        return sh(in_ns(self.ns, command), check=check, timeout=timeout)

    def spawn(self, *command, **options):
        return self.lab.spawn(command, ns=self.ns, **options)

    def ping(self, to, count=3, size=56, df=False, timeout=1):
        """How many of `count` pings were answered."""
        words = ["ping", "-n", "-q", "-c", count, "-i", 0.2, "-W", timeout, "-s", size, *(["-M", "do"] if df else [])]
        out = self.run(*words, getattr(to, "address", to), check=False).stdout
        found = re.search(r"(\d+) received", out)
        return int(found[1]) if found else 0

    def listen(self, port, proto="tcp"):
        """A server that answers each connection (or datagram)."""
        return self.reports_ready("-c", LISTEN, proto, port, "::" if ":" in (self.address or "") else "0.0.0.0")

    def reports_ready(self, *python):
        """Starts a Python program that prints "ready" when it is."""
        process = subprocess.Popen(in_ns(self.ns, [sys.executable, *python]), stdout=subprocess.PIPE, text=True,
                                   start_new_session=True)
        self.lab.processes.append(process)
        if process.stdout.readline() != "ready\n":
            raise LabError(f"pod {self.name}: {python[-1]} is not ready")
        return process

    def connects(self, to, port, proto="tcp", timeout=1.0):
        """True if a server there answers within the time."""
        address = getattr(to, "address", to)
        return self.run(sys.executable, "-c", CONNECT, proto, address, port, timeout, check=False).returncode == 0

    def connects_all(self, targets, timeout=1.0):
        """TCP to each (address, port) at once; a list of which answered."""
        out = self.run(sys.executable, "-c", CONNECT_ALL, timeout, json.dumps(targets)).stdout
        return json.loads(out)

    def iperf(self, to, seconds=2, *options):
        """TCP from here to the other pod: (Gbit/s received, seconds without progress)."""
        server = to.spawn("iperf3", "-s", "-1", "-p", 5201)
        wait_for(lambda: ":5201" in to.run("ss", "-ltn").stdout, what="iperf3 server")
        done = self.run("iperf3", "-c", to.address, "-t", seconds, "-J", "--connect-timeout", 3000, *options, check=False,
                        timeout=seconds + 20)
        self.lab.end(server)
        try:
            report = json.loads(done.stdout)
            stalls = sum(i["sum"]["bits_per_second"] < 1000 for i in report["intervals"])
            return report["end"]["sum_received"]["bits_per_second"] / 1e9, stalls
        except (ValueError, KeyError) as e:
            raise LabError(f"iperf3 from {self.name} to {to.name}: {done.stdout[-600:]}") from e

    def wait_reaches(self, to, timeout=5):
        """Until a ping is answered; returns the seconds that took."""
        begin = time.monotonic()
        wait_for(lambda: self.ping(to, count=1), timeout=timeout, what=f"ping from {self.name} to {to}")
        return time.monotonic() - begin
