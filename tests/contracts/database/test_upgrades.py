"""Databases that were filled by the code of before: brought to today's schema, nothing of them is lost or unproved.

upgrades/README.md says how they were recorded.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import column, insert, table, text
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.reading import CERTIFICATES, MERKLE_LOG, SEARCH_INDEX
from control_plane.backup.lines import TYPES, Lines
from control_plane.db import engine as engines
from control_plane.db.engine import close_database, engine_of, open_empty
from control_plane.erasure.resealing import Resealing
from control_plane.keys import store
from control_plane.policy.publisher import PolicyPublisher
from control_plane.tlog.proofs import LogProofs
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.question import Question
from shared.audit.record import AuditRecord, leaf_hash
from shared.audit.tlog.checkpoint import verify_checkpoint
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key
from shared.audit.tlog.proof_text import verify_inclusion
from shared.audit.tlog.proofs import ProofWrong
from shared.identity import ObjectId
from tests.contracts.database.originals import Originals, Place
from tests.control_plane.vault.bench import ENTRY, Bench

RECORDED = sorted((Path(__file__).parent / "upgrades").glob("of-*"))
HELD = "SELECT source, seq, public, sealed, leaf, received FROM audit_records ORDER BY source, seq"


@dataclass
class Old:
    """A database as it was recorded, which nobody has opened since."""

    folder: Path
    recorded: Path
    place: Place

    def change(self, statement: str, **values: object) -> None:
        with self._session() as session:
            session.execute(text(statement), values)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self._session() as session:
            return _plain(session, statement)

    def upgraded(self) -> Bench:
        for body in self.recorded.glob("*.body"):
            kept = self.folder / "objects" / body.name[:2] / body.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(body, kept)
        bench = Bench(self.folder, url=self.place.url)
        bench.clock.advance(timedelta(days=1))
        return bench

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Opening it as the control plane does would migrate it."""
        database = sessionmaker(engines._engine(engines.parse_url(self.place.url)))
        with database.begin() as session:
            yield session
        close_database(database)


def _plain(session: Session, statement: str) -> list[tuple[Any, ...]]:
    return [
        tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        for row in session.execute(text(statement))
    ]


@pytest.fixture(params=RECORDED, ids=lambda path: path.name)
def old(request: pytest.FixtureRequest, engine: Originals, tmp_path: Path) -> Old:
    recorded: Path = request.param
    place = engine.copy(recorded.name, partial(filled, recorded), tmp_path)
    return Old(tmp_path / "centre", recorded, place)


def filled(recorded: Path, url: str) -> sessionmaker[Session]:
    with (recorded / "database.lines").open("rb") as file:
        lines = Lines(file)
        database = open_empty(url, lines.schema)
        with engine_of(database).begin() as connection:
            for header, rows in lines.tables():
                into = insert(table(header.table, *(column(name, TYPES[kind]) for name, kind in header.columns)))
                while some := list(islice(rows, 200)):
                    connection.execute(into, some)
    return database


def states(bench: Bench) -> dict[str, str]:
    return {source: verdict.state.value for source, verdict in bench.reading.verify("carol").items()}


def test_every_record_of_before_is_there_as_it_was_entered_signed_and_verified(old: Old) -> None:
    before = old.rows(HELD)
    bench = old.upgraded()

    with bench.database() as session:
        assert _plain(session, HELD) == before
    assert len({source for source, *_ in before}) == 4
    entries = bench.rows("SELECT entry FROM audit_records ORDER BY entry")
    assert [row.entry for row in entries] == list(range(len(before)))
    said = states(bench)
    assert {MERKLE_LOG, CERTIFICATES, SEARCH_INDEX} < said.keys()
    assert set(said.values()) == {"verified"}
    # That question was a record; the log goes on from what was entered.
    (head,) = bench.rows("SELECT checkpoint FROM log_head")
    assert verify_checkpoint(head.checkpoint, [bench.journal.sequencer.key]).size == len(before) + 1
    assert set(states(bench).values()) == {"verified"}
    close_database(bench.database)


def test_each_record_of_before_has_a_proof_and_one_that_was_edited_has_none_to_go_with_it(old: Old) -> None:
    bench = old.upgraded()
    bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))
    signer, key = bench.keys.signer(store.JOURNAL), bench.journal.sequencer.key
    proofs = LogProofs(bench.database, lambda: LogKeyOffer(sign_log_key(signer, key), bench.ca.trust.pem().decode()))

    for row in bench.rows("SELECT source, seq, public, entry FROM audit_records"):
        proof, leaf = proofs.of_record(row.source, row.seq), leaf_hash(bytes(row.public))
        assert verify_inclusion(proof, leaf, [key]).index == row.entry
        with pytest.raises(ProofWrong):
            verify_inclusion(proof, leaf_hash(bytes(row.public) + b" "), [key])
    close_database(bench.database)


def test_questions_are_answered_images_open_and_policies_go_on(old: Old) -> None:
    bench = old.upgraded()
    Resealing(bench.journal, bench.private).step()

    def found(**asked: object) -> list[str]:
        return [str(one.record.event) for one in bench.asking.find("carol", Question(**asked)).records]  # type: ignore[arg-type]

    touched = bench.asking.who_touched("carol", ENTRY.patient_id)
    assert [str(one.record.event) for one in touched.page.records] == [
        *["capture.image-captured"] * 2, *["vault.object-stored"] * 2, "capture.image-conflicts",
        "vault.looked-up", "vault.object-opened",
    ]  # fmt: skip
    assert touched.objects == 2
    assert found(patient="9") == ["capture.image-captured", "vault.object-stored"]
    assert found(person="A. Admin") == ["vault.looked-up", "vault.object-opened"]
    assert found(device="0815") == ["device.decided"]
    assert found(outcome=Outcome.MINOR_FAILURE) == ["capture.image-conflicts", "people.sign-in-refused"]
    (revoked,) = bench.asking.find("carol", Question(event=Event.HOST_REVOKED.value)).records
    (host,) = [what.name for what in revoked.record.what if what.kind == "host"]
    assert "capture.image-refused" in found(host=host)

    opened = bench.opener.open(ObjectId.parse(_first(bench)), "carol", "after the upgrade", "dataset")
    assert b"".join(opened.pieces).startswith(b"image ")
    assert PolicyPublisher(bench.database, bench.keys, bench.journal, bench.clock).parts().next_version == 3
    assert set(states(bench).values()) == {"verified"}
    close_database(bench.database)


def _first(bench: Bench) -> str:
    (row,) = bench.rows("SELECT object_id FROM objects ORDER BY received LIMIT 1")
    return str(row.object_id)


@pytest.mark.parametrize("source", ["control-plane", "host"])
def test_a_row_that_was_edited_before_the_upgrade_is_found_after_it(old: Old, source: str) -> None:
    """The control of the tests above: what they call verified is looked at."""
    held = [row for row in old.rows(HELD) if str(row[0]).startswith(source)]
    edited_source, seq, public, *_ = held[1]
    edited = public.replace(b'"outcome":0', b'"outcome":4', 1)
    assert AuditRecord.parse(edited).outcome is Outcome.MINOR_FAILURE
    old.change("UPDATE audit_records SET public = :p WHERE source = :s AND seq = :n", p=edited, s=edited_source, n=seq)
    bench = old.upgraded()

    verdict = bench.reading.verify("carol")[edited_source]
    assert (verdict.state.value, verdict.first_bad) == ("altered", seq)
    close_database(bench.database)


def test_a_row_that_was_taken_out_before_the_upgrade_is_found_after_it(old: Old) -> None:
    host, seq, *_ = next(row for row in old.rows(HELD) if str(row[0]).startswith("host") and row[1] == 2)
    old.change("DELETE FROM audit_records WHERE source = :s AND seq = :n", s=host, n=seq)
    bench = old.upgraded()

    assert bench.reading.verify("carol")[host].state.value == "altered"
    close_database(bench.database)
