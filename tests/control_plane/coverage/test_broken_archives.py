"""Archives that break off, refuse, lie or never end: whatever they do, it is never read as *no gap*."""

import socket
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from struct import pack
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification  # type: ignore[attr-defined]

from control_plane.cli.coverage import line_of
from control_plane.coverage import results
from control_plane.coverage.archive import Archive, Archives, ArchiveUnavailable
from control_plane.coverage.identifier import IMPLICIT_LE, of_series
from control_plane.coverage.runs import ComparisonRunning, DayNotOver, NoArchive
from control_plane.coverage.showing import gaps
from control_plane.coverage.sweep import Limits
from control_plane.coverage.tally import Result, State
from control_plane.db.transactions import DatabaseUnavailable, in_one_commit
from control_plane.routes.connect import PeerConnection
from shared import clock as clocks
from shared.audit.events import Event
from shared.dicom.requestor import Patience
from shared.policy.document import Coverage, Modality, Station
from shared.policy.routes import Peer
from shared.routes.peer import PeerNotTrusted
from tests.control_plane.coverage.day import CT1, CoverageDay, Image, nobody_there, series_of
from tests.fakes.dicom_server import serve

Answers = Iterator[tuple[int, Dataset | None]]
PENDING, SUCCESS = 0xFF00, 0x0000
SMALL = Limits(studies=20, series_of_study=20, instances_of_series=20, instances=100, faults=5)


class Teller:
    """An archive that knows `images` and tells of them; subclasses tell it wrongly."""

    def __init__(self, images: list[Image]) -> None:
        self.images = images
        self.asked: list[str] = []

    def answers(self, asked: Dataset) -> Answers:
        level = str(asked.QueryRetrieveLevel)
        self.asked.append(level)
        yield from {"STUDY": self.studies, "SERIES": self.series, "IMAGE": self.instances}[level](asked)

    def studies(self, asked: Dataset) -> Answers:
        for uid in dict.fromkeys(image.study for image in self.images):
            yield PENDING, said(QueryRetrieveLevel="STUDY", StudyInstanceUID=uid)

    def series(self, asked: Dataset) -> Answers:
        mine = {image.series: image for image in self.images if image.study == asked.StudyInstanceUID}
        for image in mine.values():
            yield PENDING, said(StudyInstanceUID=image.study, SeriesInstanceUID=image.series, Modality=image.modality)

    def instances(self, asked: Dataset) -> Answers:
        for image in self.images:
            if image.series == asked.SeriesInstanceUID and asked.SOPInstanceUID in ("", image.uid):
                yield PENDING, self.instance(image)

    def instance(self, image: Image) -> Dataset:
        return said(StudyInstanceUID=image.study, SeriesInstanceUID=image.series, SOPInstanceUID=image.uid)


def said(**values: object) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@contextmanager
def archive(
    answers: Callable[[Dataset], Answers] | None, context: Any = StudyRootQueryRetrieveInformationModelFind
) -> Iterator[int]:
    def on_find(event: Any) -> Answers:
        if answers is None:
            event.assoc.abort()
            return
        yield from answers(event.identifier)

    entity = AE("PACS")
    entity.add_supported_context(context)
    server = serve(entity, handlers=[(evt.EVT_C_FIND, on_find)])
    assert server.socket is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


class TellsStations(Teller):
    """Says of a series at which station it was made."""

    def series(self, asked: Dataset) -> Answers:
        stations = {image.series: image.station for image in self.images}
        for status, told in super().series(asked):
            assert told is not None
            told.StationName = stations[told.SeriesInstanceUID]
            yield status, told


class FailsMidway(Teller):
    """Out of resources after the first instance."""

    def instances(self, asked: Dataset) -> Answers:
        yield PENDING, self.instance(self.images[0])
        yield 0xA700, None


class CountsMore(Teller):
    """Says how many there are and lists fewer, with success: a limit that cuts off without a word."""

    def series(self, asked: Dataset) -> Answers:
        for status, answer in super().series(asked):
            assert answer is not None
            answer.NumberOfSeriesRelatedInstances = len(self.images) + 2
            yield status, answer


class TellsNoModality(Teller):
    """Leaves the modality of every series empty, as it was stored with it."""

    def series(self, asked: Dataset) -> Answers:
        for status, answer in super().series(asked):
            assert answer is not None
            answer.Modality = ""
            yield status, answer


class TellsOneModality(TellsNoModality):
    """Tells it of the first series that it is asked for alone."""

    def series(self, asked: Dataset) -> Answers:
        told = Teller.series(self, asked) if self.asked.count("SERIES") == 1 else super().series(asked)
        yield from told


class TellsOfAnother(Teller):
    def instance(self, image: Image) -> Dataset:
        return said(StudyInstanceUID="1.2.66", SeriesInstanceUID=image.series, SOPInstanceUID=image.uid)


class TellsNoUid(Teller):
    def instance(self, image: Image) -> Dataset:
        return said(PatientName="Muster^Erika")


class TellsForEver(Teller):
    def instances(self, asked: Dataset) -> Answers:
        for number in count():
            yield PENDING, said(SOPInstanceUID=f"1.2.{number}")


class RepeatsForEver(Teller):
    def instances(self, asked: Dataset) -> Answers:
        while True:
            yield PENDING, self.instance(self.images[0])


class StudiesForEver(Teller):
    def studies(self, asked: Dataset) -> Answers:
        for number in count():
            yield PENDING, said(StudyInstanceUID=f"1.2.{number}")


class BreaksOff(Teller):
    """Is gone at the second series."""

    def answers(self, asked: Dataset) -> Answers:
        if self.asked.count("IMAGE") == 1 and asked.QueryRetrieveLevel == "IMAGE":
            raise SystemError("the archive's own bug")
        yield from super().answers(asked)


def two_series(today: CoverageDay) -> list[Image]:
    return [*series_of(today.day, 3), *series_of(today.day, 3)]


def test_a_comparison_that_found_no_thread_holds_up_no_other(
    today: CoverageDay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    runs = today.runs()
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            runs.start(today.day)

    assert not runs.is_running
    runs.stop()


def test_one_ae_title_at_two_sites_is_compared_for_both_of_them(today: CoverageDay) -> None:
    there = series_of(today.day, 2, station="CTSOUTH")
    today.modalities = (CT1, replace(CT1, station=Station("CT", "CTSOUTH")))
    with archive(TellsStations([*series_of(today.day, 3), *there]).answers) as port:
        today.ask(port)
        result = today.compare()
        today.modalities = (CT1,)
        of_one = today.compare()

    assert (result.known, result.unprotected) == (5, 5)
    # The control: by the one site alone the other's images are seen by nobody.
    assert (of_one.known, of_one.unprotected) == (3, 3)


def test_an_honest_archive_is_read_to_its_end(today: CoverageDay) -> None:
    """What the others are measured against."""
    teller = Teller(two_series(today))
    with archive(teller.answers) as port:
        today.ask(port)

        found = today.compare(limits=SMALL)

    assert (found.state, found.known, found.unprotected, found.by_modality_only) == (State.COMPLETE, 6, 6, True)


@pytest.mark.parametrize(
    "liar, state, why",
    [
        (FailsMidway, State.PARTIAL, "status 0xa700"),
        (CountsMore, State.PARTIAL, "counts 8 instances of a series and lists 3"),
        (TellsNoModality, State.PARTIAL, "does not tell the modality of 2 series"),
        (TellsOfAnother, State.NOT_EVALUATED, "not the one that was asked about"),
        (TellsNoUid, State.NOT_EVALUATED, "(0008,0018) is missing or no UID"),
        (TellsForEver, State.PARTIAL, "more than 20 instances"),
        (RepeatsForEver, State.PARTIAL, "more than 20 instances"),
        (StudiesForEver, State.NOT_EVALUATED, "more than 20 studies"),
        (BreaksOff, State.PARTIAL, "status 0xc"),
    ],
)
def test_an_archive_that_does_not_tell_everything_is_never_taken_for_complete(
    today: CoverageDay, liar: type[Teller], state: State, why: str
) -> None:
    images = two_series(today)
    # Everything that it does tell of came through us: the only thing wrong is what it does not tell.
    for image in images:
        today.capture(image)
    with archive(liar(images).answers) as port:
        today.ask(port)

        found = today.compare(limits=SMALL)

    assert (found.state, why in found.why) == (state, True), found.why
    assert Event.COVERAGE_FAILED in today.events()
    assert Event.COVERAGE_COMPARED not in today.events()


def test_what_was_found_before_it_failed_is_a_gap_all_the_same(today: CoverageDay) -> None:
    with archive(FailsMidway(two_series(today)).answers) as port:
        today.ask(port)

        found = today.compare(limits=SMALL)

    assert (found.state, found.unprotected) == (State.PARTIAL, 1)
    assert today.events() == [Event.COVERAGE_GAP, Event.COVERAGE_FAILED]


def test_many_series_without_a_modality_keep_no_other_from_being_counted(today: CoverageDay) -> None:
    images = [image for _ in range(SMALL.faults + 3) for image in series_of(today.day, 1)]
    with archive(TellsOneModality(images).answers) as port:
        today.ask(port)

        found = today.compare(limits=SMALL)

    assert (found.state, found.unprotected) == (State.PARTIAL, 1)
    assert f"the modality of {SMALL.faults + 2} series" in found.why


def test_an_archive_that_aborts_is_not_evaluated(today: CoverageDay) -> None:
    today.capture(series_of(today.day, 1)[0])
    with archive(None) as port:
        today.ask(port)

        found = today.compare()

    assert (found.state, found.known, found.captured, found.not_evaluated) == (State.NOT_EVALUATED, 0, 1, 1)


def test_an_archive_that_does_not_answer_queries_is_not_evaluated(today: CoverageDay) -> None:
    with archive(None, Verification) as port:
        today.ask(port)

        found = today.compare()

    assert (found.state, "does not answer C-FIND" in found.why) == (State.NOT_EVALUATED, True)


def test_an_archive_that_is_not_there_is_not_evaluated_and_hides_no_earlier_gap(today: CoverageDay) -> None:
    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)
        today.compare()

    found = today.compare()

    assert found.state is State.NOT_EVALUATED
    assert today.events() == [Event.COVERAGE_GAP, Event.COVERAGE_FAILED]
    status = today.showing().status(today.day)
    (shown,) = status.results
    assert (shown.state, shown.unprotected_then, shown.not_in_archive_then) == ("not evaluated", 6, 0)


def test_an_archive_that_is_away_hides_nothing_that_it_was_found_to_lack(today: CoverageDay) -> None:
    for image in series_of(today.day, 2):
        today.capture(image)
    with archive(Teller([]).answers) as port:
        today.ask(port)
        assert today.compare().not_in_archive == 2
    found = clocks.text(today.bench.clock.now())
    today.bench.clock.advance(timedelta(days=30))

    today.compare()

    lacking = f"2 images captured and not archived, as found by {found}, and no comparison since shows it closed"
    about = f"coverage of CT1 on {today.day}"
    assert f"{about}: {lacking}" in list(gaps(today.showing().status()))
    (shown,) = today.showing().status().results
    assert line_of(shown.json()).startswith(f"{today.day} CT1: not evaluated; not in PACS 2 by {found}: ")


def test_a_gap_that_only_broken_comparisons_found_stays_in_sight_until_a_complete_one(today: CoverageDay) -> None:
    images = two_series(today)
    liar = CountsMore(images)
    with archive(liar.answers) as port:
        today.ask(port)
        today.compare()
        liar.images = images[:1]
        today.compare()
    away = today.compare()
    shown, text = today.showing().status().results[0], list(gaps(today.showing().status()))
    for image in images:
        today.capture(image)
    with archive(Teller(images).answers) as port:
        today.ask(port)
        today.compare()

    assert (away.state, shown.unprotected, shown.unprotected_then) == (State.NOT_EVALUATED, 0, 6)
    assert "6 images unprotected, as found by" in text[0]
    assert list(gaps(today.showing().status())) == []


def test_rubbish_instead_of_dicom_is_not_evaluated(today: CoverageDay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        today.ask(server.getsockname()[1])
        found = today.compare()
        thread.join()

    assert (found.state, found.known) == (State.NOT_EVALUATED, 0)


def test_a_run_that_takes_too_long_ends_as_partial(today: CoverageDay) -> None:
    times = iter([0.0] * 8 + [100.0] * 1000)
    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)

        found = today.compare(most_s=60.0, monotonic=lambda: next(times))

    assert (found.state, "was stopped before" in found.why) == (State.PARTIAL, True)


@pytest.mark.parametrize("begun_by", ["a person", "the scheduler"])
def test_stopping_does_not_wait_for_a_silent_archive(today: CoverageDay, begun_by: str) -> None:
    asked, over = Flag(), Flag()

    def never(_: Dataset) -> Answers:
        asked.set()
        over.wait(60)
        yield SUCCESS, None

    with archive(never) as port:
        archives = today.ask(port, patience=Patience(answer_s=3600))
        runs = today.runs(break_off=archives.close)
        if begun_by == "a person":
            runs.start(today.day)
        else:
            Thread(target=runs.run, args=(today.day,)).start()
        assert asked.wait(60)
        with pytest.raises(ComparisonRunning):
            runs.start(today.day)
        with pytest.raises(ComparisonRunning):
            runs.run(today.day)

        runs.stop()
        over.set()

    assert not runs.is_running
    assert today.events() == [Event.COVERAGE_FAILED]


def test_a_day_to_come_is_not_compared(today: CoverageDay) -> None:
    with pytest.raises(DayNotOver):
        today.runs().run(today.day.replace(year=today.day.year + 1))


def test_an_archive_that_shows_the_wrong_certificate_is_not_evaluated(today: CoverageDay) -> None:
    def connect(peer: Peer) -> AbstractContextManager[PeerConnection]:
        raise PeerNotTrusted(peer, "self-signed certificate")

    today.open_archive = Archives(connect).open

    found = today.compare()

    assert (found.state, "self-signed certificate" in found.why) == (State.NOT_EVALUATED, True)


def test_a_fault_of_the_database_is_not_blamed_on_the_archive(today: CoverageDay) -> None:
    def held(_: object, __: object) -> list[bytes]:
        raise DatabaseUnavailable("no room")

    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)

        with pytest.raises(DatabaseUnavailable):
            today.compare(held=held)
    assert today.events() == []


class OneLargeSeries:
    """An archive in memory, which makes its answers as they are asked for."""

    syntax = IMPLICIT_LE

    def __init__(self, instances: int) -> None:
        self.instances = instances

    def find(self, identifier: bytes) -> Iterator[bytes]:
        if b"STUDY" in identifier:
            yield of_series("1.2.3", "", IMPLICIT_LE)
        elif b"SERIES" in identifier:
            yield made({0x0008_0060: b"CT", 0x0020_000D: b"1.2.3\0", 0x0020_000E: b"1.2.34"})
        else:
            for number in range(self.instances):
                yield of_series("1.2.3", "1.2.34", IMPLICIT_LE, f"1.2.34.{number:040d}")


def made(values: dict[int, bytes]) -> bytes:
    return b"".join(pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in values.items())


def test_a_day_of_20000_instances_is_compared_in_little_memory(today: CoverageDay) -> None:
    @contextmanager
    def opened(_: Coverage) -> Iterator[Archive]:
        yield OneLargeSeries(20_000)

    today.open_archive = opened
    today.compare()
    tracemalloc.start()
    try:
        found = today.compare()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (found.state, found.known, found.unprotected) == (State.COMPLETE, 20_000, 20_000)
    assert peak < 16 << 20


# ---- each night


def test_each_night_the_two_days_before_are_compared_and_open_gaps_again(today: CoverageDay) -> None:
    images = two_series(today)
    with archive(Teller(images).answers) as port:
        today.ask(port)
        today.bench.clock.advance(timedelta(days=1))
        runs = today.runs()
        runs.run_due()
        yesterday = today.showing().status(today.day)
        runs.run_due()
        assert today.events() == [Event.COVERAGE_GAP] * 2  # of yesterday and the day before, and no third

        for image in images:
            today.capture(image)
        today.bench.clock.advance(timedelta(days=9))
        runs.run_due()
        later = today.showing().status(today.day)

    assert [one.unprotected for one in yesterday.results] == [6]
    assert [(one.state, one.unprotected) for one in later.results] == [("complete", 0)]


def test_a_gap_stays_in_sight_however_old_it_is(today: CoverageDay) -> None:
    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)
        today.compare()
    today.bench.clock.advance(timedelta(days=300))

    status = today.showing().status()

    assert [one.unprotected for one in status.results] == [6]
    nothing_new, old_gap = gaps(status)
    assert nothing_new == "coverage of CT1: not evaluated, none of the last 7 days"
    assert "6 images in PACS are not in the vault, or are of another device of the kind" in old_gap


def test_a_gap_stays_in_sight_when_the_policy_drops_the_station_of_its_modality(today: CoverageDay) -> None:
    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)
        today.compare()
        today.modalities = (replace(CT1, station=None), Modality("CT2", "CT, room 2", station=Station("CT", "ROOM2")))

        today.runs().run(today.day)

        of_ct1 = [text for text in gaps(today.showing().status()) if "CT1" in text]
        today.bench.clock.advance(timedelta(days=30))
        a_month_later = [text for text in gaps(today.showing().status()) if "CT1" in text]
    assert [("nothing to compare" in text, "6 images in PACS are not" in text) for text in of_ct1] == [
        (True, False), (False, True),
    ]  # fmt: skip
    assert a_month_later == of_ct1


def test_a_row_that_says_nothing_was_compared_hides_no_gap(today: CoverageDay) -> None:
    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)
        today.compare()
    bench = today.bench
    nothing = Result(today.day, "CT1", "PACS", State.NOTHING, "no station", bench.clock.now())
    in_one_commit(bench.database, lambda session: results.keep(session, bench.journal, nothing, {}))

    assert [one.unprotected for one in today.showing().status().results] == [6]
    bench.clock.advance(timedelta(days=30))
    assert [one.unprotected for one in today.showing().status().results] == [6]


def test_an_archive_that_stays_away_is_recorded_once_a_day_and_again_for_another_reason(today: CoverageDay) -> None:
    why = "nobody is there"

    def away(_: Coverage) -> AbstractContextManager[Archive]:
        raise ArchiveUnavailable(why)

    today.open_archive = away
    runs = today.runs()
    for _ in range(3):
        runs.run(today.day)
    once = today.events()
    why = "it answers nothing"
    runs.run(today.day)
    runs.run(today.day)
    twice = today.events()
    today.bench.clock.advance(timedelta(days=1))
    runs.run(today.day)

    assert [len(once), len(twice), len(today.events())] == [1, 2, 3]
    assert set(today.events()) == {Event.COVERAGE_FAILED}
    (shown,) = today.showing().status(today.day).results
    assert (why in shown.why, shown.compared) == (True, clocks.text(today.bench.clock.now()))


def test_rows_and_records_stay_few_while_an_archive_is_away_for_days(today: CoverageDay) -> None:
    with archive(Teller(two_series(today)).answers) as port:
        today.ask(port)
        today.compare()
    today.open_archive = nobody_there
    runs = today.runs()
    for _ in range(4 * 24):
        today.bench.clock.advance(timedelta(hours=1))
        runs.run_due()

    count = "SELECT COUNT(*) AS rows FROM coverage GROUP BY day"
    assert max(row.rows for row in today.bench.rows(count)) == 2
    failed = [record for record in today.records() if record.event is Event.COVERAGE_FAILED]
    recorded = Counter(
        (what.name, record.time.date()) for record in failed for what in record.what if what.kind == "day"
    )
    assert set(recorded.values()) == {1}
    assert "6 images unprotected, as found by" in " ".join(gaps(today.showing().status()))


@pytest.mark.parametrize(
    "damage, captured",
    [
        ("UPDATE objects SET record = X'00'", 1),
        ("UPDATE objects SET record = CAST(substr(record, 1, length(record) - 1) AS BLOB)", 1),
        ("UPDATE audit_records SET public = X'00' WHERE source <> 'control-plane'", 0),
    ],
)
def test_an_image_of_which_a_record_no_longer_reads_is_counted_as_unknown(
    today: CoverageDay, damage: str, captured: int
) -> None:
    """Left out, the day would be complete. `captured` counts it where the other record says by which modality."""
    (image,) = series_of(today.day, 1)
    with archive(Teller([image]).answers) as port:
        today.ask(port)
        today.capture(image)
        assert (today.compare().state, today.compare().not_evaluated) == (State.COMPLETE, 0)
        today.bench.sql(damage)

        found = today.compare()

    assert (found.state, found.captured, found.not_evaluated) == (State.PARTIAL, captured, 1)
    assert "of 1 captured images it is not known whether the archive has them" in found.why


def test_days_that_nobody_compared_are_named_until_they_are_compared(today: CoverageDay) -> None:
    """The centre was off: neither a day without a row nor one compared at noon may look like one without a gap."""
    today.modalities = (CT1, Modality("US7", "ultrasound"))
    with archive(Teller([]).answers) as port:
        today.ask(port)
        today.compare()
        today.bench.clock.advance(timedelta(days=5, hours=4))
        missed = [text for text in gaps(today.showing().status()) if "CT1" in text]
        of_the_first = [text for text in gaps(today.showing().status(today.day)) if "CT1" in text]

        today.runs().run_due()

    days = [today.day + timedelta(days=after) for after in (4, 3, 2, 1, 0)]
    assert missed == [f"coverage of CT1 on {day}: not evaluated, nobody compared it since it was over" for day in days]
    assert of_the_first == missed[-1:]
    assert [text for text in gaps(today.showing().status()) if "CT1" in text] == []


def test_a_day_from_before_a_modality_was_first_compared_is_not_missed(today: CoverageDay) -> None:
    with archive(Teller([]).answers) as port:
        today.ask(port)
        today.runs().run(today.day - timedelta(days=10))

        today.bench.clock.advance(timedelta(days=1, hours=4))
        today.runs().run_due()

    assert list(gaps(today.showing().status())) == []
    assert [row.day for row in today.bench.rows("SELECT day FROM coverage ORDER BY day")] == [
        str(today.day - timedelta(days=back)) for back in (10, 1, 0)
    ]


def test_without_an_archive_in_the_policy_nothing_is_compared_and_the_status_says_so(today: CoverageDay) -> None:
    document = replace(today.policy(), coverage=None)
    runs = today.runs(policy=lambda: document)

    runs.run_due()

    with pytest.raises(NoArchive):
        runs.run(today.day)
    assert today.events() == []
    (unknown,) = today.showing(policy=lambda: document).status().unknown
    assert "names no archive" in unknown
