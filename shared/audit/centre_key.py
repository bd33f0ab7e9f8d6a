"""Whether a certificate is of the key by which the centre signs evidence."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.enrolment.chain import ChainBroken, Trust, parse_chain, verify_chain
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey


class NotTheCentresKey(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the certificate beside the centre's log is not one of its evidence keys: {why}")
        self.why = why


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
