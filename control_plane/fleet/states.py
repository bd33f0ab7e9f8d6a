"""Takes in host state reports: host-signed, numbered, and only ever newer than the one that is held."""

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host
from control_plane.db.transactions import in_one_commit
from shared.clock import Clock
from shared.errors import Refused
from shared.fleet.state import HostState, verify_state
from shared.identity import HostId
from shared.signing import EvidencePublicKey


class HostUnknown(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} is not an enrolled, active host")
        self.host_id = host_id


class StateReplayed(Refused):
    def __init__(self, host_id: HostId, *, offered: int, held: int) -> None:
        super().__init__(f"state report {offered} of {host_id} is not newer than report {held}, which is held")
        self.host_id, self.offered, self.held = host_id, offered, held


class StateOfAnother(Refused):
    def __init__(self, *, sender: HostId, named: HostId) -> None:
        super().__init__(f"{sender} sent a state report of {named}")
        self.sender, self.named = sender, named


class StateIntake:
    def __init__(self, database: sessionmaker[Session], clock: Clock) -> None:
        self._database, self._clock = database, clock

    def take(self, host_id: HostId, signed: bytes) -> HostState:
        """Keep a report that arrived from `host_id`.

        Raises HostUnknown, Malformed, WrongSigner, SignatureInvalid, StateOfAnother, StateReplayed.
        """
        return in_one_commit(self._database, lambda session: self._keep(session, host_id, signed))

    def _keep(self, session: Session, host_id: HostId, signed: bytes) -> HostState:
        host = session.get(Host, str(host_id))
        if host is None or not host.active:
            raise HostUnknown(host_id)
        state = verify_state(signed, EvidencePublicKey.parse(host.evidence_spki))
        if state.host_id != host_id:
            raise StateOfAnother(sender=host_id, named=state.host_id)
        newer = update(Host).where(Host.host_id == str(host_id), Host.state_number < state.number)
        kept = session.scalar(
            newer.values(state=signed, state_number=state.number, state_received=self._clock.now()).returning(
                Host.host_id
            )
        )
        if kept is None:
            raise StateReplayed(host_id, offered=state.number, held=host.state_number)
        return state
