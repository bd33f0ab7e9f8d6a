"""The live device tree of each host, as its last signed state report has it."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.enrolment import codes
from control_plane.fleet import device_tree
from control_plane.fleet.heard import HeardSince
from control_plane.policy.publisher import PolicyPublisher
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import HostState, verify_state
from shared.identity import HostId
from shared.signing import EvidencePublicKey


class NoSuchHost(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"no enrolled host has the id or asset name {name!r}")
        self.name = name


class DeviceShowing:
    def __init__(self, database: sessionmaker[Session], policy: PolicyPublisher, clock: Clock) -> None:
        self._database, self._policy, self._clock = database, policy, clock

    def status(self, name: str | None = None) -> dict[str, Json]:
        """Return every host's tree, or that of the hosts with this id or asset name. Raises NoSuchHost."""
        now = self._clock.now()
        since = HeardSince(self._policy.acted_by(), now)
        with self._database() as session:
            hosts = list(session.scalars(select(Host).order_by(Host.enrolled)))
        wanted = [host for host in hosts if name is None or name in (host.host_id, host.asset)]
        if name is not None and not wanted:
            raise NoSuchHost(name)
        return {
            "time": clocks.text(now),
            "hosts": [
                _host(host, since.of(HostId.parse(host.host_id), codes.readable_parts(host.parts) or ()))
                for host in wanted
            ],
        }


def _host(host: Host, since: datetime) -> Json:
    facts: dict[str, Json] = {
        "host": host.host_id,
        "asset": host.asset,
        "active": host.active,
        "standing": host.standing,
        "last_seen": clocks.text(host.state_received) if host.state_received else None,
        "reported": None,
        "guard": "unknown",
        "report": None,
    }
    if host.state is None or host.state_received is None:
        return {**facts, **_unknown(host, "never reported")}
    try:
        state = verify_state(host.state, EvidencePublicKey.parse(host.evidence_spki))
    except (Refused, IntegrityFailure) as exc:
        return {**facts, **_unknown(host, f"not authentic: {exc}")}
    is_heard = host.state_received >= since
    facts["reported"] = clocks.text(state.time)
    facts["report"] = device_tree.tree(state.guard, is_current=is_heard) if state.guard else None
    if not is_heard:
        return {**facts, **_unknown(host, "silent")}
    facts["guard"] = guard_of(state)
    return {**facts, "state": "reporting", "not_proved": list(device_tree.gaps(host.asset, state.guard))}


def guard_of(state: HostState) -> str:
    """Return watching, or that no guard answers on the host; of a report that is current."""
    return "no guard" if state.guard is None else "watching"


def _unknown(host: Host, state: str) -> dict[str, Json]:
    return {"state": state, "not_proved": [f"{host.asset}: {state}; what is plugged in now is unknown"]}
