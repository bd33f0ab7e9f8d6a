"""Holds a policy that nobody has published yet against what hosts last reported and what was captured lately.

A host with a site or a type of modality is held against what it acts by: before and after, with the documents of its
parts as they are published now. Whom a part is not for, it changes nothing for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import snapshot
from control_plane.enrolment import codes
from control_plane.fleet.heard import HeardSince
from control_plane.policy.file.authored import Authored
from control_plane.policy.simulation.captures import Captured, CaptureVerdict, Treated, judge
from control_plane.policy.simulation.devices import Attachments, differences, gone_differences, other_differences
from control_plane.policy.simulation.outcomes import JudgedPolicy
from control_plane.policy.simulation.rows import Lately, attached_since, captured_since
from control_plane.policy.simulation.together import ActsBy, Compared
from control_plane.policy.verified import VerifiedPolicy
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.devices import GuardReport
from shared.fleet.state import verify_state
from shared.identity import HostId
from shared.signing import EvidencePublicKey

_AT_ONCE = 20  # a report may have 256 KiB
MOST_CAPTURES = 200_000


class _Host(NamedTuple):
    host_id: str
    asset: str
    evidence_spki: bytes
    state: bytes | None
    state_received: datetime | None


class PolicySimulation:
    def __init__(
        self, database: sessionmaker[Session], verified: VerifiedPolicy, clock: Clock, most: int = MOST_CAPTURES
    ) -> None:
        self._database, self._verified, self._clock, self._most = database, verified, clock, most

    def run(self, after: Authored, days: int) -> dict[str, Json]:
        """Return what `after` would change, host by host.

        Raises DatabaseUnavailable, OrganisationFirst, and what `newest` raises.
        """
        now = self._clock.now()
        since = now - timedelta(days=days)
        newest, parts = self._verified.newest(), self._verified.parts()
        compared, heard = Compared(self._verified, newest, parts, after), HeardSince(self._verified.acted_by(), now)
        with snapshot(self._database) as session:
            lately, attached = captured_since(session, since, self._most), attached_since(session, since, self._most)
            layers = _layers(session)
            captures = _judged(lately, compared, layers)
            hosts = [
                _host(row, layers[row.host_id], compared, heard, now, captures, attached.by_host)
                for row in _hosts(session)
                if compared.is_for(layers[row.host_id])
            ]
            active = session.scalar(select(func.count()).select_from(Host).where(Host.active)) or 0
        return {
            "time": clocks.text(now),
            "days": days,
            "hosts": list(hosts),
            "hosts_without_layer": active - len(hosts),
            "captures_unreadable": lately.unreadable,
            "captures_left_out": lately.left_out,
            "attachments_unreadable": attached.unreadable,
            "attachments_left_out": attached.left_out,
        }


def _layers(session: Session) -> dict[str, tuple[str, ...]]:
    """Return the layers of each host besides the organisation's."""
    return {host_id: codes.parts_of(parts) for host_id, parts in session.execute(select(Host.host_id, Host.parts))}


def _hosts(session: Session) -> Iterator[_Host]:
    query = select(Host.host_id, Host.asset, Host.evidence_spki, Host.state, Host.state_received)
    active = query.where(Host.active).order_by(Host.enrolled, Host.host_id)
    yield from (_Host(*row) for row in session.execute(active.execution_options(yield_per=_AT_ONCE)))


def _host(
    row: _Host,
    layers: tuple[str, ...],
    compared: Compared,
    heard: HeardSince,
    now: datetime,
    captures: Mapping[str, list[Json]],
    attached: Mapping[str, Attachments],
) -> Json:
    host = HostId.parse(row.host_id)
    facts: dict[str, Json] = {
        "host": row.host_id,
        "asset": row.asset,
        "last_seen": None if row.state_received is None else clocks.text(row.state_received),
        "captures": captures.get(row.host_id, []),
        "devices": None,
    }
    if row.state is None or row.state_received is None:
        return {**facts, "state": "unknown", "why": "it never reported"}
    try:
        state = verify_state(row.state, EvidencePublicKey.parse(row.evidence_spki))
    except (Refused, IntegrityFailure) as exc:
        return {**facts, "state": "unknown", "why": f"its report is not authentic: {exc}"}
    if state.guard is None:
        return {**facts, "state": "not evaluated", "why": "no guard answered there when it last reported"}
    before = compared.guarded_before(state.guard.policy, host, layers)
    if isinstance(before, str):
        why = f"the device policy it reports, version {state.guard.policy}, cannot be read here: {before}"
        return {**facts, "state": "not evaluated", "why": why}
    after = compared.after(host, layers)
    if isinstance(after, str):
        return {**facts, "state": "not evaluated", "why": f"it would refuse this beside its other layers: {after}"}
    is_silent = row.state_received < heard.of(host, layers)
    why = f"silent since {clocks.text(row.state_received)}; this is what it had then" if is_silent else ""
    devices = _devices(state.guard, attached.get(row.host_id, {}), before, after, now)
    return {**facts, "state": "silent" if is_silent else "reported", "why": why, "devices": devices}


def _devices(
    report: GuardReport, attached: Attachments, before: JudgedPolicy, after: ActsBy, now: datetime
) -> dict[str, Json]:
    found = list(differences(report, attached, before, after.judged, now))
    gone = list(gone_differences(report, attached, before, after.judged, now))
    others = other_differences(report, after.authored.devices)
    told = [each for each in (*found, *others, *gone) if each is not None]
    return {
        "policy": report.policy,
        "same": found.count(None),
        "gone_same": gone.count(None),
        "differ": [each.json() for each in told],
        "left_out": report.left_out,
    }


def _judged(lately: Lately, compared: Compared, layers: Mapping[str, tuple[str, ...]]) -> dict[str, list[Json]]:
    """Return by host what becomes of its captures; of one AE title, those with the same answer are counted together."""
    counted: dict[str, Counter[tuple[str, CaptureVerdict]]] = {}
    for captured, count in lately.counts.items():
        parts = layers.get(captured.host_id, ())
        if compared.is_for(parts):
            verdict = _verdict(captured, compared, parts)
            counted.setdefault(captured.host_id, Counter())[captured.ae_title, verdict] += count
    return {
        host: [_capture(*key, count) for key, count in sorted(of.items(), key=_by_title)]
        for host, of in counted.items()
    }


def _verdict(captured: Captured, compared: Compared, layers: tuple[str, ...]) -> CaptureVerdict:
    host = HostId.parse(captured.host_id)
    before, after = compared.before(captured.policy_version, host, layers), compared.after(host, layers)
    if isinstance(after, str):
        return CaptureVerdict(Treated.NOT_EVALUATED, why=f"its host would refuse this beside its other layers: {after}")
    return judge(captured, None if isinstance(before, str) else before.authored, after.authored)


def _by_title(entry: tuple[tuple[str, CaptureVerdict], int]) -> tuple[str, str, str]:
    (title, verdict), _ = entry
    return title, verdict.treated, verdict.then


def _capture(ae_title: str, verdict: CaptureVerdict, count: int) -> Json:
    treated = verdict.treated.value
    return {"ae_title": ae_title, "count": count, "treated": treated, "then": verdict.then, "why": verdict.why}
