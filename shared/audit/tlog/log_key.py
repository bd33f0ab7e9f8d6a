"""Which key signs the centre's checkpoints, in the word of its evidence key, which the authority certified.

    offer     = canonical JSON {"v": 1, "key": signed statement in base64, "certificate": PEM, up to the root}
    statement = signed statement (label LOG_KEY) over canonical JSON {"v": 1, "vkey": C2SP vkey of type Ed25519}

An offer is the `extra` of a proof of ours, so that a proof and the authority's certificate are all that it takes.
"""

from dataclasses import dataclass

from shared import canonical
from shared.audit.centre_key import verify_centre_key
from shared.audit.tlog.keys import KeyType, NoteKey
from shared.enrolment.chain import Trust
from shared.enrolment.exchange import CHAIN_PATTERN, MAX_PEM_CHARS
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

_MAX_STATEMENT_BYTES = 4096


@dataclass(frozen=True)
class LogKeyOffer:
    statement: bytes  # signed
    certificate: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "key": encode_base64(self.statement), "certificate": self.certificate})

    @classmethod
    def parse(cls, data: bytes) -> "LogKeyOffer":
        """Raises Malformed; nothing is verified yet."""
        fields = Fields(canonical.parse(data, "log key offer"), "log key offer")
        fields.version()
        offer = cls(
            fields.base64("key", max_bytes=_MAX_STATEMENT_BYTES),
            fields.text("certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS),
        )
        fields.done()
        return offer


def offered_key(data: bytes, trust: Trust) -> NoteKey:
    """Return the key of checkpoints in an encoded offer, once a certificate of the centre vouches for it.

    Raises Malformed, NotTheCentresKey, WrongSigner, SignatureInvalid.
    """
    offer = LogKeyOffer.parse(data)
    return verify_log_key(offer.statement, verify_centre_key(offer.certificate, trust))


def sign_log_key(signer: EvidenceSigner, key: NoteKey) -> bytes:
    return sign_statement(signer, Label.LOG_KEY, canonical.encode({"v": 1, "vkey": key.vkey}))


def verify_log_key(statement: bytes, key: EvidencePublicKey) -> NoteKey:
    """Return the key of checkpoints that an evidence key names. Raises Malformed, WrongSigner, SignatureInvalid."""
    fields = Fields(canonical.parse(verify_statement(statement, Label.LOG_KEY, key), "log key"), "log key")
    fields.version()
    named = NoteKey.parse(fields.text("vkey"))
    fields.done()
    if named.type is not KeyType.ED25519:
        raise Malformed("log key", "not a key of type 1")
    return named
