"""Decides whether the centre's log still is the one that this host saw, and whether a key is the centre's."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.audit.checkpoint import Checkpoint, Loss
from shared.enrolment.chain import ChainBroken, Trust, parse_chain, verify_chain
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey


class NotTheCentresKey(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the certificate beside the centre's log is not one of its evidence keys: {why}")
        self.why = why


@dataclass(frozen=True)
class Judgement:
    """`said` is what is wrong, empty where nothing is. `keeps`: the answer takes the place of what is held.

    `lost` is why it does although the log does not go on from there.
    """

    said: str
    keeps: bool
    lost: Loss | None = None


def judge(held: Checkpoint | None, present: Checkpoint, at_held: Checkpoint | None, lost: Loss | None) -> Judgement:
    """Return what the centre's log is to this host, which saw `held` of it; the arguments are verified."""
    if held is None or at_held == held or present == held:
        if held is None or present.seq >= held.seq:
            return Judgement("", keeps=held != present)
    elif lost is not None and lost.first <= held.seq <= lost.last and held.seq < lost.seq <= present.seq:
        return Judgement("", keeps=True, lost=lost)
    if present.seq < held.seq:
        return Judgement(f"shrank from {held.seq} to {present.seq}", keeps=False)
    return Judgement(f"forked: it is at {present.seq}, and number {held.seq} is not what it was", keeps=False)


def verify_centre_key(pem: str, trust: Trust) -> EvidencePublicKey:
    """Return the key of a certificate by which the centre signs evidence. Raises NotTheCentresKey."""
    try:
        certificate, *between = parse_chain(pem.encode(), "certificate of the centre's log")
        verify_chain(certificate, trust, between)
    except (ChainBroken, Malformed) as exc:
        raise NotTheCentresKey(f"it was not issued by the centre's CA: {exc}") from exc
    key = certificate.public_key()
    names = [
        [name.value for name in certificate.subject.get_attributes_for_oid(oid)]
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    ]
    if names != [[CONTROL_PLANE], ["evidence"]]:
        raise NotTheCentresKey("it names somebody else")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotTheCentresKey("it is for no ECDSA P-256 key")
    return EvidencePublicKey(key)
