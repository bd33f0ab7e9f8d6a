"""Leads a technician from a ticket to the result: which screen follows which, and what each key does.

A wipe runs in a thread of its own. It goes on where the terminal is lost, and what came of it is found afterwards.
"""

import threading
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Protocol

from edge_agent.log import OUR_ERRORS
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.luks import NOTHING_ATTESTED, Attested
from edge_agent.sanitize.session import (
    Accepted,
    Confirmed,
    Done,
    Looked,
    NothingReaches,
    Session,
    SpokenAgainst,
    Unfinished,
)
from edge_agent.sanitize.terminal import screens
from edge_agent.sanitize.terminal.page import Line, Page, Speech, body_lines, draw, is_too_small, room_for
from edge_agent.sanitize.terminal.progress import LiveProgress
from edge_agent.sanitize.terminal.screens import Listed
from edge_agent.sanitize.tickets import in_text
from shared.errors import Refused
from shared.sanitization.luks import HeaderCopies
from shared.sanitization.technique import Facts, Technique
from shared.sanitization.ticket import TicketId

ENTER, ESCAPE, BACKSPACE, UP, DOWN, PAGE_UP, PAGE_DOWN, RESIZED, INTERRUPT, GONE, NOTHING = (
    "\n", "\x1b", "\b", "up", "down", "page-up", "page-down", "resized", "interrupt", "gone", "",
)  # fmt: skip
_LOOK_S = 0.5
_HEALTH_S = 60.0
_TWICE_S = 3.0
_MOST_TYPED_CHARS, _MOST_PASTED_CHARS = 120, 2000


_COPIES = {"n": HeaderCopies.NONE_ATTESTED, "s": HeaderCopies.KNOWN, "u": HeaderCopies.UNKNOWN}


class Terminal(Protocol):
    def size(self) -> tuple[int, int]:
        """Return columns and lines."""

    def show(self, lines: Sequence[Line]) -> None: ...

    def key(self, timeout_s: float | None) -> str:
        """Return the next key: a character, or one of the names above; NOTHING after `timeout_s`, GONE for good."""


class Next(Enum):
    """Where a screen leads."""

    BACK = "back"
    QUIT = "quit"
    LOOK = "look"
    GO_ON = "go-on"


class TerminalGone(Refused):
    def __init__(self) -> None:
        super().__init__("the terminal is gone")


class Flow:
    """`listed` reads the tickets that lie here, `hold` what the centre said last; `health` is asked now and then."""

    def __init__(
        self,
        session: Session,
        terminal: Terminal,
        language: str,
        *,
        listed: Callable[[], Sequence[Listed]],
        hold: Callable[[], bool | None],
        health: Callable[[Drive], Facts],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._session, self._terminal, self._language = session, terminal, language
        self._listed, self._hold, self._health, self._monotonic_s = listed, hold, health, monotonic_s
        self._at_work: LiveProgress | None = None
        self.done: Done | None = None
        self.is_cut_short = False  # it was begun, and whatever ended it left no result
        self.is_undone = False  # a ticket was taken up, and unless there is a result nothing was done

    def stop(self) -> None:
        """Have what is at work stop where it safely can, to be gone on with later.

        Raises TerminalGone: nothing is at work, and the program ends.
        """
        if self._at_work is None:
            raise TerminalGone
        self._at_work.stop()

    def run(self, brought: Accepted | None = None) -> None:
        """Raises TerminalGone, NotKept, AlreadyAtWork and what the session does where nothing can be shown for it."""
        left = list(self._session.unfinished())
        if left and self._begun_before(left) is Next.QUIT:
            return
        while brought is not None or (brought := self._ticket()) is not None:
            if self._of_ticket(brought) is Next.QUIT:
                return
            brought = None

    def resume(self, left: Unfinished) -> None:
        """Raises TerminalGone."""
        self._go_on(left)

    # ---- tickets

    def _ticket(self) -> Accepted | None:
        """Return the ticket that was chosen; None: nothing more is to be done."""
        while True:
            listed = self._listed()
            page = partial(screens.tickets_page, listed, hold=self._hold())
            key = self._ask(page, "qp123456789")
            if key == "q":
                return None
            if key == "p":
                if (pasted := self._pasted()) is not None:
                    return pasted
                continue
            number = int(key) - 1
            if number < len(listed):
                if (accepted := listed[number].accepted) is not None:
                    return accepted
                self._refused([listed[number].why])

    def _pasted(self) -> Accepted | None:
        """Return the ticket whose text was pasted, as soon as it is whole; None: the person went back."""
        lines, typed, wrong = list[str](), "", ""
        while True:
            key = self._show(screens.paste_page(lines, wrong, typed, self._speech))
            if key == ESCAPE:
                return None
            if key != ENTER:
                typed = _edited(typed, key, most=_MOST_PASTED_CHARS)
            elif typed:
                lines, typed = [*lines, typed], ""
                try:
                    return self._session.accept(in_text("\n".join(lines)).envelope)
                except OUR_ERRORS as exc:
                    wrong = str(exc)

    # ---- one ticket

    def _of_ticket(self, accepted: Accepted) -> Next:
        self.is_undone = True
        while True:
            others = screens.beside(accepted, self._listed())
            key = self._ask(partial(screens.ticket_page, accepted, others=others), f"{ENTER}bq")
            if key != ENTER:
                return Next.QUIT if key == "q" else Next.BACK
            led = self._of_drives(accepted)
            if led is not Next.BACK:
                return led

    def _of_drives(self, accepted: Accepted) -> Next:
        told = ""
        while True:
            looked = self._session.look(accepted)
            keys = f"{ENTER}rbq" if looked.drive is not None else "rbq"
            if looked.drive is None:
                told = self._leave_note(looked, "no drive here is the one of the ticket", told)
            key = self._ask(partial(screens.drives_page, looked), keys)
            if key == ENTER:
                led, told = self._of_plan(looked, told)
                if led is not Next.LOOK:
                    return led
            elif key != "r":
                return Next.QUIT if key == "q" else Next.BACK

    def _of_plan(self, looked: Looked, told: str) -> tuple[Next, str]:
        reasons = [str(one) for one in looked.refusals]
        if not reasons and looked.plan is not None and looked.plan.is_refused:
            reasons = [str(NothingReaches(looked.plan.why))]
        if not reasons:
            return self._confirmed(looked), told
        return self._refused(reasons), self._leave_note(looked, "; ".join(reasons), told)

    def _leave_note(self, looked: Looked, why: str, told: str) -> str:
        """Note why nothing is done, once for each reason; return what was noted last."""
        if why != told:
            self.done = self._session.refuse(looked, why) or self.done
        return why

    def _refused(self, reasons: Sequence[str]) -> Next:
        self.is_undone = True
        key = self._ask(partial(screens.refused_page, reasons), "rbq")
        return {"r": Next.LOOK, "b": Next.BACK}.get(key, Next.QUIT)

    # ---- confirmation

    def _confirmed(self, looked: Looked) -> Next:
        if looked.drive is None or looked.plan is None:
            return Next.LOOK
        ticket, tail = looked.accepted.ticket, screens.last_chars(looked.drive.medium.serial)
        is_tail = self._typed(looked, "type-serial", lambda typed: typed.strip() == tail, "wrong-serial")
        if not is_tail or not self._typed(looked, "type-name", lambda typed: _same(typed, ticket.person), "wrong-name"):
            return Next.LOOK
        attested = self._attested(looked)
        if attested is None or self._answered(looked, "begin", "keys-begin", "w") is None:
            return Next.LOOK
        confirmed = Confirmed(ticket.person, attested)
        do = partial(self._session.wipe, looked, confirmed)
        return self._work(looked.drive, ticket.ticket_id, do)

    def _typed(self, looked: Looked, asked: str, is_right: Callable[[str], bool], wrong: str) -> bool:
        """Return whether it was typed right in the end; False: the person went back."""
        typed, said = "", ""
        while True:
            key = self._show(screens.confirm_page(looked, asked, said, typed, "keys-type", self._speech))
            if key == ESCAPE:
                return False
            if key != ENTER:
                typed, said = _edited(typed, key), said if key == RESIZED else ""
            elif is_right(typed):
                return True
            else:
                typed, said = "", wrong

    def _attested(self, looked: Looked) -> Attested | None:
        """Return what the person says of the keys, where keys are destroyed; None: the person went back."""
        if looked.plan is None or Technique.LUKS_ERASE not in looked.plan.chosen:
            return NOTHING_ATTESTED
        copies = self._answered(looked, "copies", "keys-copies", "nsu")
        from_start = copies and self._answered(looked, "from-start", "keys-yes-no", "yn")
        return Attested(_COPIES[copies], from_start=from_start == "y") if copies and from_start else None

    def _answered(self, looked: Looked, asked: str, shown: str, keys: str) -> str | None:
        """Return which of `keys` was pressed; None: the person went back."""
        page = partial(screens.confirm_page, looked, asked, "", None, shown)
        key = self._ask(page, keys + ESCAPE, is_from_end=True)
        return None if key == ESCAPE else key

    # ---- at work

    def _work(self, drive: Drive, ticket_id: TicketId, do: Callable[[LiveProgress], Done]) -> Next:
        """Have `do` done in a thread while it is shown how far it is, and show what came of it."""
        progress = LiveProgress(self._monotonic_s)
        work = _Work(lambda: do(progress))
        self._at_work = progress
        ill = threading.Thread(target=self._watch_health, args=(drive, progress, work.ended), daemon=True)
        work.start()
        ill.start()
        try:
            self._show_until(work, drive, progress)
        finally:
            work.join()
            self._at_work = None
        try:
            done = work.result()
        except OUR_ERRORS as exc:
            reasons = [str(one) for one in exc.found] if isinstance(exc, SpokenAgainst) else [str(exc)]
            if not self._session.is_begun(ticket_id):
                return self._refused(reasons)
            return self._cut_short(reasons)
        self.done = done
        return self._stopped(done) if done.is_open else self._result(done)

    def _show_until(self, work: "_Work", drive: Drive, progress: LiveProgress) -> None:
        asked_s = -_HEALTH_S
        while not work.ended.is_set():
            key = self._drawn(screens.progress_page(drive.medium, progress.now(), self._speech), _LOOK_S)
            if key == GONE:
                work.join()
            elif is_too_small(*self._terminal.size()):
                continue
            elif key in ("s", INTERRUPT) and progress.now().may_be_stopped:
                if self._monotonic_s() - asked_s < _TWICE_S:
                    progress.stop()
                asked_s = self._monotonic_s()
            elif key == "l":
                self._switch()

    def _watch_health(self, drive: Drive, progress: LiveProgress, ended: threading.Event) -> None:
        while not ended.is_set():
            if progress.now().may_be_stopped:  # a drive that works by itself is left alone
                progress.health = self._health(drive)
            ended.wait(_HEALTH_S)

    def _cut_short(self, reasons: Sequence[str]) -> Next:
        self.is_cut_short = True
        self._ask(partial(screens.cut_short_page, reasons), "q")
        return Next.QUIT

    def _result(self, done: Done) -> Next:
        self._ask(partial(screens.result_page, done), "q")
        return Next.QUIT

    def _stopped(self, done: Done) -> Next:
        key = self._ask(partial(screens.stopped_page, done), "rgq")
        if key == "q":
            return Next.QUIT
        left = [one for one in self._session.unfinished() if one.found.ticket_id == done.ticket.ticket_id]
        return self._go_on(left[0], give_up=key == "g") if left else Next.QUIT

    # ---- begun before

    def _begun_before(self, left: Sequence[Unfinished]) -> Next:
        key = self._ask(partial(screens.unfinished_page, left), "nq123456789")
        if key == "n":
            return Next.GO_ON
        if key == "q" or int(key) > len(left):
            return Next.QUIT
        return self._go_on(left[int(key) - 1])

    def _go_on(self, left: Unfinished, *, give_up: bool = False) -> Next:
        self.is_undone = True
        if left.drive is None and self._ask(partial(screens.incomplete_page, left), "gq") == "q":
            return Next.QUIT
        if left.drive is not None and not give_up:
            return self._work(left.drive, left.found.ticket_id, partial(self._session.resume, left))
        try:
            self.done = self._session.give_up(left)
        except OUR_ERRORS as exc:
            return self._cut_short([str(exc)])
        return self._result(self.done)

    # ---- showing and asking

    @property
    def _speech(self) -> Speech:
        return Speech(self._language)

    def _switch(self) -> None:
        self._language = "en" if self._language == "zh" else "zh"

    def _ask(self, page: Callable[[Speech], Page], keys: str, *, is_from_end: bool = False) -> str:
        """Show a page until one of `keys` is pressed, and return it. Raises TerminalGone.

        `is_from_end`: its question stands at the end, and is seen first.
        """
        first: int | None = None
        while True:
            width, height = self._terminal.size()
            shown = page(self._speech)
            last = max(0, len(list(body_lines(shown.body, width))) - room_for(shown, height))
            if first is None:
                first = last if is_from_end else 0
            self._terminal.show(draw(shown, width, height, self._speech, first))
            key = self._terminal.key(None)
            if key == GONE:
                raise TerminalGone
            if key == INTERRUPT:
                return next(back for back in (ESCAPE, "q") if back in keys)
            if is_too_small(width, height):
                continue
            if key == "l" and "l" not in keys:
                self._switch()
            elif key and key in keys and len(key) == 1:
                return key
            step = {UP: -1, DOWN: 1, PAGE_UP: -room_for(shown, height), PAGE_DOWN: room_for(shown, height)}
            first = max(0, min(last, first + step.get(key, 0)))

    def _show(self, page: Page) -> str:
        """Show a page and return the next key, whichever. Raises TerminalGone."""
        key = self._drawn(page, None)
        if key == GONE:
            raise TerminalGone
        if key == INTERRUPT:
            return ESCAPE
        return RESIZED if is_too_small(*self._terminal.size()) else key

    def _drawn(self, page: Page, timeout_s: float | None) -> str:
        width, height = self._terminal.size()
        body = len(list(body_lines(page.body, width)))
        # What is asked stands at the end.
        first = body if page.typed is not None else 0
        self._terminal.show(draw(page, width, height, self._speech, first))
        return self._terminal.key(timeout_s)


class _Work(threading.Thread):
    """One thing done in a thread; `result` returns or raises what came of it."""

    def __init__(self, do: Callable[[], Done]) -> None:
        super().__init__(name="wipe")
        self._do = do
        self.ended = threading.Event()
        self._done: Done | None = None
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._done = self._do()
        # Raised again by `result`, in the thread that shows it.
        except BaseException as exc:  # noqa: BLE001
            self._raised = exc
        finally:
            self.ended.set()

    def result(self) -> Done:
        if self._raised is not None:
            raise self._raised
        if self._done is None:
            raise RuntimeError("asked before it ended")
        return self._done


def _edited(typed: str, key: str, *, most: int = _MOST_TYPED_CHARS) -> str:
    if key == BACKSPACE:
        return typed[:-1]
    return typed + key if len(key) == 1 and key.isprintable() and len(typed) < most else typed


def _same(typed: str, name: str) -> bool:
    return " ".join(typed.split()).casefold() == " ".join(name.split()).casefold()
