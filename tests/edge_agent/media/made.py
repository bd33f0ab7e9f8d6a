"""Media for tests: images that the usual tools make, and headers made by hand where no tool writes such a thing."""

import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edge_agent.media.head import ReadAt
from edge_agent.media.survey import KernelPartition, Survey, survey

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
SECTOR = 512
MIB = 1 << 20
HEADER_BYTES = 0x4000
DATA_AT = 0x48000  # where the encrypted data of headers made by hand begins
_CHEAP = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"


def run(command: str, given: bytes = b"") -> str:
    """Run a maker, or skip where it is not installed."""
    program = command.split(maxsplit=1)[0]
    if shutil.which(program, path=PROGRAMS) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        command.split(), input=given, capture_output=True, check=False, env={"PATH": PROGRAMS, "LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def image(folder: Path, size_bytes: int, command: str = "", given: bytes = b"") -> Path:
    """Return a sparse file of that size, after `command`, which has {} where its path goes."""
    path = folder / f"image-{len(list(folder.iterdir()))}"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    if command:
        run(command.format(path), given)
    return path


def luks(folder: Path, size_bytes: int, kind: str = "luks2", more: str = "") -> Path:
    cost = "--pbkdf-force-iterations 1000" if kind == "luks1" else _CHEAP
    return image(folder, size_bytes, f"cryptsetup luksFormat -q --type {kind} {cost} {more} {{}} -", b"passphrase")


def put(path: Path, at: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    return path


def of_bytes(data: bytes) -> ReadAt:
    return lambda at, size: data[at : at + size]


def surveyed(path: Path, kernel: tuple[KernelPartition, ...] = (), sector_bytes: int = SECTOR) -> Survey:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return survey(lambda at, size: os.pread(descriptor, size, at), path.stat().st_size, sector_bytes, kernel)
    finally:
        os.close(descriptor)


def surveyed_bytes(data: bytes, kernel: tuple[KernelPartition, ...] = ()) -> Survey:
    return survey(of_bytes(data), len(data), SECTOR, kernel)


# ---- LUKS2 by hand


def members() -> dict[str, Any]:
    """Return the JSON area of a small LUKS2 header, as cryptsetup would write it."""
    salt = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    return {
        "keyslots": {
            "0": {
                "type": "luks2",
                "key_size": 64,
                "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
                "area": {
                    "type": "raw", "offset": str(2 * HEADER_BYTES), "size": "258048",
                    "encryption": "aes-xts-plain64", "key_size": 64,
                },
                "kdf": {"type": "argon2id", "time": 4, "memory": 65536, "cpus": 1, "salt": salt},
            }
        },
        "tokens": {},
        "segments": {
            "0": {
                "type": "crypt", "offset": str(DATA_AT), "size": "dynamic", "iv_tweak": "0",
                "encryption": "aes-xts-plain64", "sector_size": 512,
            }
        },
        "digests": {
            "0": {
                "type": "pbkdf2", "keyslots": ["0"], "segments": ["0"], "hash": "sha256", "iterations": 1000,
                "salt": salt, "digest": salt,
            }
        },
        "config": {"json_size": str(HEADER_BYTES - 4096), "keyslots_size": str(DATA_AT - 2 * HEADER_BYTES)},
    }  # fmt: skip


def luks2_copy(area: bytes, offset: int, *, algorithm: bytes = b"sha256", padding: bytes = b"") -> bytes:
    """Return one copy of a header whose checksum holds; `padding` lies behind its 512 bytes that say something."""
    magic = b"SKUL\xba\xbe" if offset else b"LUKS\xba\xbe"
    fields = struct.pack(
        ">6sHQQ48s32s64s40s48sQ", magic, 2, HEADER_BYTES, 3, b"STICK", algorithm, bytes(64),
        b"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", b"", offset,
    )  # fmt: skip
    binary = fields.ljust(512, b"\0") + padding.ljust(4096 - 512, b"\0")
    checksum = sha256(binary + area).digest()
    return binary[:448] + checksum + binary[480:] + area


def luks2_bytes(changed: Any = None, *, size_bytes: int = DATA_AT, padding: bytes = b"") -> bytes:
    """Return a medium of at least `size_bytes` with both copies; `changed` instead of `members()`."""
    area = json.dumps(members() if changed is None else changed).encode().ljust(HEADER_BYTES - 4096, b"\0")
    copies = luks2_copy(area, 0, padding=padding) + luks2_copy(area, HEADER_BYTES, padding=padding)
    return copies.ljust(size_bytes, b"\0")


# ---- boot sectors by hand


def bitlocker(name: bytes = b"-FVE-FS-", guid_at: int = 160, guid: str = "3bd66749292ed84a8399f6a339e3d001") -> bytes:
    sector = bytearray(SECTOR)
    sector[0:3], sector[3:11], sector[510:512] = b"\xeb\x58\x90", name, b"\x55\xaa"
    sector[guid_at : guid_at + 16] = bytes.fromhex(guid)
    return bytes(sector)


def fat_sector() -> bytes:
    sector = bytearray(SECTOR)
    sector[0:3], sector[3:11] = b"\xeb\x3c\x90", b"MSWIN4.1"
    sector[11:13], sector[13], sector[14:16], sector[16], sector[21] = b"\x00\x02", 4, b"\x01\x00", 2, 0xF8
    sector[43:54], sector[510:512] = b"STICK      ", b"\x55\xaa"
    return bytes(sector)


def mbr(*entries: tuple[int, int, int], flag: int = 0) -> bytes:
    """Return sector 0 with entries of type, first sector and number of sectors."""
    table = b"".join(struct.pack("<B3xB3xII", flag, *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def with_size(looked_at: Survey, size_bytes: int) -> Survey:
    return replace(looked_at, size_bytes=size_bytes)
