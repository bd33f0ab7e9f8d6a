"""A host as a witness of the centre's log: what it saw is replaced by nothing that does not go on from there."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from edge_agent.https import Answer, DoorUnavailable
from edge_agent.log_witness.store import CheckpointStore
from edge_agent.log_witness.witness import LogWitness
from shared.audit.batch import ChainHead, sign_batch
from shared.audit.checkpoint import (
    AcceptedLoss,
    Checkpoint,
    CheckpointAnswer,
    CheckpointQuestion,
    claimed_checkpoint,
    loss_subject,
)
from shared.audit.record import (
    Action,
    AuditRecord,
    Event,
    EventName,
    Happening,
    Outcome,
    Participant,
    StoredRecord,
    compose,
)
from shared.identity import CONTROL_PLANE, HostId
from shared.signing import SoftwareSigner
from tests.fakes.centre import Authority
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog

NOW = datetime(2026, 11, 29, tzinfo=UTC)
HOST = HostId(bytes(16))


@dataclass
class CentreLog:
    """The log of a centre, which may be made to forget, to differ, or to say who accepted a loss."""

    signer: SoftwareSigner = field(default_factory=lambda: SoftwareSigner(ec.generate_private_key(ec.SECP256R1())))
    records: dict[int, StoredRecord] = field(default_factory=dict)
    statements: dict[int, bytes] = field(default_factory=dict)
    head: ChainHead = field(default_factory=ChainHead)
    accepted: AcceptedLoss | None = None

    def grow(self, count: int, happening: Happening | None = None) -> None:
        event = happening or Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS)
        for _ in range(count):
            seq = self.head.seq + 1
            stored = compose(
                event, source=CONTROL_PLANE, seq=seq, prev=self.head.leaf, time=NOW, salt=bytes(32), key=None
            )
            self.records[seq] = stored
            self.statements[seq] = sign_batch(CONTROL_PLANE, self.head.leaf, [stored], self.signer).statement
            self.head = ChainHead(seq, stored.leaf)

    def back_to(self, seq: int) -> None:
        for number in range(seq + 1, self.head.seq + 1):
            del self.records[number], self.statements[number]
        self.head = ChainHead(seq, self.records[seq].leaf)

    def accept(self, lost: Checkpoint, signed: bytes, first: int, last: int) -> None:
        if lost.seq > self.head.seq:
            self.statements[lost.seq], self.head = signed, ChainHead(lost.seq, lost.leaf)
        self.grow(
            1,
            Happening(
                Event.LOG_LOSS_ACCEPTED, Action.EXECUTE, Outcome.SUCCESS, (Participant("person", "ada", True),),
                (loss_subject(first, last),),
            ),
        )  # fmt: skip
        self.accepted = AcceptedLoss(self.records[self.head.seq].public, self.statements[self.head.seq])


class Door:
    """A centre's door: what it answers is made of its log when it is asked."""

    name = "https://centre"

    def __init__(self, log: CentreLog, certificate: str) -> None:
        self.log, self.certificate, self.asked = log, certificate, list[bytes]()
        self.away = False

    def post(self, _path: str, body: bytes, _content_type: str) -> Answer:
        if self.away:
            return Answer(503, b"{}")
        self.asked.append(body)
        seen = CheckpointQuestion.parse(body).seen
        at = None if seen is None else self.log.statements.get(claimed_checkpoint(seen).seq)
        present = self.log.statements[self.log.head.seq]
        return Answer(200, CheckpointAnswer(present, at, self.log.accepted, self.certificate).encode())

    def close(self) -> None:
        pass


class Witnessing:
    def __init__(self, folder: Path) -> None:
        self.folder, self.authority, self.log = folder, Authority(), CentreLog()
        self.log.grow(5)
        self.door = Door(self.log, self.certificate(self.log.signer))
        self.rang = 0
        self.open()

    def open(self) -> None:
        self.database = Database(self.folder / "agent.sqlite")
        self.store = CheckpointStore(self.database)
        self.journal = Journal(self.database, HOST, key=lambda: None, clock=FakeClock(NOW))
        self.witness = self.make(self.door)

    def make(self, door: Door) -> LogWitness:
        return LogWitness(
            door,  # type: ignore[arg-type]  # a door without a network
            host_id=HOST,
            trust=lambda: self.authority.trust,
            database=self.database,
            store=self.store,
            journal=self.journal,
            log=MemoryLog(),
            on_change=self._ring,
        )

    def certificate(self, signer: SoftwareSigner, name: str = CONTROL_PLANE, unit: str = "evidence") -> str:
        return self.authority.issue(name, unit, signer.public.key).decode()

    @property
    def said(self) -> str:
        return self.store.held().said

    @property
    def held(self) -> Checkpoint | None:
        return self.store.held().checkpoint

    def events(self) -> list[EventName]:
        unsent = self.journal.after(0, most=1000, most_bytes=1 << 20)
        return [] if unsent is None else [AuditRecord.parse(stored.public).event for stored in unsent.records]

    def _ring(self) -> None:
        self.rang += 1


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Witnessing]:
    host = Witnessing(tmp_path)
    yield host
    host.database.close()


def test_it_keeps_the_highest_checkpoint_and_asks_about_that_one(host: Witnessing) -> None:
    host.witness.ask()
    host.log.grow(3)
    host.witness.ask()
    host.witness.ask()

    seen = [CheckpointQuestion.parse(body).seen for body in host.door.asked]
    assert [None if one is None else claimed_checkpoint(one).seq for one in seen] == [None, 5, 8]
    assert host.held == Checkpoint(8, host.log.head.leaf)
    assert (host.said, host.rang, host.events()) == ("", 0, [])


def test_a_log_that_shrank_is_said_and_does_not_replace_what_it_saw(host: Witnessing) -> None:
    host.witness.ask()
    host.log.back_to(2)
    host.witness.ask()
    host.log.grow(1)
    host.witness.ask()

    assert host.said == "shrank from 5 to 3"
    assert host.held is not None
    assert host.held.seq == 5
    assert host.events() == [Event.LOG_NOT_CONTINUED]
    assert host.rang == 2


def test_a_log_with_another_record_at_the_same_number_is_said_however_far_it_grew(host: Witnessing) -> None:
    host.witness.ask()
    saw = host.held
    host.log.back_to(2)
    host.log.grow(40, Happening(Event.SERVER_STOPPED, Action.EXECUTE, Outcome.SUCCESS))
    host.witness.ask()

    assert host.said.startswith("forked: it is at 42, and number 5 is not what it was")
    assert host.held == saw


def test_a_log_that_hides_the_number_that_was_seen_is_said_to_have_forked(host: Witnessing) -> None:
    host.witness.ask()
    host.log.grow(3)
    del host.log.statements[5]
    host.witness.ask()

    assert host.said.startswith("forked: ")


def test_a_log_that_has_it_again_is_whole(host: Witnessing) -> None:
    host.witness.ask()
    records, statements, head = dict(host.log.records), dict(host.log.statements), host.log.head
    host.log.back_to(2)
    host.witness.ask()
    host.log.records, host.log.statements, host.log.head = records, statements, head
    host.witness.ask()

    assert (host.said, host.events()) == ("", [Event.LOG_NOT_CONTINUED])


@pytest.mark.parametrize("grew", [0, 40], ids=["shrank", "forked"])
def test_a_loss_that_a_person_accepted_is_followed_and_what_was_seen_is_kept_for_good(
    host: Witnessing, grew: int
) -> None:
    host.witness.ask()
    saw = host.store.held()
    host.log.back_to(2)
    host.log.grow(grew, Happening(Event.SERVER_STOPPED, Action.EXECUTE, Outcome.SUCCESS))
    host.witness.ask()
    assert saw.checkpoint is not None
    assert saw.signed is not None
    # Another host had seen number 7, so the log goes on after that, unless it went further meanwhile.
    last = 7
    host.log.accept(Checkpoint(last, bytes(32)), host.log.statements[2], first=3, last=last)
    host.witness.ask()

    assert host.said == ""
    assert host.held == Checkpoint(host.log.head.seq, host.log.head.leaf)
    assert host.events()[-1] is Event.LOG_LOSS_FOLLOWED
    ((seq, signed),) = host.database.read("SELECT seq, signed FROM log_checkpoint_lost")
    assert (seq, signed) == (5, saw.signed)


@pytest.mark.parametrize("what", ["of fewer records", "of another event", "signed by another", "without a person"])
def test_a_loss_that_nobody_accepted_is_not_followed(host: Witnessing, what: str) -> None:
    """The control is the test before."""
    host.witness.ask()
    host.log.back_to(2)
    host.log.grow(40, Happening(Event.SERVER_STOPPED, Action.EXECUTE, Outcome.SUCCESS))
    who: tuple[Participant, ...] = (Participant("person", "ada", True),)
    event, last = Event.LOG_LOSS_ACCEPTED, 5
    match what:
        case "of fewer records":
            last = 4
        case "of another event":
            event = Event.LOG_LOSS_FOUND
        case "without a person":
            who = ()
    host.log.grow(1, Happening(event, Action.EXECUTE, Outcome.SUCCESS, who, (loss_subject(3, last),)))
    record = host.log.records[host.log.head.seq]
    stranger = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    signer = stranger if what == "signed by another" else host.log.signer
    signed = sign_batch(CONTROL_PLANE, AuditRecord.parse(record.public).prev, [record], signer).statement
    host.log.accepted = AcceptedLoss(record.public, signed)
    host.witness.ask()

    assert host.said
    assert host.held is not None
    assert host.held.seq == 5


def test_what_is_not_signed_by_the_centre_is_not_kept(host: Witnessing) -> None:
    host.witness.ask()
    saw = host.held
    host.log.grow(3)
    host.log.signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    host.log.grow(1)
    host.witness.ask()

    assert host.said.startswith("not proved: WrongSigner")
    assert host.held == saw


@pytest.mark.parametrize("whose", ["a host's", "its TLS key's", "of another CA"])
def test_a_certificate_that_is_not_of_the_centres_evidence_is_not_believed(host: Witnessing, whose: str) -> None:
    host.door.certificate = {
        "a host's": host.certificate(host.log.signer, name=str(HOST)),
        "its TLS key's": host.certificate(host.log.signer, unit="server"),
        "of another CA": Authority().issue(CONTROL_PLANE, "evidence", host.log.signer.public.key).decode(),
    }[whose]
    host.witness.ask()

    assert host.said.startswith("not proved: NotTheCentresKey")
    assert host.held is None


def test_a_centre_that_does_not_answer_changes_nothing(host: Witnessing) -> None:
    host.witness.ask()
    saw, host.door.away = host.store.held(), True
    with pytest.raises(DoorUnavailable):
        host.witness.ask()

    assert host.store.held() == saw


def test_an_agent_killed_between_receipt_and_keeping_asks_again_about_what_it_had(host: Witnessing) -> None:
    host.witness.ask()
    host.log.grow(3)
    host.database.close()
    child = os.fork()
    if not child:
        host.open()
        host.store.keep = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        host.witness.ask()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    host.open()
    had = host.held
    host.witness.ask()

    assert os.WTERMSIG(status) == signal.SIGKILL
    assert had is not None
    assert had.seq == 5
    assert host.held == Checkpoint(8, host.log.head.leaf)
    assert host.said == ""
