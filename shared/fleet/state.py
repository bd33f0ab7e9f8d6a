"""The state report: host-signed and numbered, so a broker that repeats or swaps reports is found out."""

from dataclasses import dataclass
from datetime import datetime

from shared import canonical, clock
from shared.fields import Fields
from shared.identity import HostId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

MAX_BYTES = 16_384


@dataclass(frozen=True)
class HostState:
    """`number` rises with every report of a host, across restarts. Counts are since enrolment."""

    host_id: HostId
    number: int
    time: datetime
    software: str
    policy_accepted: int  # 0: none yet
    policy_in_force: int
    policy_error: str  # why the last offer was refused; empty when it was not
    listening: bool
    waiting: int  # objects in the spool without the vault's receipt
    captured: int
    delivered: int
    refused: int
    audit_waiting: int

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "host": str(self.host_id),
                "number": self.number,
                "time": clock.text(self.time),
                "software": self.software,
                "policy_accepted": self.policy_accepted,
                "policy_in_force": self.policy_in_force,
                "policy_error": self.policy_error,
                "listening": self.listening,
                "waiting": self.waiting,
                "captured": self.captured,
                "delivered": self.delivered,
                "refused": self.refused,
                "audit_waiting": self.audit_waiting,
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "HostState":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "host state"), "host state")
        fields.version()
        state = cls(
            host_id=HostId.parse(fields.text("host")),
            number=fields.integer("number", least=1),
            time=fields.instant("time"),
            software=fields.text("software", max_chars=64),
            policy_accepted=fields.integer("policy_accepted"),
            policy_in_force=fields.integer("policy_in_force"),
            policy_error=fields.text("policy_error", max_chars=500),
            listening=fields.flag("listening"),
            waiting=fields.integer("waiting"),
            captured=fields.integer("captured"),
            delivered=fields.integer("delivered"),
            refused=fields.integer("refused"),
            audit_waiting=fields.integer("audit_waiting"),
        )
        fields.done()
        return state


def sign_state(state: HostState, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.HOST_STATE, state.encode())


def verify_state(signed: bytes, key: EvidencePublicKey) -> HostState:
    """Raises Malformed, WrongSigner, SignatureInvalid. Whether the number is new is the caller's to judge."""
    return HostState.parse(verify_statement(signed, Label.HOST_STATE, key))
