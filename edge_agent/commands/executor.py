"""Takes an offered command through the judgement, notes it as taken, has it done, and keeps what became of it.

The order: judged; noted durably together with its audit record; done; the signed result kept together with its record.
After a kill between the second and the last of these the next start says *unknown*: nobody can prove what was done.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from edge_agent.audit.journal import Journal
from edge_agent.boundary import contained
from edge_agent.commands.accept import CHECKS, Check, CommandUsed, Here, accept
from edge_agent.commands.store import CommandStore, Taken
from edge_agent.database import Database
from edge_agent.log import OUR_ERRORS, Log, why
from edge_agent.policy_sync.delegation import Delegation
from shared.audit import record as audit
from shared.audit.record import Event, Happening, Participant, Subject, readable
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fleet.command import (
    MAX_DETAIL_CHARS,
    Argument,
    Command,
    CommandAction,
    CommandResult,
    Fact,
    Outcome,
    SignedCommand,
    arguments_of,
    recorded_as,
    recorded_briefly,
    sign_result,
)
from shared.identity import CommandId, HostId
from shared.signing import EvidenceSigner

# Who offers ever new forgeries must not fill the journal; past this many a run they are only logged.
_MOST_REFUSALS_RECORDED = 64
_INTERRUPTED = "it was begun, and the agent or its disk failed before the end was kept; how far it came is not known"


@dataclass(frozen=True)
class Done:
    """How an action ended. Only what proved itself is `Outcome.DONE`."""

    outcome: Outcome
    detail: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)


Do = Callable[[Mapping[str, Argument], threading.Event], Done]


class CommandExecutor:
    """For one thread. `doing` has what each action does; it may raise any error of ours, which is then its failure."""

    def __init__(
        self,
        doing: Mapping[CommandAction, Do],
        *,
        host_id: HostId,
        delegation: Callable[[], Delegation],
        store: CommandStore,
        database: Database,
        journal: Journal,
        signer: EvidenceSigner,
        clock: Clock,
        log: Log,
        checks: Sequence[Check] = CHECKS,
    ) -> None:
        self._doing, self._host_id, self._delegation, self._store = doing, host_id, delegation, store
        self._database, self._journal, self._signer, self._clock = database, journal, signer, clock
        self._log, self._checks = log, checks
        self._refusals: set[bytes] = set()

    def recover(self) -> None:
        """Say *unknown* of whatever was begun and has no end. Raises DatabaseUnavailable."""
        for taken in self._store.begun():
            self._end(taken, Done(Outcome.UNKNOWN, _INTERRUPTED))

    def take(self, offered: bytes, stop: threading.Event) -> None:
        """Do what is offered, or refuse it; either way there is a result afterwards, unless nobody can read it.

        Raises DatabaseUnavailable, TrustCacheUnavailable: nothing was begun; offer it again.
        """
        try:
            envelope = SignedCommand.parse(offered)
            claimed = envelope.claimed
        except Malformed as exc:
            if self._is_new_refusal(offered):
                self._journal.record(_refused(exc, None))
            self._log.event("command.unreadable", why=why(exc))
            return
        try:
            command = self._accept(envelope)
        except CommandUsed as exc:
            self._say_again(offered, claimed, exc)
        except (Refused, IntegrityFailure) as exc:
            self._refuse(offered, claimed, exc)
        else:
            self._perform(command, stop)

    def _accept(self, envelope: SignedCommand) -> Command:
        delegation = self._delegation()
        # A clock that was set back is at least as late as the newest time that was signed.
        now = self._clock.now() if delegation.signed_at is None else max(self._clock.now(), delegation.signed_at)
        delegation.verify_in_date(now)
        return accept(envelope, Here(self._host_id, delegation.signatories, now, self._store.is_taken), self._checks)

    def _say_again(self, offered: bytes, command: Command, exc: CommandUsed) -> None:
        """Send the result once more: whoever offers it again may not have it. Nothing is done again."""
        if not self._store.tell_again(command.command_id, command.digest):
            self._refuse(offered, command, exc)
            return
        self._log.event("command.offered-again", command=str(command.command_id))
        if self._is_new_refusal(offered):
            self._journal.record(_refused(exc, command))

    def _perform(self, command: Command, stop: threading.Event) -> None:
        taken = Taken(command.command_id, command.digest, command.action, command.person)
        with self._database.transaction():
            self._store.take(taken)
            self._journal.record(_happening(Event.COMMAND_BEGUN, command.person, recorded_as(command)))
        self._log.event("command.begun", command=str(command.command_id), action=command.action)
        done = Done(Outcome.UNKNOWN, "it failed in a way that nobody foresaw; how far it came is not known")

        def do() -> None:
            nonlocal done
            action, arguments = arguments_of(command)
            try:
                done = self._doing[action](arguments, stop)
            except OUR_ERRORS as exc:
                done = Done(Outcome.FAILED, why(exc))

        contained(self._log, f"command {command.action}", do)
        self._end(taken, done)

    def _end(self, taken: Taken, done: Done) -> None:
        is_done = done.outcome is Outcome.DONE
        outcome = audit.Outcome.SUCCESS if is_done else audit.Outcome.SERIOUS_FAILURE
        reason = "" if is_done else f"{done.outcome}: {done.detail}"
        with self._database.transaction():
            self._store.end(taken, self._signed(taken.command_id, taken.sha256, done))
            what = recorded_briefly(taken.command_id, taken.action, taken.sha256)
            self._journal.record(_happening(Event.COMMAND_ENDED, taken.person, what, outcome, reason))
        self._log.event("command.ended", command=str(taken.command_id), outcome=done.outcome.value)

    def _refuse(self, offered: bytes, command: Command, exc: Refused | IntegrityFailure) -> None:
        self._log.event("command.refused", command=str(command.command_id), why=why(exc))
        if not self._is_new_refusal(offered):
            return
        signed = self._signed(command.command_id, command.digest, Done(Outcome.REFUSED, why(exc)))
        with self._database.transaction():
            self._store.refuse(command.command_id, command.digest, signed)
            self._journal.record(_refused(exc, command))

    def _is_new_refusal(self, offered: bytes) -> bool:
        digest = sha256(offered).digest()
        if digest in self._refusals or len(self._refusals) >= _MOST_REFUSALS_RECORDED:
            return False
        self._refusals.add(digest)
        return True

    def _signed(self, command_id: CommandId, digest: bytes, done: Done) -> bytes:
        detail = readable(done.detail, MAX_DETAIL_CHARS) if done.detail else ""
        result = CommandResult(
            command_id, digest, self._host_id, done.outcome, detail, self._clock.now(), done.facts
        )  # fmt: skip
        return sign_result(result, self._signer)


def _happening(
    event: Event, person: str, what: tuple[Subject, ...], outcome: audit.Outcome = audit.Outcome.SUCCESS,
    reason: str = "",
) -> Happening:  # fmt: skip
    return Happening(event, audit.Action.EXECUTE, outcome, (Participant("person", person, True),), what, reason)


def _refused(exc: Refused | IntegrityFailure, command: Command | None) -> Happening:
    # The name in a command that was refused is nobody's word, so no participant is made of it.
    what = recorded_as(command) if command is not None else ()
    return Happening(
        Event.COMMAND_REFUSED, audit.Action.EXECUTE, audit.Outcome.SERIOUS_FAILURE, (), what, readable(why(exc), 500)
    )
