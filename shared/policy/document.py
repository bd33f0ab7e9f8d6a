"""One policy layer's content: the TUF target `<layer>/policy.json`, canonical JSON.

A host takes its sealing keys from here and from nowhere else, because this is what administrators sign.
docs/formats/policy.md section 2
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.identity import KeyId
from shared.sealing.hpke import PUBLIC_KEY_BYTES, SealingPublicKey
from shared.sealing.record import GRADE_PATTERN
from shared.signing import EvidencePublicKey

ORGANISATION = "organisation"
LAYER_PATTERN = r"[a-z][a-z0-9-]{0,31}"
# DICOM PS3.5 table 6.2-1, AE: at most 16 characters of the default repertoire without backslash and control
# characters; leading and trailing spaces are not significant, so none are written.
AE_TITLE_PATTERN = r"(?! )[ -\[\]-~]{1,16}(?<! )"
MAX_BYTES = 256 * 1024
MAX_MODALITIES = 1000
MAX_DESCRIPTION_CHARS = 100
MAX_KEYS = 100
MAX_STATE_EVERY_S = 3600
MAX_PULL_EVERY_S = 86_400


class KeyPurpose(StrEnum):
    DATA = "data"
    INDEX = "index"
    AUDIT = "audit"


@dataclass(frozen=True)
class SealingKey:
    """A public key that hosts seal to; `grade` is empty unless the purpose is DATA."""

    purpose: KeyPurpose
    grade: str
    epoch: int
    key: SealingPublicKey

    def json(self) -> dict[str, Json]:
        return {
            "purpose": self.purpose.value,
            "grade": self.grade,
            "epoch": self.epoch,
            "key_id": str(self.key.key_id),
            "public": encode_base64(self.key.raw),
        }

    @classmethod
    def parse(cls, value: Json) -> "SealingKey":
        """Raises Malformed: also where the key id is not that of the key beside it."""
        fields = Fields(value, "policy key")
        purpose = KeyPurpose(fields.choice("purpose", list(KeyPurpose)))
        grade = fields.text("grade", GRADE_PATTERN if purpose is KeyPurpose.DATA else "")
        public = SealingPublicKey(fields.base64("public", max_bytes=PUBLIC_KEY_BYTES))
        key = cls(purpose, grade, fields.integer("epoch", least=1), public)
        if KeyId.parse(fields.text("key_id")) != public.key_id:
            raise Malformed("policy key field 'key_id'", "is not the id of the key beside it")
        fields.done()
        return key


@dataclass(frozen=True)
class Modality:
    """A modality that may send: its calling AE title, and what it is in the field engineer's words."""

    ae_title: str
    description: str


@dataclass(frozen=True)
class PolicyDocument:
    """`version` only rises, by one for each publication of the layer."""

    layer: str
    version: int
    modalities: tuple[Modality, ...]
    keys: tuple[SealingKey, ...]
    receipt_key: EvidencePublicKey
    default_grade: str
    state_every_s: int
    pull_every_s: int

    def allows(self, calling_ae_title: str) -> bool:
        return any(m.ae_title == calling_ae_title for m in self.modalities)

    def key_for(self, purpose: KeyPurpose, grade: str = "") -> SealingPublicKey:
        """Return the key of the highest epoch. A parsed document always has INDEX, AUDIT and the default grade."""
        return max((k for k in self.keys if (k.purpose, k.grade) == (purpose, grade)), key=lambda k: k.epoch).key

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "layer": self.layer,
                "version": self.version,
                "modalities": [{"ae_title": m.ae_title, "description": m.description} for m in self.modalities],
                "keys": [k.json() for k in self.keys],
                "receipt_key": encode_base64(self.receipt_key.spki),
                "grading": {"default": self.default_grade},
                "timings": {"state_every_s": self.state_every_s, "pull_every_s": self.pull_every_s},
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "PolicyDocument":
        """Raises Malformed, naming the field; nothing of an invalid document is used."""
        if len(data) > MAX_BYTES:
            raise Malformed("policy", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "policy"), "policy")
        fields.version()
        modalities = tuple(_modality(item) for item in fields.items("modalities", most=MAX_MODALITIES))
        keys = tuple(SealingKey.parse(item) for item in fields.items("keys", most=MAX_KEYS))
        grading, timings = fields.fields("grading"), fields.fields("timings")
        policy = cls(
            layer=fields.text("layer", LAYER_PATTERN),
            version=fields.integer("version", least=1),
            modalities=modalities,
            keys=keys,
            receipt_key=EvidencePublicKey.parse(fields.base64("receipt_key", max_bytes=1024)),
            default_grade=grading.text("default", GRADE_PATTERN),
            state_every_s=timings.integer("state_every_s", least=1, most=MAX_STATE_EVERY_S),
            pull_every_s=timings.integer("pull_every_s", least=1, most=MAX_PULL_EVERY_S),
        )
        for part in (fields, grading, timings):
            part.done()
        _unique("modality AE title", (m.ae_title for m in modalities))
        _unique("key", ((k.purpose, k.grade, k.epoch) for k in keys))
        # A key that served two purposes would open to one service what only the other may see.
        _unique("public key", (k.key.raw for k in keys))
        held = {(k.purpose, k.grade) for k in keys}
        for needed in ((KeyPurpose.DATA, policy.default_grade), (KeyPurpose.INDEX, ""), (KeyPurpose.AUDIT, "")):
            if needed not in held:
                raise Malformed("policy", f"has no {needed[0].value} key{f' for grade {needed[1]}' * bool(needed[1])}")
        return policy


def _modality(value: Json) -> Modality:
    fields = Fields(value, "policy modality")
    ae_title = fields.text("ae_title", AE_TITLE_PATTERN)
    modality = Modality(ae_title, fields.text("description", max_chars=MAX_DESCRIPTION_CHARS))
    fields.done()
    return modality


def _unique(what: str, values: Iterable[object]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise Malformed("policy", f"lists a {what} twice")
        seen.add(value)
