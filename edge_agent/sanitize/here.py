"""Who this host is and what its policy says, as the guard verified it; nothing of it is the agent account's word.

    /var/lib/leadglass-guard   trust.json: the pinned root; accepted/: the policy in force; policy/: who signs for it
    /var/lib/leadglass         the host's evidence key, with which the report is signed

Where either is missing nothing is wiped: nobody could say who allowed it, or prove what was done.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_agent.config import AgentFolder, load_identity
from edge_agent.guard_host import uptime
from edge_agent.host_watch.adjtimex import read_clock
from edge_agent.policy_sync.delegation import read_delegation
from edge_agent.policy_sync.verification import PolicyVerification
from edge_agent.sanitize.accept import Enrolled
from edge_agent.usb_policy.clock_trust import Reading
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import load_trust, trusted_metadata
from shared.errors import Refused
from shared.identity import HostId
from shared.signing import EvidenceSigner


class OtherHost(Refused):
    def __init__(self, *, pinned: HostId, enrolled: HostId) -> None:
        super().__init__(
            f"the guard was told to guard {pinned}, and the agent here is enrolled as {enrolled}; "
            "`leadglass-guard trust` settles that"
        )
        self.pinned, self.enrolled = pinned, enrolled


class NoPolicy(Refused):
    def __init__(self, state: Path, problems: list[str]) -> None:
        why = f": {'; '.join(problems)}" if problems else ""
        super().__init__(
            f"the device guard has no policy in force in {state}, so nobody may have a drive wiped{why}; have guard "
            "and agent run until they fetched it (`leadglass-guard devices` says which is in force)"
        )
        self.state = state


@dataclass(frozen=True)
class ThisHost:
    enrolled: Enrolled
    signer: EvidenceSigner
    is_clock_sure: bool


def look(guard_state: Path, agent_data: Path, now: datetime) -> ThisHost:
    """Raises NotPinned, TrustDamaged, NoPolicy, DelegationExpired, OtherHost and what `load_identity` does."""
    trust = load_trust(guard_state)
    store = GuardPolicyStore(guard_state, trust)
    if store.in_force is None:
        raise NoPolicy(guard_state, store.problems)
    folder = trusted_metadata(guard_state)
    verification = PolicyVerification(layers=trust.layers, host=trust.host_id, folder=folder, root=trust.root)
    delegation = read_delegation(folder, trust.layer, verification)
    delegation.verify_in_date(now)
    identity = load_identity(AgentFolder(agent_data))
    if identity.config.host_id != trust.host_id:
        raise OtherHost(pinned=trust.host_id, enrolled=identity.config.host_id)
    kernel, _ = read_clock()
    reading = Reading(now, uptime(), is_kept=kernel is not None and kernel.is_synchronised)
    enrolled = Enrolled(trust.host_id, identity.signer.public.key_id, delegation.signatories, store.in_force.wipe)
    return ThisHost(enrolled, identity.signer, store.is_clock_sure(reading))
