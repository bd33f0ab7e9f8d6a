"""What the guard and its verifying child say to one another.

    offer   = length of head || head || length of layer || layer      each length 4 bytes, big-endian
    answer  = one line of canonical JSON and U+000A, of one of two forms
              {"v":1, "ok":true, "layer", "version", "sha256", "expires", "signed_at", "devices", "watch"};
              the last three may be null
              {"v":1, "ok":false, "kind": refused | integrity | unavailable, "error"}

Both run the same code on the same machine, so a change of form needs no second version beside it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from shared import canonical, clock
from shared.canonical import Json
from shared.devices.policy import DevicePolicy
from shared.devices.printable import printable
from shared.devices.watch import WatchPolicy
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fields import Fields
from shared.policy.accept import AcceptedPolicy
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES
from shared.policy.layer import LAYER_PATTERN

MAX_OFFER_BYTES = 4 + MAX_HEAD_BYTES + 4 + MAX_LAYER_BYTES
MAX_ANSWER_BYTES = MAX_LAYER_BYTES  # the devices section is part of a document that a layer bundle holds
MAX_ERROR_CHARS = 400


class Kind(StrEnum):
    """Which of the three parents of our errors the reason has."""

    REFUSED = "refused"
    INTEGRITY = "integrity"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Offer:
    """Bundles as somebody who may be hostile handed them over."""

    head: bytes
    layer: bytes

    def __post_init__(self) -> None:
        """Raises Malformed: larger than a bundle can be."""
        for what, part, most in (("head", self.head, MAX_HEAD_BYTES), ("layer", self.layer, MAX_LAYER_BYTES)):
            if len(part) > most:
                raise Malformed(f"offered policy {what}", f"larger than {most} bytes")

    def encode(self) -> bytes:
        return b"".join(len(part).to_bytes(4, "big") + part for part in (self.head, self.layer))

    @classmethod
    def parse(cls, data: bytes) -> "Offer":
        """Raises Malformed."""
        parts: list[bytes] = []
        at = 0
        for _ in range(2):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            parts.append(data[at + 4 : end])
            at = end
        offer = cls(*parts)
        if offer.encode() != data:
            raise Malformed("policy offer", "its lengths are not those of what it holds")
        return offer


@dataclass(frozen=True)
class VerifiedPolicy:
    """What a verified policy says to the guard. `devices` and `watch` are None where it says nothing of them."""

    layer: str
    version: int
    sha256: bytes  # of the whole policy document
    expires: datetime  # the earliest expiry of the metadata that vouches for it
    signed_at: datetime | None  # when its timestamp was signed; None: the signer does not say
    devices: DevicePolicy | None
    watch: WatchPolicy | None = None
    root_version: int = 1  # of the root that it was verified under

    @property
    def accepted(self) -> AcceptedPolicy:
        return AcceptedPolicy(self.layer, self.version, self.sha256)

    def json(self) -> dict[str, Json]:
        return {
            "layer": self.layer,
            "version": self.version,
            "sha256": self.sha256.hex(),
            "expires": clock.text(self.expires),
            "signed_at": None if self.signed_at is None else clock.text(self.signed_at),
            "devices": None if self.devices is None else self.devices.json(),
            "watch": None if self.watch is None else self.watch.json(),
            **root_member(self.root_version),
        }

    @classmethod
    def read(cls, fields: Fields) -> "VerifiedPolicy":
        """Take the members that `json` writes. Raises Malformed."""
        return cls(
            fields.text("layer", LAYER_PATTERN),
            fields.integer("version", least=1),
            fields.hex("sha256", 32),
            fields.instant("expires"),
            None if fields.is_null("signed_at") else fields.instant("signed_at"),
            None if fields.is_null("devices") else DevicePolicy.parse(fields.fields("devices")),
            None if fields.is_null("watch") else WatchPolicy.parse(fields.fields("watch")),
            read_root_version(fields),
        )


def root_member(version: int) -> dict[str, Json]:
    """Return the member that names a root's version; that of the first is left out, as before there were others."""
    return {"root_version": version} if version > 1 else {}


def read_root_version(fields: Fields) -> int:
    """Take what `root_member` writes. Raises Malformed."""
    return fields.integer("root_version", least=2) if fields.has("root_version") else 1


@dataclass(frozen=True)
class RefusedOffer:
    kind: Kind
    error: str

    @classmethod
    def because(cls, exc: Refused | IntegrityFailure | Unavailable) -> "RefusedOffer":
        kind = Kind.UNAVAILABLE
        if not isinstance(exc, Unavailable):
            kind = Kind.INTEGRITY if isinstance(exc, IntegrityFailure) else Kind.REFUSED
        return cls.of(kind, f"{type(exc).__name__}: {exc}")

    @classmethod
    def of(cls, kind: Kind, error: str) -> "RefusedOffer":
        return cls(kind, printable(error, MAX_ERROR_CHARS))


Judgement: TypeAlias = VerifiedPolicy | RefusedOffer


def line(judgement: Judgement) -> bytes:
    members: dict[str, Json]
    if isinstance(judgement, VerifiedPolicy):
        members = {"v": 1, "ok": True, **judgement.json()}
    else:
        members = {"v": 1, "ok": False, "kind": judgement.kind.value, "error": judgement.error}
    return canonical.encode(members) + b"\n"


def parse_line(data: bytes) -> Judgement:
    """Read the whole output of a child. Raises Malformed: anything else than the one line."""
    what = "the verifying child's answer"
    if len(data) > MAX_ANSWER_BYTES or not data.endswith(b"\n"):
        raise Malformed(what, f"{len(data)} bytes that are not one line of at most {MAX_ANSWER_BYTES}")
    fields = Fields(canonical.parse(data[:-1], what), what)
    fields.version()
    judgement: Judgement
    if fields.flag("ok"):
        judgement = VerifiedPolicy.read(fields)
    else:
        kind = Kind(fields.choice("kind", list(Kind)))
        judgement = RefusedOffer.of(kind, fields.text("error", max_chars=MAX_ERROR_CHARS))
    fields.done()
    return judgement
