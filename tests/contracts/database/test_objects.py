"""What is found by the object that it is about, on every engine: all of it, nothing else; what is gone is missed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert

from control_plane.audit_log.finding import Place
from control_plane.audit_log.objects import MAX_ENTRY, Nearest, _all_runs, led_to, number_of
from control_plane.audit_log.reading import SEARCH_INDEX, ChainState
from control_plane.custody.statements import CustodyStatements
from control_plane.db import engine as engines
from control_plane.db.engine import close_database, engine_of
from control_plane.db.models import AuditObject, AuditRow
from control_plane.db.transactions import snapshot
from shared import clock
from shared.audit.batch import AuditAltered
from shared.audit.events import Action, Event, Outcome, Subject
from shared.audit.question import Question
from shared.audit.record import AuditRecord
from shared.custody.statement import CustodyStatement
from shared.identity import CONTROL_PLANE, ObjectId
from tests.contracts.database.day import AUDITOR, OTHER, PATIENT, meeting
from tests.contracts.database.originals import Originals
from tests.contracts.database.originals import Place as Database
from tests.control_plane.vault.bench import ENTRY, Bench, HostBench, SealedImage

FAR = 3_000_000


def kept(bench: Bench, host: HostBench, image: SealedImage) -> SealedImage:
    host.captured(image)
    bench.receive(image)
    return image


@dataclass(frozen=True)
class Two:
    """Images of two patients, whose names meet in the index."""

    bench: Bench
    mine: SealedImage
    theirs: SealedImage


@pytest.fixture
def two(engine: Originals, tmp_path: Path) -> Iterator[Two]:
    with engine.after(two_met, tmp_path) as (bench, images):
        yield Two(bench, *images)


def two_met(bench: Bench) -> tuple[SealedImage, SealedImage]:
    host, (mine, theirs, *_) = bench.enrol(), map(ObjectId.parse, meeting())
    of_other = replace(ENTRY, patient_id=OTHER, study_instance_uid="9", sop_instance_uid="9.1")
    images = kept(bench, host, host.seal(object_id=mine)), kept(bench, host, host.seal(b"", of_other, object_id=theirs))
    host.deliver(1, len(host.journal))
    return images


def test_of_two_objects_whose_names_meet_each_is_told_its_own(two: Two) -> None:
    bench, mine, theirs = two.bench, two.mine, two.theirs
    names = [str(mine.object_id), str(theirs.object_id)]
    with bench.database() as session:
        assert {name for one in led_to(session, names[:1]) for name in one.names or ()} == set(names)
        captures = Nearest(session, Event.IMAGE_CAPTURED).of(dict.fromkeys(names, str(mine.host_id)))

    for image, patient in ((mine, PATIENT), (theirs, OTHER)):
        name = str(image.object_id)
        touched = [one.record for one in bench.asking.who_touched(AUDITOR, patient).page.records]
        said = [one for one in touched if one.event in (Event.IMAGE_CAPTURED, Event.OBJECT_STORED)]
        assert [Subject("object", name) in one.what for one in said] == [True, True]
        (record,) = bench.log.about(Subject("object", name), Event.IMAGE_CAPTURED, str(image.host_id))
        assert AuditRecord.parse(captures[name]) == record
        shown = CustodyStatement.parse(
            CustodyStatements(bench.database, bench.journal, bench.clock).write(AUDITOR, image.object_id)
        )
        records = [AuditRecord.parse(proof.records[0]) for proof in shown.log]
        assert [(one.event, Subject("object", name) in one.what) for one in records] == [
            (Event.IMAGE_CAPTURED, True), (Event.OBJECT_STORED, True),
        ]  # fmt: skip
        assert bench.read(image) == image.dataset


def captured_at(bench: Bench, entries: dict[int, str]) -> None:
    """Have captures in the log as if many others were between them; nothing of them is signed."""
    source, now = f"host-{'0' * 32}", bench.clock.now()
    records = [
        AuditRecord(source, seq, bytes(32), now, Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, (),
                    (Subject("object", name),), "", None)
        for seq, name in enumerate(entries.values(), 1)
    ]  # fmt: skip
    rows = [
        {"source": source, "seq": one.seq, "public": one.encode(), "sealed": None, "leaf": b"", "received": now,
         "entry": entry, "event": one.event, "happened": clock.microseconds(now)}
        for entry, one in zip(entries, records, strict=True)
    ]  # fmt: skip
    numbers = [{"number": number_of(name, entry)} for entry, name in entries.items()]
    with bench.database.begin() as session:
        session.execute(insert(AuditRow), rows)
        session.execute(insert(AuditObject), numbers)


def test_an_object_is_found_wherever_in_a_long_log_it_is_said(bench: Bench) -> None:
    name = "ab" * 16
    entries = [0, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 700_000, FAR]
    captured_at(bench, {**dict.fromkeys(entries, name), 5: "other", FAR + 1: "other"})

    with bench.database() as session:
        assert [one.entry for one in led_to(session, [name])] == entries
        assert list(led_to(session, ["nothing"])) == []


def test_each_of_many_objects_has_the_record_of_its_source_wherever_that_is(bench: Bench) -> None:
    names = [f"{number:032x}" for number in range(1200)]
    captured_at(bench, {number * FAR // 1200: name for number, name in enumerate(names)})
    source, nobody = f"host-{'0' * 32}", f"host-{'1' * 32}"

    with bench.database() as session:
        captures = Nearest(session, Event.IMAGE_CAPTURED)
        for some in (names[300:500], names[:300], names[500:]):
            found = captures.of(dict.fromkeys([*some, "nothing"], source))
            assert [AuditRecord.parse(found[name]).what[0].name for name in some] == some
            assert len(found) == len(some)
        assert captures.of(dict.fromkeys(names, nobody)) == {}
        assert Nearest(session, Event.OBJECT_STORED).of(dict.fromkeys(names, source)) == {}


def test_of_a_patient_with_many_records_the_last_is_found_too(place: Database, bench: Bench) -> None:
    """They are asked for by some thousand at once, and their images are looked for once and not for each page."""
    host = bench.enrol()
    image, question = kept(bench, host, host.seal()), Question(patient=PATIENT)
    captured_at(bench, dict.fromkeys(range(1000, 11_002), str(image.object_id)))
    asked, now = list[str](), clock.microseconds(bench.clock.now())

    with snapshot(bench.database) as session:
        (next_one,) = bench.asking.page(session, question, Place(now, 5000, FAR), limit=1).records
        if place.engine == "sqlite":
            connection = session.connection().connection.driver_connection
            assert connection is not None
            connection.set_trace_callback(asked.append)
        found = [one.entry for one in bench.asking.all(session, question, Place.first(FAR))]
    assert next_one.entry == 5001
    assert found[-10_002:] == list(range(1000, 11_002))
    assert sum("audit_objects" in one for one in asked) == (place.engine == "sqlite")


def test_a_page_reads_the_records_that_it_shows_and_not_all_of_a_patient(place: Database, bench: Bench) -> None:
    if place.engine != "sqlite":
        return  # whose statements can be seen from here
    host, asked = bench.enrol(), list[str]()
    image = kept(bench, host, host.seal())
    captured_at(bench, dict.fromkeys(range(1000, 3000), str(image.object_id)))
    bench.sql("UPDATE audit_records SET happened = happened + entry")

    with snapshot(bench.database) as session:
        connection = session.connection().connection.driver_connection
        assert connection is not None
        connection.set_trace_callback(asked.append)
        bench.asking.page(session, Question(patient=PATIENT), Place.first(FAR), limit=10)
    (read,) = [one for one in asked if one.startswith("SELECT entry, public")]
    assert read.count(",") <= 500


def test_of_an_answer_that_is_read_page_by_page_full_runs_are_looked_into_once(bench: Bench) -> None:
    host, question = bench.enrol(), Question(patient=PATIENT)
    name = str(kept(bench, host, host.seal()).object_id)
    captured_at(bench, dict.fromkeys((1000, 700_000, FAR), name))
    bench.sql("UPDATE log_head SET size = :size", size=FAR + 1)

    def found() -> list[int]:
        with snapshot(bench.database) as session:
            return [one.entry for one in bench.asking.all(session, question, Place.first(FAR + 2))]

    before = found()
    assert before[-3:] == [1000, 700_000, FAR]
    bench.sql("DELETE FROM audit_objects WHERE number < :newest", newest=FAR >> 15 << 38)
    bench.sql("UPDATE audit_records SET entry = :new WHERE entry = :old", new=FAR + 1, old=700_000)
    bench.sql("INSERT INTO audit_objects VALUES (:number)", number=number_of(name, FAR + 1))

    assert found() == [*before[:-2], FAR, FAR + 1]


def test_of_a_log_that_went_back_and_on_full_runs_are_looked_into_again(bench: Bench) -> None:
    host, question = bench.enrol(), Question(patient=PATIENT)
    name = str(kept(bench, host, host.seal()).object_id)
    captured_at(bench, dict.fromkeys((700_000, FAR), name))
    bench.sql("UPDATE log_head SET size = :size", size=FAR + 1)
    last = ((FAR >> 15 << 15) // 256) - 1
    bench.sql("INSERT INTO log_tiles (level, number, hashes) VALUES (0, :last, :hashes)", last=last, hashes=b"before")

    def found() -> list[int]:
        with snapshot(bench.database) as session:
            return [one.entry for one in bench.asking.all(session, question, Place.first(FAR + 1))]

    before = found()
    bench.sql("UPDATE audit_records SET entry = 700001 WHERE entry = 700000")
    bench.sql("INSERT INTO audit_objects VALUES (:number)", number=number_of(name, 700_001))
    bench.sql("UPDATE log_tiles SET hashes = :hashes WHERE number = :last", last=last, hashes=b"since")

    assert found() == [*before[:-2], 700_001, FAR]


def test_a_record_far_beyond_the_log_has_no_run_taken_for_full_that_others_are_still_to_come_in(bench: Bench) -> None:
    host, question = bench.enrol(), Question(patient=PATIENT)
    name = str(kept(bench, host, host.seal()).object_id)
    captured_at(bench, {1000: name, FAR: "other"})

    def found() -> list[int]:
        with snapshot(bench.database) as session:
            return [one.entry for one in bench.asking.all(session, question, Place.first(FAR))]

    before = found()
    bench.sql("UPDATE audit_records SET entry = 40000 WHERE entry = 1000")
    bench.sql("INSERT INTO audit_objects VALUES (:number)", number=number_of(name, 40_000))

    assert found() == [*before[:-1], 40_000]


def test_a_record_about_an_object_that_is_gone_is_not_taken_for_one_that_has_not_come(two: Two) -> None:
    bench, image = two.bench, two.mine
    asked = Subject("object", str(image.object_id)), Event.IMAGE_CAPTURED, str(image.host_id)
    assert bench.log.about(asked[0], Event.FRAMES_DIGESTED, CONTROL_PLANE) == ()

    bench.sql("DELETE FROM audit_records WHERE source = :host AND seq = 1", host=str(image.host_id))

    with pytest.raises(AuditAltered, match="missing"):
        bench.log.about(*asked)


@pytest.mark.parametrize(
    "change", ["source = 'host-0'", "event = 'audit.read'", "seq = 9", "entry = 99", "entry = NULL"]
)
def test_a_record_about_an_object_whose_row_says_something_else_is_not_passed_over(two: Two, change: str) -> None:
    bench, image = two.bench, two.mine
    bench.sql(f"UPDATE audit_records SET {change} WHERE source = :host AND seq = 1", host=str(image.host_id))  # noqa: S608 (ours)

    with pytest.raises(AuditAltered):
        bench.log.about(Subject("object", str(image.object_id)), Event.IMAGE_CAPTURED, str(image.host_id))


def test_a_record_that_was_made_to_say_another_object_is_not_passed_over(two: Two) -> None:
    bench, image = two.bench, two.mine
    (row,) = bench.rows("SELECT public FROM audit_records WHERE source = :host AND seq = 1", host=str(image.host_id))
    edited = bytes(row.public).replace(str(image.object_id).encode(), b"0" * 32)
    bench.sql("UPDATE audit_records SET public = :p WHERE source = :host AND seq = 1",
              p=edited, host=str(image.host_id))  # fmt: skip

    with pytest.raises(AuditAltered):
        bench.log.about(Subject("object", str(image.object_id)), Event.IMAGE_CAPTURED, str(image.host_id))


def test_a_record_that_was_made_to_say_that_it_is_another_is_not_passed_over(bench: Bench) -> None:
    """Another one, of another batch, would be proved in its place, and says nothing of the object."""
    of = bench.enrol()
    image, host = kept(bench, of, of.seal()), str(of.host_id)
    of.deliver(1, 1)
    of.note(Event.IMAGE_CAPTURED, (Subject("object", "cd" * 16),))
    of.deliver(2, 2)
    (row,) = bench.rows("SELECT public FROM audit_records WHERE source = :host AND seq = 1", host=host)
    edited = replace(AuditRecord.parse(bytes(row.public)), seq=2).encode()
    bench.sql("UPDATE audit_records SET public = :p WHERE source = :host AND seq = 1", p=edited, host=host)

    with pytest.raises(AuditAltered):
        bench.log.about(Subject("object", str(image.object_id)), Event.IMAGE_CAPTURED, host)
    with pytest.raises(AuditAltered):
        bench.read(image)


def test_however_many_names_meet_an_altered_record_is_not_passed_over(bench: Bench) -> None:
    host, (*others, name) = bench.enrol(), meeting()
    for other in others:
        host.note(Event.IMAGE_CAPTURED, (Subject("object", other),))
    host.note(Event.IMAGE_CAPTURED, (Subject("object", name),))
    for seq in range(1, len(host.journal) + 1):
        host.deliver(seq, seq)
    asked = Subject("object", name), Event.IMAGE_CAPTURED, str(host.host_id)
    (record,) = bench.log.about(*asked)

    edited = record.encode().replace(name.encode(), b"0" * 32)
    bench.sql("UPDATE audit_records SET public = :p WHERE source = :host AND seq = :seq",
              p=edited, host=record.source, seq=record.seq)  # fmt: skip

    with pytest.raises(AuditAltered):
        bench.log.about(*asked)


def test_a_number_or_an_entry_that_somebody_put_far_beyond_the_log_has_nobody_look_there(two: Two) -> None:
    bench, image = two.bench, two.mine
    bench.sql("INSERT INTO audit_objects VALUES (:number)", number=2**63 - 1)
    bench.sql("UPDATE audit_records SET entry = :entry WHERE source = :host AND seq = 2",
              entry=MAX_ENTRY, host=str(image.host_id))  # fmt: skip

    with bench.database() as session:
        assert _all_runs(session) == range(1)
    assert bench.read(image) == image.dataset


def test_what_stands_for_a_number_and_is_no_whole_one_leads_nowhere(two: Two) -> None:
    """Where somebody made the table again, SQLite keeps anything in it."""
    bench = two.bench
    if bench.engine.dialect.name != "sqlite":
        return
    bench.sql("ALTER TABLE audit_objects RENAME TO before")
    bench.sql("CREATE TABLE audit_objects (number)")
    bench.sql("INSERT INTO audit_objects SELECT number FROM before UNION ALL SELECT number + 0.5 FROM before")

    assert bench.read(two.mine) == two.mine.dataset


def test_a_record_that_was_put_where_no_number_leads_is_named_by_verification(two: Two) -> None:
    """With all else that leads to it."""
    bench = two.bench
    far, seq_1 = 2**40, "SELECT happened FROM audit_records WHERE source = :host AND seq = 1"
    host = str(two.mine.host_id)
    bench.sql(f"INSERT INTO audit_pieces (first, last, since) SELECT {far}, {far}, ({seq_1})", host=host)
    bench.sql(
        f"INSERT INTO audit_names SELECT DISTINCT kind, name, ({seq_1}), {far} FROM audit_names",  # noqa: S608 (ours)
        host=host,
    )
    bench.sql(f"UPDATE audit_records SET entry = {far} WHERE source = :host AND seq = 1", host=host)  # noqa: S608 (ours)

    found = bench.reading.verify(AUDITOR)
    assert (found[SEARCH_INDEX].state, found[SEARCH_INDEX].first_bad) == (ChainState.ALTERED, far)


@pytest.mark.parametrize("change", ["entry = 1099511627776", "entry = 'far'", "public = :nothing"])
def test_a_log_in_which_a_record_was_altered_is_upgraded_all_the_same(two: Two, change: str) -> None:
    bench, altered, image = two.bench, two.mine, two.theirs
    if "'" in change and bench.engine.dialect.name != "sqlite":
        return  # which alone keeps text there
    downgraded(bench)
    nothing = {"nothing": b"{}"} if ":nothing" in change else {}
    bench.sql(
        f"UPDATE audit_records SET {change} WHERE source = :host AND seq = 1",  # noqa: S608 (ours)
        host=str(altered.host_id), **nothing,
    )  # fmt: skip

    again = Bench(bench.folder, url=str(bench.engine.url))
    name = str(image.object_id)
    with again.database() as session:
        found = [one for one in led_to(session, [name]) if name in (one.names or ())]
    assert [one.source for one in found] == [CONTROL_PLANE, str(image.host_id)]
    assert ChainState.ALTERED in {one.state for one in again.reading.verify(AUDITOR).values()}
    close_database(again.database)


def test_a_custody_statement_shows_a_record_that_no_longer_reads(two: Two) -> None:
    """Whoever verifies it says so; left out, it would be one that has not come."""
    bench, image = two.bench, two.mine
    bench.sql("UPDATE audit_records SET public = :nothing WHERE source = :host AND seq = 1",
              nothing=b"{}", host=str(image.host_id))  # fmt: skip

    shown = CustodyStatements(bench.database, bench.journal, bench.clock).write(AUDITOR, image.object_id)
    assert b"{}" in [proof.records[0] for proof in CustodyStatement.parse(shown).log]


def downgraded(bench: Bench) -> None:
    with engine_of(bench.database).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engines._MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0021")


def test_objects_of_a_log_of_before_are_found_as_they_were(two: Two) -> None:
    bench, held = two.bench, "SELECT number FROM audit_objects ORDER BY number"
    numbers = bench.rows(held)
    assert len(numbers) == 4
    downgraded(bench)
    if bench.engine.dialect.name == "sqlite":  # as the version before asks
        assert bench.rows("SELECT rowid FROM audit_subjects NOT INDEXED ORDER BY rowid")
    before = bench.rows("SELECT name, event, source, seq FROM audit_subjects WHERE kind = 'object'")
    assert {row.name for row in before} == {str(image.object_id) for image in (two.mine, two.theirs)}
    assert len(before) == len(numbers)

    again = Bench(bench.folder, url=str(bench.engine.url))  # as after an upgrade
    assert again.rows(held) == numbers
    assert again.rows("SELECT name FROM audit_subjects WHERE kind IN ('object', 'record')") == []
    assert again.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED
    close_database(again.database)
