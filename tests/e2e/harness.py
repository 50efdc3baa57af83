"""What every end-to-end test has in common: a lab, checks that say what they saw, the books and the leaks at the end."""
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lab import Lab, LabError  # noqa: E402
from lab.lab import ROOT  # noqa: E402

DEADLINE = 280  # seconds; the lab is removed after it, which a kill by the test runner would not do
MANIFESTS = os.path.join(ROOT, "tests/manifests")


class Checks:
    def __init__(self):
        self.passed, self.failed, self.begin = 0, 0, time.monotonic()

    def check(self, good, what, seen=None):
        """Counts and prints one check; a failed one does not end the test."""
        self.passed += bool(good)
        self.failed += not good
        shown = "" if seen is None else f" ({seen})"
        print(f"{time.monotonic() - self.begin:6.2f} {'ok  ' if good else 'FAIL'} {what}{shown}", flush=True)
        return good

    def equal(self, seen, want, what):
        return self.check(seen == want, what, f"{seen}" if seen == want else f"got {seen}, want {want}")

    def books(self, node):
        books = node.books()
        seen = ", ".join(f"{k} {books[k]}" for k in ("received", "generated", "sent", "dropped", "consumed", "queued"))
        return self.check(books["received"] > 0 or not node.pods, f"the books of {node.name} balance", seen)

    def exchange(self, a, b, mtu, seconds=1):
        """Traffic of each kind between two pods, both ways; `mtu` is the way's."""
        headers = 48 if ":" in a.address else 28
        for source, target in ((a, b), (b, a)):
            way = f"{source.name} to {target.name}"
            self.check(source.wait_reaches(target) < 3, f"{way}: the first ping is answered")
            self.equal(source.ping(target, size=mtu - headers, df=True), 3, f"{way}: pings of {mtu} bytes, DF")
            self.equal(source.ping(target, size=6000), 3, f"{way}: pings of {6000 + headers} bytes in fragments")
            rate, stalls = source.iperf(target, seconds)
            self.check(rate > 0.01 and stalls == 0, f"{way}: TCP, {seconds} s", f"{rate:.2f} Gbit/s, {stalls} stalls")
            target.listen(5300, "udp")
            self.check(source.connects(target, 5300, "udp"), f"{way}: UDP is answered")

    def refused(self, done, status, *words):
        """A command that must have failed with this exit status, saying these words."""
        said = " ".join(done.stdout.split())
        good = done.returncode == status and all(w.lower() in said.lower() for w in words)
        return self.check(good, f"refused with status {status}: {said[:220]}", None if good else f"status {done.returncode}, words {words}")


def too_late(*_):
    raise LabError(f"not done after {DEADLINE} s")


def main(test, ipv6=False):
    """Runs test(lab, checks), in a lab with IPv6 or without, and ends the program: status 0 if every check passed, the books of every node balanced and
    nothing was left behind."""
    checks = Checks()
    lab = None
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(DEADLINE)
    try:
        lab = Lab(ipv6=ipv6)
        test(lab, checks)
        for node in lab.nodes:
            if node.process and node.process.poll() is None:
                checks.books(node)
    except (LabError, Exception) as error:  # the report must come whatever it was
        checks.check(False, f"{type(error).__name__}: {error}")
        traceback.print_exc()
    finally:
        if lab:
            logs = {node.name: node.log_tail() for node in lab.nodes if os.path.exists(node.log)} if checks.failed else {}
            lab.close()
            for name, text in logs.items():
                print(f"--- log of podwired on {name}\n{text}")
    if lab:
        left = lab.leftovers()
        checks.check(not left, "nothing is left behind", ", ".join(left) or None)
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)
