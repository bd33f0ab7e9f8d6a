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
from edge_agent.commands.accept import CHECKS, REFUSED_BY_POLICY, Check, CommandUsed, Here, accept
from edge_agent.commands.store import CommandStore, Taken
from edge_agent.database import Database
from edge_agent.log import OUR_ERRORS, Log, why
from edge_agent.policy_sync.delegation import Delegation
from shared.audit import events as audit
from shared.audit.events import Event, Happening, Subject
from shared.audit.record import readable
from shared.clock import Clock
from shared.envelope import recorded_keys, recorded_people
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
# Nor the database: past this many a run they have no result either, and are not final.
_MOST_REFUSALS_KEPT = 1024
_INTERRUPTED = "it was begun, and the agent or its disk failed before the end was kept; how far it came is not known"


@dataclass(frozen=True)
class Done:
    """How an action ended. Only what proved itself is `Outcome.DONE`."""

    outcome: Outcome
    detail: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)


Do = Callable[[Mapping[str, Argument], threading.Event], Done]


class CommandExecutor:
    """For one thread. `doing` has what each action does; it may raise any error of ours, which is then its failure.

    `refresh` brings what `delegation` reads up to what the centre has published; it raises Unavailable where it cannot.
    """

    def __init__(
        self,
        doing: Mapping[CommandAction, Do],
        *,
        host_id: HostId,
        delegation: Callable[[], Delegation],
        refresh: Callable[[], None],
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
        self._refresh, self._kept = refresh, 0
        self._refusals: set[bytes] = set()

    def recover(self) -> None:
        """Say *unknown* of whatever was begun and has no end. Raises DatabaseUnavailable."""
        for taken in self._store.begun():
            self._end(taken, Done(Outcome.UNKNOWN, _INTERRUPTED))

    def take(self, offered: bytes, stop: threading.Event) -> None:
        """Do what is offered, or refuse it; either way there is a result afterwards, unless nobody can read it.

        Raises DatabaseUnavailable, TrustCacheUnavailable, and what `refresh` raises: nothing was begun; offer it again.
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
            taken = self._accept_by_newest(envelope)
        except CommandUsed as exc:
            self._say_again(offered, claimed, exc)
        except (Refused, IntegrityFailure) as exc:
            self._refuse(offered, claimed, exc)
        else:
            self._perform(claimed, taken, stop)

    def _accept_by_newest(self, envelope: SignedCommand) -> Taken:
        """Refuse by no metadata that is older than the command: a refusal is final, and the next pull may undo it."""
        try:
            return self._accept(envelope)
        except REFUSED_BY_POLICY:
            if self._store.is_taken(envelope.claimed.command_id):
                raise
            self._refresh()
        return self._accept(envelope)

    def _accept(self, envelope: SignedCommand) -> Taken:
        delegation = self._delegation()
        # A clock that was set back is at least as late as the newest time that was signed.
        now = self._clock.now() if delegation.signed_at is None else max(self._clock.now(), delegation.signed_at)
        delegation.verify_in_date(now)
        here = Here(self._host_id, delegation.signatories, now, self._store.is_taken)
        command = accept(envelope, here, self._checks)
        signers = envelope.signers(delegation.signatories)
        return Taken(command.command_id, command.digest, command.action, command.person, signers)

    def _say_again(self, offered: bytes, command: Command, exc: CommandUsed) -> None:
        """Send the result once more: whoever offers it again may not have it. Nothing is done again."""
        if not self._store.tell_again(command.command_id, command.digest):
            self._refuse(offered, command, exc)
            return
        self._log.event("command.offered-again", command=str(command.command_id))
        if self._is_new_refusal(offered):
            self._journal.record(_refused(exc, command))

    def _perform(self, command: Command, taken: Taken, stop: threading.Event) -> None:
        with self._database.transaction():
            self._store.take(taken)
            self._journal.record(_happening(Event.COMMAND_BEGUN, taken, recorded_as(command)))
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
            what = recorded_briefly(taken.command_id, taken.action, taken.sha256, taken.person)
            self._journal.record(_happening(Event.COMMAND_ENDED, taken, what, outcome, reason))
        self._log.event("command.ended", command=str(taken.command_id), outcome=done.outcome.value)

    def _refuse(self, offered: bytes, command: Command, exc: Refused | IntegrityFailure) -> None:
        self._log.event("command.refused", command=str(command.command_id), why=why(exc))
        with self._database.transaction():
            if not self._store.tell_again(command.command_id, command.digest):
                if self._kept >= _MOST_REFUSALS_KEPT:
                    return
                signed = self._signed(command.command_id, command.digest, Done(Outcome.REFUSED, why(exc)))
                self._store.refuse(command.command_id, command.digest, signed)
                self._kept += 1
            if self._is_new_refusal(offered):
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
    event: Event, taken: Taken, what: tuple[Subject, ...], outcome: audit.Outcome = audit.Outcome.SUCCESS,
    reason: str = "",
) -> Happening:  # fmt: skip
    who, what = recorded_people(taken.signers, requestor=True), (*what, *recorded_keys(taken.signers))
    return Happening(event, audit.Action.EXECUTE, outcome, who, what, reason)


def _refused(exc: Refused | IntegrityFailure, command: Command | None) -> Happening:
    # The name in a command that was refused is nobody's word, so no participant is made of it.
    what = recorded_as(command) if command is not None else ()
    return Happening(
        Event.COMMAND_REFUSED, audit.Action.EXECUTE, audit.Outcome.SERIOUS_FAILURE, (), what, readable(why(exc), 500)
    )
