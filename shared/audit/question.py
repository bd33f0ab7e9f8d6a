"""A question to the log: which records, by what their public parts say and by what their private parts are about.

Conditions that name a patient or a study are answered by blind index at the centre; all others can be held against a
record by whoever has its public part.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from itertools import chain

from shared import clock
from shared.audit.events import MAX_EVENT_CHARS, Action, Outcome
from shared.audit.record import ReadRecord
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

_TEXT = r"[^\x00-\x1f\x7f]{1,200}"
_EVENT = r"[a-z-]+\.[a-z-]+"
_SERIAL = "serial: "
_WHO, _WHAT = {"person", "host"}, {"person", "host", "device"}
BLIND = ("patient", "study")


@dataclass(frozen=True)
class Question:
    """None: any. `since` and `until` are times of the source's clock, the second one excluded."""

    person: str | None = None
    host: str | None = None
    device: str | None = None  # a port, a sysfs name or a serial number
    event: str | None = None
    action: Action | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None
    patient: str | None = None
    study: str | None = None

    def json(self) -> dict[str, Json]:
        """Return what was asked, leaving out what was not."""
        asked = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: _shown(value) for name, value in asked if value is not None}

    @classmethod
    def parse(cls, value: Json) -> "Question":
        """Raises Malformed; the error names the field and never its value."""
        asked = Fields(value, "question to the log")
        question = cls(
            person=_text(asked, "person"),
            host=_text(asked, "host"),
            device=_text(asked, "device"),
            event=asked.text("event", _EVENT, max_chars=MAX_EVENT_CHARS) if asked.has("event") else None,
            action=Action(asked.choice("action", tuple(Action))) if asked.has("action") else None,
            outcome=_outcome(asked.integer("outcome", most=12)) if asked.has("outcome") else None,
            since=asked.instant("since") if asked.has("since") else None,
            until=asked.instant("until") if asked.has("until") else None,
            patient=_text(asked, "patient"),
            study=_text(asked, "study"),
        )
        asked.done()
        return question

    def matches(self, record: ReadRecord) -> bool:
        """Whether a record is what the public conditions ask for; those of a patient or study are not looked at."""
        wanted = (
            (self.event, record.event.value),
            (self.action, record.action),
            (self.outcome, record.outcome),
        )
        named = set(names_of(record))
        return (
            all(one is None or one == found for one, found in wanted)
            and all((kind, name) in named for kind, name in self.names())
            and (self.since is None or self.since <= record.time)
            and (self.until is None or record.time < self.until)
        )

    def names(self) -> tuple[tuple[str, str], ...]:
        """Return the conditions that ask for a name, each as `names_of` has it."""
        asked = (("person", self.person), ("host", self.host), ("device", self.device))
        return tuple((kind, name) for kind, name in asked if name is not None)


def names_of(*records: ReadRecord) -> frozenset[tuple[str, str]]:
    """Return by which persons, hosts and devices records are found, whatever their part in them."""
    # All that they say first, each once: every record that is taken in comes by here, and most say the same.
    persons = {(who.kind, who.name) for who in set(chain.from_iterable([record.who for record in records]))}
    things = {(what.kind, what.name) for what in set(chain.from_iterable([record.what for record in records]))}
    serials = {name.removeprefix(_SERIAL) for kind, name in things if kind == "fact" and name.startswith(_SERIAL)}
    hosts = {source for source in {record.source for record in records} if source.startswith("host-")}
    return frozenset(
        {(kind, name) for kind, name in persons if kind in _WHO}
        | {(kind, name) for kind, name in things if kind in _WHAT}
        | {("device", name) for name in serials}
        | {("host", name) for name in hosts}
    )


def _text(asked: Fields, name: str) -> str | None:
    return asked.text(name, _TEXT) if asked.has(name) else None


def _outcome(value: int) -> Outcome:
    try:
        return Outcome(value)
    except ValueError as exc:
        raise Malformed("question to the log field 'outcome'", "expected 0, 4, 8 or 12") from exc


def _shown(value: object) -> Json:
    if isinstance(value, datetime):
        return clock.text(value)
    return int(value) if isinstance(value, Outcome) else str(value)
