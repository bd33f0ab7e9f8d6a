"""Sticks as files, made once without mounting anything, so that a host needs no device mapper and no file systems.

The LUKS payload is encrypted here (aes-xts-plain64), which cryptsetup cannot do without device mapper; the headers
are cryptsetup's. Costs are as low as they can be set: these keys protect nothing.
"""

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.lab import cache
from tests.lab.image import which

SECTOR = 512
MEDIUM_BYTES = 24 << 20
PAYLOAD_BYTES = 4 << 20
LUKS_OFFSET = 16 << 20
KEY, OTHER_KEY = b"the lab's key", b"somebody else's key"
NOTE_NAME, NOTE = "NOTE.TXT", b"what is on the stick\n"
CHEAP_2 = ("--pbkdf", "argon2id", "--pbkdf-memory", "32", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "4")
CHEAP_1 = ("--pbkdf-force-iterations", "1000")


@dataclass(frozen=True)
class Media:
    folder: Path

    def _named(self, name: str) -> Path:
        return self.folder / f"{name}.img"

    @property
    def fat(self) -> Path:
        """FAT over the whole stick, with a note in it."""
        return self._named("fat")

    @property
    def partitioned(self) -> Path:
        """An MBR with one FAT partition."""
        return self._named("partitioned")

    @property
    def luks2(self) -> Path:
        """LUKS2 with the lab's key, a FAT inside."""
        return self._named("luks2")

    @property
    def luks2_foreign(self) -> Path:
        """LUKS2 with a key that nobody here has."""
        return self._named("luks2-foreign")

    @property
    def luks1(self) -> Path:
        return self._named("luks1")

    @property
    def bitlocker(self) -> Path:
        """BitLocker To Go by all that its readers look at, and noise for the rest."""
        return self._named("bitlocker")

    @property
    def noise(self) -> Path:
        """Nothing but high entropy: what VeraCrypt looks like, and much else."""
        return self._named("noise")

    @property
    def empty(self) -> Path:
        return self._named("empty")


def media() -> Media:
    return Media(cache.kept("media", cache.key(Path(__file__).read_bytes()), _make))


def _make(folder: Path) -> None:
    made = Media(folder)
    payload = _fat(folder / "payload.img", PAYLOAD_BYTES)
    _fat(made.fat, MEDIUM_BYTES)
    _partition(made.partitioned, made.fat)
    for file, key, seed in ((made.luks2, KEY, 2), (made.luks2_foreign, OTHER_KEY, 3)):
        _luks(file, payload, key, seed, ("--type", "luks2", "--sector-size", "512", *CHEAP_2))
    _luks(made.luks1, payload, KEY, 1, ("--type", "luks1", *CHEAP_1))
    noise = random.Random(4).randbytes(MEDIUM_BYTES)
    made.noise.write_bytes(noise)
    made.bitlocker.write_bytes(_bitlocker_to_go(noise))
    _sized(made.empty, MEDIUM_BYTES)
    payload.unlink()


def _sized(file: Path, size_bytes: int) -> Path:
    with file.open("wb") as opened:
        opened.truncate(size_bytes)
    return file


def _fat(file: Path, size_bytes: int) -> Path:
    """A FAT file system with one small file, laid down by its first free cluster."""
    _tool("mkfs.vfat", "-F", "16", "-s", "1", "-n", "LAB", "-i", "1ab01ab0", str(_sized(file, size_bytes)))
    with file.open("r+b") as opened:
        boot = opened.read(SECTOR)
        reserved, fats = int.from_bytes(boot[14:16], "little"), boot[16]
        entries, fat_sectors = int.from_bytes(boot[17:19], "little"), int.from_bytes(boot[22:24], "little")
        for number in range(fats):
            opened.seek((reserved + number * fat_sectors) * SECTOR + 2 * 2)
            opened.write(b"\xff\xff")  # cluster 2: the last one of its file
        directory = (reserved + fats * fat_sectors) * SECTOR
        opened.seek(directory)
        free = next(n for n in range(entries) if opened.read(32)[0] == 0)
        opened.seek(directory + free * 32)
        stem, _, extension = NOTE_NAME.partition(".")
        entry = f"{stem:8}{extension:3}".encode() + b"\x20" + bytes(14) + (2).to_bytes(2, "little")
        opened.write(entry + len(NOTE).to_bytes(4, "little"))
        opened.seek(directory + entries * 32)
        opened.write(NOTE)
    return file


def _partition(file: Path, content: Path) -> None:
    first, count = 2048, content.stat().st_size // SECTOR
    table = bytearray(SECTOR)
    table[446:462] = b"\0\0\0\0\x0e\0\0\0" + first.to_bytes(4, "little") + count.to_bytes(4, "little")
    table[510:] = b"\x55\xaa"
    with file.open("wb") as opened:
        opened.write(table)
        opened.seek(first * SECTOR)
        opened.write(content.read_bytes())


def _bitlocker_to_go(noise: bytes) -> bytes:
    """FAT's jump, the name that its readers look for, its GUID, and where its three metadata blocks are."""
    medium, blocks = bytearray(noise), (1 << 20, 2 << 20, 3 << 20)
    medium[0:11] = b"\xeb\x58\x90MSWIN4.1"
    medium[424:440] = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")
    for number, offset in enumerate(blocks):
        medium[440 + 8 * number : 448 + 8 * number] = offset.to_bytes(8, "little")
        medium[offset : offset + 12] = b"-FVE-FS-" + (64).to_bytes(2, "little") + (2).to_bytes(2, "little")
    medium[510:512] = b"\x55\xaa"
    return bytes(medium)


def _luks(file: Path, payload: Path, key: bytes, seed: int, how: tuple[str, ...]) -> None:
    volume_key = random.Random(seed).randbytes(64)
    key_file, volume_key_file = file.with_suffix(".key"), file.with_suffix(".volume-key")
    key_file.write_bytes(key)
    volume_key_file.write_bytes(volume_key)
    _sized(file, LUKS_OFFSET + payload.stat().st_size)
    aligned = (
        ("--align-payload", str(LUKS_OFFSET // SECTOR)) if "luks1" in how else ("--offset", str(LUKS_OFFSET // SECTOR))
    )
    _tool(
        "cryptsetup", "--batch-mode", "luksFormat", "--cipher", "aes-xts-plain64", "--key-size", "512", *how, *aligned,
        "--volume-key-file", str(volume_key_file), "--key-file", str(key_file), str(file),
    )  # fmt: skip
    data = payload.read_bytes()
    with file.open("r+b") as opened:
        opened.seek(LUKS_OFFSET)
        for number in range(len(data) // SECTOR):
            tweak = modes.XTS(number.to_bytes(16, "little"))
            encryptor = Cipher(algorithms.AES(volume_key), tweak).encryptor()
            opened.write(encryptor.update(data[number * SECTOR : (number + 1) * SECTOR]))
    key_file.unlink()
    volume_key_file.unlink()


def _tool(program: str, *arguments: str) -> None:
    subprocess.run([which(program) or program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True)
