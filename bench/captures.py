"""The captures that every switch is fed with, made by pcap/mkpcap.py and kept for the run (BENCH_PCAPS: for longer)."""
import os
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")


def records(data):
    """(offset, end) of each record of a capture."""
    at = len(HEADER)
    while at < len(data):
        end = at + 16 + struct.unpack_from("<I", data, at + 8)[0]
        yield at, end
        at = end


class Captures:
    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def made(self, case, flows):
        """The capture as mkpcap.py makes it."""
        path = self.path(f"{case}-{flows}.pcap")
        if not os.path.exists(path):
            maker = os.path.join(HERE, "pcap", "mkpcap.py")
            subprocess.run([sys.executable, "-B", maker, case, str(flows), path], check=True, stderr=subprocess.DEVNULL)
        return path

    def split(self, case, flows):
        """Both directions of a capture: (what the pods send, what comes back)."""
        paths = [self.path(f"{case}-{flows}-{half}.pcap") for half in ("pods", "wire")]
        if not all(os.path.exists(p) for p in paths):
            data = open(self.made(case, flows), "rb").read()
            halves = [[HEADER], [HEADER]]
            for at, end in records(data):
                from_pod = data[at + 16 + 26:at + 16 + 29] == b"\x0a\xf5\x00"  # 10.245.0.0/24
                halves[0 if from_pod else 1].append(data[at:end])
            for path, parts in zip(paths, halves):
                with open(path, "wb") as f:
                    f.write(b"".join(parts))
        return paths

    def empty(self):
        path = self.path("empty.pcap")
        with open(path, "wb") as f:
            f.write(HEADER)
        return path

    @staticmethod
    def packets(path):
        return sum(1 for _ in records(open(path, "rb").read()))
