"""Where each screen leads, by a person who presses keys as a script says; drives are loop devices."""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.direct import DirectDevice
from edge_agent.sanitize.session import Confirmed, Session
from edge_agent.sanitize.terminal.flow import ENTER, ESCAPE, GONE, NOTHING, Flow, TerminalGone
from edge_agent.sanitize.terminal.page import Line
from edge_agent.sanitize.terminal.screens import Listed
from shared.sanitization.judged import Result
from shared.sanitization.qr_text import to_lines
from shared.sanitization.report import Considered, Ending
from shared.sanitization.technique import Available, Technique
from tests.edge_agent.sanitize.wiping import PATIENT, Bench, OnlyThese, Watching, content, loop_drive
from tests.shared.sanitization.tickets import METHOD


class Scripted:
    """Presses what the script says once its text is on the screen. The script ends with the program."""

    def __init__(self, *script: tuple[str, str | Callable[[], str]]) -> None:
        self._script = list(script)
        self._keys = list[str]()
        self.seen = list[str]()
        self._text = ""
        self._nobody_presses = threading.Event()

    def size(self) -> tuple[int, int]:
        return 80, 24

    def show(self, lines: Sequence[Line]) -> None:
        self._text = "\n".join(line.text for line in lines)
        if self._text not in self.seen[-1:]:
            self.seen.append(self._text)

    def key(self, timeout_s: float | None) -> str:
        if self._keys:
            return self._keys.pop(0)
        if self._script and self._script[0][0] in self._text:
            pressed = self._script.pop(0)[1]
            pressed = pressed if isinstance(pressed, str) else pressed()
            self._keys = [pressed] if pressed == GONE else list(pressed)
            return self._keys.pop(0) if self._keys else NOTHING
        assert timeout_s is not None, f"{[shown for shown, _ in self._script[:1]]} is not shown, but:\n{self._text}"
        self._nobody_presses.wait(0.02)
        return NOTHING


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.new(tmp_path)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    with loop_drive(tmp_path) as node:
        yield node


def flow_of(session: Session, terminal: Scripted, listed: Sequence[Listed] = ()) -> Flow:
    return Flow(
        session,
        terminal,
        "en",
        listed=lambda: listed,
        hold=lambda: False,
        health=lambda _: {},
        monotonic_s=lambda: 0.0,
    )


def listed(session: Session, envelope: bytes) -> list[Listed]:
    return [Listed("x", session.accept(envelope))]


def typed(serial: str) -> list[tuple[str, str | Callable[[], str]]]:
    return [("THIS IS THE DRIVE", ENTER), ("Type the last", f"{serial[-4:]}{ENTER}"), ("your own name", f"dan{ENTER}")]


def test_a_ticket_comes_as_the_text_of_its_codes_in_any_order(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    lines = to_lines(bench.bring(allowed), 200)
    pasted = "".join(line + ENTER for line in reversed(lines))
    terminal = Scripted(
        ("No ticket lies here", "p"), ("Paste the text", "LGW1:nonsense" + ENTER), ("expected 1 to", ESCAPE),
        ("No ticket lies here", "p"), ("Paste the text", pasted), ("Approved by", "q"),
    )  # fmt: skip

    flow_of(session, terminal).run()

    assert len(lines) > 1
    assert str(allowed.ticket_id) in terminal.seen[-1]


def test_what_refuses_is_shown_and_noted_once_and_looked_at_again(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    descriptor = os.open(node, os.O_RDONLY | os.O_EXCL)

    def released() -> str:
        os.close(descriptor)
        return "r"

    terminal = Scripted(
        ("CT 2: serial", "1"), ("Approved by", ENTER), ("THIS IS THE DRIVE", ENTER), ("it is in use", "r"),
        ("THIS IS THE DRIVE", ENTER), ("it is in use", released), ("THIS IS THE DRIVE", ENTER),
        ("Type the last", ESCAPE), ("THIS IS THE DRIVE", "q"),
    )  # fmt: skip

    flow = flow_of(session, terminal, listed(session, bench.bring(allowed)))
    flow.run()

    assert bench.events(allowed) == ["refused"]
    assert flow.done is not None
    assert flow.done.judged.result is Result.REFUSED
    assert PATIENT in content(node)


def test_what_is_asked_is_seen_however_much_was_not_chosen(bench: Bench, node: Path) -> None:
    every = tuple(one for one in Technique if one is not Technique.DESTRUCTION)
    luks_first = sorted(every, key=lambda one: one is not Technique.OVERWRITE)
    allowed = bench.ticket(node, method=dataclasses.replace(METHOD, techniques=tuple(luks_first)))

    class Refusing(OnlyThese):
        """A drive of whose techniques each but the overwrite is away for a reason of its own."""

        def considered(self, drive: Drive) -> tuple[Considered, ...]:
            found = super().considered(drive)
            return tuple(
                one if one.technique is Technique.OVERWRITE
                else dataclasses.replace(one, available=Available.NO, why=f"the {one.technique} is not there")
                for one in found
            )  # fmt: skip

    session = bench.session(node, hands=Refusing)
    terminal = Scripted(
        ("CT 2: serial", "1"), ("Approved by", ENTER), *typed(allowed.drive.serial), ("Press w", ESCAPE),
        ("THIS IS THE DRIVE", "q"),
    )  # fmt: skip
    flow_of(session, terminal, listed(session, bench.bring(allowed))).run()

    assert PATIENT in content(node)


def test_the_terminal_goes_and_the_wipe_goes_on_to_its_end(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    terminal = Scripted(
        ("CT 2: serial", "1"), ("Approved by", ENTER), *typed(allowed.drive.serial), ("Press w", "w"),
        ("At work", GONE), ("Result", GONE),
    )  # fmt: skip

    with pytest.raises(TerminalGone):
        flow_of(session, terminal, listed(session, bench.bring(allowed))).run()

    assert bench.signed(allowed).ending is Ending.COMPLETED
    assert PATIENT not in content(node)


def test_stopped_by_two_keys_it_is_left_and_then_given_up(bench: Bench, node: Path) -> None:
    may_write = threading.Event()

    class Waiting(OnlyThese):
        """A drive that takes nothing before a person has pressed the keys."""

        @contextmanager
        def open(self, drive: Drive) -> Iterator[Device]:
            with super().open(drive) as device:
                assert isinstance(device, DirectDevice)
                write = device.write

                def waits(at: int, data: memoryview) -> None:
                    assert may_write.wait(30)
                    write(at, data)

                device.write = waits  # type: ignore[method-assign]
                yield device

    allowed = bench.ticket(node)
    session = bench.session(node, hands=Waiting)

    def released() -> str:
        flow.stop()
        may_write.set()
        return "s"

    terminal = Scripted(
        ("CT 2: serial", "1"), ("Approved by", ENTER), *typed(allowed.drive.serial), ("Press w", "w"),
        ("press s twice", "ss"), ("Stopping", released), ("The drive is NOT wiped", "q"),
    )  # fmt: skip
    flow = flow_of(session, terminal, listed(session, bench.bring(allowed)))
    flow.run()
    assert bench.events(allowed) == ["accepted", "started"]
    assert flow.done is not None
    assert not flow.done.judged.may_be_certified

    elsewhere = bench.session()  # its drive is not here
    left_alone = flow_of(elsewhere, Scripted(("INCOMPLETE", "1"), ("Given up", "q")))
    left_alone.run()
    assert (left_alone.done, left_alone.is_undone) == (None, True)

    again = Scripted(("INCOMPLETE", "1"), ("Given up", "g"), ("ABORTED", "q"))
    flow = flow_of(elsewhere, again)
    flow.run()

    assert bench.signed(allowed).ending is Ending.ABORTED
    assert bench.events(allowed) == ["accepted", "started", "ended"]


def test_what_was_begun_before_is_brought_to_its_end_before_anything_else(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session, envelope = bench.session(node), bench.bring(allowed)
    session.wipe(session.look(session.accept(envelope)), Confirmed("Dan"), Watching(stop_at=1 << 20))
    terminal = Scripted(("RESUMABLE", "1"), ("CLEARED, verified", "q"))

    flow = flow_of(session, terminal)
    flow.run()

    assert flow.done is not None
    assert flow.done.judged.result is Result.CLEARED_VERIFIED
    assert PATIENT not in content(node)


def test_what_cannot_be_noted_any_more_under_way_is_not_called_refused(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)

    class Failing(OnlyThese):
        """Once the drive is opened, nothing can be put into the folder of the attempt."""

        @contextmanager
        def open(self, drive: Drive) -> Iterator[Device]:
            with super().open(drive) as device:
                folder = bench.state / "attempts" / str(allowed.ticket_id)
                folder.rename(bench.state / "before")
                folder.write_bytes(b"")
                yield device

    session = bench.session(node, hands=Failing)
    terminal = Scripted(
        ("CT 2: serial", "1"), ("Approved by", ENTER), *typed(allowed.drive.serial), ("Press w", "w"),
        ("did not come to its end", "q"),
    )  # fmt: skip
    flow = flow_of(session, terminal, listed(session, bench.bring(allowed)))
    flow.run()

    assert flow.is_cut_short
    assert "Nothing was written" not in terminal.seen[-1]
    assert PATIENT in content(node)
