"""A host with a database, journal and real policy metadata, and the people who may command it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.commands.accept import CHECKS, Check
from edge_agent.commands.executor import CommandExecutor, Do, Done
from edge_agent.commands.store import CommandStore
from edge_agent.policy_sync.delegation import Delegation
from edge_agent.policy_sync.verification import TrustCacheUnavailable
from shared.audit.events import EventName
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.envelope import Signatories
from shared.fleet.command import Argument, Command, CommandAction, CommandResult, Outcome, sign_command, verify_result
from shared.identity import CommandId, HostId
from shared.signing import SoftwareSigner
from tests.fakes.clock import FakeClock
from tests.fakes.host import Host

HOUR = timedelta(hours=1)


def new_signer() -> SoftwareSigner:
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))


ADA, BEA, STRANGER = new_signer(), new_signer(), new_signer()


class Bench:
    """`done` has what was done. A test replaces `checks`, `store` or `signatories` to see what each protects from."""

    def __init__(
        self,
        folder: Path,
        *,
        checks: Sequence[Check] = CHECKS,
        store: Callable[..., CommandStore] = CommandStore,
        signatories: Signatories | None = None,
        do: Do | None = None,
    ) -> None:
        self.host, self.clock = Host(folder), FakeClock(SystemClock().now())
        self.signatories = signatories or Signatories((ADA.public,), 1)
        self.expires = self.clock.now() + 24 * 14 * HOUR
        self.signed_at: datetime | None = self.clock.now() - HOUR
        self.is_unreadable = False  # what the metadata says
        self.pulled: Callable[[], None] = lambda: None  # what a pull does; it finds nothing new
        self.done: list[Mapping[str, Argument]] = []
        self._checks, self._make_store, self._do = checks, store, do or self.count
        self.start()

    def start(self) -> None:
        self.store = self._make_store(self.host.database)
        self.executor = CommandExecutor(
            dict.fromkeys(CommandAction, self._do),
            host_id=self.host.host_id,
            delegation=self.delegation,
            refresh=self.refresh,
            store=self.store,
            database=self.host.database,
            journal=self.host.journal,
            signer=self.host.signer,
            clock=self.clock,
            log=self.host.log,
            checks=self._checks,
        )
        self.executor.recover()

    def delegation(self) -> Delegation:
        if self.is_unreadable:
            raise TrustCacheUnavailable("the disk is full")
        return Delegation(self.signatories, self.expires, self.signed_at)

    def refresh(self) -> None:
        self.pulled()

    def restart(self) -> None:
        self.host.restart()
        self.start()

    def count(self, arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
        self.done.append(arguments)
        return Done(Outcome.DONE, "it was counted", {"count": len(self.done)})

    def command(self, action: str = "diagnostics", *, host: HostId | None = None, life: timedelta = HOUR) -> Command:
        arguments: dict[str, Argument] = {"events": 1} if action == "diagnostics" else {}
        now = self.clock.now()
        return Command(CommandId.new(), host or self.host.host_id, action, arguments, now, now + life, "ada")

    def offer(self, command: Command, *signers: SoftwareSigner) -> None:
        self.executor.take(sign_command(command, signers or [ADA]).encode(), threading.Event())

    def results(self) -> list[CommandResult]:
        """Return what waits for the centre."""
        return [verify_result(waiting.signed, self.host.signer.public) for waiting in self.store.waiting()]

    def confirm(self) -> None:
        for waiting in self.store.waiting():
            self.store.confirm(waiting)

    def outcome(self) -> tuple[Outcome, str]:
        """Return the one result that waits, and the name of its error."""
        (result,) = self.results()
        return result.outcome, result.detail.partition(":")[0]

    def recorded(self) -> list[EventName]:
        return [record.event for record in self.records()]

    def records(self) -> list[AuditRecord]:
        unsent = self.host.journal.after(0, most=1000, most_bytes=1 << 24)
        return [] if unsent is None else [AuditRecord.parse(one.public) for one in unsent.records]
