"""The hand-over report: facts and findings of a visit, signed with the host's evidence key.

    file      = canonical JSON {"v": 1, "report", "key", "signature", "certificate"}
    signature = base64 of r || s of a signed statement (shared.signing, label HAND_OVER) whose payload is the report as
                canonical JSON; `key` is the id of the key that it names
    PDF       = one page drawn from the same report, with the file attached as hand-over.json

docs/formats/hand-over.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256

from provisioning.finding import Finding, Verdict
from provisioning.outcome import STEPS, Outcome
from shared import canonical, clock
from shared.canonical import Json
from shared.enrolment.exchange import CHAIN_PATTERN
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.fleet.keys import KeyProtection
from shared.identity import HostId, KeyId
from shared.policy.layer import LAYER_PATTERN
from shared.signing import (
    EvidencePublicKey,
    EvidenceSigner,
    Label,
    attached,
    detached,
    sign_statement,
    signing_key_id,
    verify_statement,
)

ATTACHMENT = "hand-over.json"
MAX_BYTES = 512 << 10
MAX_NAME_CHARS = 100
MAX_CHAIN_CHARS = 64 << 10
_WHAT = "hand-over report"
_NAME = rf"[^\x00-\x1f\x7f]{{1,{MAX_NAME_CHARS}}}"
_PROGRAM = r"[a-z]{1,32}"
_MAX_PROGRAMS, _MAX_LAYERS = 8, 8


@dataclass(frozen=True)
class HandOver:
    """`engineer` and `received_by` are what was typed: nobody proved to be who is named there.

    `steps` are those of `provisioning.outcome.STEPS`, in that order; one that was not made is there and says so.
    """

    host_id: HostId
    asset: str
    made: datetime
    engineer: str
    received_by: str
    software: Mapping[str, str]  # by program
    keys: KeyProtection
    certificate_until: datetime
    policy: Mapping[str, int]  # the version in force, by layer
    steps: tuple[Outcome, ...]

    def named(self) -> tuple[tuple[str, Finding], ...]:
        """Return every finding with its step; a step that found nothing as one that was not evaluated."""
        found = []
        for outcome in self.steps:
            nothing = Finding(outcome.step, Verdict.NOT_EVALUATED, _why_nothing(outcome))
            found += [(outcome.step, finding) for finding in outcome.findings or (nothing,)]
        return tuple(found)

    def count(self, verdict: Verdict) -> int:
        return sum(found.verdict is verdict for _, found in self.named())

    def json(self) -> dict[str, Json]:
        return {
            "v": 1,
            "host": str(self.host_id),
            "asset": self.asset,
            "made": clock.text(self.made),
            "engineer": self.engineer,
            "received_by": self.received_by,
            "software": dict(self.software),
            "keys": self.keys.value,
            "certificate_until": clock.text(self.certificate_until),
            "policy": dict(self.policy),
            "steps": [step.json() for step in self.steps],
        }

    @classmethod
    def read(cls, fields: Fields) -> "HandOver":
        """Raises Malformed."""
        fields.version()
        report = cls(
            host_id=HostId.parse(fields.text("host")),
            asset=fields.text("asset", _NAME, max_chars=MAX_NAME_CHARS),
            made=fields.instant("made"),
            engineer=fields.text("engineer", _NAME, max_chars=MAX_NAME_CHARS),
            received_by=fields.text("received_by", _NAME, max_chars=MAX_NAME_CHARS),
            software=_programs(fields.mapping("software", most=_MAX_PROGRAMS)),
            keys=KeyProtection(fields.choice("keys", tuple(KeyProtection))),
            certificate_until=fields.instant("certificate_until"),
            policy=_versions(fields.mapping("policy", most=_MAX_LAYERS)),
            steps=tuple(Outcome.read(Fields(step, f"{_WHAT} step")) for step in fields.items("steps", most=len(STEPS))),
        )
        fields.done()
        if tuple(outcome.step for outcome in report.steps) != STEPS:
            raise Malformed(_WHAT, f"its steps are not {', '.join(STEPS)}")
        return report


@dataclass(frozen=True)
class SignedHandOver:
    """`certificate` is the host's, in PEM, with what leads to the root. Nothing is verified by reading it."""

    report: HandOver
    key_id: KeyId
    signature: bytes
    certificate: str

    @cached_property
    def sha256(self) -> str:
        """The digest of the file, by which its page names it."""
        return sha256(self.encode()).hexdigest()

    def verify(self, key: EvidencePublicKey) -> None:
        """Raises Malformed, WrongSigner, SignatureInvalid."""
        signed = attached(self.key_id, canonical.encode(self.report.json()), self.signature)
        verify_statement(signed, Label.HAND_OVER, key)

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "report": self.report.json(),
                "key": str(self.key_id),
                "signature": encode_base64(self.signature),
                "certificate": self.certificate,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "SignedHandOver":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed(_WHAT, f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, _WHAT), _WHAT)
        fields.version()
        signed = cls(
            HandOver.read(fields.fields("report")),
            KeyId.parse(fields.text("key")),
            fields.base64("signature", max_bytes=64),
            fields.text("certificate", CHAIN_PATTERN, max_chars=MAX_CHAIN_CHARS),
        )
        fields.done()
        if len(signed.signature) != 64:
            raise Malformed(f"{_WHAT} field 'signature'", "expected 64 bytes")
        return signed


def sign(report: HandOver, signer: EvidenceSigner, certificate: str) -> SignedHandOver:
    """Raises Malformed: something in the report has no place there."""
    HandOver.read(Fields(report.json(), _WHAT))
    signed = sign_statement(signer, Label.HAND_OVER, canonical.encode(report.json()))
    return SignedHandOver(report, signing_key_id(signed), detached(signed), certificate)


def _why_nothing(outcome: Outcome) -> str:
    return "this step was not made" if outcome.at is None else "this step was made and found nothing"


def _programs(named: Mapping[str, Json]) -> dict[str, str]:
    read = Fields(dict(named), f"{_WHAT} field 'software'")
    for name in named:
        Fields({"program": name}, f"{_WHAT} field 'software'").text("program", _PROGRAM)
    return {name: read.text(name, max_chars=64) for name in sorted(named)}


def _versions(named: Mapping[str, Json]) -> dict[str, int]:
    read = Fields(dict(named), f"{_WHAT} field 'policy'")
    for name in named:
        Fields({"layer": name}, f"{_WHAT} field 'policy'").text("layer", LAYER_PATTERN)
    return {name: read.integer(name) for name in sorted(named)}
