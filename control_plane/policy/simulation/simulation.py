"""Holds a policy that nobody has published yet against what hosts last reported and what was captured lately."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import snapshot
from control_plane.fleet.heard import heard_since
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.simulation.captures import Captured, CaptureVerdict, judge
from control_plane.policy.simulation.devices import Attachments, differences, gone_differences, other_differences
from control_plane.policy.simulation.outcomes import JudgedPolicy
from control_plane.policy.simulation.rows import Lately, attached_since, captured_since
from control_plane.policy.verified import VerifiedPolicy
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.devices import GuardReport
from shared.fleet.state import verify_state
from shared.signing import EvidencePublicKey

_AT_ONCE = 20  # a report may have 256 KiB
MOST_CAPTURES = 200_000


class _Host(NamedTuple):
    host_id: str
    asset: str
    evidence_spki: bytes
    state: bytes | None
    state_received: datetime | None


@dataclass
class _Versions:
    """The policies that hosts are at, each verified and made ready once."""

    verified: VerifiedPolicy
    _authored: dict[int, AuthoredPolicy | str] = field(default_factory=dict)
    _judged: dict[int, JudgedPolicy] = field(default_factory=dict)

    def authored(self, version: int) -> AuthoredPolicy | str:
        """Return a version, or why it is not believed."""
        if version not in self._authored:
            try:
                self._authored[version] = AuthoredPolicy.of(self.verified.version(version))
            except (Refused, IntegrityFailure) as exc:
                self._authored[version] = str(exc)
        return self._authored[version]

    def judged(self, version: int) -> JudgedPolicy | str:
        if version not in self._judged:
            if version == 0:
                self._judged[version] = JudgedPolicy(None)
            elif isinstance(policy := self.authored(version), str):
                return policy
            else:
                self._judged[version] = JudgedPolicy(policy.devices)
        return self._judged[version]


class PolicySimulation:
    def __init__(
        self, database: sessionmaker[Session], verified: VerifiedPolicy, clock: Clock, most: int = MOST_CAPTURES
    ) -> None:
        self._database, self._verified, self._clock, self._most = database, verified, clock, most

    def run(self, after: AuthoredPolicy, days: int) -> dict[str, Json]:
        """Return what `after` would change, host by host. Raises DatabaseUnavailable, and what `newest` raises."""
        now = self._clock.now()
        versions, judged = _Versions(self._verified), JudgedPolicy(after.devices)
        heard = heard_since(self._verified.newest(), now)
        with snapshot(self._database) as session:
            since = now - timedelta(days=days)
            lately, attached = captured_since(session, since, self._most), attached_since(session, since, self._most)
            captures = _judged(lately, versions, after)
            hosts = [
                _host(row, versions, judged, after, heard, now, captures, attached.by_host) for row in _hosts(session)
            ]
        return {
            "time": clocks.text(now),
            "days": days,
            "hosts": list(hosts),
            "captures_unreadable": lately.unreadable,
            "captures_left_out": lately.left_out,
            "attachments_left_out": attached.left_out,
        }


def _hosts(session: Session) -> Iterator[_Host]:
    query = select(Host.host_id, Host.asset, Host.evidence_spki, Host.state, Host.state_received)
    active = query.where(Host.active).order_by(Host.enrolled, Host.host_id)
    yield from (_Host(*row) for row in session.execute(active.execution_options(yield_per=_AT_ONCE)))


def _host(
    row: _Host,
    versions: _Versions,
    judged: JudgedPolicy,
    after: AuthoredPolicy,
    heard: datetime,
    now: datetime,
    captures: Mapping[str, list[Json]],
    attached: Mapping[str, Attachments],
) -> Json:
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
    before = versions.judged(state.guard.policy)
    if isinstance(before, str):
        why = f"the device policy it reports, version {state.guard.policy}, cannot be read here: {before}"
        return {**facts, "state": "not evaluated", "why": why}
    is_silent = row.state_received < heard
    why = f"silent since {clocks.text(row.state_received)}; this is what it had then" if is_silent else ""
    devices = _devices(state.guard, attached.get(row.host_id, {}), before, judged, after, now)
    return {**facts, "state": "silent" if is_silent else "reported", "why": why, "devices": devices}


def _devices(
    report: GuardReport,
    attached: Attachments,
    before: JudgedPolicy,
    judged: JudgedPolicy,
    after: AuthoredPolicy,
    now: datetime,
) -> dict[str, Json]:
    found = list(differences(report, attached, before, judged, now))
    gone = list(gone_differences(report, attached, before, judged, now))
    told = [each for each in (*found, *other_differences(report, after.devices), *gone) if each is not None]
    return {
        "policy": report.policy,
        "same": found.count(None),
        "gone_same": gone.count(None),
        "differ": [each.json() for each in told],
        "left_out": report.left_out,
    }


def _judged(lately: Lately, versions: _Versions, after: AuthoredPolicy) -> dict[str, list[Json]]:
    """Return by host what becomes of its captures; of one AE title, those with the same answer are counted together."""
    counted: dict[str, Counter[tuple[str, CaptureVerdict]]] = {}
    for captured, count in lately.counts.items():
        verdict = judge(captured, _before(captured, versions), after)
        counted.setdefault(captured.host_id, Counter())[captured.ae_title, verdict] += count
    return {
        host: [_capture(*key, count) for key, count in sorted(of.items(), key=_by_title)]
        for host, of in counted.items()
    }


def _before(captured: Captured, versions: _Versions) -> AuthoredPolicy | None:
    before = versions.authored(captured.policy_version)
    return None if isinstance(before, str) else before


def _by_title(entry: tuple[tuple[str, CaptureVerdict], int]) -> tuple[str, str, str]:
    (title, verdict), _ = entry
    return title, verdict.treated, verdict.then


def _capture(ae_title: str, verdict: CaptureVerdict, count: int) -> Json:
    treated = verdict.treated.value
    return {"ae_title": ae_title, "count": count, "treated": treated, "then": verdict.then, "why": verdict.why}
