"""Begins roll-outs, takes them a ring further, stops them and takes them back: by itself, and because a person says so.

Each step is one commit: the row of the roll-out, the snapshot that says it to hosts, and the record of who did it and
why. A crash before it changes nothing; one after it leaves the announcing to the next start.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from tuf.api.metadata import Targets

from control_plane.db.models import RolloutRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.fleet.reports import VerifiedReports
from control_plane.policy import sql
from control_plane.policy.exchange import Publication
from control_plane.policy.publisher import FirstRing, PolicyPublisher
from control_plane.policy.roles import delegated_layers, parse_role
from control_plane.rollout import gate, rows
from control_plane.rollout.gate import Decision, Health, Member, Step
from control_plane.rollout.hosts import members
from control_plane.rollout.plan import Plan
from control_plane.rollout.showing import not_everywhere, shown
from control_plane.rollout.state import Rollout, State
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE
from shared.policy.rollout import Rings

_LOG = logging.getLogger(__name__)
_MOST_NAMED = 20
_BACK_ALREADY = "it was taken back already"


class Steering(StrEnum):
    """What a person does to a roll-out."""

    PAUSE = "pause"
    RESUME = "resume"
    REVERT = "revert"
    WIDEN = "widen"


class NoRollout(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(
            f"the newest version of layer {layer} was not published in rings, so there is no roll-out of it"
        )
        self.layer = layer


class NotSteered(Refused):
    def __init__(self, layer: str, version: int, steering: Steering, why: str) -> None:
        super().__init__(f"version {version} of layer {layer}: {steering.value} is refused: {why}")
        self.layer, self.version, self.why = layer, version, why


class RingsNameNobody(Refused):
    def __init__(self, layer: str, wrong: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(
            f"the rings for layer {layer} name what nobody here has or is: {', '.join(wrong)}; there are: "
            f"{', '.join(known[:_MOST_NAMED]) or 'none'}{' and more' * (len(known) > _MOST_NAMED)}"
        )
        self.layer, self.wrong, self.known = layer, tuple(wrong), tuple(known)


class FirstRingEmpty(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(
            f"no active host of layer {layer} is in the first ring, so nothing would ever be seen of the new policy; "
            "name a host, or a larger share"
        )
        self.layer = layer


class Journal(Protocol):
    def append(self, session: Session, happening: Happening, /) -> None: ...


class Rollouts:
    def __init__(
        self,
        database: sessionmaker[Session],
        publisher: PolicyPublisher,
        journal: Journal,
        clock: Clock,
        reports: VerifiedReports | None = None,
    ) -> None:
        """`reports` may know what was verified already, as it was taken in; by default nothing is known."""
        self._database, self._publisher, self._journal, self._clock = database, publisher, journal, clock
        self._reports = VerifiedReports() if reports is None else reports

    def publish(self, offered: Publication, plan: Plan | None, person: str) -> int:
        """Publish what `person` signed: to everybody, or in the rings of a plan. Return its version.

        Raises what `PolicyPublisher.publish` does, RingsNameNobody, and FirstRingEmpty.
        """
        if plan is None:
            return self._publisher.publish(offered, person)
        layers = self._layers()

        def note(session: Session, version: int) -> None:
            _verify_named(plan, offered.layer, layers, members(session, offered.layer, self._reports))
            self._begin(session, offered.layer, version, plan, person)

        return self._publisher.publish(offered, person, FirstRing(plan.opened(1), note))

    def step(self) -> None:
        """Take every roll-out as far as it may go now. What cannot be done now is tried at the next call."""
        with snapshot(self._database) as session:
            going = session.execute(
                select(RolloutRow.layer, RolloutRow.version).where(
                    RolloutRow.state.in_([State.RUNNING.value, State.PAUSED.value])
                )
            ).all()
        for layer, version in going:
            try:
                self._step(layer, version)
            except (Refused, IntegrityFailure, Unavailable) as exc:
                _LOG.error("rollout.step-failed", extra={"layer": layer, "version": version, "why": str(exc)})

    def steer(self, layer: str, steering: Steering, person: str, because: str = "") -> None:
        """Do what `person` says. Raises NoRollout, NotSteered, DatabaseUnavailable: then nothing was changed."""
        if steering is Steering.PAUSE:
            in_one_commit(self._database, lambda session: self._pause(session, layer, person, because))
        elif steering is Steering.RESUME:
            in_one_commit(self._database, lambda session: self._resume(session, layer, person, because))
        elif steering is Steering.REVERT:
            is_back = self._publisher.rollouts().get(layer) == Rings()
            self._publisher.choose(
                layer, person, lambda session: self._revert(session, layer, person, because, is_back=is_back)
            )
        else:
            self._publisher.choose(layer, person, lambda session: self._widen(session, layer, person, because))

    def overview(self) -> tuple[list[dict[str, Json]], list[str]]:
        """Return every roll-out, and what is not at everybody yet, or cannot be read, in words for people."""
        rollouts, unreadable = self.told()
        return rollouts, [*filter(None, map(not_everywhere, rollouts)), *unreadable]

    def told(self, layer: str | None = None) -> tuple[list[dict[str, Json]], list[str]]:
        """Return the roll-out of each layer whose newest version has one, and what to say of those that cannot be read.

        `layer` None: of every layer. Raises DatabaseUnavailable.
        """
        now, open_rings = self._clock.now(), self._publisher.rollouts()
        rollouts, unreadable = [], []
        with snapshot(self._database) as session:
            layers = {*session.scalars(select(RolloutRow.layer).distinct()), *open_rings}
            for name in sorted(name for name in layers if layer in (None, name)):
                why, rollout = None, None
                try:
                    rollout = rows.newest(session, name)
                except Malformed as exc:
                    why = exc
                if rollout is None:
                    unreadable.append(rows.unreadable(session, name, open_rings.get(name), why))
                    continue
                hosts = members(session, name, self._reports)
                rollout = gate.noted(rollout, hosts)
                rollouts.append(shown(rollout, hosts, gate.decide(rollout, hosts, now)))
        return rollouts, list(filter(None, unreadable))

    def _begin(self, session: Session, layer: str, version: int, plan: Plan, person: str) -> None:
        now, hosts = self._clock.now(), members(session, layer, self._reports)
        begun = Rollout(layer, version, plan, (now,), {}, State.RUNNING, now, person, "it was published in rings")
        begun = gate.with_heard(begun, hosts, now)
        if not gate.members_of(begun, hosts)[0]:
            raise FirstRingEmpty(layer)
        session.add(begun.row())
        self._record(session, Event.ROLLOUT_STARTED, begun)

    def _layers(self) -> tuple[str, ...]:
        """Return every layer that people have delegated."""
        head = self._publisher.head()
        return () if head is None else delegated_layers(parse_role(Targets, head.targets).signed)

    def _step(self, layer: str, version: int) -> None:
        with snapshot(self._database) as session:
            before = _loaded(session, layer)
            rollout, decision = self._decided(session, layer, version)
        if decision.step in (Step.OPEN, Step.FINISH, Step.REVERT):
            self._publisher.choose(layer, CONTROL_PLANE, lambda session: self._go_on(session, layer, version))
        elif decision.step is Step.PAUSE or rollout != before:
            in_one_commit(self._database, lambda session: self._stay(session, layer, version))

    def _decided(self, session: Session, layer: str, version: int) -> tuple[Rollout, Decision]:
        """Return the roll-out with what is known of its hosts by now, and what is to be done."""
        rollout = _loaded(session, layer)
        if rollout.version != version:
            return rollout, Decision(Step.WAIT, "there is a newer version")
        hosts = members(session, layer, self._reports)
        rollout = gate.noted(rollout, hosts)
        return rollout, gate.decide(rollout, hosts, self._clock.now())

    def _go_on(self, session: Session, layer: str, version: int) -> Rings | None:
        """Do what is to be done now, which may be something else than a moment ago: somebody may have been faster."""
        rollout, decision = self._decided(session, layer, version)
        if decision.step is Step.OPEN:
            return self._open(session, rollout, CONTROL_PLANE, decision.why)
        if decision.step is Step.FINISH:
            self._finish(session, rollout, CONTROL_PLANE, decision.why)
            return None
        if decision.step is Step.REVERT:
            return self._back(session, rollout, CONTROL_PLANE, decision.why)
        raise NotSteered(*_named(rollout), Steering.WIDEN, decision.why)

    def _stay(self, session: Session, layer: str, version: int) -> None:
        """Pause where that is decided, and keep since when hosts are as they are."""
        rollout, decision = self._decided(session, layer, version)
        if decision.step is Step.PAUSE:
            self._change(session, Event.ROLLOUT_PAUSED, rollout, State.PAUSED, CONTROL_PLANE, decision.why)
        elif rollout.version == version:
            self._write(session, rollout)

    def _pause(self, session: Session, layer: str, person: str, because: str) -> None:
        rollout = _loaded(session, layer)
        if rollout.state is not State.RUNNING:
            raise NotSteered(*_named(rollout), Steering.PAUSE, f"it is {rollout.state.value}")
        self._change(session, Event.ROLLOUT_PAUSED, rollout, State.PAUSED, person, because)

    def _resume(self, session: Session, layer: str, person: str, because: str) -> None:
        rollout, hosts = _loaded(session, layer), members(session, layer, self._reports)
        if rollout.state is not State.PAUSED:
            raise NotSteered(*_named(rollout), Steering.RESUME, f"it is {rollout.state.value}")
        going = gate.noted(replace(rollout, state=State.RUNNING), hosts)
        decision = gate.decide(going, hosts, self._clock.now())
        if decision.step in (Step.PAUSE, Step.REVERT):
            raise NotSteered(*_named(rollout), Steering.RESUME, f"it would end again at once: {decision.why}")
        self._change(session, Event.ROLLOUT_RESUMED, rollout, State.RUNNING, person, because)

    def _revert(self, session: Session, layer: str, person: str, because: str, *, is_back: bool) -> Rings:
        try:
            rollout = rows.newest(session, layer)
        except Malformed:
            rollout = None
        if rollout is None:
            return self._back_unread(session, layer, person, because, is_back=is_back)
        if rollout.state is State.REVERTED and is_back:
            raise NotSteered(*_named(rollout), Steering.REVERT, _BACK_ALREADY)
        return self._back(session, rollout, person, because)

    def _back_unread(self, session: Session, layer: str, person: str, because: str, *, is_back: bool) -> Rings:
        """Take back what nobody knows the rings of: what hosts go by is in the snapshot, and people signed both."""
        if not rows.was_signed_for_rings(session, layer):
            raise NoRollout(layer)
        version = sql.newest_version(session, layer)
        if is_back:
            raise NotSteered(layer, version, Steering.REVERT, _BACK_ALREADY)
        row = session.get(RolloutRow, (layer, version))
        if row is not None:
            row.state, row.since, row.person, row.why = State.REVERTED.value, self._clock.now(), person, because
        what = Subject("policy", f"{layer} version {version}, whose rings cannot be read")
        who = (Participant("person", person, requestor=True),)
        done = Happening(Event.ROLLOUT_REVERTED, Action.EXECUTE, Outcome.SUCCESS, who, (what,), because)
        self._journal.append(session, done)
        return Rings()

    def _widen(self, session: Session, layer: str, person: str, because: str) -> Rings | None:
        hosts = members(session, layer, self._reports)
        rollout = gate.noted(_loaded(session, layer), hosts)
        if rollout.state is not State.RUNNING:
            resume = "; resume it first" if rollout.state is State.PAUSED else ""
            raise NotSteered(*_named(rollout), Steering.WIDEN, f"it is {rollout.state.value}{resume}")
        rings = gate.health_of(rollout, hosts)
        failed = [member.asset for ring in rings for member, health in ring.members if health is Health.FAILED]
        if any(gate.failure(ring, rollout.plan.abort_percent) for ring in rings):
            raise NotSteered(
                *_named(rollout),
                Steering.WIDEN,
                f"nobody widens a policy that hosts failed with: {', '.join(failed[:5])}; revert it",
            )
        if rollout.is_everywhere:
            self._finish(session, rollout, person, because)
            return None
        return self._open(session, rollout, person, because)

    def _open(self, session: Session, rollout: Rollout, person: str, why: str) -> Rings:
        now = self._clock.now()
        wider = replace(rollout, opened=(*rollout.opened, now))
        wider = gate.with_heard(wider, members(session, rollout.layer, self._reports), now)
        self._change(session, Event.ROLLOUT_WIDENED, wider, State.RUNNING, person, why)
        return wider.plan.opened(len(wider.opened))

    def _finish(self, session: Session, rollout: Rollout, person: str, why: str) -> None:
        self._change(session, Event.ROLLOUT_FINISHED, rollout, State.FINISHED, person, why)

    def _back(self, session: Session, rollout: Rollout, person: str, why: str) -> Rings:
        self._change(session, Event.ROLLOUT_REVERTED, rollout, State.REVERTED, person, why)
        return Rings()

    def _change(self, session: Session, event: Event, rollout: Rollout, state: State, person: str, why: str) -> None:
        changed = replace(rollout, state=state, since=self._clock.now(), person=person, why=why)
        self._write(session, changed)
        self._record(session, event, changed)

    def _write(self, session: Session, rollout: Rollout) -> None:
        row = session.get(RolloutRow, (rollout.layer, rollout.version))
        if row is None:
            raise NoRollout(rollout.layer)
        rollout.write(row)

    def _record(self, session: Session, event: Event, rollout: Rollout) -> None:
        is_centre = rollout.person == CONTROL_PLANE
        who = Participant("service" if is_centre else "person", rollout.person, requestor=True)
        has_failed = is_centre and rollout.state in (State.PAUSED, State.REVERTED)
        ring = f"ring {len(rollout.opened)} of {len(rollout.plan.rings)}"
        what = Subject("policy", f"{rollout.layer} version {rollout.version}, {ring}")
        outcome = Outcome.SERIOUS_FAILURE if has_failed else Outcome.SUCCESS
        self._journal.append(session, Happening(event, Action.EXECUTE, outcome, (who,), (what,), rollout.why))


def _loaded(session: Session, layer: str) -> Rollout:
    rollout = rows.newest(session, layer)
    if rollout is None:
        raise NoRollout(layer)
    return rollout


def _named(rollout: Rollout) -> tuple[str, int]:
    return rollout.layer, rollout.version


def _verify_named(plan: Plan, layer: str, layers: Sequence[str], hosts: Sequence[Member]) -> None:
    """Raise RingsNameNobody unless every layer in the rings exists, and every host in them has the layer."""
    wrong = [each for ring in plan.rings for each in ring.layers if each not in layers]
    if wrong:
        raise RingsNameNobody(layer, wrong, layers)
    have = {each.host: each.asset for each in hosts}
    lacking = [str(host) for ring in plan.rings for host in ring.hosts if host not in have]
    if lacking:
        raise RingsNameNobody(layer, lacking, [f"{asset} ({host})" for host, asset in have.items()])
