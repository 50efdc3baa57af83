"""The scenarios' captures are what their descriptions say."""
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import scenarios  # noqa: E402
from captures import Captures, records  # noqa: E402


def frames(path):
    with open(path, "rb") as f:
        data = f.read()
    return [data[at + 16:end] for at, end in records(data)]


def target(frame):
    return int.from_bytes(frame[30:34], "big"), int.from_bytes(frame[36:38], "big")


class ScenariosTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.captures = Captures(directory.name)
        short = mock.patch.object(scenarios, "FLOOD_PACKETS", 400)
        short.start()
        self.addCleanup(short.stop)
        share = mock.patch.object(scenarios, "share", lambda *_, **__: None)  # made with scapy
        share.start()
        self.addCleanup(share.stop)

    def attacker(self, scenario):
        return next(p for p in scenario.pods if p.hostile)

    def test_a_tenth_of_attack1s_attacker_is_hostile(self):
        allowed = set(scenarios.attackers_targets())
        self.assertGreater(len(allowed), 20)
        sent = frames(self.attacker(scenarios.attack1(self.captures)).capture)
        self.assertEqual(len(sent), 400)
        self.assertEqual({i % 10 for i, f in enumerate(sent) if target(f) not in allowed}, {0})
        self.assertEqual(len(set(sent)), 40 + 100, "as many tuples as hostile packets, beside the flows")

    def test_what_is_dropped_at_first_sight_differs_in_nothing_else(self):
        for make in (scenarios.attack, scenarios.attack1):
            pod = self.attacker(make(self.captures))
            sent, dropped = frames(pod.capture), frames(pod.dropped)
            self.assertEqual([f[6:] for f in sent], [f[6:] for f in dropped])
            elsewhere = bytes.fromhex(scenarios.ELSEWHERE.replace(":", ""))
            self.assertEqual(sum(f[:6] == elsewhere for f in dropped), pod.hostile * len(sent))

    def test_alone_nobody_is_hostile(self):
        for make in (scenarios.attack, scenarios.attack1):
            scenario = make(self.captures)
            pod = self.attacker(scenario)
            self.assertEqual([p.capture for p in scenario.alone().pods][-1], pod.alone)
            self.assertEqual([p.capture for p in scenario.dropped().pods][-1], pod.dropped)
            self.assertFalse(any(p.hostile for p in scenario.alone().pods))
            self.assertEqual(self.attacker(scenario), pod, "the scenario itself stays")
        targets = set(scenarios.attackers_targets())
        self.assertTrue(all(target(f) in targets for f in frames(pod.alone)))
        self.assertEqual(len(frames(pod.alone)), len(frames(pod.capture)))

    def test_new_connections_are_udp_or_syns(self):
        for make, proto in ((scenarios.cps, 17), (scenarios.cps_syn, 6)):
            for pod in make(self.captures).pods:
                sent = frames(pod.capture)
                self.assertEqual({f[23] for f in sent}, {proto})
                self.assertEqual(len(set(sent)), 50)


if __name__ == "__main__":
    unittest.main()
