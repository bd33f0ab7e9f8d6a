"""The audit chain: nothing in it can be changed, left out, moved or told twice unseen."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.audit.batch import (
    MAX_BYTES,
    AuditAltered,
    AuditForked,
    AuditGap,
    Batch,
    ChainHead,
    Statement,
    follow,
    judge_arrival,
    sign_batch,
    verify_batch,
)
from shared.audit.record import GENESIS, AuditRecord, StoredRecord, open_private
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.signing import Label, sign_statement
from tests.shared import made

LENGTH = 8
CHAIN, OTHER_STORY = made.chain(LENGTH), made.chain(LENGTH, "another story")
SOURCE = str(made.HOST)


def batch_of(first: int, last: int, chain: Sequence[StoredRecord] = CHAIN) -> Batch:
    prev = chain[first - 2].leaf if first > 1 else GENESIS
    return sign_batch(SOURCE, prev, chain[first - 1 : last], made.HOST_SIGNER)


def verified(batch: Batch) -> tuple[AuditRecord, ...]:
    return verify_batch(batch, SOURCE, made.HOST_SIGNER.public)


BATCH = batch_of(1, LENGTH)
runs = st.tuples(st.integers(1, LENGTH), st.integers(1, LENGTH)).filter(lambda run: run[0] <= run[1])


@given(runs)
def test_any_run_of_records_travels_and_is_verified(run: tuple[int, int]) -> None:
    received = Batch.parse(batch_of(*run).encode())

    assert [record.seq for record in verified(received)] == list(range(run[0], run[1] + 1))


@given(st.data())
def test_any_flipped_bit_of_a_batch_is_refused_or_lies_in_a_private_part_that_then_does_not_open(
    data: st.DataObject,
) -> None:
    encoded = BATCH.encode()
    spoiled = made.flipped(encoded, data.draw(st.integers(0, 8 * len(encoded) - 1)))
    try:
        batch = Batch.parse(spoiled)
        verified(batch)
    except (Refused, IntegrityFailure):
        return
    changed = [new for old, new in zip(CHAIN, batch.records, strict=True) if old != new]
    assert len(changed) == 1
    with pytest.raises((Refused, IntegrityFailure)):
        open_private(changed[0], made.AUDIT_KEY)


@pytest.mark.parametrize("at", range(LENGTH))
def test_a_flipped_bit_in_any_byte_of_a_record_is_refused(at: int) -> None:
    public = CHAIN[at].public
    for byte in range(len(public)):
        edited = StoredRecord(made.flipped(public, 8 * byte + byte % 8), CHAIN[at].sealed)
        with pytest.raises(AuditAltered):
            verified(replace(BATCH, records=(*CHAIN[:at], edited, *CHAIN[at + 1 :])))


@given(st.permutations(range(LENGTH)))
def test_records_in_any_other_order_are_refused(order: list[int]) -> None:
    if order == list(range(LENGTH)):
        return

    with pytest.raises(AuditAltered):
        verified(replace(BATCH, records=tuple(CHAIN[n] for n in order)))


@given(st.lists(st.integers(0, LENGTH - 1), max_size=LENGTH + 2))
def test_records_left_out_or_repeated_are_refused(chosen: list[int]) -> None:
    if chosen == list(range(LENGTH)):
        return

    with pytest.raises((Malformed, AuditAltered)):
        verified(replace(BATCH, records=tuple(CHAIN[n] for n in chosen)))


@pytest.mark.parametrize("at", range(LENGTH))
def test_a_record_of_another_story_is_refused(at: int) -> None:
    with pytest.raises(AuditAltered):
        verified(replace(BATCH, records=(*CHAIN[:at], OTHER_STORY[at], *CHAIN[at + 1 :])))


@pytest.mark.parametrize("at", range(LENGTH))
def test_a_private_part_added_or_taken_away_is_refused(at: int) -> None:
    sealed = None if CHAIN[at].sealed is not None else CHAIN[2].sealed

    with pytest.raises(AuditAltered, match="private part was added or taken away"):
        verified(replace(BATCH, records=(*CHAIN[:at], StoredRecord(CHAIN[at].public, sealed), *CHAIN[at + 1 :])))


@pytest.mark.parametrize("size", range(len(BATCH.statement)))
def test_a_cut_statement_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        verified(replace(BATCH, statement=BATCH.statement[:size]))


def test_a_signed_batch_of_no_records_is_refused() -> None:
    for first, last in ((1, 0), (5, 4), (1, 1)):
        said = canonical.encode(
            {**json.loads(Statement(SOURCE, 1, 1, GENESIS, GENESIS).encode()), "first": first, "last": last}
        )
        nothing = Batch((), sign_statement(made.HOST_SIGNER, Label.AUDIT_BATCH, said))
        with pytest.raises(Malformed):
            verified(nothing)


@given(st.integers(-3, LENGTH + 3), st.integers(-3, LENGTH + 3))
def test_a_statement_about_other_numbers_is_refused(first: int, last: int) -> None:
    if (first, last) == (1, LENGTH):
        return
    said = json.loads(Statement(SOURCE, 1, LENGTH, GENESIS, CHAIN[-1].leaf).encode())
    lie = sign_statement(made.HOST_SIGNER, Label.AUDIT_BATCH, canonical.encode({**said, "first": first, "last": last}))

    with pytest.raises((Malformed, AuditAltered)):
        verified(replace(BATCH, statement=lie))


def test_a_batch_larger_than_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(Malformed, match="larger than"):
        Batch.parse(bytes(MAX_BYTES + 1))


# ---- arrival


@given(runs, st.integers(0, LENGTH))
def test_what_is_new_is_exactly_what_follows_what_is_held(run: tuple[int, int], held: int) -> None:
    batch = batch_of(*run)
    head = ChainHead(held, CHAIN[held - 1].leaf) if held else ChainHead()

    if run[0] > held + 1:
        with pytest.raises(AuditGap) as gap:
            judge_arrival(batch, verified(batch), head)
        assert (gap.value.held, gap.value.offered) == (held, run[0])
    else:
        assert list(judge_arrival(batch, verified(batch), head)) == CHAIN[held : max(run[1], held)]


@given(st.lists(st.tuples(runs, st.booleans()), max_size=12))
def test_whatever_arrives_in_whatever_order_what_is_held_only_grows_and_tells_one_story(
    arrivals: list[tuple[tuple[int, int], bool]],
) -> None:
    held = list[StoredRecord]()
    for run, lying in arrivals:
        before = list(held)
        head = ChainHead(len(held), held[-1].leaf) if held else ChainHead()
        batch = batch_of(*run, OTHER_STORY if lying else CHAIN)
        with suppress(AuditGap, AuditForked):
            held += judge_arrival(batch, verified(batch), head)
        assert held[: len(before)] == before
    assert held in (CHAIN[: len(held)], OTHER_STORY[: len(held)])


@given(st.integers(1, LENGTH), st.integers(1, LENGTH))
def test_a_source_that_tells_another_story_is_found_out(held: int, last: int) -> None:
    if last < held:
        return  # what is older than the last record held is compared by whoever holds the records
    batch = batch_of(1, last, OTHER_STORY)

    with pytest.raises(AuditForked):
        judge_arrival(batch, verified(batch), ChainHead(held, CHAIN[held - 1].leaf))


def test_a_chain_is_followed_record_by_record() -> None:
    head = ChainHead()
    for seq, record in enumerate(CHAIN, 1):
        head, parsed = follow(head, SOURCE, record)
        assert (head.seq, parsed.seq) == (seq, seq)

    assert head == ChainHead(LENGTH, CHAIN[-1].leaf)
