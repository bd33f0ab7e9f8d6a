"""Inside the guest: SCSI and SATA disks whose firmware is this program, each a real /dev/sdX made by TCMU and tcm_loop.

    firmware_disk.py SERIAL:ata|scsi[:HIDDEN] ...

A disk's mode is what stands in /run/SERIAL.mode when a command comes. HIDDEN sectors are in a host protected area.

    ok       does what it is told; a sanitize is over at the third look at its status
    lie      goes through all the motions, and every byte stays
    idle     answers every command with success, and is never at work
    frozen   its firmware was told to take no security and no sanitize commands
    fail     begins, and ends in an error

Prints `ready SERIAL /dev/sdX` for each, and a line for each erasing command. Ends with SIGTERM, and the disks with it.
ATA commands come by SAT (ACS-4, SAT-4), the rest is SPC-5 and SBC-4; the ring is Documentation/target/tcmu-design.
"""

import contextlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

TARGET = Path("/sys/kernel/config/target")
MODES, LOOKS = Path("/run"), 3
SECTOR, SIZE = 512, 1 << 20
SECTORS = SIZE // SECTOR
FROZEN, RUNNING, WELL = 0x20, 0x40, 0x80  # of SANITIZE STATUS EXT, high byte of the count


class Sense(Exception):
    """The command ends with CHECK CONDITION and this."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data.hex())
        self.data = data


def fixed(key: int, code: int, progress: int | None = None) -> bytes:
    tail = b"\0\0\0" if progress is None else b"\x80" + struct.pack(">H", progress)
    return bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code >> 8, code & 0xFF, 0]) + tail


INVALID_COMMAND, INVALID_FIELD, SANITIZE_FAILED = fixed(5, 0x2000), fixed(5, 0x2400), fixed(3, 0x3103)


def registers(status: int, error: int = 0, count: int = 0, lba: int = 0) -> Sense:
    """ATA Status Return: how an ATA command that asks for it ends, well or not."""
    key, code = (0xB, 0) if status & 1 else (1, 0x1D)
    low, high = lba & 0xFFFFFF, lba >> 24
    places = [part >> shift & 0xFF for shift in (0, 8, 16) for part in (high, low)]
    return Sense(
        bytes([0x72, key, 0, code, 0, 0, 0, 14, 9, 12, 1, error, count >> 8, count & 0xFF, *places, 0x40, status])
    )


ABORTED = (0x51, 4)


@dataclass
class Job:
    kind: str
    looks: int = 0


@dataclass
class Disk:
    serial: str
    is_ata: bool
    shown: int = SECTORS
    image: bytearray = field(default_factory=lambda: bytearray(SIZE))
    password: bytes | None = None
    prepared: bool = False
    job: Job | None = None
    well: bool = False
    failed: bool = False  # until another sanitize

    @property
    def mode(self) -> str:
        return MODES.joinpath(f"{self.serial}.mode").read_text()

    def told(self, what: str) -> None:
        print(f"{self.serial} {what} {self.mode}", flush=True)

    def erase(self, what: str) -> None:
        self.told(what)
        if self.mode == "ok":
            self.image[:] = bytes(SIZE)

    # ---- sanitize, of either protocol

    def begin(self, kind: str) -> None:
        self.told(f"began {kind}")
        if self.mode != "idle":
            self.job, self.well, self.failed = Job(kind), False, False

    def look(self) -> int | None:
        """Tell whoever asks for its status how far a sanitize is, which brings it on."""
        if self.job is not None:
            self.job.looks += 1
        return self.progress()

    def progress(self) -> int | None:
        """Return how far a sanitize is, and None when none is at work; raises Sense when the last one failed."""
        if self.failed:
            raise Sense(SANITIZE_FAILED)
        if self.job is None:
            return None
        if self.job.looks < LOOKS:
            return self.job.looks * 65536 // LOOKS
        job, self.job = self.job, None
        if self.mode == "fail":
            self.failed = True
            raise Sense(SANITIZE_FAILED)
        self.erase(job.kind)
        self.well = True
        return None

    # ---- SCSI

    def scsi(self, cdb: bytes, data: bytes) -> bytes:
        operation = cdb[0]
        if operation == 0x12:
            return self.inquiry(cdb)
        if operation in {0x85, 0xA1} and self.is_ata:
            return self.max_address(cdb) if cdb[14] in {0x27, 0x37} else self.ata(*taken_apart(cdb), data)
        if operation == 0x03:
            return self.request_sense()
        if operation == 0x48 and not self.is_ata:
            return self.sanitize(cdb)
        progress = self.progress()
        if progress is not None:
            raise Sense(fixed(2, 0x041B, progress))
        if operation in {0x00, 0x1B, 0x1E, 0x35, 0x91}:
            return b""
        if operation == 0xA3 and cdb[1] & 0x1F == 0x0C and not self.is_ata:
            return self.supported(cdb)
        return self.block(cdb, data)

    def request_sense(self) -> bytes:
        try:
            progress = self.look()
        except Sense as exc:
            return exc.data
        return fixed(0, 0) if progress is None else fixed(0, 0x041B, progress)

    def block(self, cdb: bytes, data: bytes) -> bytes:
        operation = cdb[0]
        if operation == 0x25:
            return struct.pack(">II", self.shown - 1, SECTOR)
        if operation == 0x9E and cdb[1] & 31 == 0x10:
            return struct.pack(">QI", self.shown - 1, SECTOR) + bytes(20)
        if operation == 0x1A:
            return bytes([3, 0, 0, 0])
        if operation == 0x5A:
            return bytes([0, 6, 0, 0, 0, 0, 0, 0])
        if operation in {0x28, 0x2A}:
            first, count = int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[7:9], "big")
        elif operation in {0x88, 0x8A}:
            first, count = int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[10:14], "big")
        else:
            raise Sense(INVALID_COMMAND)
        if first + count > self.shown:
            raise Sense(fixed(5, 0x2100))
        place = slice(first * SECTOR, (first + count) * SECTOR)
        if operation & 0xF == 8:
            return bytes(self.image[place])
        self.image[place] = data
        return b""

    def inquiry(self, cdb: bytes) -> bytes:
        if not cdb[1] & 1:
            return (
                bytes([0, 0, 5, 2, 31, 0, 0, 2])
                + (b"ATA     " if self.is_ata else b"LAB     ")
                + b"FIRMWARE DISK   1.0 "
            )
        name = self.serial.encode()
        pages = {
            0x00: bytes([0, 0x80, 0x83]),
            0x80: name,
            0x83: bytes([2, 1, 0, 8 + len(name)]) + b"LAB     " + name,
        }
        if cdb[2] not in pages:
            raise Sense(INVALID_FIELD)
        page = pages[cdb[2]]
        return bytes([0, cdb[2]]) + struct.pack(">H", len(page)) + page

    def supported(self, cdb: bytes) -> bytes:
        """REPORT SUPPORTED OPERATION CODES for one command."""
        if cdb[2] & 7 == 0:
            raise Sense(INVALID_FIELD)
        is_there = cdb[3] == 0x48 and int.from_bytes(cdb[4:6], "big") in {1, 2, 3}
        return bytes([0, 3, 0, 10, 0x48, 0x9F, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]) if is_there else bytes([0, 1, 0, 0])

    def sanitize(self, cdb: bytes) -> bytes:
        if self.mode == "frozen":
            raise Sense(fixed(5, 0x2002))
        kinds = {1: "overwrite", 2: "block", 3: "crypto"}
        if cdb[1] & 0x1F not in kinds:
            raise Sense(INVALID_FIELD)
        self.begin(kinds[cdb[1] & 0x1F])
        return b""

    # ---- ATA

    def ata(self, command: int, feature: int, wants_registers: bool, data: bytes) -> bytes:
        if command == 0xEC:
            return self.identify()
        if command == 0xB4:
            raise self.ata_sanitize(feature)
        if command in {0xF1, 0xF2, 0xF3, 0xF4, 0xF6}:
            self.security(command, data)
        elif command not in {0xE0, 0xE5, 0xE7, 0xEA}:
            raise registers(*ABORTED)
        if wants_registers:
            raise registers(0x50, count=0xFF if command == 0xE5 else 0)
        return b""

    def max_address(self, cdb: bytes) -> bytes:
        """READ NATIVE MAX ADDRESS EXT, SET MAX ADDRESS EXT."""
        if cdb[14] == 0x37:
            self.shown = 1 + sum(cdb[at] << 8 * number for number, at in enumerate((8, 10, 12, 7, 9, 11)))
            raise registers(0x50)
        raise registers(0x50, lba=SECTORS - 1)

    def security(self, command: int, data: bytes) -> None:
        given = data[2:34]
        prepared, self.prepared = self.prepared, command == 0xF3
        is_known = command in {0xF1, 0xF3} or given == self.password
        if self.mode == "frozen" or not is_known or (command == 0xF4 and not prepared):
            raise registers(*ABORTED)
        if command == 0xF1:
            self.password = given
        elif command == 0xF6:
            self.password = None
        elif command == 0xF4:
            if self.mode == "fail":
                raise registers(*ABORTED)
            if self.mode != "idle":
                self.erase("secure-erase")
                self.password = None

    def ata_sanitize(self, feature: int) -> Sense:
        frozen = FROZEN if self.mode == "frozen" else 0
        if feature == 0:
            try:
                progress = self.look()
            except Sense:
                return registers(0x51, 4, lba=1)  # the last one did not succeed
            state = (RUNNING if progress is not None else 0) | (WELL if self.well else 0) | frozen
            return registers(0x50, count=state << 8, lba=0xFFFF if progress is None else progress)
        kinds = {0x11: "crypto", 0x12: "block", 0x14: "overwrite"}
        if frozen or feature not in kinds:
            return registers(*ABORTED)
        self.begin(kinds[feature])
        return registers(0x50)

    def identify(self) -> bytes:
        data = bytearray(512)

        def word(number: int, value: int) -> None:
            struct.pack_into("<H", data, 2 * number, value)

        def text(number: int, length: int, value: str) -> None:
            padded = value.ljust(length)[:length].encode()
            data[2 * number : 2 * number + length] = b"".join(
                padded[at + 1 : at + 2] + padded[at : at + 1] for at in range(0, length, 2)
            )

        text(10, 20, self.serial)
        text(23, 8, "1.0")
        text(27, 40, "FIRMWARE DISK")
        enabled, frozen = self.password is not None, self.mode == "frozen"
        for number, value in {
            0: 0x40, 49: 0x300, 53: 6, 59: 0xF000, 80: 0x1F0, 82: 2 | 1 << 10 | 1 << 14, 83: 1 << 14 | 1 << 10,
            84: 1 << 14, 85: 2 * enabled, 86: 1 << 10, 87: 1 << 14, 89: 1, 90: 1,
            128: 1 | enabled << 1 | frozen << 3 | 1 << 5, 255: 0xA5,
        }.items():  # fmt: skip
            word(number, value)
        struct.pack_into("<I", data, 120, self.shown)
        struct.pack_into("<Q", data, 200, self.shown)
        data[511] = -sum(data) & 0xFF
        return bytes(data)


def taken_apart(cdb: bytes) -> tuple[int, int, bool]:
    """Return command, feature and whether the registers are wanted, of ATA PASS-THROUGH (16) or (12)."""
    return (cdb[14], cdb[4], bool(cdb[2] & 0x20)) if cdb[0] == 0x85 else (cdb[9], cdb[3], bool(cdb[2] & 0x20))


class Ring:
    """The commands of one TCMU device, in memory that is shared with the kernel."""

    def __init__(self, node: str, size: int) -> None:
        self._device = os.open(node, os.O_RDWR)
        self._memory = mmap.mmap(self._device, size)
        _, _, self._begin, self._size = struct.unpack_from("<HHII", self._memory, 0)

    def serve(self, disk: Disk) -> None:
        while True:
            os.read(self._device, 4)
            while self._one(disk):
                os.write(self._device, struct.pack("<I", 0))

    def _one(self, disk: Disk) -> bool:
        memory = self._memory
        (head,), (tail,) = struct.unpack_from("<I", memory, 12), struct.unpack_from("<I", memory, 64)
        if head == tail:
            return False
        entry = self._begin + tail
        length_and_kind, _, _, flags = struct.unpack_from("<IHBB", memory, entry)
        if length_and_kind & 7 == 1:
            self._answer(disk, entry)
        elif length_and_kind & 7:
            memory[entry + 7] = flags | 1
        struct.pack_into("<I", memory, 64, (tail + (length_and_kind & ~7)) % self._size)
        return True

    def _answer(self, disk: Disk, entry: int) -> None:
        memory = self._memory
        (count,), (command,) = struct.unpack_from("<I", memory, entry + 8), struct.unpack_from("<Q", memory, entry + 24)
        pieces = [struct.unpack_from("<QQ", memory, entry + 48 + 16 * number) for number in range(count)]
        given = b"".join(memory[at : at + length] for at, length in pieces)
        status, sense, answer = 0, b"", b""
        try:
            answer = disk.scsi(memory[command : command + 16], given)
        except Sense as exc:
            status, sense = 2, exc.data
        for at, length in pieces:
            part, answer = answer[:length], answer[length:]
            memory[at : at + len(part)] = part
        struct.pack_into("<BBHI", memory, entry + 8, status, 0, 0, 0)
        memory[entry + 16 : entry + 16 + len(sense)] = sense


def load() -> None:
    subprocess.run(["modprobe", "--all", "target_core_user", "tcm_loop"], check=True)
    if not TARGET.exists():
        subprocess.run(["mount", "-t", "configfs", "configfs", "/sys/kernel/config"], check=True)
    with contextlib.suppress(OSError):
        Path("/sys/module/target_core_user/parameters/netlink_reply_supported").write_text("0")


def attach(disk: Disk, number: int) -> str:
    """Make the device, serve it, and return its node."""
    core = TARGET / f"core/user_{number}/{disk.serial}"
    core.mkdir(parents=True)
    for setting in (f"dev_size={SIZE}", "hw_block_size=512", "nl_reply_supported=-1", f"dev_config=lab/{disk.serial}"):
        (core / "control").write_text(setting)
    (core / "enable").write_text("1")
    uio = next(
        each
        for each in Path("/sys/class/uio").glob("uio*")
        if (each / "name").read_text().strip().endswith(disk.serial)
    )
    node = Path("/dev", uio.name)
    while not node.exists():
        time.sleep(0.01)
    ring = Ring(str(node), int((uio / "maps/map0/size").read_text(), 16))
    threading.Thread(target=ring.serve, args=(disk,), daemon=True).start()
    portal = TARGET / f"loopback/naa.500140500000{number:04x}/tpgt_1"
    portal.mkdir(parents=True)
    (portal / "nexus").write_text(f"naa.500140510000{number:04x}")
    (portal / "lun/lun_0").mkdir(parents=True)
    (portal / "lun/lun_0/d").symlink_to(core)
    return found(disk.serial)


def found(serial: str) -> str:
    while True:
        for block in Path("/sys/block").glob("sd*"):
            with contextlib.suppress(OSError):
                if serial.encode() in (block / "device/vpd_pg80").read_bytes() and Path("/dev", block.name).exists():
                    return f"/dev/{block.name}"
        time.sleep(0.02)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    load()
    for number, argument in enumerate(sys.argv[1:]):
        serial, kind, *hidden = argument.split(":")
        MODES.joinpath(f"{serial}.mode").write_text("ok")
        disk = Disk(serial, kind == "ata", SECTORS - int((*hidden, "0")[0]))
        print("ready", serial, attach(disk, number), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
