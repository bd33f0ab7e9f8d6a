"""Questions to a log whose records came in batches, on every engine: found by pieces, told one by one."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.audit_log.finding import Place
from control_plane.audit_log.reading import SEARCH_INDEX, ChainState
from control_plane.db import engine as engines
from control_plane.db.driver import blob
from control_plane.db.engine import close_database, engine_of
from shared.audit.batch import ChainHead
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.question import Question
from shared.audit.record import AuditRecord, compose
from tests.contracts.database.day import AUDITOR
from tests.contracts.database.originals import Originals
from tests.control_plane.vault.bench import Bench
from tests.fakes.clock import FakeClock

COUNT, LIMIT = 600, 70
RARE, FREQUENT = "B. Rare", "A. Often"


@pytest.fixture
def bench(engine: Originals, tmp_path: Path) -> Iterator[Bench]:
    with engine.after(fill, tmp_path) as (bench, _):
        yield bench


def fill(bench: Bench) -> None:
    """Have two hosts bring batches of hours that overlap, one of them with a clock that was put back."""
    for number in range(2):
        host = bench.enrol()
        for at in range(COUNT // 2):
            bench.clock.advance(timedelta(minutes=-100 if at == 150 else 1))
            who = Participant("person", RARE if at % 97 == 5 else FREQUENT, True)
            event = Event.IMAGE_REFUSED if at % 50 == number else Event.IMAGE_CAPTURED
            host.note(event, who=(who,))
        bench.clock.advance(timedelta(minutes=-150))
        host.deliver(1, COUNT // 2)


ODD = ("A. Often", "a. often", 'quo"te', "back\\slash", "Ä", "e\u0301", "\x80", "1", "serial: 1", "%", "_")
EVENTS = (Event.IMAGE_CAPTURED, Event.IMAGE_REFUSED, Event.AGENT_STARTED)
START = FakeClock().now()
times = st.none() | st.integers(-300, 1000).map(lambda minutes: START + timedelta(minutes=minutes))
named = st.none() | st.sampled_from(ODD)
questions = st.builds(
    Question, named, named, named, st.none() | st.sampled_from([one.value for one in EVENTS]),
    st.none() | st.sampled_from(Action), st.none() | st.sampled_from(Outcome), times, times,
)  # fmt: skip


@pytest.fixture
def odd(bench: Bench) -> Bench:
    """Have one more host say odd things of odd times in batches of every size."""
    host, random = bench.enrol(), Random(1)
    for size in (1, 2, 40, 7, 300, 1, 30):
        first = host.head.seq + 1
        for _ in range(size):
            who = tuple(
                Participant(kind, random.choice(ODD), True) for kind in ("person", "ae")[: random.randint(0, 2)]
            )
            what = tuple(
                Subject(kind, prefix + random.choice(ODD))
                for kind, prefix in (("device", ""), ("fact", "serial: "), ("host", ""), ("object", ""))
                if random.random() < 0.4
            )
            happening = Happening(
                random.choice(EVENTS), random.choice(list(Action)), random.choice(list(Outcome)), who, what
            )
            time = START + timedelta(minutes=random.randint(0, 200), microseconds=random.choice([0, 1, 999_999]))
            stored = compose(
                happening, source=str(host.host_id), seq=host.head.seq + 1, prev=host.head.leaf, time=time,
                salt=bytes(32), key=None,
            )  # fmt: skip
            host.head = ChainHead(host.head.seq + 1, stored.leaf)
            host.journal.append(stored)
        host.deliver(max(1, first - 1), host.head.seq)
    return bench


def told(bench: Bench, question: Question) -> list[tuple[int, int]]:
    """Return time and entry of all that is told, page by page, of what the hosts recorded."""
    found, after = list[tuple[int, int]](), None
    while True:
        page = bench.asking.find(AUDITOR, question, after, limit=LIMIT)
        found += [(one.record.happened, one.entry) for one in page.records if one.source != "control-plane"]
        if page.rest is None:
            return found
        assert len(page.records) == LIMIT
        after = Place.parse(page.rest.text())


def held(bench: Bench, question: Question) -> list[tuple[int, int]]:
    """Return what `told` has to, by looking at every record."""
    rows = bench.rows("SELECT entry, public FROM audit_records WHERE source <> 'control-plane'")
    read = [(AuditRecord.parse(blob(row.public)), row.entry) for row in rows]
    return sorted((record.happened, entry) for record, entry in read if question.matches(record))


def test_pages_tell_each_record_once_in_the_order_of_time_whatever_order_it_came_in(bench: Bench) -> None:
    at = bench.clock.now()
    questions = [
        Question(),
        Question(person=RARE),
        Question(person=FREQUENT, event="capture.image-refused"),
        Question(event="capture.image-captured", since=at - timedelta(minutes=70), until=at + timedelta(minutes=20)),
    ]
    pieces = bench.rows("SELECT count(*) AS n FROM audit_pieces")[0].n
    assert pieces < COUNT / 10

    for question in questions:
        found = told(bench, question)
        assert found == held(bench, question)
        assert len(found) > 5


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=questions)
def test_whatever_is_asked_is_told_as_a_look_at_every_record_finds_it(odd: Bench, question: Question) -> None:
    assert told(odd, question) == held(odd, question)


def test_a_piece_that_was_changed_hides_records_and_verification_names_the_first(bench: Bench) -> None:
    (piece,) = bench.rows("SELECT first, last, since FROM audit_pieces WHERE last > first ORDER BY first LIMIT 1")
    at = {"first": piece.first}
    for change, back, first_bad in (
        ("last = last - 1", "last = last + 1", piece.last),
        ("since = since + 60000000", "since = since - 60000000", piece.first),
        ("since = since - 7200000000", "since = since + 7200000000", piece.first),
    ):
        assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED
        bench.sql(f"UPDATE audit_pieces SET {change} WHERE first = :first", **at)  # noqa: S608 (ours)
        assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].first_bad == first_bad
        bench.sql(f"UPDATE audit_pieces SET {back} WHERE first = :first", **at)  # noqa: S608 (ours)

    bench.sql("DELETE FROM audit_pieces WHERE first = :first", **at)
    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].first_bad == piece.first
    assert told(bench, Question()) != held(bench, Question())


@pytest.mark.parametrize("column", ["first", "last", "since"])
def test_a_piece_that_somebody_made_text_of_leads_to_nothing_and_that_is_named(bench: Bench, column: str) -> None:
    """PostgreSQL keeps no text there."""
    if bench.engine.dialect.name != "sqlite":
        return
    (piece,) = bench.rows("SELECT first FROM audit_pieces ORDER BY first LIMIT 1")
    bench.sql(f"UPDATE audit_pieces SET {column} = 'x' WHERE first = {piece.first}")  # noqa: S608 (ours)

    assert bench.reading.verify(AUDITOR)[SEARCH_INDEX].first_bad == piece.first


def test_pieces_that_overlap_tell_nothing_twice(bench: Bench) -> None:
    bench.sql("INSERT INTO audit_pieces SELECT first + 1, last, since FROM audit_pieces WHERE last > first + 1")

    assert told(bench, Question()) == held(bench, Question())


def test_a_log_of_before_there_were_pieces_is_found_as_it_was(bench: Bench) -> None:
    with engine_of(bench.database).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engines._MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0020")
    if bench.engine.dialect.name == "sqlite":
        # What somebody made text of still reads, so that it is still found.
        bench.sql("UPDATE audit_records SET public = CAST(public AS TEXT) WHERE seq % 50 = 7")
    each = bench.rows("SELECT count(DISTINCT entry) AS n FROM audit_names WHERE kind = 'host'")[0].n
    assert each >= COUNT

    again = Bench(bench.folder, url=str(bench.engine.url))  # as after an upgrade
    assert again.reading.verify(AUDITOR)[SEARCH_INDEX].state is ChainState.VERIFIED
    assert told(again, Question(person=RARE)) == held(again, Question(person=RARE))
    assert told(again, Question()) == held(again, Question())
    close_database(again.database)
