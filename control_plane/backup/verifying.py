"""Proves a backup: every byte of its parts and bodies, that its rows are whole, and who signed it."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.backup import bodies
from control_plane.backup.folder import BackupDamaged, BackupFolder, load_manifest, open_part, verify_part
from control_plane.backup.lines import Lines
from control_plane.backup.manifest import BODIES, DATABASE, Manifest, Part
from control_plane.db.models import KeyRow
from control_plane.keys.drill import HeldKey
from control_plane.keys.root import RootKey
from control_plane.keys.store import JOURNAL
from control_plane.vault.local import LocalBodies
from shared.errors import Malformed
from shared.signing import EvidencePublicKey, Label, SoftwareSigner, claimed_payload, verify_statement


@dataclass(frozen=True)
class Proved:
    """`damaged` says of each body that is not as it was written what is wrong with it. `rows` counts all rows."""

    manifest: Manifest
    rows: int
    is_signature_proved: bool
    damaged: tuple[str, ...]


def prove(folder: BackupFolder, backup: Path, root: RootKey | None) -> Proved:
    """Read all of a backup. Without the root key its signature is not evaluated.

    Raises BackupDamaged: a part of it is missing, cut or other than was written, so nothing of it is to be believed.
    Raises Malformed, KeyNotAuthentic: another centre's root key; WrongSigner, SignatureInvalid.
    """
    signed = load_manifest(backup)
    manifest = Manifest.parse(claimed_payload(signed))
    if manifest.label != backup.name:
        raise BackupDamaged(backup, f"holds the manifest of {manifest.label}")
    for name, part in manifest.parts.items():
        verify_part(backup / name, part)
    rows, objects, journal = _read(backup)
    if objects != manifest.objects:
        raise BackupDamaged(backup, f"holds {objects} objects, and its manifest says {manifest.objects}")
    if root is not None:
        verify_statement(signed, Label.BACKUP, _key(root, journal))
    return Proved(manifest, rows, root is not None, _prove_bodies(folder, backup, manifest))


def keys_of(backup: Path) -> list[HeldKey]:
    """Return the keys in a backup, nothing of them believed. Raises BackupDamaged, Malformed."""
    with open_part(backup, DATABASE) as file:
        for header, rows in Lines(file).tables():
            if header.table == KeyRow.__tablename__:
                return [HeldKey(row["name"], row["key_id"], row["public"], row["sealed"]) for row in rows]
            deque(rows, maxlen=0)  # read over
    return []


def _read(backup: Path) -> tuple[int, int, bytes]:
    """Return how many rows there are, how many of them are objects, and the sealed key of the journal."""
    counts, journal = dict[str, int](), b""
    with open_part(backup, DATABASE) as file:
        for header, rows in Lines(file).tables():
            counts[header.table] = 0
            for row in rows:
                counts[header.table] += 1
                if header.table == "keys" and row.get("name") == JOURNAL and isinstance(row.get("sealed"), bytes):
                    journal = row["sealed"]
    return sum(counts.values()), counts.get("objects", 0), journal


def _key(root: RootKey, sealed: bytes) -> EvidencePublicKey:
    try:
        key = serialization.load_der_private_key(root.open(JOURNAL, sealed), password=None)
    except ValueError as exc:
        raise Malformed(JOURNAL, "not a private key") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Malformed(JOURNAL, "not an ECDSA key")
    return SoftwareSigner(key).public


def _prove_bodies(folder: BackupFolder, backup: Path, manifest: Manifest) -> tuple[str, ...]:
    here, count, damaged = LocalBodies(folder.objects), 0, list[str]()
    with open_part(backup, BODIES) as file:
        for body in bodies.read(file):
            count += 1
            if not body.is_held:
                damaged.append(f"object {body.object_id}: its body was not whole in the vault already")
                continue
            try:
                verify_part(here.path(body.object_id), Part(body.size_bytes, body.sha256))
            except BackupDamaged as exc:
                damaged.append(str(exc))
    if count != manifest.objects:
        raise BackupDamaged(backup / BODIES, f"names {count} bodies, and there are {manifest.objects} objects")
    return tuple(damaged)
