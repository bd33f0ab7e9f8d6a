"""The agent's half of wipes: tickets in, notes and reports out, each told until somebody has confirmed it."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from edge_agent.https import DoorUnavailable, HttpsDoor, verified_context
from edge_agent.parts import Bell
from edge_agent.wipes.inbox import TicketInbox
from edge_agent.wipes.outbox import WipeOutbox
from edge_agent.wipes.part import WipePart
from edge_agent.wipes.store import WipeStore
from shared.audit.events import Event
from shared.clock import SystemClock
from shared.policy.document import PolicyDocument
from shared.sanitization.envelope import sign_ticket
from shared.sanitization.exchange import Asked, ListedWipes, notes_path, report_path
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.report import Ending
from shared.sanitization.ticket import TicketId
from shared.signing import Label, sign_statement
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.fakes.log import MemoryLog
from tests.shared import made
from tests.shared.sanitization import wipes
from tests.shared.sanitization.tickets import BEA, POLICY, ticket
from tests.threads import in_thread

TICKET, OTHER = ticket(), ticket(ticket_id=TicketId(bytes(16)))
ENVELOPES = tuple(sign_ticket(one, [BEA]).encode() for one in (TICKET, OTHER))


def note(seq: int, event: NoteEvent, detail: str = "") -> WipeNote:
    return WipeNote(TICKET.ticket_id, seq, event, made.NOW, detail)


class Bench:
    """One part between a centre on loopback and the folder of `leadglass-wipe`."""

    def __init__(self, centre: Centre, enrolled: AgentFolder, folder: Path) -> None:
        self.centre, self.enrolled = centre, enrolled
        self.out, self.inbox = folder / "out", folder / "wipe-tickets"
        self.out.mkdir()
        self.host = Host(folder / "host")
        self.policy: PolicyDocument | None = dataclasses.replace(centre.policy(1), wipe=POLICY)

    def tell(self, told: WipeNote) -> Path:
        file = self.out / told.file_name
        file.write_bytes(told.encode())
        return file

    def report(self, content: bytes) -> Path:
        file, draft = self.out / f"{TICKET.ticket_id}.report", self.out / "draft"
        draft.write_bytes(content)
        draft.rename(file)
        return file

    def exchange(self) -> None:
        with contextlib.closing(self._door()) as door:
            self.part(door, lambda: self.policy, Bell()).exchange()

    def run(self, policy: Callable[[], PolicyDocument | None], bell: Bell, stop: threading.Event) -> None:
        self.part(self._door(), policy, bell).run(stop)

    def part(self, door: HttpsDoor, policy: Callable[[], PolicyDocument | None], bell: Bell) -> WipePart:
        return WipePart(
            door,
            TicketInbox(self.inbox, self.host.log),
            WipeOutbox(self.out),
            WipeStore(self.host.database),
            host_id=self.host.host_id,
            policy=policy,
            journal=self.host.journal,
            database=self.host.database,
            clock=self.host.clock,
            log=self.host.log,
            bell=bell,
        )

    def _door(self) -> HttpsDoor:
        host, port = self.centre.host_door.server_address[:2]
        return HttpsDoor(str(host), int(port), verified_context(self.enrolled.ca, self.enrolled.tls))

    def tickets(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.inbox.glob("*.ticket")}

    def told(self) -> list[tuple[str, bytes]]:
        told, self.centre.wipes_told = self.centre.wipes_told, []
        return told

    def events(self) -> list[Any]:
        return [one for one in self.host.events() if one in set(Event) and one.value.startswith("wipe.")]


@pytest.fixture
def bench(centre: Centre, enrolled: AgentFolder, tmp_path: Path) -> Bench:
    return Bench(centre, enrolled, tmp_path)


def test_the_folder_holds_just_the_tickets_that_the_centre_gives(bench: Bench) -> None:
    bench.centre.wipes = ListedWipes(False, (*ENVELOPES, b"no ticket"))
    bench.exchange()
    both = bench.tickets()
    bench.centre.wipes = ListedWipes(True, ENVELOPES[:1])
    bench.exchange()

    names = [f"{one.ticket_id}.ticket" for one in (TICKET, OTHER)]
    assert both == dict(zip(names, ENVELOPES, strict=True))
    assert bench.tickets() == {names[0]: ENVELOPES[0]}
    assert Asked.parse((bench.inbox / "centre.json").read_bytes()) == Asked(bench.host.clock.now(), True)


def test_without_a_section_on_wipes_nothing_is_asked_and_what_was_there_is_taken_away_once(bench: Bench) -> None:
    bench.policy = None
    bench.exchange()
    idle = [one for one in bench.centre.requests if "wipes" in one]
    bench.policy = dataclasses.replace(bench.centre.policy(1), wipe=POLICY)
    bench.centre.wipes = ListedWipes(False, ENVELOPES)
    bench.exchange()
    bench.policy, bench.centre.wipes = None, ListedWipes(False, ())
    for _ in range(2):
        bench.exchange()

    assert idle == []
    assert bench.tickets() == {}
    assert [one for one in bench.centre.requests if "wipes" in one] == ["GET /api/v1/wipes"] * 2


def test_a_first_policy_that_comes_while_it_looks_is_acted_by_soon(bench: Bench) -> None:
    stop, asleep_s = threading.Event(), list[float | None]()

    class StopsThen(Bell):
        def sleep(self, timeout_s: float | None = None) -> bool:
            asleep_s.append(timeout_s)
            stop.set()
            return True

    came: list[PolicyDocument | None] = [None]
    bench.run(lambda: came.pop(0) if came else bench.policy, StopsThen(), stop)

    assert bench.policy is not None
    assert len(asleep_s) == 1
    assert 0 < (asleep_s[0] or 0) <= 60 < bench.policy.pull_every_s / 2


def test_notes_are_records_of_the_journal_and_go_to_the_centre_once_and_in_order(bench: Bench) -> None:
    notes = [note(2, NoteEvent.STARTED), note(1, NoteEvent.ACCEPTED), note(10, NoteEvent.REFUSED, "it is mounted")]
    for one in notes:
        bench.tell(one)
    report = bench.report(b"signed").read_bytes()
    bench.exchange()
    first = bench.told()
    bench.exchange()
    bench.report(b"signed by a later attempt")
    bench.exchange()

    in_order = sorted(notes, key=lambda one: one.seq)
    path, where = notes_path(TICKET.ticket_id), report_path(TICKET.ticket_id)
    assert first == [*((path, one.encode()) for one in in_order), (where, report)]
    assert bench.told() == [(where, b"signed by a later attempt")]
    assert bench.events() == [Event.WIPE_ACCEPTED, Event.WIPE_STARTED, Event.WIPE_REFUSED]


def test_what_did_not_arrive_is_told_again_after_a_restart_and_recorded_once(bench: Bench) -> None:
    bench.tell(note(1, NoteEvent.ACCEPTED))
    bench.centre.wipe_status = 503
    with pytest.raises(DoorUnavailable):
        bench.exchange()
    bench.told()
    bench.host.restart()
    bench.centre.wipe_status = 204
    bench.exchange()

    assert [path for path, _ in bench.told()] == [notes_path(TICKET.ticket_id)]
    assert bench.events() == [Event.WIPE_ACCEPTED]


def test_what_the_centre_refuses_keeps_nothing_else_back(bench: Bench) -> None:
    bench.report(b"of another host")
    bench.centre.wipe_status, bench.centre.wipes = 422, ListedWipes(False, ENVELOPES)
    for _ in range(2):
        bench.exchange()

    assert len(bench.told()) == 1
    assert len(bench.tickets()) == 2
    assert (bench.out / f"{TICKET.ticket_id}.report").exists(), "a person can carry it"


def test_what_a_centre_does_not_know_of_is_told_again_by_the_next_run(bench: Bench) -> None:
    bench.report(b"of an order that a restored centre has lost")
    for status in (404, 204, 204):
        bench.centre.wipe_status = status
        bench.exchange()

    assert len(bench.told()) == 2


@pytest.mark.parametrize("ending, times", [(Ending.COMPLETED, 2), (Ending.REFUSED, 1)])
def test_what_a_restored_centre_has_lost_is_told_again_though_it_was_confirmed(
    bench: Bench, ending: Ending, times: int
) -> None:
    report = wipes.report_of(TICKET, ending=ending)
    bench.tell(note(1, NoteEvent.STARTED))
    bench.report(sign_statement(made.HOST_SIGNER, Label.WIPE_REPORT, report.encode()))
    bench.centre.wipes = ListedWipes(False, ())
    bench.exchange()
    bench.exchange()
    bench.centre.wipes = ListedWipes(False, ENVELOPES)
    bench.exchange()

    told = bench.told()
    assert [path for path, _ in told] == [notes_path(TICKET.ticket_id), report_path(TICKET.ticket_id)] * times
    assert bench.events() == [Event.WIPE_STARTED]


def test_nothing_but_small_files_of_the_right_name_and_content_is_told(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(note(1, NoteEvent.ACCEPTED).encode())
    (bench.out / note(1, NoteEvent.ACCEPTED).file_name).symlink_to(secret)
    (bench.out / note(2, NoteEvent.ACCEPTED).file_name).write_bytes(note(3, NoteEvent.ACCEPTED).encode())
    (bench.out / note(4, NoteEvent.ACCEPTED).file_name).write_bytes(b"x" * 5000)
    (bench.out / "other.note").write_bytes(b"{}")
    bench.exchange()

    assert (bench.told(), bench.events()) == ([], [])


def test_without_the_folder_of_root_there_is_nothing_to_tell(bench: Bench) -> None:
    bench.out.rmdir()
    bench.exchange()

    assert bench.told() == []


def test_a_centre_of_an_earlier_version_knows_of_no_wipes(bench: Bench) -> None:
    bench.exchange()

    assert (bench.tickets(), bench.centre.wipes) == ({}, None)


def running(enrolled: AgentFolder, folder: Path) -> AbstractContextManager[Agent]:
    settings = Settings(enrolled, Address("127.0.0.1", 0, "LEADGLASS"), wipe_folder=folder)
    return in_thread(Agent(settings, SystemClock(), MemoryLog()))


def test_an_agent_brings_a_ticket_to_its_folder_and_a_note_of_root_to_the_centre(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    policy = dataclasses.replace(centre.policy(1), wipe=POLICY)
    head, layer = centre.signers.publish(policy.encode(), 1)
    centre.head, centre.layer = head.encode(), layer.encode()
    centre.wipes, out = ListedWipes(False, ENVELOPES[:1]), tmp_path / "root" / "out"
    out.mkdir(parents=True)
    with running(enrolled, out.parent) as agent:
        centre.wait_for(lambda: agent.store.in_force() is not None)
        agent._on_hint()
        (out / note(1, NoteEvent.STARTED).file_name).write_bytes(note(1, NoteEvent.STARTED).encode())
        centre.wait_for(lambda: len(centre.wipes_told) == 1)
        assert agent.journal.count(Event.WIPE_STARTED) == 1
        ticket = enrolled.path / "wipe-tickets" / f"{TICKET.ticket_id}.ticket"
        centre.wait_for(ticket.exists)

    assert ticket.read_bytes() == ENVELOPES[0]
