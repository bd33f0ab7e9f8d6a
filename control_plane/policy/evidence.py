"""People's policy keys where they sign something that is no policy: the same key, under a label of its own."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import Key, Signer

from shared.errors import Malformed
from shared.signing import EvidencePublicKey


class PersonSigner:
    """Signs statements with whatever signs that person's policies, wherever its private half lies."""

    def __init__(self, signer: Signer) -> None:
        """Raises Malformed: it is no key that statements are signed with."""
        self._signer, self.public = signer, evidence_key(signer.public_key)

    def sign(self, message: bytes) -> bytes:
        return bytes.fromhex(self._signer.sign(message).signature)


def evidence_key(key: Key) -> EvidencePublicKey:
    """Return a key of TUF's as one of ours. Raises Malformed: it is not ECDSA P-256."""
    try:
        public = serialization.load_pem_public_key(str(key.keyval.get("public", "")).encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Malformed("policy key", "not a public key in PEM") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise Malformed("policy key", "not an ECDSA P-256 key")
    return EvidencePublicKey(public)
