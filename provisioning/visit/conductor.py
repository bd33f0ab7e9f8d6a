"""Does one step after the other; what each said is durable before the next is begun."""

from collections.abc import Callable, Sequence

from provisioning.finding import Finding, Verdict, lines
from provisioning.visit.answers import fix
from provisioning.visit.record import State, VisitRecord
from provisioning.visit.step import Context, Step
from provisioning.visit.store import VisitStore
from shared.devices.printable import printable
from shared.errors import IntegrityFailure, Refused, Unavailable

_MOST_CHARS = 800
_WIDE, _FEW = 12, 3


class Conductor:
    def __init__(self, store: VisitStore, context: Context, say: Callable[[str], None]) -> None:
        self._store, self._context, self._say = store, context, say

    def conduct(self, steps: Sequence[Step], record: VisitRecord) -> VisitRecord:
        """Do `steps` until one breaks; return the record as it is stored. Raises VisitNotStored."""
        self._store.store(record)
        for step in steps:
            record = record.begun(step.name, self._context.clock.now())
            self._store.store(record)
            findings = self._findings(step)
            broken = breaking(step, findings)
            record = record.ended(step.name, findings, self._context.clock.now(), is_broken=bool(broken))
            self._store.store(record)
            self._tell(step, findings, broken)
            if broken:
                break
        return record

    def _findings(self, step: Step) -> Sequence[Finding]:
        try:
            # A step that says nothing proved nothing.
            return step.run(self._context) or [Finding(step.name, Verdict.FAIL, "it looked at nothing", fix(""))]
        except (Refused, IntegrityFailure, Unavailable) as exc:
            said = printable("; ".join(line.strip() for line in str(exc).splitlines()), _MOST_CHARS)
        except OSError as exc:
            said = printable(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc), _MOST_CHARS)
        return [Finding(step.name, Verdict.FAIL, said, fix(said))]

    def _tell(self, step: Step, findings: Sequence[Finding], broken: Sequence[Finding]) -> None:
        doubtful = [one for one in findings if one.verdict is not Verdict.PASS]
        word = "broken" if broken else "open" if doubtful else "ok"
        counted = f"{len(findings) - len(doubtful)} of {len(findings)} passed"
        self._say(f"{step.name:{_WIDE}} {word:6}  {counted if len(findings) > _FEW else findings[0].reason}")
        for line in lines(broken or doubtful):
            self._say(f"  {line}")


def breaking(step: Step, findings: Sequence[Finding]) -> list[Finding]:
    """Return what the visit breaks off for."""
    return [one for one in findings if one.verdict is Verdict.FAIL and one.check not in step.advised]


def unproved(steps: Sequence[Step], record: VisitRecord) -> list[Finding]:
    """Return what a whole visit leaves open: needed, and not passed."""
    return [
        one
        for step in steps
        for one in record.findings(step.name)
        if one.verdict is not Verdict.PASS and one.check not in step.advised
    ]


def is_whole(steps: Sequence[Step], record: VisitRecord) -> bool:
    return all(record.state(step.name) is State.DONE for step in steps)
