"""Envelopes: one thing that one person or several have signed, each with the key that signs policies.

    envelope = canonical JSON {"v", "signed": [base64 of a signed statement, ...]}, all over the same payload,
               by rising key id, none twice

What the payload is, and how many have to sign it, is its own kind's to say: commands and wipe tickets are such.
docs/formats/command.md
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Self, TypeVar

from shared import canonical
from shared.audit.events import Participant, Subject
from shared.errors import Malformed, Refused
from shared.fields import Fields, decode_base64, encode_base64
from shared.identity import KeyId
from shared.signing import (
    EvidencePublicKey,
    EvidenceSigner,
    Label,
    claimed_payload,
    sign_statement,
    signing_key_id,
    verify_statement,
)

MAX_SIGNATURES = 8
MAX_ENVELOPE_BYTES = 64 << 10
Claimed = TypeVar("Claimed")


class SignerUnknown(Refused):
    def __init__(self, what: str, key_id: KeyId) -> None:
        super().__init__(f"the {what} is signed by key {key_id}, whose holder signs for no host of this layer")
        self.key_id = key_id


class TooFewSignatures(Refused):
    def __init__(self, *, given: int, needed: int) -> None:
        super().__init__(f"{given} signed it and policy asks for {needed}")
        self.given, self.needed = given, needed


@dataclass(frozen=True)
class Signatories:
    """Who may sign for the hosts of a layer, and how many of them have to agree.

    `names` are those that the policy's root has for keys; it need not have one for each.
    """

    keys: tuple[EvidencePublicKey, ...]
    threshold: int
    names: Mapping[KeyId, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Signer:
    """A key that signed; `name` is empty where policy does not say whose it is."""

    key_id: KeyId
    name: str


@dataclass(frozen=True)
class Envelope(Generic[Claimed]):
    """`statements` are signed statements over `payload`, by rising key id, none twice."""

    payload: bytes
    statements: tuple[bytes, ...]

    label: ClassVar[Label]
    what: ClassVar[str]

    @property
    @abstractmethod
    def claimed(self) -> Claimed:
        """Return what it says before anything is believed. Raises Malformed."""

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "signed": [encode_base64(one) for one in self.statements]})

    @classmethod
    def signed(cls, payload: bytes, signers: Sequence[EvidenceSigner]) -> Self:
        return cls.of([sign_statement(signer, cls.label, payload) for signer in signers])

    @classmethod
    def of(cls, statements: Sequence[bytes]) -> Self:
        """Raises Malformed: not all of one payload, or two by one key."""
        in_order = tuple(sorted(statements, key=lambda one: signing_key_id(one).raw))
        return cls.parse(cls(b"", in_order).encode())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises Malformed."""
        what = f"{cls.what} envelope"
        if len(data) > MAX_ENVELOPE_BYTES:
            raise Malformed(what, f"larger than {MAX_ENVELOPE_BYTES} bytes")
        fields = Fields(canonical.parse(data, what), what)
        fields.version()
        listed = fields.items("signed", most=MAX_SIGNATURES)
        fields.done()
        statements = tuple(decode_base64(one, f"{what} field 'signed'", MAX_ENVELOPE_BYTES) for one in listed)
        keys = [signing_key_id(one).raw for one in statements]
        if not keys or keys != sorted(set(keys)):
            raise Malformed(what, "expected one signature or more, by rising key id, none twice")
        payloads = {claimed_payload(one) for one in statements}
        if len(payloads) != 1:
            raise Malformed(what, f"its signatures are over different {cls.what}s")
        envelope = cls(payloads.pop(), statements)
        _ = envelope.claimed
        return envelope

    def countersigned(self, signer: EvidenceSigner) -> Self:
        """Return the same with one signature more. Raises Malformed: it has one by this key already."""
        return self.of([*self.statements, sign_statement(signer, self.label, self.payload)])

    def verified(self, signatories: Signatories) -> tuple[Signer, ...]:
        """Return who signed it, once every signature on it is one of `signatories`'; how many are enough is not asked.

        Raises SignerUnknown, SignatureInvalid.
        """
        known = {key.key_id: key for key in signatories.keys}
        for statement in self.statements:
            key = known.get(signing_key_id(statement))
            if key is None:
                raise SignerUnknown(self.what, signing_key_id(statement))
            verify_statement(statement, self.label, key)
        # By rising key id and none twice: as many signers as statements.
        return self.signers(signatories)

    def signers(self, signatories: Signatories) -> tuple[Signer, ...]:
        """Return whose signatures it says to carry, of `signatories`; nothing is verified."""
        known, named = {key.key_id for key in signatories.keys}, map(signing_key_id, self.statements)
        return tuple(Signer(one, signatories.names.get(one, "")) for one in named if one in known)


def recorded_keys(signers: Sequence[Signer]) -> tuple[Subject, ...]:
    """Return the keys that signed, in the order in which `recorded_people` names whose they are."""
    return tuple(Subject("key", str(signer.key_id)) for signer in signers)


def recorded_people(signers: Sequence[Signer], *, requestor: bool) -> tuple[Participant, ...]:
    return tuple(Participant("person", signer.name or f"unnamed {signer.key_id}", requestor) for signer in signers)
