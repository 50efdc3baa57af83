#!/usr/bin/python3
"""The driver itself: it sees what is wrong, says where, and leaves nothing behind however it ends."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(HERE, "run")
PODS = {"x/a": {"labels": {"app": "a"}, "ips": ["10.1.0.1"]}, "x/b": {"ips": ["10.1.0.2"]}}
DENY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "x", "name": "deny-a"},
        "spec": {"podSelector": {"matchLabels": {"app": "a"}}}}


def case(expect=None, apply=(DENY,), **more):
    expect = expect or {"80/TCP": {"x/b": {"x/a": "deny"}, "x/a": {"x/b": "allow"}}}
    return {"name": "c", "namespaces": {"x": {}}, "pods": PODS, "probes": ["80/TCP"], "steps": [{"apply": list(apply), "expect": expect}], **more}


def left_behind(pid):
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return [n for n in names if n.startswith(f"pw{pid}-")] + \
        [d for base in ("/dev/shm", "/tmp") if os.path.isdir(base) for d in os.listdir(base) if d.startswith(f"podwire-lab-{pid}-")]


class Driver(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def write(self, name, value):
        with open(os.path.join(self.dir.name, name), "w", encoding="utf-8") as f:
            f.write(value if isinstance(value, str) else json.dumps(value))

    def run_driver(self, *words):
        done = subprocess.run([sys.executable, RUN, "--cases", self.dir.name, *words], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        return done.returncode, done.stdout

    def assert_last(self, out, line):
        self.assertEqual(out.strip().splitlines()[-1], line, out)

    def test_what_is_right_passes(self):
        self.write("c.json", case())
        status, out = self.run_driver()
        self.assert_last(out, "1 passed, 0 failed")
        self.assertEqual(status, 0)

    def test_both_probes_see_what_is_wrong(self):
        self.write("c.json", case({"80/TCP": {"x/b": {"x/a": "allow"}}, "81/UDP": {"x/a": {"x/b": "deny"}}, "82/SCTP": {"x/a": {"x/b": "deny"}}}))
        status, out = self.run_driver()
        self.assertEqual(status, 1)
        self.assert_last(out, "0 passed, 1 failed")
        for probe in ("explain", "packets"):
            self.assertIn(f"case c, step 0, 80/TCP, {probe}: x/b -> x/a: expected allow, got deny", out)
            self.assertIn(f"case c, step 0, 81/UDP, {probe}: x/a -> x/b: expected deny, got allow", out)
            self.assertIn(f"case c, step 0, 82/SCTP, {probe}: x/a -> x/b: expected deny, got allow", out)
        self.assertIn("isolated by NetworkPolicy x/deny-a", out)

    def test_a_pod_that_is_to_be_cut_off_from_itself_is_a_difference(self):
        self.write("c.json", case({"80/TCP": {"x/a": {"x/a": "deny"}}}))
        _, out = self.run_driver()
        self.assertIn("packets: x/a -> x/a: expected deny, got allow", out)

    def test_bad_files_are_named_and_counted(self):
        self.write("good.json", case())
        self.write("a.json", "{")
        self.write("b.json", case(pods={"x/a": {"ips": ["10.1.0"]}}))
        self.write("d.json", case({"80/TCP": {"x/a": {"x/z": "deny"}}}))
        self.write("e.json", case({"80/TCP": {"x/a": {"x/b": "maybe"}}}))
        self.write("f.json", case({"http/TCP": {"x/a": {"x/b": "deny"}}}))
        self.write("g.json", case({"80/TCP": {"x/a": {"x/b": "any"}}}))
        self.write("h.json", case(apply=[{"metadata": {"name": "x"}}]))
        self.write("i.json", case(apply=[{**DENY, "spec": {"podSelecter": {}}}]))
        status, out = self.run_driver()
        self.assertEqual(status, 1)
        self.assert_last(out, "1 passed, 8 failed")
        for words in ("a.json", 'pods["x/a"].ips[0]: "10.1.0" is not an IP address', "there is no pod, external or node x/z",
                      'steps[0].expect["80/TCP"]["x/a"]["x/b"]: expected allow, deny or any', '"http/TCP"', "the case could not fail",
                      "steps[0].apply[0].kind: expected a string", "spec.podSelecter: unknown field"):
            self.assertIn(words, out)

    def test_wrong_usage(self):
        done = subprocess.run([sys.executable, RUN, "--cases", "/no/such"], text=True, capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("there is no /no/such", done.stderr)
        self.assertEqual(subprocess.run([sys.executable, RUN], capture_output=True).returncode, 2)

    def test_nothing_is_left_behind_however_it_ends(self):
        for i in range(60):
            self.write(f"{i}.json", case(pods={**PODS, "x/b": {"ips": [f"10.1.1.{i + 1}"]}}))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number):
                process = subprocess.Popen([sys.executable, RUN, "-v", "--cases", self.dir.name], text=True, stdout=subprocess.PIPE,
                                           stderr=subprocess.STDOUT, start_new_session=True)
                process.stdout.readline()  # the first case has passed
                self.assertTrue(left_behind(process.pid))
                process.send_signal(number)
                process.communicate(timeout=30)
                end = time.monotonic() + 10
                while left_behind(process.pid) and time.monotonic() < end:
                    time.sleep(0.1)
                self.assertEqual(left_behind(process.pid), [])


if __name__ == "__main__":
    unittest.main()
