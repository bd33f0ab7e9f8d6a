"""The side of the person who publishes: the credential, and signing with the key that only it holds.

Runs on that person's machine. It believes the centre in nothing that a policy says: the sealing keys must be those
pinned in the credential when it was handed over, and what is published already must be signed by people's keys.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from getpass import getpass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import Signer
from tuf.api.metadata import Key, Root

from control_plane.durable import write_new
from control_plane.people.decide import ROLES
from control_plane.policy.dangers import dangers
from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.file.authored import Authored, AuthoredPart
from control_plane.policy.person_key import AskPin, PersonKey, parse_private, signer_for
from control_plane.policy.roles import (
    RoleKeys,
    build_layer,
    build_root,
    build_targets,
    key_of,
    named,
    parse_role,
    sign_role,
    signed_by,
    signer_of,
)
from control_plane.policy.root_change import WHENEVER
from control_plane.policy.together import LayerDocument, parse_document, verify_together
from control_plane.policy.verify import (
    Held,
    LayerNotDelegated,
    NothingStable,
    layer_version,
    others_of,
    verify_layer,
    verify_roots,
    verify_signers_agree,
    verify_targets,
)
from shared import canonical
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import Fields
from shared.identity import KeyId
from shared.policy.bundle import LayerBundle
from shared.policy.document import MAX_KEYS, ORGANISATION, KeyPurpose, PolicyDocument, SealingKey
from shared.signing import EvidencePublicKey

_MAX_BYTES = 64 * 1024


class UnpinnedKey(IntegrityFailure):
    """The centre serves a key that it did not hand over: it, or what stands between, may be trying to read images."""

    def __init__(self, key_id: KeyId, what: str) -> None:
        super().__init__(f"the centre names {what} {key_id}, which this credential does not pin; nothing was signed")
        self.key_id = key_id


class ForeignRoot(IntegrityFailure):
    def __init__(self, key_id: str) -> None:
        super().__init__(f"none of the centre's policy roots is signed by this credential's key {key_id[:16]}")
        self.key_id = key_id


class VersionMisstated(IntegrityFailure):
    """The centre would have had a version signed that does not follow the one published."""

    def __init__(self, *, stated: int, published: int) -> None:
        super().__init__(f"the centre asks for policy version {stated}, the newest published one is {published}")
        self.stated, self.published = stated, published


class NotASigner(Refused):
    def __init__(self, layer: str, key_id: str) -> None:
        super().__init__(f"this credential's key {key_id[:16]} may not sign policies of layer {layer}")
        self.layer, self.key_id = layer, key_id


class GradeWithoutKey(Refused):
    def __init__(self, grade: str, known: Sequence[str]) -> None:
        super().__init__(
            f"grading: there is no key for grade {grade}; use one that the centre has keys for: {', '.join(known)}"
        )
        self.grade, self.known = grade, tuple(known)


class CredentialExposed(Refused):
    def __init__(self, path: Path, mode: int) -> None:
        super().__init__(f"credential {path} is readable by others (mode {mode:04o}); run: chmod 600 {path}")
        self.path, self.mode = path, mode


class CredentialMissing(Refused):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"credential {path} cannot be read: {why}")
        self.path = path


class CredentialExists(Refused):
    def __init__(self, path: Path) -> None:
        super().__init__(f"credential {path} exists already; it is never overwritten")
        self.path = path


@dataclass(frozen=True)
class Credential:
    """One person's file: who they are to the centre, what they sign with, and which keys they trust.

    Canonical JSON, mode 0600. In version 1 the private key is in it, in clear: whoever has the file can sign. Version 2
    says where the key is kept instead: in a file beside it, or on a token. This reader refuses what it does not know.
    """

    person: str
    role: str
    url: str
    token: str
    pinned_keys: tuple[KeyId, ...]
    receipt_key_id: KeyId
    tuf_key: ec.EllipticCurvePrivateKey | PersonKey
    folder: Path = Path()  # where a key that is kept in a file of its own lies
    ask_pin: AskPin = getpass

    @property
    def signer(self) -> Signer:
        if isinstance(self.tuf_key, PersonKey):
            return signer_for(self.tuf_key, self.folder, self.ask_pin)
        return signer_of(self.tuf_key)

    def encode(self) -> bytes:
        members: dict[str, Json] = {
            "person": self.person,
            "role": self.role,
            "url": self.url,
            "token": self.token,
            "pinned_keys": [str(key_id) for key_id in self.pinned_keys],
            "receipt_key_id": str(self.receipt_key_id),
        }
        if isinstance(self.tuf_key, PersonKey):
            return canonical.encode({**members, "v": 2, "key": self.tuf_key.json()})
        signer = signer_of(self.tuf_key)
        tuf: Json = {"keyid": signer.public_key.keyid, "private_pem": signer.private_bytes.decode()}
        return canonical.encode({**members, "v": 1, "tuf": tuf})

    @classmethod
    def parse(cls, data: bytes) -> "Credential":
        """Raises Malformed, quoting nothing of what is secret."""
        if len(data) > _MAX_BYTES:
            raise Malformed("credential", f"larger than {_MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "credential"), "credential")
        kept_elsewhere = fields.integer("v", least=1, most=2) == 2
        key = PersonKey.read(fields.fields("key")) if kept_elsewhere else _inline_key(fields.fields("tuf"))
        credential = cls(
            person=fields.text("person", max_chars=80),
            role=fields.choice("role", ROLES),
            url=fields.text("url", r"https?://[!-~]{1,1000}"),
            token=fields.text("token", r"[!-~]{1,200}"),
            pinned_keys=tuple(_key_id(item) for item in fields.items("pinned_keys", most=MAX_KEYS)),
            receipt_key_id=KeyId.parse(fields.text("receipt_key_id")),
            tuf_key=key,
        )
        fields.done()
        return credential


def load_credential(path: Path) -> Credential:
    """Raises CredentialMissing, CredentialExposed, Malformed."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise CredentialMissing(path, exc.strerror or "unknown error") from exc
    if mode & 0o077:
        raise CredentialExposed(path, mode)
    return replace(Credential.parse(data), folder=path.parent)


def store_credential(path: Path, credential: Credential) -> None:
    """Write the credential durably, readable by its owner only. Raises CredentialExists."""
    try:
        write_new(path, credential.encode())
    except FileExistsError as exc:
        raise CredentialExists(path) from exc


def new_credential(
    *,
    person: str,
    role: str,
    url: str,
    token: str,
    sealing_keys: Sequence[SealingKey],
    receipt_key: EvidencePublicKey,
) -> Credential:
    """Return a credential with a fresh signing key, pinning the keys that exist now."""
    pinned = tuple(key.key.key_id for key in sealing_keys)
    key = ec.generate_private_key(ec.SECP256R1())
    return Credential(person, role, url, token, pinned, receipt_key.key_id, key)


def make_root_and_targets(
    people: Sequence[Signer],
    online: ec.EllipticCurvePublicKey,
    clock: Clock,
    *,
    threshold: int = 1,
    names: Sequence[str] = (),
) -> tuple[bytes, bytes]:
    """Return root and targets, version 1, by which `threshold` of `people` sign root, targets and the organisation."""
    now = clock.now()
    keys = [signer.public_key for signer in people]
    held = RoleKeys(tuple(map(named, keys, names)) if names else tuple(keys), threshold)
    root = build_root(root=held, targets=held, online=RoleKeys((key_of(online),)), version=1, now=now)
    targets = build_targets({ORGANISATION: held}, version=1, now=now)
    return sign_role(root, people), sign_role(targets, people)


def author(
    authored: Authored, parts: PolicyParts, credential: Credential, clock: Clock, *, rings: bool = False
) -> Publication:
    """Return the next version of the policy, signed; nothing is signed unless the centre's parts hold.

    It is tried together with the other layers, as they are published. With `rings` it is signed together with what all
    hosts have now, so that it can be rolled out and taken back.

    Raises UnpinnedKey, ForeignRoot, VersionMisstated, NotASigner, GradeWithoutKey, NothingStable, Malformed, what
    `verify_layer` raises for what is published at present, and what `verify_together` raises.
    """
    now = clock.now()
    verify_pinned(parts.keys, parts.receipt_key, credential)
    _verify_published(authored.layer, parts, credential, now)
    document = _compose(authored, parts)
    verify_together(document, others_of(authored.layer, parts.layers))
    policy = document.encode()
    parse_document(authored.layer, policy)  # what hosts would refuse is never signed
    stable = _stable(authored.layer, parts) if rings else b""
    found = dangers(LayerBundle(authored.layer, b"", policy), Held.of(parts))
    layer = build_layer(authored.layer, policy, version=document.version, now=now, stable=stable, dangers=found)
    publication = Publication(authored.layer, sign_role(layer, [credential.signer]), policy, stable)
    LayerBundle.parse(publication.bundle.encode())  # also that no host finds it too large
    return publication


def root_fingerprints(parts: PolicyParts, credential: Credential) -> dict[int, str]:
    """Return, by version, the SHA-256 of each policy root that a host may have been enrolled with.

    A person compares with it what a device guard pins, and what somebody is to sign who becomes a signer; also where
    the root has expired. Raises ForeignRoot, and what `verify_roots` raises.
    """
    _verify_roots(parts, credential, WHENEVER)
    return {parse_role(Root, root).signed.version: sha256(root).hexdigest() for root in parts.roots}


def verify_pinned(keys: Sequence[SealingKey], receipt_key: EvidencePublicKey, credential: Credential) -> None:
    """Raises UnpinnedKey."""
    for key in keys:
        if key.key.key_id not in credential.pinned_keys:
            raise UnpinnedKey(key.key.key_id, f"{key.purpose.value} key")
    if receipt_key.key_id != credential.receipt_key_id:
        raise UnpinnedKey(receipt_key.key_id, "receipt key")


def _verify_published(layer: str, parts: PolicyParts, credential: Credential, now: datetime) -> None:
    """Raise unless what the centre calls published is people's own work and the next version follows it.

    Otherwise a centre could have a version signed that is so high that none can follow, or one that is in use already.
    """
    mine = credential.signer.public_key.keyid
    root = _verify_roots(parts, credential, now)
    targets = verify_targets(root, parts.targets, now)
    verify_signers_agree(root, targets)
    delegated = None if targets.delegations is None else (targets.delegations.roles or {}).get(layer)
    if delegated is None:
        raise LayerNotDelegated(layer)
    if mine not in delegated.keyids:
        raise NotASigner(layer, mine)
    for held in parts.layers:
        verify_layer(targets, held)
    published = layer_version(parts.layers, ORGANISATION)
    if parts.next_version != published + 1:
        raise VersionMisstated(stated=parts.next_version, published=published)


def _verify_roots(parts: PolicyParts, credential: Credential, now: datetime) -> Root:
    root = verify_roots(parts.roots, now)
    verify_roots_lead_to(parts.roots, credential.signer.public_key)
    return root


def verify_roots_lead_to(roots: Sequence[bytes], mine: Key) -> None:
    """Raise ForeignRoot unless that key has signed one of the roots, of which each later one is signed by the last.

    Its owner has seen that one, so no centre made it up; who is added to a root has to sign it for this. What a root
    says is the key of that id is not asked.
    """
    if not any(signed_by([mine], parse_role(Root, root)) for root in roots):
        raise ForeignRoot(mine.keyid)


def _stable(layer: str, parts: PolicyParts) -> bytes:
    """Return what every host of the layer has, out of what was verified. Raises NothingStable."""
    stable = Held.of(parts).in_force(layer)
    if not stable:
        raise NothingStable(layer)
    return stable


def _compose(authored: Authored, parts: PolicyParts) -> LayerDocument:
    if isinstance(authored, AuthoredPart):
        return authored.document(layer_version(parts.layers, authored.layer) + 1)
    held = sorted({key.grade for key in parts.keys if key.purpose is KeyPurpose.DATA})
    for grade in (authored.grading.default, *authored.grading.grades):
        if grade not in held:
            raise GradeWithoutKey(grade, held)
    return PolicyDocument(
        layer=authored.layer,
        version=parts.next_version,
        modalities=authored.modalities,
        keys=parts.keys,
        receipt_key=parts.receipt_key,
        grading=authored.grading,
        state_every_s=authored.state_every_s,
        pull_every_s=authored.pull_every_s,
        routes=authored.routes,
        dicom_trust=authored.dicom_trust,
        coverage=authored.coverage,
        spool_quota_bytes=authored.spool_quota_bytes,
        frame_digests=authored.frame_digests,
        devices=authored.devices,
        watch=authored.watch,
        wipe=authored.wipe,
    )


def _key_id(value: Json) -> KeyId:
    return KeyId.parse(Fields({"key": value}, "credential pinned key").text("key", max_chars=32))


def _inline_key(tuf: Fields) -> ec.EllipticCurvePrivateKey:
    pem = tuf.text("private_pem", r"[ -~\n]*", max_chars=4096)
    key = parse_private(pem.encode(), "credential field 'private_pem'")
    if tuf.text("keyid") != signer_of(key).public_key.keyid:
        raise Malformed("credential field 'tuf'", "keyid is not that of the private key beside it")
    tuf.done()
    return key
