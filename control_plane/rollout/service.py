"""Begins roll-outs, takes them a ring further, stops them and takes them back: by itself, and because a person says so.

Each step is one commit: the row of the roll-out, the snapshot that says it to hosts, and the record of who did it and
why. A crash before it changes nothing; one after it leaves the announcing to the next start.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import RolloutRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.fleet.reports import VerifiedReports
from control_plane.policy import sql
from control_plane.policy.exchange import Publication
from control_plane.policy.publisher import FirstRing, PolicyPublisher
from control_plane.policy.together import parse_document
from control_plane.rollout import gate
from control_plane.rollout.gate import Decision, Health, Step
from control_plane.rollout.hosts import layers_of_hosts, members
from control_plane.rollout.plan import Plan
from control_plane.rollout.showing import not_everywhere, shown
from control_plane.rollout.state import Rollout, State
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE
from shared.policy.document import ORGANISATION
from shared.policy.rollout import Rings

_LOG = logging.getLogger(__name__)


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
    def __init__(self, rollout: Rollout, steering: Steering, why: str) -> None:
        super().__init__(f"version {rollout.version} of layer {rollout.layer}: {steering.value} is refused: {why}")
        self.layer, self.version, self.why = rollout.layer, rollout.version, why


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

        Raises what `PolicyPublisher.publish` does, and FirstRingEmpty.
        """
        if plan is None:
            return self._publisher.publish(offered, person)

        def note(session: Session, version: int) -> None:
            self._begin(session, offered.layer, version, plan, person)

        return self._publisher.publish(offered, person, FirstRing(plan.opened(1), note))

    def step(self) -> None:
        """Take every roll-out as far as it may go now. What cannot be done now is tried at the next call."""
        with snapshot(self._database) as session:
            running = session.execute(
                select(RolloutRow.layer, RolloutRow.version).where(RolloutRow.state == State.RUNNING.value)
            ).all()
        for layer, version in running:
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
            self._publisher.choose(layer, person, lambda session: self._revert(session, layer, person, because))
        else:
            self._publisher.choose(layer, person, lambda session: self._widen(session, layer, person, because))

    def status(self, layer: str | None = None) -> list[dict[str, Json]]:
        """Return the roll-out of each layer whose newest version has one. Raises DatabaseUnavailable."""
        return self._told(layer)[0]

    def overview(self) -> tuple[list[dict[str, Json]], list[str]]:
        """Return every roll-out, and what is not at everybody yet, or cannot be read, in words for people."""
        rollouts, unreadable = self._told(None)
        return rollouts, [*filter(None, map(not_everywhere, rollouts)), *unreadable]

    def _told(self, layer: str | None) -> tuple[list[dict[str, Json]], list[str]]:
        now, rollouts, unreadable = self._clock.now(), [], []
        with snapshot(self._database) as session:
            layers = session.scalars(select(RolloutRow.layer).distinct().order_by(RolloutRow.layer)).all()
            for name in (name for name in layers if layer in (None, name)):
                try:
                    rollout = _newest(session, name)
                except Malformed as exc:
                    unreadable.append(f"roll-out of {name}: its row was changed, and nothing opens by itself: {exc}")
                    continue
                if rollout is not None:
                    hosts = members(session, name, self._reports)
                    rollouts.append(shown(rollout, hosts, gate.decide(rollout, hosts, now)))
        return rollouts, unreadable

    def expected(self, layer: str = ORGANISATION) -> Mapping[str, int]:
        """Return which version of `layer` each active host that has it should have in force, by host id."""
        moment = self._publisher.published()
        published, rings = moment.layer(layer), moment.rollouts.get(layer)
        if published is None:
            return {}
        newest = parse_document(layer, published.policy).version
        before = newest if rings is None else parse_document(layer, published.stable).version
        with snapshot(self._database) as session:
            hosts = layers_of_hosts(session, layer)
        return {
            str(host): newest if rings is None or rings.holds(host, layers, layer=layer, version=newest) else before
            for host, layers in hosts.items()
        }

    def _begin(self, session: Session, layer: str, version: int, plan: Plan, person: str) -> None:
        now, hosts = self._clock.now(), members(session, layer, self._reports)
        begun = Rollout(layer, version, plan, (now,), {}, State.RUNNING, now, person, "it was published in rings")
        begun = gate.with_heard(begun, hosts, now)
        if not gate.members_of(begun, hosts)[0]:
            raise FirstRingEmpty(layer)
        session.add(begun.row())
        self._record(session, Event.ROLLOUT_STARTED, begun)

    def _step(self, layer: str, version: int) -> None:
        with snapshot(self._database) as session:
            decision = self._decided(session, layer, version)
        if decision.step is Step.PAUSE:
            in_one_commit(self._database, lambda session: self._stop(session, layer, version))
        elif decision.step is not Step.WAIT:
            self._publisher.choose(layer, CONTROL_PLANE, lambda session: self._go_on(session, layer, version))

    def _decided(self, session: Session, layer: str, version: int) -> Decision:
        rollout = _loaded(session, layer)
        if rollout.version != version:
            return Decision(Step.WAIT, "there is a newer version")
        return gate.decide(rollout, members(session, layer, self._reports), self._clock.now())

    def _go_on(self, session: Session, layer: str, version: int) -> Rings | None:
        """Do what is to be done now, which may be something else than a moment ago: somebody may have been faster."""
        rollout, decision = _loaded(session, layer), self._decided(session, layer, version)
        if decision.step is Step.OPEN:
            return self._open(session, rollout, CONTROL_PLANE, decision.why)
        if decision.step is Step.FINISH:
            self._finish(session, rollout, CONTROL_PLANE, decision.why)
            return None
        if decision.step is Step.REVERT:
            return self._back(session, rollout, CONTROL_PLANE, decision.why)
        raise NotSteered(rollout, Steering.WIDEN, decision.why)

    def _stop(self, session: Session, layer: str, version: int) -> None:
        decision = self._decided(session, layer, version)
        if decision.step is Step.PAUSE:
            self._change(
                session, Event.ROLLOUT_PAUSED, _loaded(session, layer), State.PAUSED, CONTROL_PLANE, decision.why
            )

    def _pause(self, session: Session, layer: str, person: str, because: str) -> None:
        rollout = _loaded(session, layer)
        if rollout.state is not State.RUNNING:
            raise NotSteered(rollout, Steering.PAUSE, f"it is {rollout.state.value}")
        self._change(session, Event.ROLLOUT_PAUSED, rollout, State.PAUSED, person, because)

    def _resume(self, session: Session, layer: str, person: str, because: str) -> None:
        rollout = _loaded(session, layer)
        if rollout.state is not State.PAUSED:
            raise NotSteered(rollout, Steering.RESUME, f"it is {rollout.state.value}")
        going = replace(rollout, state=State.RUNNING)
        decision = gate.decide(going, members(session, layer, self._reports), self._clock.now())
        if decision.step in (Step.PAUSE, Step.REVERT):
            raise NotSteered(rollout, Steering.RESUME, f"it would end again at once: {decision.why}")
        self._change(session, Event.ROLLOUT_RESUMED, rollout, State.RUNNING, person, because)

    def _revert(self, session: Session, layer: str, person: str, because: str) -> Rings | None:
        rollout = _loaded(session, layer)
        if rollout.state is State.REVERTED:
            raise NotSteered(rollout, Steering.REVERT, "it was taken back already")
        return self._back(session, rollout, person, because)

    def _widen(self, session: Session, layer: str, person: str, because: str) -> Rings | None:
        rollout = _loaded(session, layer)
        if rollout.state is not State.RUNNING:
            resume = "; resume it first" if rollout.state is State.PAUSED else ""
            raise NotSteered(rollout, Steering.WIDEN, f"it is {rollout.state.value}{resume}")
        rings = gate.health_of(rollout, members(session, layer, self._reports))
        failed = [member.asset for ring in rings for member, health in ring.members if health is Health.FAILED]
        if failed:
            raise NotSteered(
                rollout,
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
        row = session.get(RolloutRow, (rollout.layer, rollout.version))
        if row is None:
            raise NoRollout(rollout.layer)
        changed.write(row)
        self._record(session, event, changed)

    def _record(self, session: Session, event: Event, rollout: Rollout) -> None:
        is_centre = rollout.person == CONTROL_PLANE
        who = Participant("service" if is_centre else "person", rollout.person, requestor=True)
        has_failed = is_centre and rollout.state in (State.PAUSED, State.REVERTED)
        ring = f"ring {len(rollout.opened)} of {len(rollout.plan.rings)}"
        what = Subject("policy", f"{rollout.layer} version {rollout.version}, {ring}")
        outcome = Outcome.SERIOUS_FAILURE if has_failed else Outcome.SUCCESS
        self._journal.append(session, Happening(event, Action.EXECUTE, outcome, (who,), (what,), rollout.why))


def _newest(session: Session, layer: str) -> Rollout | None:
    """Return the roll-out of the newest version of a layer, None where that was for everybody at once."""
    row = session.get(RolloutRow, (layer, sql.newest_version(session, layer)), populate_existing=True)
    return None if row is None else Rollout.of(row)


def _loaded(session: Session, layer: str) -> Rollout:
    rollout = _newest(session, layer)
    if rollout is None:
        raise NoRollout(layer)
    return rollout
