"""What agent and commands may ask the guard, and what it answers.  docs/formats/guard-link.md

    request = canonical JSON {"v": 1, "ask": hello | offer | report | records | confirm | explain | rehearse, …}
    answer  = canonical JSON {"v": 1, "answer": welcome | taken | report | records | confirmed | explanation | rehearsal
              | error, …}

Each travels as one frame, one answer to one request, in order. No request decides anything: an offer is verified by
the guard itself. A member more or less is another version, and a reader refuses any other than its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from shared import canonical
from shared.canonical import Json
from shared.devices.device import MAX_TEXT_CHARS
from shared.devices.printable import printable
from shared.devices.record import MAX_BYTES as MAX_RECORD_BYTES
from shared.devices.verdict import Cause, Target
from shared.errors import Malformed
from shared.fields import Fields, decode_base64, encode_base64
from shared.fleet.devices import MAX_DETAIL_CHARS, DeviceState, GuardReport

VERSION = 1
MAX_REQUEST_BYTES, MAX_ANSWER_BYTES = 5 << 18, 1 << 20  # an offer of the largest bundles in base64; the rest is small
# As shared/policy/bundle.py has them; that module needs cryptography, for which the guard has no room.
MAX_HEAD_BYTES, MAX_LAYER_BYTES = 256 << 10, 512 << 10
MAX_RECORDS = 128  # as many as an answer has room for
MAX_RULE_CHARS, MAX_CONTACT_CHARS, MAX_ERROR_CHARS = 8192, 300, 500
_PORT = r"[0-9a-z.-]{1,31}"


# ---- requests


@dataclass(frozen=True)
class Hello:
    """Asks who is there and how many records it has."""

    ask: ClassVar = "hello"

    def json(self) -> dict[str, Json]:
        return {}

    @classmethod
    def parse(cls, _fields: Fields) -> "Hello":
        return cls()


@dataclass(frozen=True)
class Offer:
    """A policy's bundles as they came; the guard verifies them itself and says what became of them in its report."""

    head: bytes | None
    layer: bytes | None
    ask: ClassVar = "offer"

    def json(self) -> dict[str, Json]:
        given = {"head": self.head, "layer": self.layer}
        return {name: encode_base64(bundle) for name, bundle in given.items() if bundle is not None}

    @classmethod
    def parse(cls, fields: Fields) -> "Offer":
        return cls(
            fields.base64("head", max_bytes=MAX_HEAD_BYTES) if fields.has("head") else None,
            fields.base64("layer", max_bytes=MAX_LAYER_BYTES) if fields.has("layer") else None,
        )


@dataclass(frozen=True)
class Report:
    """Asks for the device tree with its verdicts, and what the guard watches."""

    ask: ClassVar = "report"

    def json(self) -> dict[str, Json]:
        return {}

    @classmethod
    def parse(cls, _fields: Fields) -> "Report":
        return cls()


@dataclass(frozen=True)
class Records:
    """Asks for the records that follow number `after`, at most `most` of them, oldest first."""

    after: int
    most: int
    ask: ClassVar = "records"

    def json(self) -> dict[str, Json]:
        return {"after": self.after, "most": self.most}

    @classmethod
    def parse(cls, fields: Fields) -> "Records":
        return cls(fields.integer("after"), fields.integer("most", least=1, most=MAX_RECORDS))


@dataclass(frozen=True)
class Confirm:
    """Says that every record up to this number is durable in the audit journal."""

    upto: int
    ask: ClassVar = "confirm"

    def json(self) -> dict[str, Json]:
        return {"upto": self.upto}

    @classmethod
    def parse(cls, fields: Fields) -> "Confirm":
        return cls(fields.integer("upto"))


@dataclass(frozen=True)
class Explain:
    """Asks why the device in a port is treated as it is."""

    port: str
    ask: ClassVar = "explain"

    def json(self) -> dict[str, Json]:
        return {"port": self.port}

    @classmethod
    def parse(cls, fields: Fields) -> "Explain":
        return cls(fields.text("port", _PORT))


@dataclass(frozen=True)
class Rehearse:
    """Asks what would be decided about a device that nobody plugged in: a keyboard of the guard's own making."""

    ask: ClassVar = "rehearse"

    def json(self) -> dict[str, Json]:
        return {}

    @classmethod
    def parse(cls, _fields: Fields) -> "Rehearse":
        return cls()


Request: TypeAlias = Hello | Offer | Report | Records | Confirm | Explain | Rehearse


# ---- answers


@dataclass(frozen=True)
class Welcome:
    """`records` is the number of the guard's last record, 0: none; `confirmed` is how far they were confirmed."""

    software: str
    records: int
    confirmed: int
    answer: ClassVar = "welcome"

    def json(self) -> dict[str, Json]:
        return {"software": self.software, "records": self.records, "confirmed": self.confirmed}

    @classmethod
    def parse(cls, fields: Fields) -> "Welcome":
        return cls(fields.text("software", max_chars=64), fields.integer("records"), fields.integer("confirmed"))


@dataclass(frozen=True)
class Taken:
    """The offer is here; whether the guard accepts it is another question."""

    answer: ClassVar = "taken"

    def json(self) -> dict[str, Json]:
        return {}

    @classmethod
    def parse(cls, _fields: Fields) -> "Taken":
        return cls()


@dataclass(frozen=True)
class Reported:
    report: GuardReport
    answer: ClassVar = "report"

    def json(self) -> dict[str, Json]:
        return {"report": self.report.json()}

    @classmethod
    def parse(cls, fields: Fields) -> "Reported":
        return cls(GuardReport.parse(fields.fields("report")))


@dataclass(frozen=True)
class Given:
    """Records as the guard wrote them, byte for byte; none where there are no more."""

    records: tuple[bytes, ...]
    answer: ClassVar = "records"

    def json(self) -> dict[str, Json]:
        return {"records": [encode_base64(record) for record in self.records]}

    @classmethod
    def parse(cls, fields: Fields) -> "Given":
        records = fields.items("records", most=MAX_RECORDS)
        return cls(tuple(decode_base64(record, "guard record", MAX_RECORD_BYTES) for record in records))


@dataclass(frozen=True)
class Confirmed:
    upto: int
    answer: ClassVar = "confirmed"

    def json(self) -> dict[str, Json]:
        return {"upto": self.upto}

    @classmethod
    def parse(cls, fields: Fields) -> "Confirmed":
        return cls(fields.integer("upto"))


@dataclass(frozen=True)
class Explanation:
    """A device, its verdict, the rule that decided or came nearest (empty: none), and whom to call in which language.

    The words are made by whoever shows it.
    """

    device: DeviceState
    rule: str
    contact: str
    language: str
    answer: ClassVar = "explanation"

    def json(self) -> dict[str, Json]:
        return {
            "device": self.device.json(), "rule": self.rule, "contact": self.contact, "language": self.language,
        }  # fmt: skip

    @classmethod
    def parse(cls, fields: Fields) -> "Explanation":
        return cls(
            DeviceState.parse(fields.mapping("device", most=32)),
            fields.text("rule", max_chars=MAX_RULE_CHARS),
            fields.text("contact", max_chars=MAX_CONTACT_CHARS),
            fields.text("language", r"[a-z]{2}"),
        )


@dataclass(frozen=True)
class Rehearsal:
    """A verdict about what was never there: it was decided, and nothing was enforced."""

    id: str
    name: str
    interfaces: str
    target: Target
    would_be: Target
    cause: Cause
    rule: int
    detail: str
    answer: ClassVar = "rehearsal"

    def json(self) -> dict[str, Json]:
        return {
            "id": self.id, "name": self.name, "interfaces": self.interfaces, "target": self.target.value,
            "would_be": self.would_be.value, "cause": self.cause.value, "rule": self.rule, "detail": self.detail,
        }  # fmt: skip

    @classmethod
    def parse(cls, fields: Fields) -> "Rehearsal":
        return cls(
            fields.text("id", r"[0-9a-f]{4}:[0-9a-f]{4}"),
            fields.text("name", max_chars=MAX_TEXT_CHARS),
            fields.text("interfaces", r"[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}"),
            Target(fields.choice("target", list(Target))),
            Target(fields.choice("would_be", list(Target))),
            Cause(fields.choice("cause", list(Cause))),
            fields.integer("rule", most=1_000_000),
            fields.text("detail", max_chars=MAX_DETAIL_CHARS),
        )


@dataclass(frozen=True)
class Error:
    """The request was not granted, and why. After one for a request out of form the guard hangs up."""

    text: str
    answer: ClassVar = "error"

    @classmethod
    def of(cls, exc: Exception) -> "Error":
        return cls(printable(str(exc), MAX_ERROR_CHARS))

    def json(self) -> dict[str, Json]:
        return {"text": self.text}

    @classmethod
    def parse(cls, fields: Fields) -> "Error":
        return cls(fields.text("text", max_chars=MAX_ERROR_CHARS))


Answer: TypeAlias = Welcome | Taken | Reported | Given | Confirmed | Explanation | Rehearsal | Error

_ASKS: Mapping[str, type[Request]] = {
    kind.ask: kind for kind in (Hello, Offer, Report, Records, Confirm, Explain, Rehearse)
}
_ANSWERS: Mapping[str, type[Answer]] = {
    kind.answer: kind for kind in (Welcome, Taken, Reported, Given, Confirmed, Explanation, Rehearsal, Error)
}


def encode_request(request: Request) -> bytes:
    return canonical.encode({**request.json(), "v": VERSION, "ask": request.ask})


def parse_request(payload: bytes) -> Request:
    """Raises Malformed."""
    fields = _fields(payload, "guard request", MAX_REQUEST_BYTES)
    request = _ASKS[fields.choice("ask", list(_ASKS))].parse(fields)
    fields.done()
    return request


def encode_answer(answer: Answer) -> bytes:
    """Raises Malformed: what it is made of cannot be written."""
    return canonical.encode({**answer.json(), "v": VERSION, "answer": answer.answer})


def parse_answer(payload: bytes) -> Answer:
    """Raises Malformed."""
    fields = _fields(payload, "guard answer", MAX_ANSWER_BYTES)
    answer = _ANSWERS[fields.choice("answer", list(_ANSWERS))].parse(fields)
    fields.done()
    return answer


def _fields(payload: bytes, what: str, most_bytes: int) -> Fields:
    if len(payload) > most_bytes:
        raise Malformed(what, f"larger than {most_bytes} bytes")
    fields = Fields(canonical.parse(payload, what), what)
    fields.version(VERSION)
    return fields
