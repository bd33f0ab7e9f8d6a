"""Reads records and batches by compiled code, and takes and refuses what the careful readers do, byte for byte.

Decoding into types is not strict by itself: white space, the order of members, one that stands twice, another way to
write a number all pass. So what was decoded is printed again, and only what prints back unchanged counts. What does
not, and what is rare (a quote in a name, an event that only a newer host knows), is read the careful way, which also
says what is wrong. docs/adr/0040-records-are-read-by-compiled-code.md
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import DecodeError, Meta, Struct, field
from msgspec.json import Decoder, Encoder

from shared import clock
from shared.audit import packed
from shared.audit.batch import MAX_BYTES, MAX_RECORDS, MAX_STATEMENT_BYTES, Batch
from shared.audit.events import EVENT_CODES, Action, Event, Outcome
from shared.audit.record import (
    MAX_NAME_CHARS,
    MAX_PUBLIC_BYTES,
    MAX_REASON_CHARS,
    MAX_SEALED_BYTES,
    MAX_WHAT,
    MAX_WHO,
    AuditRecord,
    ReadRecord,
    StoredRecord,
)
from shared.identity import SOURCE_PATTERN

_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
_Digest = Annotated[str, Meta(min_length=64, max_length=64)]
_CODED = set(EVENT_CODES.items())


# Members stand in the order in which canonical JSON has them, for they are printed so.
class PlainParticipant(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    kind: Literal["person", "host", "service", "ae"]
    name: _Name
    requestor: bool


class PlainSubject(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    kind: str
    name: _Name


class PlainRecord(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A public part that was written plainly; what nobody asks of it is not made."""

    action: Action
    code: str
    event: Event
    outcome: Outcome
    parent: _Digest = field(name="prev")
    committed: _Digest | None = field(name="private")
    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    source: str
    time: datetime
    v: Literal[1]
    what: Annotated[tuple[PlainSubject, ...], Meta(max_length=MAX_WHAT)]
    who: Annotated[tuple[PlainParticipant, ...], Meta(max_length=MAX_WHO)]

    @property
    def prev(self) -> bytes:
        return bytes.fromhex(self.parent)

    @property
    def happened(self) -> int:
        return clock.microseconds(self.time)

    @property
    def commitment(self) -> bytes | None:
        return None if self.committed is None else bytes.fromhex(self.committed)


class _Sent(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    public: Annotated[str, Meta(max_length=MAX_SEALED_BYTES)]
    sealed: Annotated[bytes, Meta(max_length=MAX_SEALED_BYTES)] | None


class _SentBatch(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    records: Annotated[tuple[_Sent, ...], Meta(max_length=MAX_RECORDS)]
    statement: Annotated[bytes, Meta(max_length=MAX_STATEMENT_BYTES)]


# Of a whole second no fraction is printed. What follows the time stands nowhere else where nothing is escaped.
_WHOLE_SECOND = b'Z","v":1,', b'.000000Z","v":1,'
_RECORD, _BATCH, _PRINTER = Decoder(PlainRecord), Decoder(_SentBatch), Encoder()
_RUN = Decoder(list[PlainRecord])
# So many are read together: beyond that nothing is won, and what is printed leaves the processor's cache.
_TOGETHER = 100
# How each record begins, and nothing in it does where nothing is escaped: within a text no quote stands.
_BEGINNING = b'{"action":"'


def read_batch(data: bytes) -> Batch:
    """Read a batch in either form, as `Batch.parse` and `unpack` do, and raise what they raise."""
    if data.startswith(packed.MAGIC):
        return packed.unpack(data)
    if len(data) <= MAX_BYTES:
        try:
            sent = _BATCH.decode(data)
        except DecodeError:
            return Batch.parse(data)
        if _PRINTER.encode(sent) == data:
            return Batch(tuple([StoredRecord(one.public.encode(), one.sealed) for one in sent.records]), sent.statement)
    return Batch.parse(data)


def record_reader() -> Callable[[bytes], ReadRecord]:
    """Return what reads records as `AuditRecord.parse` does; for one thread, as it prints into a buffer of its own."""
    decode, printed = _RECORD.decode, bytearray()

    def read(public: bytes) -> ReadRecord:
        # Without a backslash nothing in it is escaped, so all of its text is readable but for one character.
        if len(public) <= MAX_PUBLIC_BYTES and public.find(b"\\") < 0 and public.find(b"\x7f") < 0:
            try:
                record = decode(public)
                _PRINTER.encode_into(record, printed)
                canonical = printed if record.time.microsecond else printed.replace(*_WHOLE_SECOND, 1)
                if canonical == public and _is_in_form(record):
                    return record
            except ValueError:  # a DecodeError is one too; what is wrong with it, the careful reader says
                return AuditRecord.parse(public)
        return AuditRecord.parse(public)

    return read


def read_all(publics: Sequence[bytes]) -> list[ReadRecord]:
    """Read records as `record_reader` reads each of them. Raises Malformed: one of them is none."""
    read, records = record_reader(), list[ReadRecord]()
    for at in range(0, len(publics), _TOGETHER):
        run = publics[at : at + _TOGETHER]
        records += _read_run(run) or [read(public) for public in run]
    return records


def _read_run(publics: Sequence[bytes]) -> list[PlainRecord]:
    """Read them as one list, which is printed and compared once; return none where one of them is not plain.

    There are as many records as parts, each part begins as a record does, and so each part is a record.
    """
    text = b"[%b]" % b",".join(publics)
    is_readable = text.find(b"\\") < 0 and text.find(b"\x7f") < 0 and max(map(len, publics)) <= MAX_PUBLIC_BYTES
    if not is_readable or {public[: len(_BEGINNING)] for public in publics} != {_BEGINNING}:
        return []
    try:
        records = _RUN.decode(text)
        printed = _PRINTER.encode(records)
        if 0 in [record.time.microsecond for record in records]:
            printed = printed.replace(*_WHOLE_SECOND)
        return records if printed == text and len(records) == len(publics) and _are_in_form(records) else []
    except ValueError:
        return []


def _is_in_form(record: PlainRecord) -> bool:
    return _are_in_form((record,))


def _are_in_form(records: Sequence[PlainRecord]) -> bool:
    """Look at what the types leave open. Raises ValueError: no hex digits."""
    digests = "".join(
        [record.parent for record in records] + [record.committed for record in records if record.committed is not None]
    )
    return (
        bytes.fromhex(digests).hex() == digests
        and {(record.event, record.code) for record in records} <= _CODED
        and {record.time.tzinfo for record in records} == {UTC}
        and all(map(_is_source, {record.source for record in records}))
        and all(map(_is_kind, {one.kind for record in records for one in record.what}))
    )


@lru_cache
def _is_source(text: str) -> bool:
    return re.fullmatch(SOURCE_PATTERN, text) is not None


@lru_cache
def _is_kind(text: str) -> bool:
    return re.fullmatch(r"[a-z]{1,32}", text) is not None
