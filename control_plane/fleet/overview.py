"""One look at everything the centre knows, and above all at what it does not know."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.backup.restored import gaps as restore_gaps
from control_plane.coverage.showing import CoverageShowing, gaps
from control_plane.db.models import Fact, Host, Object
from control_plane.enrolment import codes
from control_plane.enrolment.authority import Authority
from control_plane.enrolment.certified import certified_until
from control_plane.enrolment.code_service import gaps as code_gaps
from control_plane.enrolment.expiry import authority_gaps
from control_plane.enrolment.lapsed import LapsedHosts
from control_plane.enrolment.lapsed import gaps as ask_gaps
from control_plane.enrolment.standing import standing_of
from control_plane.fleet import budgets, device_tree, doubts
from control_plane.fleet.commands import FleetCommands
from control_plane.fleet.commands import gaps as command_gaps
from control_plane.fleet.devices import guard_of
from control_plane.fleet.drift import drifts
from control_plane.fleet.heard import HeardSince
from control_plane.fleet.layers import LayersOf
from control_plane.keys.drill import DRILLED
from control_plane.moving.grants import NOT_AUTHENTIC, SpoolMoves
from control_plane.moving.grants import gaps as move_gaps
from control_plane.moving.move import State as MoveState
from control_plane.people.two_persons import TwoPersons
from control_plane.people.two_persons import gaps as request_gaps
from control_plane.policy.publisher import PolicyPublisher, Published
from control_plane.policy.roles import SNAPSHOT, TIMESTAMP
from control_plane.policy.versions import PolicyVersions
from control_plane.rollout.expected import ExpectedVersions
from control_plane.rollout.service import Rollouts
from control_plane.routes.overview import gaps as route_gaps
from control_plane.routes.people import RoutesForPeople
from control_plane.vault.conflicts import count_open
from control_plane.vault.final_losses import count_settled
from control_plane.vault.losses import gaps as loss_gaps
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import MISSING, HostState, verify_state
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.policy.layer import is_part
from shared.signing import EvidencePublicKey

NOT_RECOVERABLE = "not recoverable"
# People need weeks to renew a signature; the centre renews its own after a week, so less than six days left is a fault.
_EXPIRY_WARNING = {False: timedelta(days=30), True: timedelta(days=6)}
# A host renews its certificate of seven days with more than two left.
_CERTIFICATE_WARNING = timedelta(days=2)
_CLOCK_WARNING = timedelta(minutes=5)
_SPOOL_WARNING_PERCENT = 80


@dataclass(frozen=True)
class BrokerState:
    """`state` is running, connecting, restarting, or absent; `reason` says why it is not running."""

    state: str
    reason: str


@dataclass(frozen=True)
class _Kept:
    """What the database holds, read at once; `expected` has the versions that each active host should be at."""

    hosts: list[dict[str, Json]]
    expected: Mapping[str, Mapping[str, int]]
    parts: Mapping[str, Mapping[int, datetime]]
    unproved: list[str]
    objects: int
    unindexed: int
    drilled: str | None
    conflicts: int
    tried_again: list[str]
    restored: list[str]
    lost: list[str]
    lost_settled: int


class Overview:
    def __init__(
        self,
        database: sessionmaker[Session],
        policy: PolicyPublisher,
        broker: Callable[[], BrokerState],
        clock: Clock,
        coverage: CoverageShowing,
        routes: RoutesForPeople,
        moves: SpoolMoves,
        versions: PolicyVersions,
        commands: FleetCommands,
        rollouts: Rollouts,
        log_gaps: Callable[[], Sequence[str]],
        lapsed: LapsedHosts,
        two_persons: TwoPersons,
        authority: Authority,
        wipe_gaps: Callable[[], Sequence[str]],
    ) -> None:
        self._database, self._policy, self._broker, self._clock = database, policy, broker, clock
        self._coverage, self._routes, self._moves = coverage, routes, moves
        self._versions, self._commands, self._rollouts = versions, commands, rollouts
        self._log_gaps = log_gaps
        self._lapsed, self._two_persons = lapsed, two_persons
        self._authority, self._wipe_gaps = authority, wipe_gaps

    def status(self) -> dict[str, Json]:
        now, document = self._clock.now(), self._policy.document()
        kept = self._read(now)
        broker, coverage, routes = self._broker(), self._coverage.status(), self._routes.status()
        moves = [move for move in self._moves.status() if move["state"] in {MoveState.OPEN, NOT_AUTHENTIC}]
        commands, (rollouts, not_rolled_out) = self._commands.newest(), self._rollouts.overview()
        version = document.version if document else 0
        of_all = {host: found.get(ORGANISATION, 0) for host, found in kept.expected.items()}
        recovery = "recoverable" if kept.drilled else NOT_RECOVERABLE
        return {
            "time": clocks.text(now),
            "hosts": list(kept.hosts),
            "policy": {"version": version},
            "objects": {
                "count": kept.objects,
                "not_indexed": kept.unindexed,
                "conflicts": kept.conflicts,
                "lost_settled": kept.lost_settled,
            },
            "recovery": {"state": recovery, "drilled": kept.drilled},
            "broker": {"state": broker.state, "reason": broker.reason},
            "coverage": coverage.json(),
            "routes": list(routes),
            "moves": list(moves),
            "drift": [drift.json() for drift in drifts(kept.hosts, of_all, self._versions.published(), kept.parts)],
            "rollouts": list(rollouts),
            "commands": list(commands),
            "not_evaluated": [
                *kept.restored,
                *kept.lost,
                *self._log_gaps(),
                *_gaps(recovery, broker, of_all if version else None, kept.unindexed, kept.hosts),
                *not_rolled_out,
                *kept.unproved,
                *_conflicts(kept.conflicts),
                *gaps(coverage),
                *route_gaps(routes),
                *move_gaps(moves),
                *command_gaps(commands, now),
                *self._wipe_gaps(),
                *kept.tried_again,
                *ask_gaps(self._lapsed.asks()),
                *request_gaps(self._two_persons.open()),
                *self._two_persons.not_yet_another(),
                *authority_gaps(self._authority, now),
                *_certificates(kept.hosts, now),
                *_expiring(self._policy.expiries(), now),
            ],
        }

    def _read(self, now: datetime) -> _Kept:
        since = HeardSince(self._policy.acted_by(), now)
        unproved: list[str] = []
        published = self._policy.published()
        versions, moves_to = ExpectedVersions(published), self._commands.moves()
        with self._database() as session:
            rows = session.scalars(select(Host).order_by(Host.enrolled)).all()
            enrolled = {row.host_id: codes.readable_parts(row.parts) or () for row in rows}
            parts = {
                layer: self._versions.published(layer) for layer in {*chain(*enrolled.values()), *_parts(published)}
            }
            expected = {
                row.host_id: versions.of(HostId.parse(row.host_id), enrolled[row.host_id]) for row in rows if row.active
            }
            newest_of = {layer: max(at, default=0) for layer, at in parts.items()}
            hosts = [
                _host(session, row, since, LayersOf(row, expected.get(row.host_id, {}), newest_of), unproved, now)
                | {"moves_to": _moves_to(moves_to, row.host_id)}
                for row in rows
            ]
            objects = session.scalar(select(func.count()).select_from(Object)) or 0
            unindexed = session.scalar(select(func.count()).select_from(Object).where(Object.index_state != "indexed"))
            drilled = session.get(Fact, DRILLED)
            return _Kept(
                hosts, expected, parts, unproved, objects, unindexed or 0, drilled.value if drilled else None,
                count_open(session), list(code_gaps(session)), list(restore_gaps(session)),
                list(loss_gaps(session)), count_settled(session),
            )  # fmt: skip


def _parts(published: Published) -> Iterator[str]:
    return (layer.layer for layer in published.layers if is_part(layer.layer))


def _moves_to(moves: Mapping[str, tuple[str, ...]], host: str) -> list[Json] | None:
    return [*moves[host]] if host in moves else None


def _host(
    session: Session, host: Host, since: HeardSince, layers: LayersOf, unproved: list[str], now: datetime
) -> dict[str, Json]:
    facts = _facts(session, host, layers, now)
    if not host.active:
        return {**facts, "state": host.standing}
    unproved += layers.unreadable()
    if host.state is None or host.state_received is None:
        return facts
    try:
        state = verify_state(host.state, EvidencePublicKey.parse(host.evidence_spki))
    except (Refused, IntegrityFailure) as exc:
        return {**facts, "state": f"not authentic: {exc}"}
    is_heard = host.state_received >= since.of(state.host_id, layers.enrolled)
    unproved += layers.gaps(state)
    if is_heard:
        unproved += device_tree.gaps(host.asset, state.guard)
    budget = budgets.told(state, is_heard=is_heard)
    told = {**_told(state), "budget": budget, **_told_of_guard(state, is_heard=is_heard)}
    return {**facts, "layers": layers.json(state), "state": _state(state, is_heard=is_heard), **told}


def _facts(session: Session, host: Host, layers: LayersOf, now: datetime) -> dict[str, Json]:
    """Return what is known of a host that has said nothing yet."""
    expires = certified_until(session, host.host_id)
    return {
        "host": host.host_id,
        "asset": host.asset,
        "enrolled": clocks.text(host.enrolled),
        "active": host.active,
        "standing": standing_of(host.standing, expires, now),
        "tombstone": host.tombstone,
        "replaces": host.replaces,
        "certificate_expires": clocks.text(expires) if expires else None,
        "last_seen": clocks.text(host.state_received) if host.state_received else None,
        "state": "never reported",
        "doubt": host.doubt,
        "layers": layers.json(),
    }


def _told(state: HostState) -> dict[str, Json]:
    return {
        "reported": clocks.text(state.time),
        "software": state.software,
        "policy_accepted": state.policy_accepted,
        "policy_in_force": state.policy_in_force,
        "policy_error": state.policy_error,
        "centre_log": state.centre_log,
        "renewal_error": state.renewal_error,
        "waiting": state.waiting,
        "captured": state.captured,
        "delivered": state.delivered,
        "refused": state.refused,
        "audit_waiting": state.audit_waiting,
        "spool_bytes": state.capture.spool_bytes,
        "spool_quota_bytes": state.capture.spool_quota_bytes,
        "spool_used_percent": state.capture.spool_used_percent,
        "damaged": state.capture.damaged,
        "openable_here": state.capture.openable_here,
        "senders_refused": state.capture.senders_refused,
        "commitments_waiting": state.capture.commitments_waiting,
        "export_folders": [folder.json() for folder in state.capture.folders],
        "keys": state.keys.value,
        "routes": [route.json() for route in state.capture.routes],
    }


def _told_of_guard(state: HostState, *, is_heard: bool) -> dict[str, Json]:
    return {
        "guard": guard_of(state) if is_heard else "unknown",
        "guard_policy": state.guard.policy if state.guard else None,
        "guard_policy_error": state.guard.policy_error if state.guard else None,
        "devices": device_tree.count(state.guard).json() if is_heard and state.guard else None,
    }


def _state(state: HostState, *, is_heard: bool) -> str:
    # What a host said long ago says nothing about now.
    if not is_heard:
        return "silent"
    if state.isolated:
        return "isolated"
    return "capturing" if state.listening else "not listening"


def _certificates(hosts: Sequence[Mapping[str, Json]], now: datetime) -> Iterator[str]:
    for host in hosts:
        expires = host["certificate_expires"]
        if host["active"] and isinstance(expires, str) and clocks.parse(expires) - now < _CERTIFICATE_WARNING:
            has_expired = clocks.parse(expires) <= now
            yield f"{host['asset']}: its certificate " + (
                f"expired at {expires}; nothing it captures is delivered until it has asked for another one and a "
                "person has approved it"
                if has_expired else f"expires at {expires} and was not renewed in time"
            )  # fmt: skip


def _expiring(expiries: Mapping[str, datetime], now: datetime) -> list[str]:
    return [
        f"policy: the signatures of role {role} {'have expired' if expires <= now else 'expire'} at "
        f"{clocks.text(expires)}; hosts then keep what they have and accept nothing new{_what_to_do(role)}"
        for role, expires in sorted(expiries.items())
        if expires - now < _EXPIRY_WARNING[role in {SNAPSHOT, TIMESTAMP}]
    ]


def _what_to_do(role: str) -> str:
    if role in {SNAPSHOT, TIMESTAMP}:
        return ""
    return "; people begin a new year with `leadglass-server policy root renew`"


def _is_astray(host: Mapping[str, Json]) -> bool:
    reported, received = host.get("reported"), host["last_seen"]
    if not (isinstance(reported, str) and isinstance(received, str)):
        return False
    return abs(clocks.parse(reported) - clocks.parse(received)) > _CLOCK_WARNING


def _conflicts(count: int) -> Iterator[str]:
    if count:
        uids = "1 SOP Instance UID" if count == 1 else f"{count} SOP Instance UIDs"
        yield (
            f"{uids}: several data sets were captured under it, all are kept, and which is the true one is open; "
            "`leadglass-server find --conflicts` names the objects"
        )


def _forwarding(host: Mapping[str, Json]) -> Iterator[str]:
    """Say what a host could not send to archives by itself; the centre leaves those routes to it."""
    routes = host.get("routes")
    for route in routes if isinstance(routes, list) else []:
        if isinstance(route, dict) and route["error"]:
            waits = f"{route['waiting']} images wait on the host"
            yield f"{host['asset']}: route {route['name']}: {waits}: {route['error']}"


def _spool(host: Mapping[str, Json]) -> Iterator[str]:
    """Say what a host's spool will soon not take, and what of it does not reach the vault by itself."""
    used, damaged = host.get("spool_used_percent"), host.get("damaged")
    if isinstance(used, int) and used >= _SPOOL_WARNING_PERCENT:
        yield f"{host['asset']}: its spool is {used} % full, and takes no new image once it is full"
    if damaged:
        objects = "1 object of its spool is" if damaged == 1 else f"{damaged} objects of its spool are"
        yield (
            f"{host['asset']}: {objects} not whole or refused by the vault, and may be on no other disk; "
            "`leadglass-agent spool list` there says why"
        )


def _folders(host: Mapping[str, Json]) -> Iterator[str]:
    """Say from which export folders nothing is captured because they are not there."""
    folders = host.get("export_folders")
    for folder in folders if isinstance(folders, list) else []:
        if isinstance(folder, dict) and folder["lies_on"] == MISSING:
            yield (
                f"{host['asset']}: the export folder of {folder['ae_title']} is missing; what that modality exports is "
                "not protected until it is back"
            )


def _gaps(
    recovery: str,
    broker: BrokerState,
    expected: Mapping[str, int] | None,
    unindexed: int,
    hosts: list[dict[str, Json]],
) -> list[str]:
    """Say what nobody has proved, in words a person can act on; `expected` is None where no policy is published."""
    gaps = []
    if recovery == NOT_RECOVERABLE:
        gaps.append("root key: not recoverable until `leadglass-server keys drill` has opened a test object")
    if broker.state != "running":
        gaps.append(f"broker: {broker.state} ({broker.reason}); hosts pull policy over HTTPS")
    if expected is None:
        gaps.append("policy: none published; no host captures yet")
    if unindexed:
        gaps.append(f"{unindexed} objects: attributes not evaluated, so no look-up finds them")
    for host in hosts:
        if not host["active"]:
            continue
        if host["state"] == "silent":
            gaps.append(f"{host['asset']}: silent since {host['last_seen']}; what it does now is unknown")
        elif host["state"] == "isolated":
            gaps.append(
                f"{host['asset']}: isolated: it takes nothing in, and what its modalities make is not protected; "
                f"`leadglass-server command {host['host']} rejoin` ends that"
            )
        elif host["state"] != "capturing":
            gaps.append(f"{host['asset']}: {host['state']}")
        elif host["policy_in_force"] != (wanted := (expected or {}).get(str(host["host"]), 0)):
            gaps.append(f"{host['asset']}: policy {wanted} not in force (it reports {host['policy_in_force']})")
        if _is_astray(host):
            gaps.append(f"{host['asset']}: its clock is wrong, or its report of {host['reported']} came late")
        if error := host.get("policy_error"):
            gaps.append(f"{host['asset']}: policy: {error}")
        if said := host.get("centre_log"):
            gaps.append(f"{host['asset']}: centre's log: {said}")
        if error := host.get("renewal_error"):
            gaps.append(f"{host['asset']}: its certificate is due and was not renewed: {error}")
        gaps += [*doubts.gaps(host), *_spool(host), *_folders(host), *_forwarding(host), *budgets.gaps(host)]
    gaps.append("audit log: verified on arrival; `leadglass-server audit verify` proves what is stored now")
    return gaps
