"""Has a look taken at the host as often as policy says, and records what it finds and what can no longer be seen."""

from edge_agent.children import ChildFailed, Children
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.host_watch.answer import MAX_BYTES, parse
from edge_agent.host_watch.checks import unseen
from edge_agent.host_watch.news import news
from edge_agent.log import Log, why
from edge_agent.short_lived import of_ours
from edge_agent.turns import Turns
from shared.clock import Clock
from shared.devices.record import GuardEvent
from shared.devices.watch import WatchPolicy
from shared.errors import IntegrityFailure, Malformed, Unavailable
from shared.fleet.devices import Finding, FindingState

_TIMER = "host-watch"
_TIMEOUT_S = 60.0
_MINOR, _SERIOUS = 4, 8


class HostWatcher:
    """`findings` are those of the last look; none where policy asks for none."""

    def __init__(
        self,
        children: Children,
        turns: Turns,
        journal: GuardJournal,
        clock: Clock,
        log: Log,
        *,
        sidecar: bool,
        command: list[str] | None = None,
    ) -> None:
        self._children, self._turns, self._journal, self._clock, self._log = children, turns, journal, clock, log
        self._sidecar = sidecar
        self._command = command or of_ours("edge_agent.host_watch.child", *["--sidecar"] * sidecar)
        self._policy: WatchPolicy | None = None
        self._running = False
        self.findings: tuple[Finding, ...] = ()

    def follow(self, policy: WatchPolicy | None) -> None:
        """Look by this policy from now on, first at once."""
        if policy == self._policy:
            return
        self._policy = policy
        self._turns.cancel(_TIMER)
        if policy is None:
            self.findings = ()
            return
        self._turns.every(_TIMER, policy.every_s, self.look)
        self.look()

    def look(self) -> None:
        policy = self._policy
        if self._running or policy is None:
            return
        self._running = True
        self._children.run(
            _TIMER,
            self._command,
            policy.encode(),
            timeout_s=_TIMEOUT_S,
            most_bytes=MAX_BYTES,
            done=lambda line: self._looked(policy, line),
            failed=lambda exc: self._looked(policy, exc),
        )

    def _looked(self, policy: WatchPolicy, found: bytes | ChildFailed) -> None:
        self._running = False
        if policy is not self._policy:
            self.look()
            return
        try:
            findings = parse(found) if isinstance(found, bytes) else self._unseen(policy, found)
        except Malformed as exc:
            findings = self._unseen(policy, exc)
        before, self.findings = self.findings, findings
        self._record(news(before, findings))

    def _unseen(self, policy: WatchPolicy, exc: Exception) -> tuple[Finding, ...]:
        return unseen(policy, str(exc), self._clock.now(), sidecar=self._sidecar)

    def _record(self, findings: tuple[Finding, ...]) -> None:
        notes = [
            Note(
                GuardEvent.FINDING,
                each.check,
                {"state": each.state.value, "detail": each.detail},
                _OUTCOMES[each.state],
            )
            for each in findings
        ]
        try:
            if notes:
                self._journal.record(*notes)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))


_OUTCOMES = {FindingState.FINE: 0, FindingState.FOUND: _SERIOUS, FindingState.NOT_EVALUATED: _MINOR}
