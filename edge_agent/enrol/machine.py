"""What identifies this machine, as digests: enough to know it again, too little to name it.

digest      = SHA-256("leadglass machine v1" || 0x00 || kind || 0x00 || value)
machine-id    /etc/machine-id as sd_id128_get_machine_app_specific(3) derives it for our application: 16 bytes
product_uuid, product_serial, board_serial
              what the firmware says, in small letters; most of it only root may read, and what cannot be read, or
              is the same on many machines, is left out
"""

import hmac
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from shared.enrolment.exchange import MAX_MACHINE_DIGESTS

# systemd-id128 new; says whose derived id it is and nothing else.
_APPLICATION = bytes.fromhex("b1c7d5a4e0f24f3c9a6d8e5b72c40f19")
_FIRMWARE = ("product_uuid", "product_serial", "board_serial")
_SHORTEST = 6
# What makers leave in place of a number; taken for one, it would make one machine of very many.
_NOBODYS = frozenset(
    {"to be filled by o.e.m.", "default string", "system serial number", "not specified", "not applicable", "unknown"}
)


def machine_digests(root: Path = Path("/")) -> tuple[bytes, ...]:
    found = dict.fromkeys(_digest(kind, value) for kind, value in _identities(root))
    return tuple(found)[:MAX_MACHINE_DIGESTS]


def app_specific(machine_id: bytes) -> bytes:
    """Return what sd_id128_get_machine_app_specific gives for our application."""
    derived = bytearray(hmac.digest(machine_id, _APPLICATION, "sha256")[:16])
    derived[6] = derived[6] & 0x0F | 0x40
    derived[8] = derived[8] & 0x3F | 0x80
    return bytes(derived)


def _identities(root: Path) -> Iterator[tuple[str, bytes]]:
    machine_id = _read(root / "etc/machine-id")
    if re.fullmatch(r"[0-9a-f]{32}", machine_id):  # it may be missing, or say "uninitialized"
        yield "machine-id", app_specific(bytes.fromhex(machine_id))
    for name in _FIRMWARE:
        value = _read(root / "sys/class/dmi/id" / name).lower()
        if len(value) >= _SHORTEST and len(set(value) - set("-")) > 2 and value not in _NOBODYS:
            yield name, value.encode()


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _digest(kind: str, value: bytes) -> bytes:
    return sha256(b"\x00".join((b"leadglass machine v1", kind.encode(), value))).digest()
