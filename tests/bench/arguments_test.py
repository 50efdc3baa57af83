"""scripts/bench checks its command line before it wants root, installs or builds anything."""
import os
import subprocess
import tempfile
import unittest

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "bench")
CHANGERS = ("apt-get", "dpkg-query", "meson", "ninja", "id")


class ArgumentsTest(unittest.TestCase):
    def run_bench(self, *words):
        """(exit status, output, which programs that look at or change the machine were called)"""
        with tempfile.TemporaryDirectory() as stubs:
            called = os.path.join(stubs, "called")
            for name in CHANGERS:
                path = os.path.join(stubs, name)
                with open(path, "w") as f:
                    f.write(f"#!/bin/sh\necho {name} >>{called}\nexit 1\n")
                os.chmod(path, 0o755)
            done = subprocess.run([BENCH, *words], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "PATH": stubs + ":" + os.environ["PATH"]})
            names = []
            if os.path.exists(called):
                with open(called) as f:
                    names = f.read().split()
        return done.returncode, done.stdout + done.stderr, names

    def test_help_changes_nothing(self):
        for word in ("--help", "-h"):
            status, said, called = self.run_bench(word)
            self.assertEqual((status, called), (0, []), said)
            self.assertIn("--no-ovs", said)

    def test_bad_arguments_change_nothing(self):
        for words, named in ((["--bogus"], "--bogus"), (["--case", "nope"], "nope"), (["--flows", "0"], "1 to 1000000"),
                             (["--flows", "many"], "many"), (["--rounds", "0"], "more than 0"), (["--rounds", "-1"], "more than 0"),
                             (["--seconds", "-1"], "more than 0"), (["--seconds", "inf"], "more than 0"),
                             (["--quick", "--policy-scale"], "comes first"), (["--policy-scale", "--quick"], "--quick"),
                             (["--policy-scale", "--pods", "0"], "more than 0"), (["--policy-scale", "--local", "9", "--pods", "9"], "below --pods")):
            status, said, called = self.run_bench(*words)
            self.assertEqual((status, called), (2, []), said)
            self.assertIn(named, said)

    def test_good_arguments_go_on(self):
        self.assertIn("id", self.run_bench("--quick", "--rounds", "1")[2])
        self.assertIn("id", self.run_bench("--policy-scale", "--pods", "1000")[2])


if __name__ == "__main__":
    unittest.main()
