"""One audit record: a public part that stays for ever, and a private part that can be erased.

    public     = canonical JSON, the members of `AuditRecord`
    commitment = SHA-256(salt (32) || private), a member of the public part; null where there is no private part
    sealed     = HPKE box labelled AUDIT_PRIVATE, bound to the commitment, holding salt || private
    leaf       = SHA-256(0x00 || public), the leaf hash of RFC 6962 section 2.1; `prev` is the leaf of the record before

Destroying the key of the sealed part erases a person, and every leaf, chain and proof still holds. `events.py`
has the words. docs/formats/audit-record.md
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple, Protocol

from shared import canonical, clock
from shared.audit.events import (
    EVENT_CODES,
    Action,
    Event,
    EventName,
    Happening,
    Outcome,
    Participant,
    Subject,
    UnknownEvent,
)
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields
from shared.identity import CONTROL_PLANE, SOURCE_PATTERN
from shared.sealing.hpke import BoxLabel

GENESIS = bytes(32)
SALT_BYTES = 32
MAX_PUBLIC_BYTES = 16_384
MAX_SEALED_BYTES = 32_768
MAX_NAME_CHARS = 200
MAX_WHO, MAX_WHAT = 16, 64
MAX_REASON_CHARS = 1024
_NAME = rf"[^\x00-\x1f\x7f]{{1,{MAX_NAME_CHARS}}}"
_NAMED, _KIND = re.compile(_NAME), re.compile(r"[a-z]{1,32}")
_PARTICIPANT, _SUBJECT = {"kind", "name", "requestor"}, {"kind", "name"}
_KINDS = ("person", "host", "service", "ae")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


_EVENTS = {one.value: one for one in Event}
_ACTIONS = {one.value: one for one in Action}
_OUTCOMES = {str(int(one)): one for one in Outcome}


class Named(Protocol):
    """A participant or a subject, whoever read it."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...


class ReadRecord(Protocol):
    """A record as it was read, by `AuditRecord.parse` or by a reader that takes and refuses the same bytes."""

    @property
    def source(self) -> str: ...

    @property
    def seq(self) -> int: ...

    @property
    def prev(self) -> bytes: ...

    @property
    def time(self) -> datetime: ...

    @property
    def happened(self) -> int: ...

    @property
    def event(self) -> EventName: ...

    @property
    def action(self) -> Action: ...

    @property
    def outcome(self) -> Outcome: ...

    @property
    def who(self) -> Sequence[Named]: ...

    @property
    def what(self) -> Sequence[Named]: ...

    @property
    def commitment(self) -> bytes | None: ...


@dataclass(frozen=True)
class AuditRecord:
    source: str
    seq: int
    prev: bytes
    time: datetime
    event: EventName
    action: Action
    outcome: Outcome
    who: tuple[Participant, ...]
    what: tuple[Subject, ...]
    reason: str
    commitment: bytes | None

    @property
    def happened(self) -> int:
        """`time` in microseconds of 1970, by which records are ordered."""
        return clock.microseconds(self.time)

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "source": self.source,
                "seq": self.seq,
                "prev": self.prev.hex(),
                "time": clock.text(self.time),
                "event": self.event.value,
                "code": self.event.code if isinstance(self.event, UnknownEvent) else EVENT_CODES[self.event],
                "action": self.action.value,
                "outcome": int(self.outcome),
                "who": [p.json() for p in self.who],
                "what": [s.json() for s in self.what],
                "reason": self.reason,
                "private": self.commitment.hex() if self.commitment is not None else None,
            }
        )

    @classmethod
    def parse(cls, public: bytes) -> "AuditRecord":
        """Read a public part; what parses prints back unchanged. Raises Malformed."""
        if len(public) > MAX_PUBLIC_BYTES:
            raise Malformed("audit record", f"larger than {MAX_PUBLIC_BYTES} bytes")
        return _plain(public) or cls._parse_any(public)

    @classmethod
    def _parse_any(cls, public: bytes) -> "AuditRecord":
        fields = Fields(canonical.parse(public, "audit record"), "audit record")
        fields.version()
        source = fields.text("source", SOURCE_PATTERN)
        record = cls(
            source=source,
            seq=fields.integer("seq", least=1),
            prev=fields.hex("prev", 32),
            time=fields.instant("time"),
            event=_event(fields, source),
            action=_ACTIONS[fields.choice("action", _ACTIONS)],
            outcome=_outcome(fields.integer("outcome", most=12)),
            who=tuple(_participant(item) for item in fields.items("who", most=MAX_WHO)),
            what=tuple(_subject(item) for item in fields.items("what", most=MAX_WHAT)),
            reason=fields.text("reason", max_chars=MAX_REASON_CHARS),
            commitment=None if fields.is_null("private") else fields.hex("private", 32),
        )
        fields.done()
        return record


# Nearly every record is written in these characters. What matches has the one encoding: with no escapes in it, nothing
# is left that could be written otherwise.
_TEXT_OF = r'[^"\\\x00-\x1f\x7f]'
_ONE_SUBJECT = rf'\{{"kind":"([a-z]{{1,32}})","name":"({_TEXT_OF}{{1,{MAX_NAME_CHARS}}})"\}}'
_ONE_PARTICIPANT = (
    rf'\{{"kind":"({"|".join(_KINDS)})","name":"({_TEXT_OF}{{1,{MAX_NAME_CHARS}}})","requestor":(true|false)\}}'
)


def _list_of(one: str) -> str:
    inside = re.sub(r"\((?!\?)", "(?:", one)
    return rf"\[((?:{inside}(?:,{inside})*+)?+)\]"


_PLAIN = re.compile(
    r'\{"action":"([CRUDE])","code":"([0-9]{6})","event":"([a-z.-]++)","outcome":(0|4|8|12),"prev":"([0-9a-f]{64})",'
    rf'"private":(?:null|"([0-9a-f]{{64}})"),"reason":"({_TEXT_OF}{{0,{MAX_REASON_CHARS}}}+)","seq":([1-9][0-9]{{0,14}}+),'
    rf'"source":"({SOURCE_PATTERN})","time":"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T(?:[01][0-9]|2[0-3])(?::[0-9]{{2}}){{2}}'
    rf'\.[0-9]{{6}}Z)","v":1,"what":{_list_of(_ONE_SUBJECT)},"who":{_list_of(_ONE_PARTICIPANT)}\}}'
)
_SUBJECTS, _PARTICIPANTS = re.compile(_ONE_SUBJECT), re.compile(_ONE_PARTICIPANT)


def _plain(public: bytes) -> AuditRecord | None:
    """Read a record by one expression, in a quarter of the time; None for whatever that does not read."""
    try:
        found = _PLAIN.fullmatch(public.decode())
        if found is None:
            return None
        action, code, name, outcome, prev, private, reason, seq, source, time, what, who = found.groups()
        event, subjects, participants = _EVENTS.get(name), _SUBJECTS.findall(what), _PARTICIPANTS.findall(who)
        if event is None or EVENT_CODES[event] != code or len(subjects) > MAX_WHAT or len(participants) > MAX_WHO:
            return None
        return AuditRecord(
            source, int(seq), bytes.fromhex(prev), datetime.fromisoformat(time), event, _ACTIONS[action],
            _OUTCOMES[outcome], tuple(Participant(kind, named, asked == "true") for kind, named, asked in participants),
            tuple(Subject(*one) for one in subjects), reason, bytes.fromhex(private) if private else None,
        )  # fmt: skip
    except ValueError:
        return None


def _event(fields: Fields, source: str) -> EventName:
    """Raises Malformed: also an unknown event of the centre's own log, on which rests who is let in."""
    name = fields.peek_text("event")
    if name not in _EVENTS and source != CONTROL_PLANE:
        return UnknownEvent.parse(fields)
    event = _EVENTS[fields.choice("event", _EVENTS)]
    fields.choice("code", (EVENT_CODES[event],))
    return event


class StoredRecord(NamedTuple):
    """One record as it is kept and sent: the exact public bytes, and the sealed private part or none.

    A tuple, for one is made of each record that is taken in or proved.
    """

    public: bytes
    sealed: bytes | None

    @property
    def leaf(self) -> bytes:
        return leaf_hash(self.public)


class PrivatePartMismatch(IntegrityFailure):
    def __init__(self, source: str, seq: int) -> None:
        super().__init__(f"sealed private part beside record {seq} of {source} is not the one committed to")
        self.source, self.seq = source, seq


def leaf_hash(public: bytes) -> bytes:
    """Return the RFC 6962 leaf hash of a public part."""
    return sha256(b"\x00" + public).digest()


def leaf_hashes(publics: Iterable[bytes]) -> list[bytes]:
    """Return those of many. What has taken in the first byte is copied sooner than another is begun."""
    begun, hashes = sha256(b"\x00"), list[bytes]()
    for public in publics:
        hashing = begun.copy()
        hashing.update(public)
        hashes.append(hashing.digest())
    return hashes


class PrivateSealer(Protocol):
    """Seals `salt || private part`, bound to the commitment: to a key, or to the keys of everybody concerned."""

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes, /) -> bytes: ...


class PrivateOpener(Protocol):
    def open(self, label: BoxLabel, bound: bytes, box: bytes, /) -> bytes: ...


def compose(
    happening: Happening,
    *,
    source: str,
    seq: int,
    prev: bytes,
    time: datetime,
    salt: bytes,
    key: PrivateSealer | None,
) -> StoredRecord:
    """Return the record of `happening`, chained to `prev`, its private part sealed to `key`.

    Where no key is known yet, or the private part cannot be written, it is left out, never written in clear; the record
    then says so. Names and reasons are cut and control characters replaced: what a hostile peer sent as its name must
    not make a record that the centre refuses, for that would stop the chain. `salt` is 32 fresh random bytes.

    Raises Malformed: too many participants or subjects for one record; nothing was made.
    """
    commitment = sealed = None
    reasons = [happening.reason] if happening.reason else []
    if happening.private is not None:
        try:
            commitment, sealed = _seal_private(happening.private, salt, key)
        except Malformed as exc:
            reasons.append(f"private part not kept: {exc.why}")
    record = AuditRecord(
        source, seq, prev, time, happening.event, happening.action, happening.outcome,
        tuple(replace(who, name=readable(who.name, MAX_NAME_CHARS)) for who in happening.who),
        tuple(replace(what, name=readable(what.name, MAX_NAME_CHARS)) for what in happening.what),
        readable("; ".join(reasons), MAX_REASON_CHARS) if reasons else "", commitment,
    )  # fmt: skip
    public = record.encode()
    AuditRecord.parse(public)
    return StoredRecord(public, sealed)


def _seal_private(private: dict[str, Json], salt: bytes, key: PrivateSealer | None) -> tuple[bytes, bytes]:
    if key is None:
        raise Malformed("audit private part", "no key to seal it to")
    salted = salt + canonical.encode(dict(private))
    commitment = sha256(salted).digest()
    sealed = key.seal(BoxLabel.AUDIT_PRIVATE, commitment, salted)
    if len(sealed) > MAX_SEALED_BYTES:
        raise Malformed("audit private part", f"larger than {MAX_SEALED_BYTES} bytes")
    return commitment, sealed


def readable(text: str, most: int) -> str:
    """Return `text` as one line of at most `most` characters, marked where something could not be shown."""
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:most] or "?"


def open_private(stored: StoredRecord, key: PrivateOpener) -> dict[str, Json] | None:
    """Return the private part, None where the record has none. Raises what `open_salted` does."""
    salted = open_salted(stored, key)
    if salted is None:
        return None
    private = canonical.parse(salted[SALT_BYTES:], "audit private part")
    return private if isinstance(private, dict) else {"value": private}


def open_salted(stored: StoredRecord, key: PrivateOpener) -> bytes | None:
    """Return salt and private part as they were committed to, None where the record has none.

    Raises Malformed, WrongKey, BoxNotAuthentic, PrivatePartMismatch, and what the key's own `open` does.
    """
    record = AuditRecord.parse(stored.public)
    if record.commitment is None:
        return None
    if stored.sealed is None:
        raise PrivatePartMismatch(record.source, record.seq)
    salted = key.open(BoxLabel.AUDIT_PRIVATE, record.commitment, stored.sealed)
    verify_private(record, salted)
    return salted


def verify_private(record: AuditRecord, salted: bytes) -> None:
    """Hold salt and private part against what the record committed to. Raises PrivatePartMismatch."""
    if not hmac.compare_digest(sha256(salted).digest(), record.commitment or b""):
        raise PrivatePartMismatch(record.source, record.seq)


def _is_name(value: Json) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_CHARS and _NAMED.fullmatch(value) is not None


def _participant(value: Json) -> Participant:
    if isinstance(value, dict) and value.keys() == _PARTICIPANT:
        known, named, requestor = value["kind"], value["name"], value["requestor"]
        if known in _KINDS and isinstance(requestor, bool) and _is_name(named):
            return Participant(str(known), str(named), requestor)
    # Says what is wrong with it.
    fields = Fields(value, "audit participant")
    kind = fields.choice("kind", _KINDS)
    participant = Participant(kind, fields.text("name", _NAME), fields.flag("requestor"))
    fields.done()
    return participant


def _outcome(value: int) -> Outcome:
    try:
        return Outcome(value)
    except ValueError as exc:
        raise Malformed("audit record field 'outcome'", "expected 0, 4, 8 or 12") from exc


def _subject(value: Json) -> Subject:
    if isinstance(value, dict) and value.keys() == _SUBJECT:
        kind, named = value["kind"], value["name"]
        if isinstance(kind, str) and _KIND.fullmatch(kind) and _is_name(named):
            return Subject(kind, str(named))
    fields = Fields(value, "audit subject")
    subject = Subject(fields.text("kind", r"[a-z]{1,32}"), fields.text("name", _NAME))
    fields.done()
    return subject
