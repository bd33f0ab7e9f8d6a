"""The way of the journal to the centre: at least once, in order, nothing skipped."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.audit.journal import Journal
from edge_agent.audit.uploader import AuditUploader, RecordsLetGo
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import Database, DatabaseUnavailable
from edge_agent.https import Answer, DoorRefused, DoorUnavailable, HttpsDoor, verified_context
from edge_agent.parts import Bell
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.packed import MAGIC, MEMBER
from shared.audit.record import AuditRecord
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.threads import in_thread

STARTED = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)


@pytest.fixture
def host(enrolled: AgentFolder, tmp_path: Path) -> Host:
    identity = load_identity(enrolled)
    return Host(tmp_path / "host", host_id=identity.config.host_id, signer=identity.signer)


@pytest.fixture
def upload(host: Host, enrolled: AgentFolder) -> Iterator[AuditUploader]:
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    yield AuditUploader(door, host_id=host.host_id, journal=host.journal, signer=host.signer, log=host.log, bell=Bell())
    door.close()


@pytest.mark.parametrize("reads", [False, True])
def test_records_travel_packed_to_a_centre_that_reads_that_and_as_json_to_another(
    centre: Centre, host: Host, enrolled: AgentFolder, reads: bool
) -> None:
    doors, sent = load_identity(enrolled).config.doors, list[bytes]()

    class Door(HttpsDoor):
        def post(self, path: str, body: bytes, content_type: str) -> Answer:
            sent.append(body)
            return super().post(path, body, content_type)

    door = Door(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    named = {MEMBER} if reads else set[str]()
    upload = AuditUploader(
        door, host_id=host.host_id, journal=host.journal, signer=host.signer, log=host.log, bell=Bell(),
        reads=named.__contains__,
    )  # fmt: skip
    host.journal.record(STARTED)
    upload.send_next()
    named ^= {MEMBER}  # the centre was upgraded, or put back
    host.journal.record(STARTED)
    upload.send_next()
    door.close()

    assert [body.startswith(MAGIC) for body in sent] == [reads, not reads]
    assert arrived(centre) == [1, 2]


def test_records_that_could_not_be_written_are_told_to_the_centre_although_nothing_else_happens(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    host.fill(STARTED)
    host.make_room()
    waiting = host.journal.waiting()

    with in_thread(upload, upload.bell.ring):
        centre.wait_for(lambda: len(centre.audit) == waiting + 1)

    assert AuditRecord.parse(centre.audit[-1].public).event is Event.RECORDS_UNWRITTEN


def arrived(centre: Centre) -> list[int]:
    return [AuditRecord.parse(record.public).seq for record in centre.audit]


def test_everything_arrives_once_and_in_order(centre: Centre, host: Host, upload: AuditUploader) -> None:
    for _ in range(600):
        host.journal.record(STARTED)
    sent = [upload.send_next() for _ in range(3)]

    assert sent == [True, True, False]
    assert arrived(centre) == list(range(1, 601))
    assert host.journal.waiting() == 0


def test_what_a_command_in_another_process_records_arrives_though_nobody_rings(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    vars(upload)["_look_again_s"] = 0.05
    with in_thread(upload, upload.bell.ring), closing(Database(host.folder / "agent.sqlite")) as elsewhere:
        Journal(elsewhere, host.host_id, key=lambda: None, clock=host.clock).record(STARTED)
        centre.wait_for(lambda: arrived(centre) == [1])


def test_a_lost_answer_means_sending_again_and_the_centre_holds_it_once(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    host.journal.record(STARTED)
    upload.send_next()
    host.journal.acknowledge(0)
    host.journal.record(STARTED)
    upload.send_next()

    assert arrived(centre) == [1, 2]


def test_a_centre_that_lost_records_is_brought_up_again(centre: Centre, host: Host, upload: AuditUploader) -> None:
    for _ in range(5):
        host.journal.record(STARTED)
    upload.send_next()
    del centre.audit[2:]
    host.journal.record(STARTED)
    first, second, third = (upload.send_next() for _ in range(3))

    assert (first, second, third) == (True, True, False)
    assert arrived(centre) == [1, 2, 3, 4, 5, 6]


def test_who_has_to_know_is_told_what_a_centre_lost_and_nothing_where_an_answer_was_lost(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    told = list[int]()
    vars(upload)["_on_loss"] = told.append
    for _ in range(5):
        host.journal.record(STARTED)
    upload.send_next()
    host.journal.acknowledge(3)
    upload.send_next()
    before = list(told)
    del centre.audit[2:]
    upload.is_behind()

    assert (before, told, host.journal.acknowledged()) == ([], [2], 2)


def test_a_centre_that_lost_records_learns_of_them_though_nothing_new_happens(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    for _ in range(5):
        host.journal.record(STARTED)
    upload.send_next()
    del centre.audit[2:]
    with in_thread(upload, upload.bell.ring):
        centre.wait_for(lambda: arrived(centre) == [1, 2, 3, 4, 5])


def test_a_centre_that_lost_what_it_had_confirmed_and_is_let_go_is_told_so_once_and_nothing_is_made_up(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    """The control is the test before the last: what is still kept is sent again."""
    upload._journal = Journal(host.database, host.host_id, key=lambda: None, clock=host.clock, most_confirmed=3)
    for _ in range(6):
        upload._journal.record(STARTED)
    upload.send_next()
    told, fails = list[int](), [True]

    def on_loss(held: int) -> None:
        if fails:
            fails.pop()
            raise DatabaseUnavailable("full")
        told.append(held)

    vars(upload)["_on_loss"] = on_loss
    del centre.audit[1:]
    with pytest.raises(DatabaseUnavailable):
        upload.is_behind()
    for ask in (upload.is_behind, upload.send_next, upload.is_behind):
        with pytest.raises(RecordsLetGo, match="lost records 2 to 3"):
            ask()

    assert (arrived(centre), told) == ([1], [1])
    assert host.events().count(Event.AUDIT_REFUSED) == 1
    assert host.journal.acknowledged() == 6


def test_a_centre_that_holds_all_that_it_confirmed_is_sent_nothing_again(
    centre: Centre, host: Host, upload: AuditUploader
) -> None:
    assert not upload.is_behind()
    host.journal.record(STARTED)
    upload.send_next()

    assert not upload.is_behind()
    assert host.journal.waiting() == 0


def test_a_centre_that_does_not_answer_loses_nothing(centre: Centre, host: Host, upload: AuditUploader) -> None:
    host.journal.record(STARTED)
    centre.stop()
    try:
        with pytest.raises(DoorUnavailable):
            upload.send_next()
    finally:
        centre.start()
    assert host.journal.waiting() == 1


def test_a_centre_that_confirms_less_than_it_took_is_not_believed(
    centre: Centre, host: Host, upload: AuditUploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.journal.record(STARTED)
    monkeypatch.setattr(centre, "take_batch", lambda *_: (200, b'{"held": 0}'))

    with pytest.raises(DoorUnavailable):
        upload.send_next()
    assert host.journal.waiting() == 1


def test_a_refusal_is_recorded_once_and_nothing_is_dropped(
    centre: Centre, host: Host, upload: AuditUploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.journal.record(STARTED)
    monkeypatch.setattr(centre, "take_batch", lambda *_: (422, b'{"title": "Audit forked"}'))
    for _ in range(3):
        with pytest.raises(DoorRefused, match="Audit forked"):
            upload.send_next()

    assert host.events() == [Event.AGENT_STARTED, Event.AUDIT_REFUSED]
