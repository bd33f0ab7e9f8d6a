"""The Merkle log on every engine: what is done to it is found, and what was acknowledged is in it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.orm import Session

from control_plane.audit_log.reading import MERKLE_LOG
from control_plane.db import engine as engines
from control_plane.db.engine import close_database, engine_of
from control_plane.db.transactions import snapshot
from control_plane.tlog import rows
from control_plane.tlog.proofs import LogProofs, NotInLog
from control_plane.tlog.rows import LogAltered
from control_plane.tlog.sequencer import Sequencer
from control_plane.tlog.verify import LogVerdict, verify_log
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import leaf_hash
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.log_key import LogKeyOffer
from shared.audit.tlog.note import NoteUnverified
from shared.audit.tlog.proof_text import ProofText
from shared.audit.tlog.tiles import WIDTH
from shared.audit.tlog.tree import CompactRange
from shared.errors import Refused
from shared.identity import CONTROL_PLANE
from tests.contracts.database.originals import Originals
from tests.contracts.database.together import together
from tests.control_plane.vault.bench import Bench, HostBench

STARTED = Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS)
COUNT = 300
"""A full tile, and a part of the next."""


@pytest.fixture
def host(engine: Originals, tmp_path: Path) -> Iterator[HostBench]:
    with engine.host_after(fill, tmp_path) as host:
        yield host


def fill(bench: Bench) -> HostBench:
    host = bench.enrol()
    for _ in range(COUNT - 2):
        host.note()
    bench.journal.record(STARTED)
    host.deliver(1, 250)
    host.deliver(251, COUNT - 2)
    bench.journal.record(STARTED)
    return host


def reopened(bench: Bench) -> Bench:
    return Bench(bench.folder, url=str(bench.engine.url))


def verdict(bench: Bench, *kept: str) -> LogVerdict:
    with snapshot(bench.database) as session:
        return verify_log(session, bench.journal.sequencer.key, kept)


def checkpoint(bench: Bench) -> str:
    (row,) = bench.rows("SELECT checkpoint FROM log_head")
    return str(row.checkpoint)


def is_found(bench: Bench, *kept: str) -> bool:
    return bool(verdict(bench, *kept).why)


def test_every_record_has_the_entry_that_it_says_whatever_came_at_once(host: HostBench) -> None:
    bench, other = host.bench, reopened(host.bench)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda b: b.journal.record(STARTED), [bench, other] * 10))

    entries = [row.entry for row in bench.rows("SELECT entry FROM audit_records ORDER BY entry")]
    assert entries == list(range(COUNT + 20))
    assert verdict(bench) == LogVerdict(COUNT + 20, None, "")
    assert bench.reading.prove()[MERKLE_LOG].state == "verified"
    head = claimed_head(checkpoint(bench))
    assert (head.size, head.origin) == (COUNT + 20, bench.keys.log_signer().public.name)
    (row,) = bench.rows("SELECT leaf, public FROM audit_records WHERE entry = 7")
    assert row.leaf == leaf_hash(bytes(row.public)) == host.journal[6].leaf
    close_database(other.database)


def test_a_record_is_found_by_its_hash_in_the_tiles_and_only_for_whose_it_is(host: HostBench) -> None:
    bench, other = host.bench, host.bench.enrol()
    proofs = LogProofs(bench.database, lambda: LogKeyOffer(b"", ""))

    # One in a full tile, one in the last.
    for seq in (8, COUNT - 5):
        (row,) = bench.rows("SELECT entry FROM audit_records WHERE leaf = :leaf", leaf=host.journal[seq - 1].leaf)
        assert ProofText.parse(proofs.of_leaf(host.host_id, host.journal[seq - 1].leaf)).index == row.entry
    beside = host.journal[7].leaf[16:] + host.journal[8].leaf[:16]
    for who, leaf in ((other, host.journal[7].leaf), (host, bytes(32)), (host, beside)):
        with pytest.raises(NotInLog):
            proofs.of_leaf(who.host_id, leaf)


def test_a_hash_is_sought_among_the_newest_tiles_alone(host: HostBench) -> None:
    bench = host.bench
    old, new = host.journal[7].leaf, host.journal[COUNT - 5].leaf

    with bench.database() as session:
        bounded = [rows.entry_of(session, leaf, among=WIDTH) for leaf in (old, new)]
        unbounded = rows.entry_of(session, old)
    assert (bounded[0], bounded[1] is None, unbounded is None) == (None, False, False)


def test_what_is_refused_within_a_group_has_no_entry_and_costs_nobody_theirs(bench: Bench) -> None:
    """Its leaf was gathered when it took back its rows: without its mark those after it would be a number too far."""

    def recorded(number: int) -> Callable[[Session], None]:
        def work(session: Session) -> None:
            bench.journal.append(session, STARTED)
            if number == 1:
                raise Refused("after its record was entered")

        return work

    bench.journal.record(STARTED)
    before = verdict(bench).size
    leading, waiting = together(bench.journal.commits, recorded(9), [recorded(number) for number in range(3)])

    assert leading.exception() is None
    failed = [number for number, one in enumerate(waiting) if one.exception() is not None]

    assert failed == [1]
    assert verdict(bench) == LogVerdict(before + 3, None, "")
    assert bench.reading.prove()[CONTROL_PLANE].state == "verified"
    # By its own statement is each of them proved alone, by one piece are they found.
    signed = bench.rows("SELECT first, last FROM audit_statements WHERE source = 'control-plane' ORDER BY first DESC")
    assert [tuple(row) for row in signed[:2]] == [(before + 3, before + 3), (before + 2, before + 2)]
    piece = bench.rows("SELECT first, last FROM audit_pieces ORDER BY first DESC")[0]
    assert (piece.first, piece.last) == (before + 1, before + 2)


def test_what_is_done_to_the_records_or_to_the_log_is_found_and_named(host: HostBench) -> None:
    """Each in turn, and put right again: that is the control that nothing else was found."""
    bench = host.bench
    kept = checkpoint(bench)
    (row,) = bench.rows("SELECT source, seq, public, leaf FROM audit_records WHERE entry = 260")
    (tile,) = bench.rows("SELECT hashes FROM log_tiles WHERE level = 0 AND number = 1")
    (head,) = bench.rows("SELECT size, range FROM log_head")
    edited, hashes = bytes(row.public).replace(b'"outcome":0', b'"outcome":8'), bytes(tile.hashes)
    put = "UPDATE audit_records SET public = :p WHERE entry = 260"
    swap = "UPDATE audit_records SET entry = CASE entry WHEN 10 THEN 9999 ELSE :to END WHERE entry IN (:at, 10)"
    for name, do, undo, first_bad, why in (
        ("edited payload", [(put, {"p": edited})], [(put, {"p": bytes(row.public)})], 260, f"record {row.seq} of"),
        ("edited together with its leaf", [(put, {"p": edited}),
            ("UPDATE audit_records SET leaf = :l WHERE entry = 260", {"l": leaf_hash(edited)})],
         [(put, {"p": bytes(row.public)}), ("UPDATE audit_records SET leaf = :l WHERE entry = 260", {"l": row.leaf})],
         260, f"record {row.seq} of"),
        ("reordered", [(swap, {"at": -1, "to": 0}), ("UPDATE audit_records SET entry = 10 WHERE entry = 11", {}),
            ("UPDATE audit_records SET entry = 11 WHERE entry = 9999", {})],
         [(swap, {"at": -1, "to": 0}), ("UPDATE audit_records SET entry = 10 WHERE entry = 11", {}),
            ("UPDATE audit_records SET entry = 11 WHERE entry = 9999", {})], 10, "not the one that was entered"),
        ("an edited tile", [("UPDATE log_tiles SET hashes = :h WHERE level = 0 AND number = 1", {"h": hashes[::-1]})],
         [("UPDATE log_tiles SET hashes = :h WHERE level = 0 AND number = 1", {"h": hashes})], None, "tile/0/001"),
        ("a tile too many", [("INSERT INTO log_tiles VALUES (3, 0, :h)", {"h": hashes})],
         [("DELETE FROM log_tiles WHERE level = 3", {})], None, "beyond its end"),
        ("an edited head", [("UPDATE log_head SET range = :r", {"r": bytes(head.range)[::-1]})],
         [("UPDATE log_head SET range = :r", {"r": bytes(head.range)})], None, "head"),
        ("a checkpoint that nobody signed",
         [("UPDATE log_head SET checkpoint = :c", {"c": kept.replace(f"\n{COUNT}\n", "\n7\n")})],
         [("UPDATE log_head SET checkpoint = :c", {"c": kept})], None, "checkpoint"),
    ):  # fmt: skip
        for statement, values in do:
            bench.sql(statement, **values)
        found = verdict(bench, kept)
        assert found.first_bad == first_bad, name
        assert why in found.why, name
        for statement, values in undo:
            bench.sql(statement, **values)
        assert not is_found(bench, kept), name


@pytest.mark.parametrize("change", ["size = 'x'", "checkpoint = x'00'"])
def test_a_head_that_somebody_made_something_else_of_is_named(host: HostBench, change: str) -> None:
    """PostgreSQL keeps no such thing there."""
    bench = host.bench
    if bench.engine.dialect.name != "sqlite":
        return
    bench.sql(f"UPDATE log_head SET {change}")  # noqa: S608 (ours)

    assert "head" in verdict(bench).why
    with pytest.raises(LogAltered):
        bench.journal.record(STARTED)


@pytest.mark.parametrize("where, first_bad", [("entry = 260", 260), (f"entry > {COUNT - 4}", COUNT - 3)])
def test_a_record_that_is_gone_is_named(host: HostBench, where: str, first_bad: int) -> None:
    bench = host.bench
    bench.sql(f"DELETE FROM audit_records WHERE {where}")  # noqa: S608 (ours)

    assert verdict(bench).first_bad == first_bad


def test_a_record_that_was_put_in_beside_the_log_is_named(host: HostBench) -> None:
    bench = host.bench
    into = "INSERT INTO audit_records (source, seq, public, sealed, leaf, received, entry)"
    values = "'host-0', seq, public, sealed, leaf, received"
    for entry in ("NULL", str(COUNT)):
        bench.sql(f"{into} SELECT {values}, {entry} FROM audit_records WHERE entry = 3")  # noqa: S608
        assert "never entered" in verdict(bench).why
        bench.sql("DELETE FROM audit_records WHERE source = 'host-0'")


def test_yesterday_put_back_holds_by_itself_and_is_found_by_whoever_kept_a_checkpoint(host: HostBench) -> None:
    bench = host.bench
    before = [dict(row._mapping) for row in bench.rows("SELECT * FROM log_head")]
    (tile,) = bench.rows("SELECT hashes FROM log_tiles WHERE level = 0 AND number = 1")
    yesterday = checkpoint(bench)
    bench.journal.record(STARTED)
    today = checkpoint(bench)
    assert not is_found(bench, yesterday, today)

    # All that the last commit wrote is taken back.
    bench.sql("DELETE FROM audit_statements WHERE source = 'control-plane' AND last = 3")
    bench.sql(f"DELETE FROM audit_records WHERE entry = {COUNT}")  # noqa: S608 (ours)
    bench.sql("UPDATE log_tiles SET hashes = :h WHERE level = 0 AND number = 1", h=tile.hashes)
    bench.sql("UPDATE log_head SET size = :size, range = :range, checkpoint = :checkpoint", **before[0])
    assert not is_found(bench, yesterday)
    assert "cut off" in verdict(bench, today).why

    # It grows again, and shows other people another story under the same number.
    bench.clock.advance(timedelta(seconds=1))
    bench.journal.record(STARTED)
    assert not is_found(bench, yesterday)
    assert "two views" in verdict(bench, today).why


def test_what_somebody_else_signed_is_no_checkpoint_of_this_log(host: HostBench) -> None:
    bench = host.bench

    with pytest.raises(NoteUnverified):
        verdict(bench, checkpoint(bench).replace("leadglass/log/", "leadglass/log/0", 1))


def test_nothing_is_signed_over_a_head_that_was_changed(host: HostBench) -> None:
    bench = host.bench
    bench.sql("UPDATE log_head SET range = :r", r=bytes(96)[: 32 * COUNT.bit_count()])

    with pytest.raises(LogAltered):
        bench.journal.record(STARTED)
    assert bench.rows("SELECT count(*) AS n FROM audit_records")[0].n == COUNT


@pytest.mark.parametrize("change", ["size = size - 1", "range = checkpoint", "checkpoint = 'x'"])
def test_a_log_in_which_nothing_can_be_entered_is_proved_all_the_same_and_says_so(host: HostBench, change: str) -> None:
    bench = host.bench
    if bench.engine.dialect.name == "postgresql":
        change = change.replace("range = checkpoint", "range = 'x'")
    bench.sql(f"UPDATE log_head SET {change}")  # noqa: S608 (ours)

    found = bench.reading.verify("ada")

    assert found[MERKLE_LOG].state == "altered"
    assert "head" in found[MERKLE_LOG].why
    assert "not even that you asked" in found[MERKLE_LOG].why
    assert found[CONTROL_PLANE].state == "verified"
    with pytest.raises(LogAltered):
        bench.reading.export("ada")


@pytest.mark.parametrize(
    "done",
    [
        ["UPDATE log_head SET checkpoint = ''"],
        ["DELETE FROM log_head"],
        ["DELETE FROM log_head", "DELETE FROM log_tiles", "UPDATE audit_records SET entry = NULL"],
    ],
)
def test_nothing_is_signed_anew_that_nobody_signed(host: HostBench, done: list[str]) -> None:
    """Or whoever writes to the database only takes the signature away, and has the centre sign what they made."""
    bench = host.bench
    for statement in done:
        bench.sql(statement)

    again = reopened(bench)  # as after a start
    for one in (bench, again):
        with pytest.raises(LogAltered):
            one.journal.record(STARTED)
        assert is_found(one)
    assert bench.rows("SELECT count(*) AS n FROM audit_records")[0].n == COUNT
    close_database(again.database)


def test_a_sequencer_that_does_not_look_signs_what_was_changed(
    host: HostBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep this as the control: what refuses is the look at the last checkpoint."""
    bench = host.bench
    monkeypatch.setattr(
        Sequencer, "_verify", lambda _self, size, encoded, _checkpoint: CompactRange.parse(size, encoded)
    )
    bench.sql("UPDATE log_head SET range = :r", r=bytes(32 * COUNT.bit_count()))

    bench.journal.record(STARTED)
    assert is_found(bench)


def test_records_of_before_the_log_are_entered_as_they_arrived_and_signed_with_the_key_that_is_made_then(
    host: HostBench,
) -> None:
    bench = host.bench
    with engine_of(bench.database).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engines._MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0016")
        if bench.engine.dialect.name == "sqlite":
            # Somebody wrote text there, which is no UTF-8: it is entered as it stands, and verification says so.
            altered = "UPDATE audit_records SET public = CAST(X'ff' AS TEXT) WHERE source = 'control-plane' AND seq = 1"
            connection.execute(text(altered))
    close_database(bench.database)

    again = reopened(bench)
    rows = again.rows("SELECT entry FROM audit_records ORDER BY received, source, seq")
    assert [row.entry for row in rows] == list(range(COUNT))
    assert verdict(again) == LogVerdict(COUNT, None, "")
    again.journal.record(STARTED)
    assert verdict(again) == LogVerdict(COUNT + 1, None, "")
    close_database(again.database)
