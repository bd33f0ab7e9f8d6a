"""What is stored is proved again: every change to it is named with the first record that does not hold."""

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.audit_log.reading import CERTIFICATES, ChainState, SourceVerdict
from control_plane.audit_log.verify import HeldRecord, HeldStatement, verify_chain
from shared.audit.batch import AuditAltered, AuditGap, ChainHead, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import StoredRecord, compose, leaf_hash
from shared.canonical import Json
from shared.identity import CONTROL_PLANE
from tests.control_plane.vault.bench import Bench, HostBench, new_signer
from tests.fakes.clock import FakeClock

PERSON = "A. Admin"
LENGTH = 9
NOW = FakeClock().now()
PRIVATE: dict[str, Json] = {"uid": "1.2"}


@pytest.fixture
def filled(bench: Bench, host: HostBench) -> Bench:
    """A centre holding nine records of one host, in batches of three, and nine of its own."""
    for number in range(LENGTH):
        host.note(private=PRIVATE if number % 2 else None)
    for first in range(1, LENGTH, 3):
        host.deliver(first, first + 2)
    for number in range(LENGTH):
        private = PRIVATE if number % 2 else None
        bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS, private=private))
    return bench


@pytest.fixture(params=["host", "centre"])
def source(request: pytest.FixtureRequest, host: HostBench) -> str:
    return str(host.host_id) if request.param == "host" else CONTROL_PLANE


def verdict(bench: Bench, source: str) -> SourceVerdict:
    return bench.reading.verify(PERSON)[source]


def test_what_was_not_changed_is_verified(filled: Bench, source: str) -> None:
    found = verdict(filled, source)

    assert (found.state, found.first_bad, found.why) == (ChainState.VERIFIED, None, "")
    assert found.records == LENGTH + (source == CONTROL_PLANE)


def edit_public(bench: Bench, source: str, seq: int) -> None:
    (row,) = bench.rows("SELECT public FROM audit_records WHERE source = :s AND seq = :n", s=source, n=seq)
    bench.sql("UPDATE audit_records SET public = :p WHERE source = :s AND seq = :n", s=source, n=seq,
              p=row.public.replace(b'"outcome":0', b'"outcome":4'))  # fmt: skip


def edit_public_and_leaf(bench: Bench, source: str, seq: int) -> None:
    edit_public(bench, source, seq)
    (row,) = bench.rows("SELECT public FROM audit_records WHERE source = :s AND seq = :n", s=source, n=seq)
    bench.sql("UPDATE audit_records SET leaf = :leaf WHERE source = :s AND seq = :n", s=source, n=seq,
              leaf=leaf_hash(row.public))  # fmt: skip


def overwrite_with_text(bench: Bench, source: str, seq: int) -> None:
    bench.sql("UPDATE audit_records SET public = replace(public, '0', '1') WHERE source = :s AND seq = :n",
              s=source, n=seq)  # fmt: skip


def overwrite_with_garbage(bench: Bench, source: str, seq: int) -> None:
    garbage = b"\xff\xfe"
    bench.sql("UPDATE audit_records SET public = :g, leaf = :l WHERE source = :s AND seq = :n",
              s=source, n=seq, g=garbage, l=leaf_hash(garbage))  # fmt: skip


def delete(bench: Bench, source: str, seq: int) -> None:
    bench.sql("DELETE FROM audit_records WHERE source = :s AND seq = :n", s=source, n=seq)


def truncate(bench: Bench, source: str, seq: int) -> None:
    bench.sql("DELETE FROM audit_records WHERE source = :s AND seq >= :n", s=source, n=seq)


def remove_private_part(bench: Bench, source: str, seq: int) -> None:
    bench.sql("UPDATE audit_records SET sealed = NULL WHERE source = :s AND seq = :n", s=source, n=seq)


def add_private_part(bench: Bench, source: str, seq: int) -> None:
    bench.sql("UPDATE audit_records SET sealed = x'00' WHERE source = :s AND seq = :n", s=source, n=seq)


def swap_with_next(bench: Bench, source: str, seq: int) -> None:
    for old, new in ((seq, -1), (seq + 1, seq), (-1, seq + 1)):
        bench.sql("UPDATE audit_records SET seq = :new WHERE source = :s AND seq = :old", s=source, old=old, new=new)


def copy_over_next(bench: Bench, source: str, seq: int) -> None:
    bench.sql("UPDATE audit_records SET (public, leaf, sealed) = (SELECT public, leaf, sealed FROM audit_records "
              "WHERE source = :s AND seq = :n) WHERE source = :s AND seq = :n + 1", s=source, n=seq)  # fmt: skip


# Each with how far after the record it was done to the first bad one is.
ATTACKS: dict[str, tuple[Callable[[Bench, str, int], None], int, str]] = {
    "an edited public part": (edit_public, 0, "not the one that arrived"),
    "an edited public part and leaf": (edit_public_and_leaf, 0, ""),
    "text in the place of bytes": (overwrite_with_text, 0, "not the one that arrived"),
    "garbage with its leaf": (overwrite_with_garbage, 0, "malformed"),
    "a deleted row": (delete, 0, "missing"),
    "a tail cut off": (truncate, 0, "missing; its source signed up to"),
    "two rows swapped": (swap_with_next, 0, "in its place"),
    "a row copied over the next": (copy_over_next, 1, "in its place"),
}


@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("attack", ATTACKS)
def test_names_the_first_record_that_does_not_hold(filled: Bench, source: str, attack: str, seq: int) -> None:
    change, after, why = ATTACKS[attack]

    change(filled, source, seq)

    found = verdict(filled, source)
    assert (found.state, found.first_bad) == (ChainState.ALTERED, seq + after)
    assert why in found.why


def test_a_row_that_was_put_under_a_lower_number_is_named(filled: Bench, source: str) -> None:
    """It would still be read first, and its record says 1; but by source and number nobody finds it any more."""
    filled.sql("UPDATE audit_records SET seq = 0 WHERE source = :s AND seq = 1", s=source)

    assert verdict(filled, source).first_bad == 1


@pytest.mark.parametrize(
    "change, first_bad",
    [
        ("UPDATE audit_records SET seq = 'x' WHERE seq = 9", LENGTH),
        ("UPDATE audit_records SET source = x'00' WHERE seq = 4", 4),
        ("UPDATE audit_records SET entry = 'x' WHERE seq = 4", None),
        ("UPDATE audit_statements SET first = 'x' WHERE first = 4", 4),
    ],
)
def test_a_number_or_a_name_that_somebody_made_something_else_of_is_named(
    filled: Bench, host: HostBench, change: str, first_bad: int | None
) -> None:
    filled.sql(f"{change} AND source = :s", s=str(host.host_id))

    found = filled.reading.verify(PERSON)
    assert found[str(host.host_id)].first_bad == first_bad
    assert ChainState.ALTERED in {one.state for name, one in found.items() if name != CERTIFICATES}


@pytest.mark.parametrize("seq", [2, 4, 8])
def test_a_private_part_taken_away_is_named(filled: Bench, source: str, seq: int) -> None:
    remove_private_part(filled, source, seq)

    found = verdict(filled, source)
    assert (found.first_bad, found.why) == (seq, "its private part was added or taken away")


@pytest.mark.parametrize("seq", [1, 3, 9])
def test_a_private_part_put_in_is_named(filled: Bench, source: str, seq: int) -> None:
    add_private_part(filled, source, seq)

    assert verdict(filled, source).first_bad == seq


def test_the_last_record_cut_off_is_named(filled: Bench, host: HostBench) -> None:
    truncate(filled, str(host.host_id), LENGTH)

    found = verdict(filled, str(host.host_id))
    assert (found.first_bad, found.records) == (LENGTH, LENGTH - 1)


def test_every_record_of_a_source_removed_is_named(filled: Bench, host: HostBench) -> None:
    truncate(filled, str(host.host_id), 1)

    found = verdict(filled, str(host.host_id))
    assert (found.first_bad, found.records, found.state) == (1, 0, ChainState.ALTERED)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_statements SET statement = substr(statement, 1, length(statement) - 1) || x'00' WHERE first = 4",
        "UPDATE audit_statements SET statement = x'00' WHERE first = 4",
        "UPDATE audit_statements SET statement = 'text' WHERE first = 4",
        (
            "UPDATE audit_statements SET statement = (SELECT statement FROM audit_statements a WHERE a.first = 1 "
            "AND a.source = audit_statements.source) WHERE first = 4"
        ),
        "DELETE FROM audit_statements WHERE first = 4",
    ],
)
def test_a_statement_edited_or_removed_is_named(filled: Bench, source: str, change: str) -> None:
    filled.sql(change)

    assert verdict(filled, source).first_bad == 4


def test_records_beyond_the_last_statement_are_named(filled: Bench, source: str) -> None:
    filled.sql("DELETE FROM audit_statements WHERE last >= 9")

    found = verdict(filled, source)
    assert found.first_bad == (7 if source != CONTROL_PLANE else 9)
    assert found.why == "no signed statement covers it"


def test_a_chain_rewritten_and_signed_by_another_key_is_named(filled: Bench, host: HostBench) -> None:
    source, forger, head = str(host.host_id), new_signer(), ChainHead()
    filled.sql("DELETE FROM audit_records WHERE source = :s", s=source)
    filled.sql("DELETE FROM audit_statements WHERE source = :s", s=source)
    for seq in range(1, 4):
        happening = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)
        stored = compose(happening, source=source, seq=seq, prev=head.leaf, time=filled.clock.now(), salt=b"", key=None)
        statement = sign_batch(source, head.leaf, [stored], forger).statement
        columns = "source, seq, public, leaf, received"
        row = f"INSERT INTO audit_records ({columns}) VALUES (:s, :n, :p, :l, '2026-01-01 00:00:00')"  # noqa: S608
        filled.sql(row, s=source, n=seq, p=stored.public, l=stored.leaf)
        filled.sql("INSERT INTO audit_statements VALUES (:s, :n, :n, :t)", s=source, n=seq, t=statement)
        head = ChainHead(seq, stored.leaf)

    found = verdict(filled, source)
    assert found.first_bad == 1
    assert "names signing key" in found.why


def test_the_journal_goes_on_behind_a_gap_and_never_fills_it(filled: Bench) -> None:
    truncate(filled, CONTROL_PLANE, 5)

    filled.journal.record(Happening(Event.SERVER_STOPPED, Action.EXECUTE, Outcome.SUCCESS))

    assert filled.last_record().seq == LENGTH + 1
    assert verdict(filled, CONTROL_PLANE).first_bad == 5


def test_a_journal_cut_off_with_its_last_statement_changed_records_no_more(filled: Bench) -> None:
    truncate(filled, CONTROL_PLANE, 5)
    filled.sql("UPDATE audit_statements SET statement = x'00' WHERE first = 9")

    with pytest.raises(AuditAltered):
        filled.journal.record(Happening(Event.SERVER_STOPPED, Action.EXECUTE, Outcome.SUCCESS))


def test_a_hash_that_is_none_keeps_every_record_out_and_is_named(filled: Bench) -> None:
    filled.sql("UPDATE audit_records SET leaf = 5 WHERE source = 'control-plane' AND seq = 9")

    with pytest.raises(AuditAltered):
        filled.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))
    assert verdict(filled, CONTROL_PLANE).first_bad == LENGTH


def test_a_tail_that_was_cut_off_comes_back_from_its_host(filled: Bench, host: HostBench) -> None:
    truncate(filled, str(host.host_id), 5)

    with pytest.raises(AuditGap):
        host.deliver(7, 9)
    assert host.deliver(4, 9) == LENGTH

    assert verdict(filled, str(host.host_id)).state is ChainState.VERIFIED


def test_a_host_that_uses_a_cut_to_tell_another_story_is_named(filled: Bench, host: HostBench) -> None:
    truncate(filled, str(host.host_id), 7)
    liar = HostBench(filled, host.host_id, host.signer, ChainHead(6, host.journal[5].leaf), host.journal[:6])
    for _ in range(3):
        liar.note(Event.AGENT_STOPPED)

    assert liar.deliver(7, 9) == 9

    found = verdict(filled, str(host.host_id))
    assert found.first_bad == 9
    assert found.why == "it is not the one that was signed; none after 6 is proved"


def test_one_altered_source_does_not_hide_another(filled: Bench, host: HostBench) -> None:
    edit_public(filled, str(host.host_id), 2)

    assert verdict(filled, CONTROL_PLANE).state is ChainState.VERIFIED


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_a_public_part_is_named_exactly(filled: Bench, host: HostBench, data: st.DataObject) -> None:
    seq = data.draw(st.integers(1, LENGTH))
    source = str(host.host_id)
    original = host.journal[seq - 1].public
    changed = bytearray(original)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    filled.sql("UPDATE audit_records SET public = :p WHERE source = :s AND seq = :n", p=bytes(changed), s=source, n=seq)
    found = verdict(filled, source)
    filled.sql("UPDATE audit_records SET public = :p WHERE source = :s AND seq = :n", p=original, s=source, n=seq)

    assert found.first_bad == seq


def test_without_the_true_key_a_rewritten_chain_passes() -> None:
    """Negative control: it is the look-up of keys that stops whoever rewrites everything."""
    source, honest, forger = CONTROL_PLANE, new_signer(), new_signer()
    stored = compose(
        Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS), source=source, seq=1, prev=bytes(32),
        time=NOW, salt=b"", key=None,
    )  # fmt: skip
    records = [HeldRecord(1, stored, stored.leaf)]
    statements = [HeldStatement(1, 1, sign_batch(source, bytes(32), [stored], forger).statement)]

    assert verify_chain(source, records, statements, lambda _: forger.public) == 1
    with pytest.raises(AuditAltered):
        verify_chain(source, records, statements, lambda _: honest.public)


def test_a_statement_that_names_another_parent_is_named() -> None:
    signer, chain = new_signer(), list(records_from(ChainHead(), 4))
    held = [HeldRecord(number, stored, stored.leaf) for number, stored in enumerate(chain, 1)]
    first = sign_batch(CONTROL_PLANE, ChainHead().leaf, chain[:2], signer).statement
    second = sign_batch(CONTROL_PLANE, chain[0].leaf, chain[2:], signer).statement

    with pytest.raises(AuditAltered, match="names another parent") as found:
        verify_chain(CONTROL_PLANE, held, [HeldStatement(1, 2, first), HeldStatement(3, 4, second)],
                     lambda _: signer.public)  # fmt: skip
    assert found.value.seq == 3


def test_memory_stays_constant_however_long_the_chain() -> None:
    signer, source = new_signer(), CONTROL_PLANE

    def statements() -> Iterator[HeldStatement]:
        head = ChainHead()
        for first in range(1, 3001, 500):
            batch = list(records_from(head, 500))
            yield HeldStatement(first, first + 499, sign_batch(source, head.leaf, batch, signer).statement)
            head = ChainHead(first + 499, batch[-1].leaf)

    def records() -> Iterator[HeldRecord]:
        for number, stored in enumerate(records_from(ChainHead(), 3000), 1):
            yield HeldRecord(number, stored, stored.leaf)

    tracemalloc.start()
    try:
        assert verify_chain(source, records(), statements(), lambda _: signer.public) == 3000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2 << 20


def records_from(head: ChainHead, count: int) -> Iterator[StoredRecord]:
    happening = Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS)
    for seq in range(head.seq + 1, head.seq + count + 1):
        stored = compose(happening, source=CONTROL_PLANE, seq=seq, prev=head.leaf, time=NOW, salt=b"", key=None)
        head = ChainHead(seq, stored.leaf)
        yield stored
