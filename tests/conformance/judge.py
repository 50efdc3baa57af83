"""Runs cases on a rig and compares what they expect with what podwired says and does."""
from dataclasses import dataclass

from api import ApiError
from case_file import Cell, Probe
from rig import LabError
from wire import Attempt

BASELINE = "before any policy"


@dataclass
class Difference:
    step: str
    cell: Cell
    by: str  # explain, packets
    got: str
    reason: str


class Judge:
    def __init__(self, rig, wire, by):
        self.rig, self.wire, self.by = rig, wire, by
        self.cells = 0
        rig.on_release = wire.release

    def run(self, case):
        """A list of differences; LabError or ApiError if a step could not be made."""
        fresh = self.rig.set_head(case)
        ports = {(c.probe.protocol, c.probe.port) for step in case.steps for c in step.cells}
        differences = []
        if fresh and "packets" in self.by:
            differences += self._check(BASELINE, self._baseline(case), ports, ["packets"])
        for i, step in enumerate(case.steps):
            if differences and differences[0].step == BASELINE:
                break  # the rig is at fault: nothing else would mean anything
            try:
                self.rig.step(step)
            except (ApiError, LabError) as e:
                raise type(e)(f"step {i}: {e}") from None
            differences += self._check(str(i), step.cells, ports, self.by)
        return differences

    def _baseline(self, case):
        """Every pair of pods by the case's first probe: else a rig without any traffic would pass what is denied."""
        probe = next(c.probe for step in case.steps for c in step.cells)
        pods = [n for n, h in case.hosts.items() if h.kind == "pod"]
        return [Cell(Probe(probe.text, probe.port, probe.protocol, 0), a, b, "allow") for a in pods for b in pods if a != b]

    def _check(self, step, cells, ports, by):
        differences, tries = [], []
        for cell in cells:
            source, target = (self.rig.placed.get(n) for n in (cell.source, cell.target))
            trouble = next((f"{n} is not there" for n, p in ((cell.source, source), (cell.target, target)) if p is None), "")
            pairs = [] if trouble else self._pairs(cell.probe.family, source, target)
            if not trouble and not pairs:
                trouble = "the two have no addresses of one family"
            if trouble and step == BASELINE:
                continue
            if trouble:
                differences.append(Difference(step, cell, "rig", "no answer possible", trouble))
            elif "pod" in (source.kind, target.kind):  # else it never comes near the switch
                tries += [(cell, source, target, a, b) for a, b in pairs]
        for kind in by:
            differences += self._compare(step, kind, tries, ports)
        return differences

    @staticmethod
    def _pairs(family, source, target):
        families = [family] if family else [4, 6]
        pairs = [[(a, b) for a in source.of(f) for b in target.of(f)] for f in families]
        return next((p for p in pairs if p), [])

    def _compare(self, step, kind, tries, ports):
        self.cells += len(tries)
        if kind == "explain":
            answers = self._explain(tries)
            return [Difference(step, cell, kind, got, e.summary + why(e)) for (cell, *_), (got, e) in zip(tries, answers)
                    if got != cell.expected]
        wrong = [(t, got) for t, got in zip(tries, self._connect(tries, ports)) if got != t[0].expected]
        reasons = self._explain([t for t, _ in wrong])
        return [Difference(step, t[0], kind, got, f"explain says {said}: {e.summary}{why(e)}") for (t, got), (said, e) in zip(wrong, reasons)]

    def _explain(self, tries):
        if not tries:
            return []
        answers = self.rig.api.explain([(a, b, cell.probe.protocol, cell.probe.port) for cell, _, _, a, b in tries])
        return [({"allowed": "allow", "denied": "deny"}[e.verdict], e) for e in answers]

    def _connect(self, tries, ports):
        """What came of each: allow, deny (no answer, and the other end has seen nothing), or what else happened."""
        places = {id(p): p for _, source, target, _, _ in tries for p in (source, target)}
        for p in places.values():
            self.wire.listen(p, sorted(ports))
        attempts = [None if source.slot is target.slot else
                    Attempt(source.slot, a, b, cell.probe.protocol, cell.probe.port, cell.expected)
                    for cell, source, target, a, b in tries]
        pods = {p.slot.ns for p in places.values() if p.kind == "pod"}
        self.wire.run([a for a in attempts if a], pods)
        return [self._outcome(a) for a in attempts]

    @staticmethod
    def _outcome(attempt):
        if attempt is None:
            return "allow"  # an end and itself: its packets never leave it
        if not attempt.outcome and attempt.delivered:
            return "delivered, but the answer did not come back"
        return attempt.outcome or "deny"


def why(explanation):
    """What stands in the steps that decided, in one line."""
    lines = [line.strip() for step in explanation.steps if step.outcome in ("deny", "drop") for line in step.details]
    return f" [{'; '.join(lines)}]" if lines else ""
