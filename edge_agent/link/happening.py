"""A record of the guard as the audit journal has it: what it is about, its number and digest, its time, its facts.

    what = {device | check | guard, record, digest, time, fact "name: value" ...}

A fact longer than a name may be goes on in the next one. A guard record of the largest size has room: its 4,096 bytes
make at most 32 facts and 21 continuations, and a record takes 64 subjects.
"""

from collections.abc import Iterator

from shared import clock
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.devices.record import GuardRecord
from shared.identity import HostId

GUARD = "leadglass-guard"
_FACT_CHARS = 200
_KINDS = {"device": "device", "host": "check", "guard": "guard"}


def happening(host_id: HostId, record: GuardRecord) -> Happening:
    kind = _KINDS[record.event.value.partition(".")[0]]
    return Happening(
        Event(record.event.value),
        Action.EXECUTE,
        Outcome(record.outcome),
        _who(host_id),
        (
            Subject(kind, record.subject),
            Subject("record", str(record.number)),
            Subject("digest", record.digest.hex()),
            Subject("time", clock.text(record.time)),
            *_facts(record),
        ),
        record.fields.get("reason", ""),
    )


def chain_broken(host_id: HostId, why: str) -> Happening:
    """What the guard gave does not hold together: evidence may be missing, so the outcome is the gravest."""
    return Happening(
        Event.GUARD_CHAIN_BROKEN, Action.EXECUTE, Outcome.MAJOR_FAILURE, _who(host_id), (Subject("guard", GUARD),), why
    )


def _who(host_id: HostId) -> tuple[Participant, ...]:
    return Participant("service", GUARD, True), Participant("host", str(host_id), False)


def _facts(record: GuardRecord) -> Iterator[Subject]:
    for name, value in sorted(record.fields.items()):
        if name != "reason":
            fact = f"{name}: {value}"
            yield from (Subject("fact", fact[at : at + _FACT_CHARS]) for at in range(0, len(fact), _FACT_CHARS))
