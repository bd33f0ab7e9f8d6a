"""A host as a witness of the centre's log: what it saw is replaced by nothing that does not go on from there."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.https import Answer, DoorRefused, DoorUnavailable
from edge_agent.log_witness.cosigner import Cosigner
from edge_agent.log_witness.store import CheckpointStore, read_witness
from edge_agent.log_witness.witness import LogWitness
from shared.audit.batch import ChainHead, sign_batch
from shared.audit.checkpoint import (
    AcceptedLoss,
    Checkpoint,
    CheckpointAnswer,
    CheckpointQuestion,
    claimed_checkpoint,
    loss_subject,
    tree_subject,
)
from shared.audit.events import Action, Event, EventName, Happening, Outcome, Participant
from shared.audit.record import AuditRecord, StoredRecord, compose
from shared.audit.tlog.checkpoint import TreeHead, sign_checkpoint, verify_checkpoint
from shared.audit.tlog.keys import NoteSigner
from shared.audit.tlog.log_key import sign_log_key
from shared.audit.tlog.note import Note
from shared.audit.tlog.proofs import make_consistency, root_of
from shared.audit.tlog.tree import perfect_root
from shared.audit.tlog.witness_key import verify_witness_key
from shared.audit.tlog.witnessing import COSIGNATURE_PATH, Cosigned, HeadAnswer, HeadQuestion, asked_version
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
    key: NoteSigner = field(default_factory=lambda: NoteSigner("leadglass/log/test", Ed25519PrivateKey.generate()))

    @property
    def size(self) -> int:
        return len(self.records)

    def node(self, height: int, index: int) -> bytes:
        leaves = [self.records[seq].leaf for seq in sorted(self.records)]
        return perfect_root(leaves[index << height : (index + 1) << height])

    def checkpoint(self) -> str:
        return sign_checkpoint(TreeHead(self.key.public.name, self.size, root_of(self.size, self.node)), self.key)

    def proof(self, seen: TreeHead) -> tuple[bytes, ...] | None:
        if seen.size > self.size or root_of(seen.size, self.node) != seen.root:
            return None
        return tuple(make_consistency(seen.size, self.size, self.node)) if seen.size < self.size else ()

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
                (loss_subject(first, last), tree_subject(last)),
            ),
        )  # fmt: skip
        self.accepted = AcceptedLoss(self.records[self.head.seq].public, self.statements[self.head.seq])


class Door:
    """A centre's door: what it answers is made of its log when it is asked."""

    name = "https://centre"

    def __init__(self, log: CentreLog, certificate: str, version: int = 2) -> None:
        self.log, self.certificate, self.version = log, certificate, version
        self.asked, self.cosigned = list[CheckpointQuestion](), list[Cosigned]()
        self.away, self.proves = False, True

    def post(self, path: str, body: bytes, _content_type: str) -> Answer:
        if self.away:
            return Answer(503, b"{}")
        if path == COSIGNATURE_PATH:
            self.cosigned.append(Cosigned.parse(body))
            return Answer(204, b"")
        if asked_version(body) > self.version:
            return Answer(422, b"{}")
        if self.version == 1:
            return Answer(200, self._numbers(CheckpointQuestion.parse(body)).encode())
        question, log = HeadQuestion.parse(body), self.log
        seen = None if question.head is None else verify_checkpoint(question.head, [log.key.public])
        proof = None if seen is None or not self.proves else log.proof(seen)
        key = sign_log_key(log.signer, log.key.public)
        return Answer(
            200, HeadAnswer(self._numbers(question.numbers), key, log.checkpoint(), proof, log.accepted).encode()
        )

    def _numbers(self, question: CheckpointQuestion) -> CheckpointAnswer:
        self.asked.append(question)
        at = None if question.seen is None else self.log.statements.get(claimed_checkpoint(question.seen).seq)
        return CheckpointAnswer(self.log.statements[self.log.head.seq], at, self.log.accepted, self.certificate)

    def close(self) -> None:
        pass


class Witnessing:
    def __init__(self, folder: Path, version: int) -> None:
        self.folder, self.authority, self.log = folder, Authority(), CentreLog()
        self.log.grow(5)
        self.door = Door(self.log, self.certificate(self.log.signer), version)
        self.rang, self.signer = 0, SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
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
            cosigner=Cosigner(HostKeyStore(self.folder, FILES), self.signer, HOST, FakeClock(NOW)),
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


@pytest.fixture(params=[1, 2], ids=["a centre of before", "a centre"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Witnessing]:
    """What it is of the centre's own numbers, with a centre of version 1 and with one that shows its tree too."""
    host = Witnessing(tmp_path, request.param)
    yield host
    host.database.close()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Witnessing]:
    host = Witnessing(tmp_path, 2)
    yield host
    host.database.close()


def test_it_keeps_the_highest_checkpoint_and_asks_about_that_one(host: Witnessing) -> None:
    host.witness.ask()
    host.log.grow(3)
    host.witness.ask()
    host.witness.ask()

    seen = [question.seen for question in host.door.asked]
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


# ---- of the Merkle log


def elsewhere(log: CentreLog, size: int) -> None:
    """Give the log other entries beyond `size`, while no number of the centre's own is missing."""
    for seq in range(size + 1, log.size + 1):
        stored = log.records[seq]
        log.records[seq] = StoredRecord(stored.public.replace(b'"control-plane"', b'"control-plane "'), stored.sealed)


def test_it_keeps_a_head_only_by_a_proof_and_cosigns_what_it_kept(new: Witnessing) -> None:
    new.witness.ask()
    new.log.grow(3)
    new.witness.ask()
    held = new.store.held()

    assert held.note is not None
    assert held.head == verify_checkpoint(new.log.checkpoint(), [new.log.key.public])
    heads = list[TreeHead]()
    for cosigned in new.door.cosigned:
        key = verify_witness_key(cosigned.key, HOST, new.signer.public)
        heads.append(verify_checkpoint(cosigned.checkpoint, [new.log.key.public]))
        assert [known.name for known, _ in Note.parse(cosigned.checkpoint).verify([key])] == [key.name]
    assert [head.size for head in heads] == [5, 8]
    assert (new.folder / "witness.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("lie", ["no proof", "other records", "cut off"])
def test_a_head_that_does_not_go_on_is_neither_kept_nor_cosigned(new: Witnessing, lie: str) -> None:
    """The control is the test before."""
    new.witness.ask()
    saw = new.store.held()
    new.log.grow(3)
    match lie:
        case "no proof":
            new.door.proves = False
        case "other records":
            elsewhere(new.log, 3)
        case "cut off":
            for seq in (4, 5, 6, 7, 8):
                del new.log.records[seq]
    new.witness.ask()

    assert new.said.split()[0] == ("shrank" if lie == "cut off" else "forked:")
    assert saw.head is not None
    assert saw.head.root.hex() in new.said
    assert (new.store.held().note, new.held) == (saw.note, saw.checkpoint)
    assert len(new.door.cosigned) == 1
    assert new.events() == [Event.LOG_NOT_CONTINUED]


def test_a_tree_that_is_lost_is_followed_once_a_person_accepted_it_and_by_no_earlier_word(new: Witnessing) -> None:
    new.witness.ask()
    elsewhere(new.log, 3)
    new.witness.ask()
    assert new.said.startswith("forked")
    new.log.accept(Checkpoint(new.log.head.seq, new.log.head.leaf), b"", first=6, last=6)
    new.witness.ask()
    assert new.said == ""
    assert new.events()[-1] is Event.LOG_LOSS_FOLLOWED
    assert len(new.database.read("SELECT note FROM log_head_lost")) == 1

    elsewhere(new.log, 5)
    new.witness.ask()
    assert new.said.startswith("forked")


def test_what_a_host_saw_before_it_was_upgraded_is_held_against_the_log_until_a_head_took_over(tmp_path: Path) -> None:
    host = Witnessing(tmp_path, 1)
    host.witness.ask()
    assert (host.store.held().note, host.door.cosigned) == (None, [])
    host.log.back_to(2)
    host.door.version = 2
    host.witness.ask()

    assert host.said == "shrank from 5 to 2"
    assert (host.store.held().note, host.door.cosigned) == (None, [])
    host.database.close()


def test_a_centre_that_shows_no_head_any_more_is_not_believed_to_be_one_of_before(new: Witnessing) -> None:
    new.witness.ask()
    saw = new.store.held()
    new.door.version = 1

    with pytest.raises(DoorRefused, match="422"):
        new.witness.ask()
    assert new.store.held() == saw


def test_it_cosigns_nothing_that_did_not_become_durable(new: Witnessing) -> None:
    new.witness.ask()
    new.log.grow(3)
    with new.database.transaction() as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON log_head BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(sqlite3.IntegrityError):
        new.witness.ask()
    assert len(new.door.cosigned) == 1

    with new.database.transaction() as connection:
        connection.execute("DROP TRIGGER full")
    new.witness.ask()
    assert len(new.door.cosigned) == 2


def test_a_witness_key_is_made_once_and_one_that_cannot_be_read_is_not_replaced(new: Witnessing) -> None:
    new.witness.ask()
    file, other = (
        new.folder / "witness.key",
        Cosigner(HostKeyStore(new.folder, FILES), new.signer, HOST, FakeClock(NOW)),
    )
    key = other.vkey()
    assert verify_witness_key(new.door.cosigned[0].key, HOST, new.signer.public).vkey == key
    file.write_bytes(b"short")
    new.open()
    new.witness.ask()

    assert file.read_bytes() == b"short"
    assert len(new.door.cosigned) == 1
    assert new.said == ""


def test_whoever_looks_at_a_host_gets_its_checkpoint_and_the_key_by_which_it_cosigns(new: Witnessing) -> None:
    new.witness.ask()
    with closing(sqlite3.connect(new.folder / "agent.sqlite")) as connection:
        note, vkey = read_witness(connection)

    assert note == new.store.held().note
    assert vkey == verify_witness_key(new.door.cosigned[0].key, HOST, new.signer.public).vkey
