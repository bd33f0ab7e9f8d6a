"""Reads a bundle once, from its first byte to its last, and believes none of it before its signature holds."""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from provisioning.bundle import archive
from provisioning.bundle.archive import Member, whole
from provisioning.bundle.fingerprint import fingerprint, groups
from provisioning.bundle.manifest import (
    KEY,
    MANIFEST,
    MAX_SMALL_BYTES,
    SIGNATURE,
    SUMS,
    Manifest,
    parse_pem,
    parse_sums,
)
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.signing import EvidencePublicKey, Label, verify_detached

Trusted = Callable[[EvidencePublicKey], bool]


class BundleAltered(IntegrityFailure):
    def __init__(self, name: str) -> None:
        super().__init__(f"the bundle's {name} is not what was signed; nothing of it was used: fetch the bundle again")
        self.name = name


class UnknownReleaseKey(Refused):
    def __init__(self, key: EvidencePublicKey) -> None:
        super().__init__(
            f"the bundle was signed by the release key {groups(fingerprint(key))}, which is not known here. Where your "
            "sheet has just this key, run it again with --fingerprint and what the sheet says"
        )
        self.key = key


@dataclass(frozen=True)
class Verified:
    manifest: Manifest
    key: EvidencePublicKey
    names: tuple[str, ...]


def verify(file: BinaryIO, is_trusted: Trusted, sink: Callable[[str], Callable[[bytes], object]]) -> Verified:
    """Return what the bundle is once all of it is what a trusted key signed.

    `sink` gives what takes each member's content; what it took is worth nothing unless this returns.
    Raises Malformed, UnknownReleaseKey, SignatureInvalid, BundleAltered.
    """
    members = archive.read(file)
    sums = _small(members, SUMS)
    signature = _small(members, SIGNATURE)
    pem = _small(members, KEY)
    key = parse_pem(pem)
    if not is_trusted(key):
        raise UnknownReleaseKey(key)
    verify_detached(signature, Label.BUNDLE, sums, key)
    digests = parse_sums(sums)
    _verify_digest(KEY, sha256(pem).hexdigest(), digests)
    seen, manifest = [KEY], bytearray()
    for member, content in members:
        takes = sink(member.name)
        if member.name == MANIFEST:
            takes = _at_most(manifest, MAX_SMALL_BYTES, MANIFEST)
        _verify_digest(member.name, _taken(content, takes), digests)
        seen.append(member.name)
    if sorted(seen) != sorted(digests):
        raise BundleAltered("list of members")
    return Verified(Manifest.parse(bytes(manifest)), key, tuple(seen))


def _small(members: Iterator[tuple[Member, Iterator[bytes]]], name: str) -> bytes:
    member, content = next(members, (None, iter(())))
    if member is None or member.name != name:
        raise Malformed("bundle", f"{name} is not where it belongs")
    return whole(content, MAX_SMALL_BYTES, name)


def _at_most(into: bytearray, most: int, name: str) -> Callable[[bytes], object]:
    def take(piece: bytes) -> None:
        if len(into) + len(piece) > most:
            raise Malformed(name, f"larger than {most} bytes")
        into.extend(piece)

    return take


def _taken(content: Iterator[bytes], take: Callable[[bytes], object]) -> str:
    digest = sha256()
    for piece in content:
        digest.update(piece)
        take(piece)
    return digest.hexdigest()


def _verify_digest(name: str, found: str, digests: dict[str, str]) -> None:
    if not hmac.compare_digest(found, digests.get(name, "")):
        raise BundleAltered(name)
