"""What each command of `leadglass-wipe` does, joined for this machine."""

import argparse
import json
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config import AgentFolder
from edge_agent.log import OUR_ERRORS
from edge_agent.sanitize.attempt import Attempts, TicketUsed, standing
from edge_agent.sanitize.drives import find_drives
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.fitting import is_same
from edge_agent.sanitize.hands import Hands, OfThisMachine
from edge_agent.sanitize.outbox import Outbox
from edge_agent.sanitize.session import NothingToDo, Session
from edge_agent.sanitize.terminal import screens as shown
from edge_agent.sanitize.terminal.flow import Flow, TerminalGone
from edge_agent.sanitize.terminal.page import Speech
from edge_agent.sanitize.terminal.screens import Listed
from edge_agent.sanitize.tickets import folder_of, in_file, in_folder, is_held
from shared.canonical import Json
from shared.clock import SystemClock
from shared.errors import Refused, Unavailable
from shared.sanitization.envelope import SignedTicket
from shared.sanitization.judge import judge
from shared.sanitization.medium import Medium
from shared.sanitization.qr_text import to_lines
from shared.sanitization.ticket import TicketId

if TYPE_CHECKING:
    from edge_agent.sanitize.here import ThisHost

_CODE_CHARS = 480  # of a code that a terminal of 80 columns shows
_LEAST_ID_CHARS = 4


class NotRoot(Refused):
    def __init__(self) -> None:
        super().__init__("only root can have a drive for itself; run it as root")


class NotInstalled(Refused):
    def __init__(self, state: Path) -> None:
        super().__init__(f"there is no {state}, where what is done is noted; run `leadglass-provision install` first")
        self.state = state


class NoSuchTicket(Refused):
    def __init__(self, named: str, found: int) -> None:
        known = "several tickets begin" if found else "no ticket that was begun here begins"
        super().__init__(f"{known} with {named[:40]!r}; `leadglass-wipe status` lists them")
        self.named = named


class NotWritten(Unavailable):
    def __init__(self, file: Path, exc: OSError) -> None:
        super().__init__(f"the report is not written to {file}: {exc.strerror or 'it failed'}; name another --out FILE")
        self.file = file


class NotOneLeft(Refused):
    def __init__(self, left: Sequence[TicketId]) -> None:
        several = f"several wipes were cut short; name one of them: {', '.join(map(str, left))}"
        super().__init__(several if left else "no wipe was cut short here that is so named")
        self.left = tuple(left)


@dataclass(frozen=True)
class Places:
    """The folders of the program itself, of the device guard, and of the agent."""

    state: Path
    guard: Path
    agent: Path

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Places":
        return cls(arguments.state.absolute(), arguments.guard_state.absolute(), arguments.agent_data.absolute())

    def verify_there(self) -> None:
        """Raises NotRoot, NotInstalled."""
        if os.geteuid() != 0:
            raise NotRoot
        if not (self.state / "out").is_dir():
            raise NotInstalled(self.state)


@dataclass(frozen=True)
class Host:
    """Who this machine is, and what can be done with its drives."""

    this: "Callable[[], ThisHost]"
    hands: Hands

    @classmethod
    def of(cls, places: Places) -> "Host":
        from edge_agent.sanitize.here import look

        clock = SystemClock()
        states = [places.state, places.guard]
        hands = OfThisMachine(AgentFolder(places.agent), states, Tools(), clock)
        return cls(lambda: look(places.guard, places.agent, clock.now()), hands)


def screens(places: Places, language: str | None, ticket: Path | None) -> int:
    """Lead a person from a ticket to its result; return the exit code."""
    places.verify_there()
    host = Host.of(places)
    session = _session(places, host)
    brought = None if ticket is None else session.accept(in_file(ticket).envelope)
    return _in_terminal(places, host, session, language, lambda flow: flow.run(brought))


def resume(places: Places, language: str | None, named: str | None) -> int:
    places.verify_there()
    host = Host.of(places)
    session = _session(places, host)
    left = [one for one in session.unfinished() if str(one.found.ticket_id).startswith(named or "")]
    if len(left) != 1:
        raise NotOneLeft([one.found.ticket_id for one in left])
    return _in_terminal(places, host, session, language, lambda flow: flow.resume(left[0]))


def drives(*, as_json: bool) -> int:
    for drive in find_drives():
        medium = drive.medium
        if as_json:
            print(json.dumps({"node": str(drive.node), **medium.json()}))
            continue
        speech = Speech("en")
        print(f"{drive.node}  serial {medium.serial or '-'}  {shown.size(medium.size_bytes)}  {medium.model}")
        print(f"    {medium.kind.value}, serial from {medium.serial_source.value}, {shown.partitions(medium, speech)}")
        print(f"    order it by  {shlex.join(_as_ordered(medium))}")
    return 0


def _as_ordered(medium: Medium) -> Iterator[str]:
    """Yield the options of `leadglass-server wipe order` that mean this drive, as the ticket is held against it."""
    yield from ("--serial", medium.serial, "--model", medium.model)
    if medium.wwn:
        yield from ("--wwn", medium.wwn)
    yield from ("--size-bytes", str(medium.size_bytes))


def status(places: Places, *, as_json: bool) -> int:
    """Say of every ticket that was begun here how it stands. Nothing is changed. Raises NotRoot, NotInstalled."""
    places.verify_there()
    attempts = Attempts(places.state)
    found = attempts.all()
    present = find_drives() if any(not one.is_ended for one in found) else []
    for one in found:
        is_there = one.draft is not None and any(
            is_same(one.draft.medium, drive.medium, one.draft.hidden) for drive in present
        )
        how = standing(one, is_drive_there=is_there).value
        serial = one.draft.medium.serial if one.draft is not None else ""
        if attempts.is_at_work(one.ticket_id):
            how = "at-work"
        result = ""
        if one.is_ended and one.draft is not None:
            result = judge(SignedTicket.parse(one.envelope).claimed, one.draft).result.value
        if as_json:
            told: dict[str, Json] = {
                "ticket": str(one.ticket_id), "standing": how, "serial": serial, "result": result, "why": one.why
            }  # fmt: skip
            print(json.dumps(told))
        else:
            print(
                f"{one.ticket_id}  serial {serial or '-'}  {(result or how).upper()}{f'  {one.why}' if one.why else ''}"
            )
    return 0


def verify_ticket(places: Places, file: Path) -> int:
    """Raises NotRoot, NotInstalled, and what refuses it."""
    places.verify_there()
    host = Host.of(places)
    accepted = _session(places, host).accept(in_file(file).envelope)
    ticket = accepted.ticket
    signers = ", ".join(signer.name for signer in accepted.approved.signers)
    is_used = Attempts(places.state).is_used(ticket.ticket_id)
    holds = "was begun here before, and cannot be begun again" if is_used else "holds here"
    print(f"ticket {ticket.ticket_id} {holds}; until {shown.instant(ticket.expires)}")
    print(f"serial {ticket.drive.serial}, asset {ticket.asset}, for {ticket.person}; approved by {signers}")
    return 1 if is_used else 0


def report(places: Places, named: str, out: Path | None) -> int:
    """Write the signed report of a ticket to a file, or show it as QR codes.

    Raises NotRoot, NotInstalled, NoSuchTicket, NothingToDo, NotWritten, TooLongForCodes.
    """
    places.verify_there()
    outbox = Outbox(places.state, SystemClock())
    ticket_id = _id(places, named)
    signed = outbox.signed_report(ticket_id)
    if signed is None:
        raise NothingToDo(ticket_id)
    if out is not None:
        try:
            out.write_bytes(signed)
        except OSError as exc:
            raise NotWritten(out, exc) from exc
        print(f"{out}: {len(signed)} bytes; take it to the centre: leadglass-server wipe import FILE")
        return 0
    _show_codes(to_lines(signed, _CODE_CHARS))
    return 0


def _show_codes(lines: Sequence[str]) -> None:
    import segno

    for number, line in enumerate(lines, 1):
        print(f"{number} of {len(lines)}")
        segno.make(line, error="l", micro=False, boost_error=False).terminal(sys.stdout, border=2, compact=True)
        print(line)


def _id(places: Places, named: str) -> TicketId:
    """Return which ticket is meant: one that was begun, or one that was refused and has a report."""
    files = [file.name.split(".")[0] for file in (places.state / "out").glob("*.report")]
    known = {*files, *(str(found.ticket_id) for found in Attempts(places.state).all())}
    matching = [one for one in known if one.startswith(named)]
    if len(named) < _LEAST_ID_CHARS or len(matching) != 1:
        raise NoSuchTicket(named, len(matching))
    return TicketId.parse(matching[0])


def _session(places: Places, host: Host) -> Session:
    return Session(places.state, folder_of(places.agent), host.this, host.hands, SystemClock(), secrets.token_bytes)


def _listed(session: Session, folder: Path) -> list[Listed]:
    """Return the tickets that lie here, those that can be acted on first."""
    listed = list[Listed]()
    for offered in in_folder(folder):
        try:
            accepted = session.accept(offered.envelope)
            if session.is_begun(accepted.ticket.ticket_id):
                raise TicketUsed(accepted.ticket.ticket_id)
            listed.append(Listed(offered.where, accepted))
        except OUR_ERRORS as exc:
            listed.append(Listed(offered.where, None, str(exc)))
    return sorted(listed, key=lambda one: one.accepted is None)


def _in_terminal(
    places: Places, host: Host, session: Session, language: str | None, lead: Callable[[Flow], None]
) -> int:
    """Return 0 where no ticket was taken up, or what was done may be certified."""
    from edge_agent.sanitize.terminal.curses_terminal import opened

    folder = folder_of(places.agent)
    with opened() as terminal:
        flow = Flow(
            session,
            terminal,
            language or _language(),
            listed=lambda: _listed(session, folder),
            hold=lambda: is_held(folder),
            health=host.hands.health,
            monotonic_s=time.monotonic,
        )
        with _signals(flow):
            try:
                lead(flow)
            except TerminalGone:
                return 1
    if flow.done is None:
        return 1 if flow.is_cut_short or flow.is_undone else 0
    result = flow.done.judged.result
    print(f"ticket {flow.done.ticket.ticket_id}: {result.value.upper()}")
    if flow.done.report_file is not None:
        print(f"report {flow.done.report_file}")
    return 0 if flow.done.judged.may_be_certified else 1


@contextmanager
def _signals(flow: Flow) -> Iterator[None]:
    """SIGTERM stops what is at work where it can be gone on with; a lost line stops nothing."""
    kept = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda _number, _frame: flow.stop()),
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _language() -> str:
    named = next(filter(None, (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "zh" if named.startswith("zh") else "en"
