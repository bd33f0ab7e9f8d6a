"""A host with its keys, people who sign, and a drive that is a loop device: a whole wipe without hardware."""

import dataclasses
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from edge_agent.config import AgentFolder
from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk
from edge_agent.sanitize.accept import Enrolled
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import find_again, find_drives
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.hands import OfThisMachine
from edge_agent.sanitize.here import ThisHost
from edge_agent.sanitize.session import Session
from edge_agent.sanitize.tasks import Task
from edge_agent.sanitize.tickets import folder_of
from shared.clock import Clock, SystemClock
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.sanitization.envelope import sign_ticket
from shared.sanitization.exchange import ASKED_FILE, TICKET_SUFFIX, Asked
from shared.sanitization.note import WipeNote
from shared.sanitization.report import WipeReport
from shared.sanitization.ticket import TargetDrive, Ticket, TicketId
from shared.signing import Label, verify_statement
from tests.shared import made
from tests.shared.sanitization.tickets import BEA, CAI, METHOD, PEOPLE, ticket

PATIENT = b"PATIENT^DATA"
# More than the engine has under way at once, so that a stop finds something to leave.
SIZE_BYTES = 12 << 20
POLICY = WipePolicy(LeastClass.CLEAR, ReadBack.SAMPLES, 1, 24)


@contextmanager
def loop_drive(folder: Path, size_bytes: int = SIZE_BYTES, content: bytes = PATIENT) -> Iterator[Path]:
    """Yield the node of a loop device that is full of `content`."""
    file = folder / f"disk-{secrets.token_hex(4)}"
    file.write_bytes((content * (size_bytes // len(content) + 1))[:size_bytes])
    made_node = subprocess.run(["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=True)
    node = Path(made_node.stdout.strip())
    try:
        yield node
    finally:
        subprocess.run(["losetup", "--detach", str(node)], check=True)


def _unseen(disk: Disk) -> Answer:
    return Answer(disk.number, (), None, "a test looks into no drive")


def drive_at(node: Path) -> Drive:
    return next(drive for drive in find_drives(look=_unseen) if drive.node == node)


class OnlyThese(OfThisMachine):
    """This machine's hands, which see no drive but those of the test, and look into none: that takes a child each."""

    def __init__(self, agent: AgentFolder, states: list[Path], clock: Clock, nodes: list[Path]) -> None:
        super().__init__(agent, states, Tools(), clock)
        self.nodes = nodes

    def drives(self) -> list[Drive]:
        return [drive for drive in find_drives(look=_unseen) if drive.node in self.nodes]

    def again(self, drive: Drive) -> Drive:
        return find_again(drive, look=None)


@dataclass
class Watching:
    """Notes what was said, and stops where `stop_at` of a kind of task is reached."""

    stop_at: int | None = None
    tasks: list[Task] = field(default_factory=list)
    done: int = 0

    def at(self, done: int, total: int) -> None:
        self.done = done

    def begins(self, task: Task) -> None:
        self.tasks.append(task)

    @property
    def is_stopped(self) -> bool:
        return self.stop_at is not None and self.done >= self.stop_at


@dataclass
class Bench:
    """What one host needs for a wipe. `state` is the program's folder and `agent` the agent's."""

    folder: Path
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.state, self.agent = self.folder / "wipe", AgentFolder(self.folder / "agent")
        self.tickets = folder_of(self.agent.path)

    @classmethod
    def new(cls, folder: Path) -> "Bench":
        bench = cls(folder)
        (bench.state / "out").mkdir(parents=True)
        bench.tickets.mkdir(parents=True)
        bench.agent.identity.mkdir()
        bench.agent.config.write_bytes(b"enrolled")
        bench.hold(held=False)
        return bench

    def hold(self, *, held: bool) -> None:
        (self.tickets / ASKED_FILE).write_bytes(Asked(self.clock.now(), held).encode())

    def host(self, approvals: int = 1) -> ThisHost:
        policy = dataclasses.replace(POLICY, approvals=approvals)
        enrolled = Enrolled(made.HOST, made.HOST_SIGNER.public.key_id, PEOPLE, policy)
        return ThisHost(enrolled, made.HOST_SIGNER, is_clock_sure=True)

    def hands(self, *nodes: Path, of: type[OnlyThese] = OnlyThese) -> OnlyThese:
        return of(self.agent, [self.state], self.clock, list(nodes))

    def session(self, *nodes: Path, hands: type[OnlyThese] = OnlyThese, approvals: int = 1) -> Session:
        used = self.hands(*nodes, of=hands)
        return Session(self.state, self.tickets, lambda: self.host(approvals), used, self.clock, secrets.token_bytes)

    def ticket(self, node: Path, **changes: Any) -> Ticket:
        medium, now = drive_at(node).medium, self.clock.now()
        target = TargetDrive(medium.serial, medium.wwn, medium.model, medium.size_bytes)
        drawn_up = {
            "ticket_id": TicketId(secrets.token_bytes(16)), "drive": target, "method": METHOD,
            "issued": now - timedelta(minutes=1), "expires": now + timedelta(hours=20),
        }  # fmt: skip
        return ticket(**{**drawn_up, **changes})

    def bring(self, allowed: Ticket) -> bytes:
        """Return the envelope of a ticket that Bea and Cai approved; it lies in the agent's folder as well."""
        envelope = sign_ticket(allowed, [BEA, CAI]).encode()
        (self.tickets / f"{allowed.ticket_id}{TICKET_SUFFIX}").write_bytes(envelope)
        return envelope

    def signed(self, allowed: Ticket) -> WipeReport:
        """Return the report that lies there for the agent, verified."""
        signed = (self.state / "out" / f"{allowed.ticket_id}.report").read_bytes()
        return WipeReport.parse(verify_statement(signed, Label.WIPE_REPORT, made.HOST_SIGNER.public))

    def events(self, allowed: Ticket) -> list[str]:
        """Return what the notes say, in order."""
        files = (self.state / "out").glob(f"{allowed.ticket_id}.*.note")
        notes = sorted((WipeNote.parse(file.read_bytes()) for file in files), key=lambda note: note.seq)
        assert [note.seq for note in notes] == list(range(1, len(notes) + 1))
        return [note.event.value for note in notes]


def content(node: Path) -> bytes:
    """Return what the drive itself has."""
    descriptor = os.open(node, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)
