"""One policy layer's content: the TUF target `<layer>/policy.json`, canonical JSON.

A host takes its sealing keys from here and from nowhere else, because this is what administrators sign.
docs/formats/policy.md section 2
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from shared import canonical
from shared.canonical import Json
from shared.devices.policy import DevicePolicy
from shared.devices.watch import WatchPolicy
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.identity import KeyId
from shared.policy.grading import Grading
from shared.policy.layer import LAYER_PATTERN
from shared.policy.routes import (
    AE_TITLE_PATTERN,
    FINGERPRINT_PATTERN,
    MAX_ROUTES,
    MAX_TRUST_CHARS,
    Peer,
    Route,
    address_range,
    certificates,
)
from shared.policy.wipe import WipePolicy
from shared.sealing.hpke import PUBLIC_KEY_BYTES, SealingPublicKey
from shared.sealing.record import GRADE_PATTERN
from shared.self_test import phantom
from shared.signing import EvidencePublicKey

ORGANISATION = "organisation"
MAX_BYTES = 256 * 1024
MAX_MODALITIES = 1000
MAX_DESCRIPTION_CHARS = 100
MAX_KEYS = 100
MAX_STATE_EVERY_S = 3600
MAX_PULL_EVERY_S = 86_400
MAX_ADDRESSES, MAX_CERTIFICATES = 16, 4
MAX_STATION_CHARS = 16
MODALITY_PATTERN = r"[A-Z0-9_ ]{1,16}"  # (0008,0060), CS


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


class AfterReceipt(StrEnum):
    """What becomes of a file in a modality's export folder once the vault answers for its image."""

    KEEP = "keep"
    MOVE = "move"
    DELETE = "delete"


@dataclass(frozen=True)
class Station:
    """How an archive knows a modality's images: Modality (0008,0060) and, unless empty, Station Name (0008,1010)."""

    modality: str
    station_name: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> "Station":
        station = cls(
            fields.text("modality", MODALITY_PATTERN),
            fields.text("station_name", max_chars=MAX_STATION_CHARS),
        )
        fields.done()
        return station


@dataclass(frozen=True)
class Modality:
    """A modality that may send: its calling AE title, and what it is in the field engineer's words.

    `addresses` are IP addresses and networks it may send from; empty: any. `certificates` are SHA-256 fingerprints of
    the TLS client certificates it may show; with any, it must show one. `commitment` is where storage commitment is
    reported when its association has ended. `export_folder` is None where no folder of it is read.
    """

    ae_title: str
    description: str
    addresses: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    commitment: Peer | None = None
    export_folder: AfterReceipt | None = None
    station: Station | None = None

    def json(self) -> dict[str, Json]:
        members: dict[str, Json] = {"ae_title": self.ae_title, "description": self.description}
        if self.addresses:
            members["addresses"] = list(self.addresses)
        if self.certificates:
            members["certificates"] = list(self.certificates)
        if self.commitment is not None:
            members["commitment"] = self.commitment.json()
        if self.export_folder is not None:
            members["export_folder"] = self.export_folder.value
        if self.station is not None:
            members["station"] = {"modality": self.station.modality, "station_name": self.station.station_name}
        return members

    @classmethod
    def parse(cls, value: Json) -> "Modality":
        """Raises Malformed."""
        fields = Fields(value, "policy modality")
        modality = cls(
            ae_title=fields.text("ae_title", AE_TITLE_PATTERN),
            description=fields.text("description", max_chars=MAX_DESCRIPTION_CHARS),
            addresses=tuple(
                address_range(text) for text in _texts(fields, "addresses", r"[0-9a-f.:/]+", MAX_ADDRESSES)
            ),
            certificates=_texts(fields, "certificates", FINGERPRINT_PATTERN, MAX_CERTIFICATES),
            commitment=Peer.parse(fields.fields("commitment")) if fields.has("commitment") else None,
            export_folder=AfterReceipt(fields.choice("export_folder", list(AfterReceipt)))
            if fields.has("export_folder")
            else None,
            station=Station.parse(fields.fields("station")) if fields.has("station") else None,
        )
        fields.done()
        _unique("modality address", modality.addresses)
        _unique("modality certificate", modality.certificates)
        return modality


@dataclass(frozen=True)
class Coverage:
    """The archive that is asked by C-FIND what it knows, to be compared with what was captured."""

    calling_ae_title: str
    peer: Peer

    @classmethod
    def parse(cls, fields: Fields) -> "Coverage":
        coverage = cls(fields.text("calling_ae_title", AE_TITLE_PATTERN), Peer.parse(fields.fields("peer")))
        fields.done()
        return coverage


@dataclass(frozen=True)
class PolicyDocument:
    """`version` only rises, by one for each publication of the layer.

    What has a default here is written only where it differs, so that a policy has one encoding. `dicom_trust` is PEM
    certificates that modalities' TLS client certificates chain to; `spool_quota_bytes` 0 is the disk's own limit.
    Without `devices` a host's device guard authorises nothing, without `watch` it looks for nothing on its host, and
    without `wipe` no drive is wiped.
    """

    layer: str
    version: int
    modalities: tuple[Modality, ...]
    keys: tuple[SealingKey, ...]
    receipt_key: EvidencePublicKey
    grading: Grading
    state_every_s: int
    pull_every_s: int
    routes: tuple[Route, ...] = ()
    dicom_trust: str = ""
    coverage: Coverage | None = None
    spool_quota_bytes: int = 0
    frame_digests: bool = False
    devices: DevicePolicy | None = None
    watch: WatchPolicy | None = None
    wipe: WipePolicy | None = None

    def unstationed(self) -> tuple[Modality, ...]:
        """Return the modalities of which it is not said how an archive knows them, a self-test's phantoms left out."""
        return tuple(m for m in self.modalities if m.station is None and m.ae_title != phantom.AE_TITLE)

    @property
    def default_grade(self) -> str:
        return self.grading.default

    def modality(self, calling_ae_title: str) -> Modality | None:
        return next((m for m in self.modalities if m.ae_title == calling_ae_title), None)

    def allows(self, calling_ae_title: str) -> bool:
        return self.modality(calling_ae_title) is not None

    def key_for(self, purpose: KeyPurpose, grade: str = "") -> SealingPublicKey:
        """Return the key of the highest epoch. A parsed document has INDEX, AUDIT and every grade that it uses."""
        return self._newest_keys[purpose, grade]

    @cached_property
    def _newest_keys(self) -> dict[tuple[KeyPurpose, str], SealingPublicKey]:
        return {(k.purpose, k.grade): k.key for k in sorted(self.keys, key=lambda k: k.epoch)}

    def encode(self) -> bytes:
        members: dict[str, Json] = {
            "v": 1,
            "layer": self.layer,
            "version": self.version,
            "modalities": [m.json() for m in self.modalities],
            "keys": [k.json() for k in self.keys],
            "receipt_key": encode_base64(self.receipt_key.spki),
            "grading": self.grading.json(),
            "timings": {"state_every_s": self.state_every_s, "pull_every_s": self.pull_every_s},
        }
        if self.routes:
            members["routes"] = [route.json() for route in self.routes]
        if self.dicom_trust:
            members["dicom_trust"] = self.dicom_trust
        if self.coverage is not None:
            members["coverage"] = {
                "calling_ae_title": self.coverage.calling_ae_title,
                "peer": self.coverage.peer.json(),
            }
        if self.spool_quota_bytes:
            members["spool_quota_bytes"] = self.spool_quota_bytes
        if self.frame_digests:
            members["frame_digests"] = True
        if self.devices is not None:
            members["devices"] = self.devices.json()
        if self.watch is not None:
            members["watch"] = self.watch.json()
        if self.wipe is not None:
            members["wipe"] = self.wipe.json()
        return canonical.encode(members)

    @classmethod
    def parse(cls, data: bytes) -> "PolicyDocument":
        """Raises Malformed, naming the field; nothing of an invalid document is used."""
        if len(data) > MAX_BYTES:
            raise Malformed("policy", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "policy"), "policy")
        fields.version()
        timings = fields.fields("timings")
        policy = cls(
            layer=fields.text("layer", LAYER_PATTERN),
            version=fields.integer("version", least=1),
            modalities=tuple(Modality.parse(item) for item in fields.items("modalities", most=MAX_MODALITIES)),
            keys=tuple(SealingKey.parse(item) for item in fields.items("keys", most=MAX_KEYS)),
            receipt_key=EvidencePublicKey.parse(fields.base64("receipt_key", max_bytes=1024)),
            grading=Grading.parse(fields.fields("grading")),
            state_every_s=timings.integer("state_every_s", least=1, most=MAX_STATE_EVERY_S),
            pull_every_s=timings.integer("pull_every_s", least=1, most=MAX_PULL_EVERY_S),
        )
        policy = policy._with_capture(fields)._with_devices(fields)
        for part in (fields, timings):
            part.done()
        if policy.encode() != data:
            raise Malformed("policy", "writes out a default; what has its default value is left out")
        policy._verify()
        return policy

    def _with_capture(self, fields: Fields) -> "PolicyDocument":
        routes = fields.items("routes", most=MAX_ROUTES) if fields.has("routes") else []
        trust = fields.text("dicom_trust", r"[ -~\n]+", max_chars=MAX_TRUST_CHARS) if fields.has("dicom_trust") else ""
        return replace(
            self,
            routes=tuple(Route.parse(route) for route in routes),
            dicom_trust=certificates(trust) if trust else "",
            coverage=Coverage.parse(fields.fields("coverage")) if fields.has("coverage") else None,
            spool_quota_bytes=fields.integer("spool_quota_bytes") if fields.has("spool_quota_bytes") else 0,
            frame_digests=fields.flag("frame_digests") if fields.has("frame_digests") else False,
        )

    def _with_devices(self, fields: Fields) -> "PolicyDocument":
        """Read what the privileged part of a host goes by."""
        return replace(
            self,
            devices=DevicePolicy.parse(fields.fields("devices")) if fields.has("devices") else None,
            watch=WatchPolicy.parse(fields.fields("watch")) if fields.has("watch") else None,
            wipe=WipePolicy.parse(fields.fields("wipe")) if fields.has("wipe") else None,
        )

    def _verify(self) -> None:
        _unique("modality AE title", (m.ae_title for m in self.modalities))
        _unique("route", (r.name for r in self.routes))
        _unique("key", ((k.purpose, k.grade, k.epoch) for k in self.keys))
        # A key that served two purposes would open to one service what only the other may see.
        _unique("public key", (k.key.raw for k in self.keys))
        held = {(k.purpose, k.grade) for k in self.keys}
        grades = dict.fromkeys((self.grading.default, *self.grading.grades))
        needed = [(KeyPurpose.DATA, grade) for grade in grades]
        for purpose, grade in (*needed, (KeyPurpose.INDEX, ""), (KeyPurpose.AUDIT, "")):
            if (purpose, grade) not in held:
                raise Malformed("policy", f"has no {purpose.value} key{f' for grade {grade}' * bool(grade)}")
        known = {route.name for route in self.routes}
        for route in self.grading.all_routes():
            if route not in known:
                raise Malformed("policy grading", f"names route {route}, which the policy does not have")
        if any(m.certificates for m in self.modalities) and not self.dicom_trust:
            raise Malformed("policy", "binds modalities to certificates and has no dicom_trust for them to chain to")


def _texts(fields: Fields, name: str, pattern: str, most: int) -> tuple[str, ...]:
    if not fields.has(name):
        return ()
    return tuple(Fields({name: item}, "policy modality").text(name, pattern) for item in fields.items(name, most=most))


def _unique(what: str, values: Iterable[object]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise Malformed("policy", f"lists a {what} twice")
        seen.add(value)
