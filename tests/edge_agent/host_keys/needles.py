"""Looks for private keys in whatever lies in a folder."""

import base64
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.config import AgentFolder, load_identity
from edge_agent.host_keys.commands import Vaults
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyName


def needles_of(pem: bytes) -> list[bytes]:
    """Return what gives a key away, in the forms in which it could lie on a disk."""
    start = pem.index(b"-----BEGIN PRIVATE KEY-----")
    key = serialization.load_pem_private_key(pem[start:], None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    lines = pem[start:].splitlines()[1:-1]
    return [scalar, scalar.hex().encode(), base64.b64encode(scalar)[:40], *(line for line in lines[:2])]


def private_parts(folder: AgentFolder, vault: Vaults) -> dict[str, list[bytes]]:
    keys = HostKeyStore(folder.identity, vault(load_identity(folder, vault).config.keys))
    found = {str(name): needles_of(keys.load(name)) for name in (KeyName.TLS, KeyName.EVIDENCE, KeyName.DICOM)}
    seed = keys.load(KeyName.FORWARDING)
    return found | {"forwarding": [seed, seed.hex().encode(), base64.b64encode(seed)[:40]]}


def found_in(folder: Path, needles: Iterable[bytes]) -> set[str]:
    wanted = list(needles)
    return {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and any(needle in file.read_bytes() for needle in wanted)
    }
