"""Takes a wipe that was begun through what is left of it; what is known is durable before each touch of the drive.

A start that finds it cut short walks the same list again: what the draft has as done is passed over, what it has as
under way is taken up where the drive itself, or the last flush, says that it is.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent import SOFTWARE
from edge_agent.sanitize.attempt import Attempt
from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.engine.before import Before, read_changed, sample_before
from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.read import read_back
from edge_agent.sanitize.engine.write import write_pass
from edge_agent.sanitize.hands import Hands, found_again
from edge_agent.sanitize.luks import Attested
from edge_agent.sanitize.plan import choose
from edge_agent.sanitize.tasks import Task, TaskKind, tasks
from shared.clock import Clock
from shared.errors import IntegrityFailure
from shared.identity import RandomBytes
from shared.policy.wipe import ReadBack
from shared.sanitization.report import NOWHERE, SEED_BYTES, Checked, Step, StepOutcome, WipeReport
from shared.sanitization.stream import RANDOM, Content
from shared.sanitization.technique import Available, Technique
from shared.sanitization.ticket import Ticket

_CUT_SHORT = frozenset({StepOutcome.UNKNOWN, StepOutcome.INTERRUPTED})


class Progress(Watch, Protocol):
    def begins(self, task: Task) -> None:
        """Say what is done from now on; what `at` says is of that."""


class StateLost(IntegrityFailure):
    """The draft says that a pass was begun, and where it was is not known any more."""

    def __init__(self, part: str) -> None:
        super().__init__(f"how far {part or 'the pass'} was cannot be read, so it cannot be gone on with; begin anew")
        self.part = part


@dataclass
class Doing:
    """`draft` is always what is durable."""

    hands: Hands
    attempt: Attempt
    clock: Clock
    random_bytes: RandomBytes
    ticket: Ticket
    drive: Drive
    draft: WipeReport
    attested: Attested

    def run(self, progress: Progress) -> WipeReport:
        """Do what is left, until all is done, or something failed, or a person stopped it; return what is known then.

        Raises NotKept, StateLost; NotOpened, NotThere, NotSampled, AnotherDrive, DriveGone, DriveSwapped.
        """
        while self._one_run(progress):
            pass
        return self.draft

    def _one_run(self, progress: Progress) -> bool:
        """Return whether the drive would not take what was chosen, so that something else is to be chosen."""
        plan = choose(self.ticket.method, self.draft.medium, self.draft.considered, self.draft.hidden)
        steps = iter([at for at, one in enumerate(self.draft.steps) if one.outcome is not StepOutcome.REFUSED])
        checks = iter(range(len(self.draft.checks)))
        for task in tasks(self.ticket.method, plan.chosen, self.ticket.digest[0]):
            if task.kind in (TaskKind.COMMAND, TaskKind.WRITE):
                step = self._step(task, next(steps, None), progress)
                if step.outcome is StepOutcome.REFUSED and not step.accepted:
                    return self._is_chosen_anew(step)
                if step.outcome is not StepOutcome.DONE:
                    return False
            elif task.kind is TaskKind.SAMPLE:
                if not any(step.technique is task.technique for step in self.draft.steps):
                    self._sample(task, progress)
            elif not self._is_read_back(task, checks, progress):
                return False
        return False

    # ---- steps

    def _step(self, task: Task, known: int | None, progress: Progress) -> Step:
        before = None if known is None else self.draft.steps[known]
        if before is not None and before.outcome not in _CUT_SHORT:
            return before
        progress.begins(task)
        if task.kind is TaskKind.WRITE:
            return self._written(task, known, progress)
        return self._commanded(task, known, progress)

    def _written(self, task: Task, known: int | None, progress: Progress) -> Step:
        with self._opened() as device:
            if known is None:
                content = Content(task.pattern, self.random_bytes(SEED_BYTES) if task.pattern == RANDOM else None)
                state = PassState.begin(content, task.part, device.size_bytes, self.clock.now())
                self.attempt.keep_pass(state.encode())
                known = self._add(_under_way(state))
            else:
                state = self._kept_pass(task.part).resuming()
            step = write_pass(device, state, progress, self.clock, lambda now: self.attempt.keep_pass(now.encode()))
        return self._put(known, step)

    def _commanded(self, task: Task, known: int | None, progress: Progress) -> Step:
        self.hands.again(self.drive)
        if known is None:
            noted = self.hands.begin(task.technique, self.drive)
            known = self._add(noted)
            if noted.outcome is StepOutcome.REFUSED:
                return noted
            step = self.hands.run(noted, self.drive, progress, self.attested)
        else:
            step = self.hands.resume(self.draft.steps[known], self.drive, progress, self.attested)
        self._put(known, step)
        # The kernel may have lost sight of a drive that worked by itself.
        self.drive = found_again(self.hands, self.drive, self.draft.medium, self.draft.hidden)
        return step

    def _opened(self) -> AbstractContextManager[Device]:
        """Have for oneself the drive that was chosen, and no other. Raises DriveGone, DriveSwapped, NotOpened."""
        return self.hands.open(self.hands.again(self.drive))

    def _kept_pass(self, part: str) -> PassState:
        kept = self.attempt.kept_pass()
        if kept is None:
            raise StateLost(part)
        return PassState.parse(kept)

    def _is_chosen_anew(self, step: Step) -> bool:
        """Note that the drive would not take a technique; return whether the ticket has another one."""
        why = f"the drive would not take it: {step.detail}"[:300]
        considered = tuple(
            replace(one, available=Available.NO, why=why) if one.technique is step.technique else one
            for one in self.draft.considered
        )
        self._keep(replace(self.draft, considered=considered))
        return bool(choose(self.ticket.method, self.draft.medium, considered, self.draft.hidden).chosen)

    # ---- reading back

    def _sample(self, task: Task, progress: Progress) -> None:
        if self.attempt.kept_before() is not None:
            return
        progress.begins(task)
        with self._opened() as device:
            before = sample_before(device, self.random_bytes(SEED_BYTES), progress)
        self.attempt.keep_before(before.encode())

    def _is_read_back(self, task: Task, checks: Iterator[int], progress: Progress) -> bool:
        """Return whether it came to its end; what it found is in the draft."""
        before = None
        if task.kind is TaskKind.CHANGED:
            kept = self.attempt.kept_before()
            before = None if kept is None else Before.parse(kept)
            if before is None or next(before.held(), None) is None:
                return True  # nothing was there that could have changed
        elif self.draft.interruptions:
            # Of a drive that lied about a flush before the power was cut, samples may miss what it lost.
            task = replace(task, amount=ReadBack.WHOLE)
        known = next(checks, None)
        if known is not None and not self._is_to_be_read_again(self.draft.checks[known], task):
            return True
        progress.begins(task)
        with self._opened() as device:
            if before is not None:
                checked = read_changed(device, before, progress, self.clock)
            else:
                content = Content(task.pattern, self.draft.steps[-1].seed if task.pattern == RANDOM else None)
                checked = read_back(device, content, task.amount, self.random_bytes(SEED_BYTES), progress, self.clock)
        self._keep(replace(self.draft, checks=(*self.draft.checks[:known], checked)))
        return checked.ended is not None

    def _is_to_be_read_again(self, checked: Checked, task: Task) -> bool:
        """Return whether a read back has no end, or found no fault in samples before the power was cut."""
        if checked.ended is None:
            return True
        is_good = not (checked.different.sectors or checked.unreadable.sectors)
        return is_good and task.kind is TaskKind.READ_BACK and checked.amount is not task.amount

    # ---- what is known

    def _add(self, step: Step) -> int:
        self._keep(replace(self.draft, steps=(*self.draft.steps, step)))
        return len(self.draft.steps) - 1

    def _put(self, known: int, step: Step) -> Step:
        self._keep(replace(self.draft, steps=(*self.draft.steps[:known], step)))
        return step

    def _keep(self, draft: WipeReport) -> None:
        draft = replace(draft, ended=self.clock.now())
        self.attempt.keep(draft)
        self.draft = draft


def _under_way(state: PassState) -> Step:
    return Step(
        technique=Technique.OVERWRITE, part=state.part, tool=SOFTWARE, outcome=StepOutcome.UNKNOWN, accepted=False,
        progress_seen=False, completed=False, pattern=state.content.pattern, commitment=state.content.commitment,
        seed=state.content.seed, bytes_total=state.size_bytes, bytes_written=0, retries=0, unwritable=NOWHERE,
        resumed=0, started=state.started, ended=None, detail="", facts={},
    )  # fmt: skip
