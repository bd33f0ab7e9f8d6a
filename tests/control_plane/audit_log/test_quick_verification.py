"""A batch that is verified all at once is taken and refused as one that is verified record by record."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit_log import quick_reader, quick_verification
from control_plane.audit_log.quick_reader import PlainRecord, read_all
from control_plane.audit_log.quick_verification import verify_quickly
from shared import canonical
from shared.audit.batch import AuditAltered, Batch, Statement, sign_batch, verify_batch
from shared.audit.events import Event
from shared.audit.record import GENESIS, AuditRecord, ReadRecord, StoredRecord, compose
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId
from shared.signing import Label, sign_statement
from tests.shared import made

# Longer than what is read together, and of no whole number of that.
LENGTH = 250
SOURCE, KEY = str(made.HOST), made.HOST_SIGNER.public


def chain(
    odd: int = 0, length: int = LENGTH, source: str = SOURCE, reason: str = 'a "quoted" one'
) -> list[StoredRecord]:
    """Return a chain of plain records, with one that is not; every seventh has a private part."""
    records, prev = list[StoredRecord](), GENESIS
    for seq in range(1, length + 1):
        event = replace(
            made.happening(seq, private=seq % 7 == 0),
            reason=reason if seq == odd else "plain",
            event=Event.IMAGE_REFUSED if seq % 5 == 0 else Event.IMAGE_CAPTURED,
        )
        time = made.NOW.replace(microsecond=seq)
        salt = bytes([seq % 256]) * 32
        stored = compose(event, source=source, seq=seq, prev=prev, time=time, salt=salt, key=made.AUDIT_KEY.public)
        records.append(stored)
        prev = stored.leaf
    return records


CHAIN, WITH_A_QUOTE, OTHER_STORY = chain(), chain(odd=130), chain(odd=1, reason="another")
BATCH = sign_batch(SOURCE, GENESIS, CHAIN, made.HOST_SIGNER)
PUBLICS = [one.public for one in CHAIN]


def said(record: ReadRecord) -> tuple[object, ...]:
    return (
        record.source, record.seq, record.prev, record.time, record.happened, record.event, record.action,
        record.outcome, [(who.kind, who.name) for who in record.who], [(it.kind, it.name) for it in record.what],
        record.commitment,
    )  # fmt: skip


class Judged(NamedTuple):
    quickly: object
    carefully: object


def judged(batch: Batch) -> Judged:
    """Return what both say of a batch, or the words in which they refuse it."""

    def outcome(verify: Callable[[], object]) -> object:
        try:
            return verify()
        except (Refused, IntegrityFailure) as exc:
            return type(exc), str(exc)

    def quickly() -> object:
        records, leaves = verify_quickly(batch, SOURCE, KEY)
        return [said(one) for one in records], list(leaves)

    def carefully() -> object:
        records = verify_batch(batch, SOURCE, KEY)
        return [said(one) for one in records], [one.leaf for one in batch.records]

    return Judged(outcome(quickly), outcome(carefully))


def resigned(records: list[StoredRecord], **changes: object) -> Batch:
    """Return what a host signs that lies about its own records."""
    statement = Statement(SOURCE, 1, len(records), GENESIS, records[-1].leaf)
    said = replace(statement, **changes)  # type: ignore[arg-type]
    return Batch(tuple(records), sign_statement(made.HOST_SIGNER, Label.AUDIT_BATCH, said.encode()))


class Change(NamedTuple):
    """What became of a record or two on the way, or on a host that lies and signs what it sends."""

    what: str
    at: int
    where: int
    is_one_quoted: bool
    is_signed: bool

    def made(self) -> Batch:
        records = list(WITH_A_QUOTE if self.is_one_quoted else CHAIN)
        one, after = records[self.at : self.at + 2]
        match self.what:
            case "bit":
                flipped = made.flipped(one.public, self.where % (8 * len(one.public)))
                records[self.at] = one._replace(public=flipped)
            case "cut elsewhere":
                both = one.public + b"," * (self.where % 2) + after.public
                cut = self.where % len(both)
                records[self.at : self.at + 2] = [one._replace(public=both[:cut]), after._replace(public=both[cut:])]
            case "swapped":
                records[self.at : self.at + 2] = [after, one]
            case "left out":
                del records[self.at]
            case "twice":
                records.insert(self.at, one)
            case "another story":
                records[self.at] = OTHER_STORY[self.at]
            case "private part":
                records[self.at] = one._replace(sealed=b"sealed" if one.sealed is None else None)
        return Batch(tuple(records), (resigned(records) if self.is_signed else BATCH).statement)


WHAT = ["bit", "cut elsewhere", "swapped", "left out", "twice", "another story", "private part", "nothing"]
changes = st.builds(
    Change, st.sampled_from(WHAT), st.integers(0, LENGTH - 2), st.integers(0, 10_000), st.booleans(), st.booleans()
)


@given(changes)
def test_whatever_became_of_a_batch_both_say_the_same(change: Change) -> None:
    quickly, carefully = judged(change.made())

    assert quickly == carefully


def test_a_batch_of_plain_records_is_read_all_at_once() -> None:
    records = quick_reader._read_run(PUBLICS)

    assert all(isinstance(one, PlainRecord) for one in records)
    assert [said(one) for one in records] == [said(AuditRecord.parse(public)) for public in PUBLICS]


def test_one_record_that_is_not_plain_is_read_among_the_others() -> None:
    assert not quick_reader._read_run([one.public for one in WITH_A_QUOTE])

    records = read_all([one.public for one in WITH_A_QUOTE])
    assert isinstance(records[129], AuditRecord)
    assert [said(one) for one in records] == [said(AuditRecord.parse(one.public)) for one in WITH_A_QUOTE]


@pytest.mark.parametrize("within", [1, 2, 100, 101])
def test_parts_that_are_records_only_together_are_none(within: int) -> None:
    """Three parts may hold three records, and none of them be one: their bounds are what was hashed and signed."""
    first, second, third = PUBLICS[:3]
    middle = third.index(b",")
    recut = [first + b"," + second, third[:middle], third[middle + 1 :]]
    assert b",".join(recut) == b",".join([first, second, third])

    for parts in (recut, [first + b"," + second, third]):
        with pytest.raises(Malformed):
            read_all(parts)
    with pytest.raises(Malformed):
        read_all([*PUBLICS[:within], *recut, *PUBLICS[within:]])


def test_what_a_host_signs_that_lies_is_refused_with_the_same_words() -> None:
    other = chain(source=str(HostId(bytes(16))), length=3)
    lies = [
        resigned(CHAIN, head=GENESIS),
        resigned(CHAIN, prev=CHAIN[0].leaf),
        resigned(CHAIN, first=2, last=LENGTH + 1),
        resigned(CHAIN[1:]),
        resigned([CHAIN[0], *CHAIN[2:]]),
        resigned(other),
        resigned([*CHAIN[:7], StoredRecord(CHAIN[7].public, b"sealed")]),
        resigned([*CHAIN[:6], StoredRecord(CHAIN[6].public, None)]),
        resigned([StoredRecord(canonical.encode({"v": 1}), None)]),
        resigned([StoredRecord(b"", None)]),
    ]
    for lie in lies:
        quickly, carefully = judged(lie)
        assert quickly == carefully
        assert isinstance(carefully, tuple), "it is taken"
        assert carefully[0] is AuditAltered


def test_control_without_the_comparison_of_columns_a_chain_that_is_broken_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = resigned([CHAIN[0], *CHAIN[2:]])
    monkeypatch.setattr(quick_verification, "_are_chained", lambda *_: True)

    assert judged(broken).quickly != judged(broken).carefully


def test_control_without_the_look_at_how_parts_begin_parts_that_are_no_records_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = PUBLICS[:3]
    middle = third.index(b",")
    monkeypatch.setattr(quick_reader, "_BEGINNING", b"")

    assert read_all([first + b"," + second, third[:middle], third[middle + 1 :]])
