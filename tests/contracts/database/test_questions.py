"""Questions to the log, on every engine: what is found, in which order, and that asking is a record."""

from datetime import timedelta

import pytest

from control_plane.audit_log.finding import FoundRecord, Place
from control_plane.audit_log.objects import number_of
from control_plane.audit_log.reading import BLIND_INDEX, DATABASE, MERKLE_LOG, SEARCH_INDEX, ChainState, SourceVerdict
from control_plane.db.driver import blob
from control_plane.db.transactions import snapshot
from control_plane.vault.opening import ObjectUnknown
from shared.audit.events import Action, Event, Happening, Outcome, Subject
from shared.audit.question import Question
from shared.audit.record import AuditRecord
from shared.identity import ObjectId
from tests.contracts.database.day import AUDITOR, PATIENT, PERSON
from tests.control_plane.vault.bench import Bench, HostBench


def events(found: tuple[FoundRecord, ...]) -> list[str]:
    return [one.record.event.value for one in found]


def test_who_touched_a_patients_images_is_told_in_the_order_of_time(host: HostBench) -> None:
    bench = host.bench

    touched = bench.asking.who_touched(AUDITOR, PATIENT)

    assert events(touched.page.records) == [
        "capture.image-captured",
        "capture.image-refused",
        "vault.object-stored",
        "vault.looked-up",
        "vault.object-opened",
    ]
    assert (touched.objects, touched.not_evaluated, touched.page.rest) == (1, 0, None)
    record = bench.last_record()
    assert (record.event, record.who[0].name) == (Event.AUDIT_READ, AUDITOR)
    assert PATIENT not in record.encode().decode()
    # Whoever asks next is told of this question too.
    assert events(bench.asking.find(AUDITOR, Question(patient=PATIENT)).records)[-1] == "audit.read"


def altered(bench: Bench) -> list[list[tuple[str, int]]]:
    """Return of which records each place where they are shown says that they are altered."""
    tail, touched = bench.reading.tail(100), bench.asking.who_touched(AUDITOR, PATIENT).page.records
    found = bench.asking.find(AUDITOR, Question()).records
    rows = [tail, [one.row for one in touched], [one.row for one in found]]
    return [sorted((str(one["source"]), int(str(one["seq"]))) for one in some if one["altered"]) for some in rows]


@pytest.mark.parametrize("column, theirs", [("entry", 1), ("seq", 2), ("public", 1)])
def test_two_whole_records_that_were_exchanged_are_shown_as_altered(host: HostBench, column: str, theirs: int) -> None:
    """The first says the patient's image, and the fourth was asked by it."""
    bench, name = host.bench, str(host.host_id)
    assert altered(bench) == [[], [], []]

    values = {row.seq: getattr(row, column) for row in bench.rows(
        "SELECT seq, entry, public FROM audit_records WHERE source = :host", host=name)}  # fmt: skip
    away = {"entry": 2**30 - 1, "seq": 2**30 - 1, "public": b"away"}[column]
    for seq, value in ((1, away), (4, values[1])):
        bench.sql(f"UPDATE audit_records SET {column} = :value WHERE source = :host AND seq = :seq",  # noqa: S608 (ours)
                  value=value, host=name, seq=seq)  # fmt: skip
    bench.sql(f"UPDATE audit_records SET {column} = :value WHERE source = :host AND {column} = :away",  # noqa: S608 (ours)
              value=values[4], host=name, away=away)  # fmt: skip

    assert altered(bench) == [[(name, 1), (name, 4)]] * 3
    with snapshot(bench.database) as session:  # what is kept by others has no record of somebody else
        kept = bench.asking.all(session, Question(patient=PATIENT), Place.first(1000))
        assert sum(bool(one.row["altered"]) for one in kept) == theirs


def test_conditions_are_joined_and_each_narrows(host: HostBench) -> None:
    bench = host.bench
    at = bench.clock.now()
    with pytest.raises(ObjectUnknown):
        bench.opener.open(ObjectId.new(), "B. Other", "curious", "dataset")

    def found(**asked: object) -> list[str]:
        return events(bench.asking.find(AUDITOR, Question(**asked)).records)  # type: ignore[arg-type]

    assert found(person=PERSON) == ["vault.looked-up", "vault.object-opened"]
    assert found(person=PERSON, action=Action.READ) == ["vault.object-opened"]
    assert found(device="0815") == found(device="1-2") == ["device.decided"]
    assert found(host=str(host.host_id), event="capture.image-captured") == ["capture.image-captured"] * 2
    assert found(study="9") == ["capture.image-captured", "vault.object-stored"]
    assert found(patient=PATIENT, person=PERSON) == ["vault.looked-up", "vault.object-opened"]
    assert found(since=at - timedelta(seconds=1), until=at, person=PERSON) == ["vault.looked-up"]
    assert found(event="audit.read", outcome=Outcome.SUCCESS) == ["audit.read"] * 8
    assert found(outcome=Outcome.MINOR_FAILURE) == ["vault.open-refused"]
    assert found(outcome=Outcome.MAJOR_FAILURE) == found(patient="nobody") == found(host="host-" + "0" * 32) == []


def test_pages_go_on_where_the_last_one_ended_whatever_is_entered_between(bench: Bench) -> None:
    for number in range(7):
        bench.journal.record(
            Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, (), (Subject("thing", str(number)),))
        )

    seen, after = list[str](), None
    while True:
        page = bench.asking.find(AUDITOR, Question(event="audit.read"), after, limit=3)
        seen += [one.record.what[0].name for one in page.records]
        if page.rest is None:
            break
        after = Place.parse(page.rest.text())

    assert seen == [str(number) for number in range(7)]
    assert bench.events().count(Event.AUDIT_READ) == 7 + 3


def test_an_index_that_was_edited_leads_to_nothing_that_was_not_asked_for(host: HostBench) -> None:
    bench = host.bench
    bench.sql("UPDATE audit_names SET name = 'somebody' WHERE kind = 'person'")

    assert bench.asking.find(AUDITOR, Question(person="somebody")).records == ()


HIDING = {
    "UPDATE audit_records SET event = 'audit.read' WHERE event = 'vault.object-opened'": "vault.object-opened",
    "DELETE FROM audit_names WHERE kind = 'person' AND name = 'A. Admin'": "vault.looked-up",
    "UPDATE audit_records SET happened = NULL WHERE event = 'vault.object-stored'": "vault.object-stored",
    "DELETE FROM audit_objects": "capture.image-captured",
}
"""What hides ever earlier records, and the event of the first that is hidden then."""


def test_a_record_that_was_hidden_from_questions_is_named_by_verification(host: HostBench) -> None:
    bench = host.bench
    entries = {row.event: row.entry for row in bench.rows("SELECT event, entry FROM audit_records ORDER BY entry DESC")}
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED

    for hidden, event in HIDING.items():
        bench.sql(hidden)
        found = bench.reading.verify(AUDITOR)
        assert found[SEARCH_INDEX].first_bad == entries[event]
        assert found[MERKLE_LOG].state is ChainState.VERIFIED


HIDING_FROM_PATIENTS = {
    "DELETE FROM blind_index WHERE object_id = :mine": (None, "not found by"),
    "DELETE FROM blind_index WHERE object_id = :mine AND attribute = 'patient_id'": (None, "not found by"),
    "DELETE FROM blind_index WHERE object_id = :mine AND attribute <> 'study_instance_uid' "
    "AND attribute <> 'series_instance_uid' AND attribute <> 'sop_instance_uid'": (None, "not found by"),
    "UPDATE objects SET index_state = 'not evaluated' WHERE object_id = :mine": (
        None,
        "the row says that",
    ),
    "UPDATE objects SET sealed_index = record WHERE object_id = :mine": (None, "cannot be told"),
    "UPDATE objects SET record = binding WHERE object_id = :mine": (None, "cannot be told"),
    "DELETE FROM audit_tokens WHERE attribute = 'patient_id'": ("vault.looked-up", "misses it"),
    "DELETE FROM audit_tokens WHERE attribute = 'sop_instance_uid'": ("capture.image-refused", "misses it"),
    "UPDATE audit_records SET sealed = public WHERE event = 'vault.looked-up'": ("vault.looked-up", "no key for it"),
    "UPDATE audit_records SET sealed = (SELECT sealed FROM audit_records a WHERE a.event = 'vault.looked-up') "
    "WHERE event = 'capture.image-refused'": ("capture.image-refused", "not what it committed to"),
    "DELETE FROM subject_keys WHERE attribute = 'patient_id'": ("vault.looked-up", "no record says"),
}
"""What hides records from whoever asks by patient or study; the event of the first that it hides, and what is said."""


def of_patient(bench: Bench) -> str:
    (opened,) = bench.rows("SELECT public FROM audit_records WHERE event = 'vault.object-opened'")
    return next(what.name for what in AuditRecord.parse(blob(opened.public)).what if what.kind == "object")


@pytest.mark.parametrize("hidden", HIDING_FROM_PATIENTS)
def test_a_record_that_was_hidden_from_questions_by_patient_is_named_by_verification(
    host: HostBench, hidden: str
) -> None:
    bench = host.bench
    entries = {row.event: row.entry for row in bench.rows("SELECT event, entry FROM audit_records")}
    assert bench.reading.verify(AUDITOR)[BLIND_INDEX] == SourceVerdict(5, ChainState.VERIFIED, None, "")

    bench.sql(hidden, **{"mine": of_patient(bench)} if ":mine" in hidden else {})

    found, (event, why) = bench.reading.verify(AUDITOR), HIDING_FROM_PATIENTS[hidden]
    assert found[BLIND_INDEX].state is ChainState.ALTERED
    assert found[BLIND_INDEX].first_bad == (entries[event] if event else None)
    assert why in found[BLIND_INDEX].why
    assert found[MERKLE_LOG].state is ChainState.VERIFIED


@pytest.mark.parametrize("column", ["entry", "received"])
def test_a_record_with_a_private_part_and_no_number_or_time_ends_no_verification(host: HostBench, column: str) -> None:
    """PostgreSQL keeps no text there."""
    bench = host.bench
    if bench.engine.dialect.name != "sqlite":
        return
    bench.sql(f"UPDATE audit_records SET {column} = 'x' WHERE event = 'vault.looked-up'")  # noqa: S608 (ours)

    found = bench.reading.verify(AUDITOR)
    assert (found[MERKLE_LOG].state is ChainState.ALTERED) == (column == "entry")


def test_an_image_that_is_gone_with_all_that_leads_to_it_is_named(host: HostBench) -> None:
    bench = host.bench
    image = of_patient(bench)
    for table in ("blind_index", "instances", "wraps", "objects"):
        bench.sql(f"DELETE FROM {table} WHERE object_id = :name", name=image)  # noqa: S608 (ours)

    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, image in found.why, "not held" in found.why) == (ChainState.ALTERED, True, True)


def test_a_host_that_seals_what_opens_nowhere_is_said_and_nothing_is_altered(host: HostBench) -> None:
    bench = host.bench
    bench.sql("UPDATE audit_records SET sealed = public WHERE source = :host AND sealed IS NOT NULL",
              host=str(host.host_id))  # fmt: skip

    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, found.why) == (ChainState.VERIFIED, "private parts of hosts that do not open here: 1")


def test_a_host_that_seals_other_than_it_commits_to_is_said_and_nothing_is_altered(host: HostBench) -> None:
    bench = host.bench
    host.note(private={"patient": PATIENT})
    host.note(private={"patient": "another"})
    first, second = host.journal[-2:]
    host.journal[-2:] = [first._replace(sealed=second.sealed), second._replace(sealed=first.sealed)]
    host.deliver(len(host.journal) - 1, len(host.journal))

    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, found.why) == (ChainState.VERIFIED, "private parts of hosts that do not open here: 2")


def test_what_is_hidden_behind_a_record_that_does_not_hold_is_counted(host: HostBench) -> None:
    bench = host.bench
    bench.sql("DELETE FROM audit_tokens WHERE attribute = 'patient_id'")
    bench.sql("DELETE FROM blind_index WHERE object_id = :mine", mine=of_patient(bench))

    assert bench.reading.verify(AUDITOR)[BLIND_INDEX].why.endswith("; and 1 more")


def test_each_record_that_is_hidden_is_counted(host: HostBench) -> None:
    bench = host.bench
    for _ in range(3):
        bench.asking.who_touched(AUDITOR, PATIENT)
    hidden = [row.entry for row in bench.rows("SELECT DISTINCT entry FROM audit_tokens ORDER BY entry")]
    bench.sql("DELETE FROM audit_tokens")

    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert len(hidden) >= 3
    assert found.first_bad == hidden[0]
    assert found.why.endswith(f"; and {len(hidden) - 1} more")


_HIDES = "DELETE FROM audit_names WHERE name = 'A. Admin';"
TRIGGERS = {
    "sqlite": [f"CREATE TRIGGER hide AFTER INSERT ON audit_records BEGIN {_HIDES} END"],
    "postgresql": [
        f"CREATE FUNCTION hides() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_HIDES} RETURN NEW; END $$",
        "CREATE TRIGGER hide AFTER INSERT ON audit_records FOR EACH ROW EXECUTE FUNCTION hides()",
    ],
}
VIEWS = {"sqlite": "view log_witnesses", "postgresql": "view or the like log_witnesses"}


def test_what_could_show_a_question_other_rows_than_verification_is_named(host: HostBench) -> None:
    bench = host.bench
    engine = bench.engine.dialect.name
    assert bench.reading.verify(AUDITOR)[DATABASE].state is ChainState.VERIFIED

    for statement in TRIGGERS[engine]:
        bench.sql(statement)
    found = bench.reading.verify(AUDITOR)[DATABASE]
    assert (found.state, found.why.partition(":")[0]) == (ChainState.ALTERED, "trigger hide")

    bench.sql("DROP TRIGGER hide" + " ON audit_records" * (engine == "postgresql"))
    bench.sql("ALTER TABLE log_witnesses RENAME TO before")
    bench.sql("CREATE VIEW LOG_witnesses AS SELECT * FROM before WHERE 1 = 0")
    assert bench.reading.verify(AUDITOR)[DATABASE].why.partition(":")[0].lower() == VIEWS[engine]


def test_what_somebody_made_beside_our_tables_is_none_of_ours_and_shows_nobody_anything(bench: Bench) -> None:
    """As a report of their own; by nothing that this program asks is it reached."""
    bench.sql("CREATE TABLE own (host TEXT)")
    bench.sql("CREATE VIEW report AS SELECT event, count(*) AS count FROM audit_records GROUP BY event")
    if bench.engine.dialect.name == "sqlite":
        bench.sql("CREATE TRIGGER counts AFTER INSERT ON own BEGIN DELETE FROM own WHERE host IS NULL; END")

    assert bench.reading.verify(AUDITOR)[DATABASE].state is ChainState.VERIFIED


def test_whoever_sees_other_rows_than_others_is_named(bench: Bench) -> None:
    """Of PostgreSQL alone: SQLite shows everybody the same."""
    if bench.engine.dialect.name != "postgresql":
        return
    bench.sql("ALTER TABLE audit_records ENABLE ROW LEVEL SECURITY")
    bench.sql("CREATE RULE quiet AS ON DELETE TO audit_names DO INSTEAD NOTHING")

    found = bench.reading.verify(AUDITOR)[DATABASE]
    assert found.why.startswith("row security on audit_records, rule quiet: ")


def test_records_that_say_as_much_as_they_can_keep_nobody_from_verifying(bench: Bench) -> None:
    host = bench.enrol()
    for number in range(210):
        host.note(Event.IMAGE_CAPTURED, tuple(Subject("object", f"{number:016x}{one:016x}") for one in range(64)))
    host.deliver(1, 210)

    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED

    number = number_of(f"{199:016x}{63:016x}", 199)
    bench.sql("DELETE FROM audit_objects WHERE number = :number", number=number)
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].first_bad == 199


@pytest.mark.parametrize("seq", [1, 300, 600])
def test_each_record_that_no_object_leads_to_is_named(bench: Bench, seq: int) -> None:
    host = bench.enrol()
    names = [f"{number * 7919 % 1000:032x}" for number in range(600)]
    for name in names:
        host.note(Event.IMAGE_CAPTURED, (Subject("object", name),))
    host.deliver(1, 600)
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED

    (gone,) = bench.rows(
        "SELECT entry FROM audit_records WHERE source LIKE 'host%' AND seq = :seq".replace(":seq", str(seq))
    )
    bench.sql("DELETE FROM audit_objects WHERE number = :number", number=number_of(names[seq - 1], gone.entry))
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].first_bad == gone.entry


def test_a_row_of_the_index_that_stands_twice_does_not_count_for_one_that_is_gone(host: HostBench) -> None:
    bench = host.bench
    bench.sql("ALTER TABLE audit_names RENAME TO before")
    bench.sql("CREATE TABLE audit_names AS SELECT * FROM before")  # without the key that keeps each row once
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED

    (gone, *_) = bench.rows("SELECT entry FROM audit_names WHERE kind = 'person' AND name = 'A. Admin' ORDER BY entry")
    bench.sql("INSERT INTO audit_names SELECT * FROM audit_names WHERE entry = :entry AND name <> :name LIMIT 1",
              entry=gone.entry, name=PERSON)  # fmt: skip
    bench.sql("DELETE FROM audit_names WHERE entry = :entry AND name = :name", entry=gone.entry, name=PERSON)

    assert gone.entry not in [one.entry for one in bench.asking.find(AUDITOR, Question(person=PERSON)).records]
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].first_bad == gone.entry
