"""What the guard and its verifying child say to one another.

    offer   = count || length of head || head || (length of layer || layer) * count
              count 1 byte, each length 4 bytes, big-endian
    answer  = one line of canonical JSON and U+000A, of one of two forms
              {"v":1, "ok":true, "layer", "version", "sha256", "expires", "signed_at", "devices", "watch",
               "parts":[[layer, version, sha256], ...], "newer":[[layer, version, sha256], ...], "root_version",
               "choice":{"key", "root", "snapshot"}};
              "signed_at", "devices", "watch" may be null; the last four, and "wipe", are there where they say something
              {"v":1, "ok":false, "kind": refused | integrity | unavailable, "error"}

Both run the same code on the same machine, so a change of form needs no second version beside it. But the guard keeps
the members of an answer on its disk, and reads what an earlier version of it kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from edge_agent.policy_sync.choice import Choice
from shared import canonical, clock
from shared.canonical import Json
from shared.devices.policy import DevicePolicy
from shared.devices.printable import printable
from shared.devices.watch import WatchPolicy
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fields import Fields
from shared.policy.accept import AcceptedPolicy
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES
from shared.policy.layer import LAYER_PATTERN, is_part, verify_parts
from shared.policy.wipe import WipePolicy

MAX_LAYERS = 3  # the organisation's, and those of a site and of a type of modality
MAX_OFFER_BYTES = 1 + 4 + MAX_HEAD_BYTES + MAX_LAYERS * (4 + MAX_LAYER_BYTES)
# What all layers come to is one valid policy document of at most half as much, and the answer has two sections of it.
MAX_ANSWER_BYTES = MAX_LAYER_BYTES
MAX_ERROR_CHARS = 400
UNKNOWN_CHOICE = Choice()


class Kind(StrEnum):
    """Which of the three parents of our errors the reason has."""

    REFUSED = "refused"
    INTEGRITY = "integrity"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Offer:
    """Bundles as somebody who may be hostile handed them over."""

    head: bytes
    layers: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Raises Malformed: larger than a bundle can be, or more layers than a host has."""
        if len(self.layers) > MAX_LAYERS:
            raise Malformed("policy offer", f"more than {MAX_LAYERS} layers")
        parts = [("head", self.head, MAX_HEAD_BYTES), *(("layer", layer, MAX_LAYER_BYTES) for layer in self.layers)]
        for what, part, most in parts:
            if len(part) > most:
                raise Malformed(f"offered policy {what}", f"larger than {most} bytes")

    def encode(self) -> bytes:
        framed = (len(part).to_bytes(4, "big") + part for part in (self.head, *self.layers))
        return b"".join((len(self.layers).to_bytes(1, "big"), *framed))

    @classmethod
    def parse(cls, data: bytes) -> "Offer":
        """Raises Malformed."""
        count = min(int.from_bytes(data[:1], "big"), MAX_LAYERS)
        parts, at = list[bytes](), 1
        for _ in range(1 + count):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            parts.append(data[at + 4 : end])
            at = end
        offer = cls(parts[0], tuple(parts[1:]))
        if offer.encode() != data:
            raise Malformed("policy offer", "its count and lengths are not those of what it holds")
        return offer


@dataclass(frozen=True)
class VerifiedPolicy:
    """What verified layers come to on this host. `devices` and `watch` are None where they say nothing of them.

    `layer`, `version` and `sha256` are of the organisation's document that this host acts by, `parts` of the others.
    """

    layer: str
    version: int
    sha256: bytes  # of the whole policy document
    expires: datetime  # the earliest expiry of the metadata that vouches for it
    signed_at: datetime | None  # when its timestamp was signed; None: the signer does not say
    devices: DevicePolicy | None
    watch: WatchPolicy | None = None
    root_version: int = 1  # of the root that it was verified under
    parts: tuple[AcceptedPolicy, ...] = ()
    newer: tuple[AcceptedPolicy, ...] = ()  # the newest of each layer whose roll-out has not reached this host
    choice: Choice = UNKNOWN_CHOICE
    wipe: WipePolicy | None = None  # None: no drive of this host is wiped

    @property
    def acts_by(self) -> tuple[AcceptedPolicy, ...]:
        """Return what is in force of each layer that is published, the organisation's first."""
        return (AcceptedPolicy(self.layer, self.version, self.sha256), *self.parts)

    @property
    def accepted(self) -> tuple[AcceptedPolicy, ...]:
        """Return the newest of the same layers, below which nothing may be taken any more."""
        newer = {each.layer: each for each in self.newer}
        return tuple(newer.get(each.layer, each) for each in self.acts_by)

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
            **layers_member("parts", self.parts),
            **layers_member("newer", self.newer),
            **choice_member(self.choice),
            **({} if self.wipe is None else {"wipe": self.wipe.json()}),
        }

    @classmethod
    def read(cls, fields: Fields) -> "VerifiedPolicy":
        """Take the members that `json` writes. Raises Malformed."""
        policy = cls(
            fields.text("layer", LAYER_PATTERN),
            fields.integer("version", least=1),
            fields.hex("sha256", 32),
            fields.instant("expires"),
            None if fields.is_null("signed_at") else fields.instant("signed_at"),
            None if fields.is_null("devices") else DevicePolicy.parse(fields.fields("devices")),
            None if fields.is_null("watch") else WatchPolicy.parse(fields.fields("watch")),
            read_root_version(fields),
            read_layers_member("parts", fields),
            read_layers_member("newer", fields),
            read_choice(fields),
            WipePolicy.parse(fields.fields("wipe")) if fields.has("wipe") else None,
        )
        verify_parts([part.layer for part in policy.parts])
        if not all(is_part(part.layer) for part in policy.parts):
            raise Malformed("verified policy", "one of its parts is none")
        versions = {each.layer: each.version for each in policy.acts_by}
        if any(each.version <= versions.get(each.layer, each.version) for each in policy.newer):
            raise Malformed("verified policy", "a version that is to be newer is none, or of no layer that it has")
        return policy


def root_member(version: int) -> dict[str, Json]:
    """Return the member that names a root's version; that of the first is left out, as before there were others."""
    return {"root_version": version} if version > 1 else {}


def read_root_version(fields: Fields) -> int:
    """Take what `root_member` writes. Raises Malformed."""
    return fields.integer("root_version", least=2) if fields.has("root_version") else 1


def choice_member(choice: Choice) -> dict[str, Json]:
    """Return the member that names a choice; one that is not known is left out, as before there were any."""
    return {"choice": choice.json()} if choice != UNKNOWN_CHOICE else {}


def read_choice(fields: Fields) -> Choice:
    """Take what `choice_member` writes. Raises Malformed."""
    return Choice.parse(fields.fields("choice")) if fields.has("choice") else UNKNOWN_CHOICE


def layers_member(name: str, layers: Sequence[AcceptedPolicy]) -> dict[str, Json]:
    """Return the member of this name; it is left out where it lists no layer."""
    return {name: [[each.layer, each.version, each.sha256.hex()] for each in layers]} if layers else {}


def read_layers_member(name: str, fields: Fields) -> tuple[AcceptedPolicy, ...]:
    """Take what `layers_member` writes. Raises Malformed: also for a layer twice, and a list that is empty."""
    if not fields.has(name):
        return ()
    layers = tuple(_read_layer(name, each) for each in fields.items(name, most=MAX_LAYERS))
    if not layers or len({each.layer for each in layers}) < len(layers):
        raise Malformed(f"member {name!r}", "it lists no layer, or one twice")
    return layers


def _read_layer(name: str, value: Json) -> AcceptedPolicy:
    what = f"member {name!r}"
    if not isinstance(value, list) or len(value) != 3:
        raise Malformed(what, "expected layer, version and SHA-256")
    fields = Fields(dict(zip(("layer", "version", "sha256"), value, strict=True)), what)
    return AcceptedPolicy(
        fields.text("layer", LAYER_PATTERN), fields.integer("version", least=1), fields.hex("sha256", 32)
    )


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
