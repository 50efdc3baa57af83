"""The machine under the benchmark: hugepages and lock taken and given back, and its description."""
import fcntl
import os
import platform
import re
import subprocess

PAGES = "/proc/sys/vm/nr_hugepages"


def meminfo(key):
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


class Hugepages:
    """2 MB pages for whoever is measured; restore() puts the number back that was there before."""

    def __init__(self):
        self.before = meminfo("HugePages_Total")

    def need(self, mb):
        """Makes `mb` megabytes free. Returns what is missing."""
        pages = (mb + 1) // 2
        free = meminfo("HugePages_Free")
        if free < pages:
            self._set(meminfo("HugePages_Total") + pages - free)
        return max(0, pages - meminfo("HugePages_Free")) * 2

    def restore(self):
        if meminfo("HugePages_Total") != self.before:
            self._set(self.before)

    @staticmethod
    def _set(total):
        try:
            with open("/proc/sys/vm/compact_memory", "w") as f:
                f.write("1")
        except OSError:
            pass
        with open(PAGES, "w") as f:
            f.write(str(total))


class Lock:
    """Who measures, measures alone: an exclusive lock of BENCH_LOCK (/tmp/bench.lock), unless BENCH_LOCK_HELD says that
    the caller has it."""

    def __init__(self):
        self.path = os.environ.get("BENCH_LOCK", "/tmp/bench.lock")
        self.held = os.environ.get("BENCH_LOCK_HELD") == "1"

    def __enter__(self):
        if not self.held:
            self.file = open(self.path, "a")
            fcntl.flock(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_):
        if not self.held:
            self.file.close()


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def package_version(name):
    return output("dpkg-query", "-W", "-f", "${Version}", name)


def describe(probe, tsc_hz, root):
    with open("/proc/cpuinfo") as f:
        text = f.read()
    model = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"^flags\s*: (.*)", text, re.M)
    cache = re.search(r"cache size\s*: (.*)", text)
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cpus": os.cpu_count(),
        "cache": cache.group(1) if cache else "",
        "virtual": "hypervisor" in (flags.group(1).split() if flags else []),
        "avx512": "avx512f" in (flags.group(1).split() if flags else []),
        "tsc_ghz": round(tsc_hz / 1e9, 4),
        "clock_per_tsc": probe.core(1)[1],
        "memory_mb": meminfo("MemTotal") // 1024,
        "kernel": platform.release(),
        "dpdk": package_version("dpdk"),
        "openvswitch": package_version("openvswitch-switch-dpdk"),
        "commit": output("git", "-C", root, "describe", "--always", "--dirty"),
    }
