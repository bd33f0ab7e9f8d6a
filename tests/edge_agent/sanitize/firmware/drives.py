"""Drives as the tools show them: a firmware in a few lines behind hdparm, nvme-cli and sg3-utils, written by hand.

    ok       does what it is told; each look at its status finds it further
    idle     answers every command with success, and is never at work
    frozen   takes no security and no sanitize commands
    fail     begins, and ends in an error
    stuck    begins, and never ends
    silent   at work it does not answer at all, now and then

What hdparm prints is as its source has it; where drives were recorded, `recorded/` is used.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.firmware.commands import Commands
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.programs import Ran, Run
from shared.sanitization.medium import Medium, MediumKind, SerialSource
from tests.fakes.clock import FakeClock

RECORDED = Path(__file__).parent / "recorded"
SECTORS, LOOKS = 2048, 4
MEDIUM = Medium(
    MediumKind.ATA_SSD, "", "MODEL", "1.0", "SERIAL", SerialSource.ATA_IDENTIFY, "", SECTORS * 512, 512, 512,
    rotational=False,
)  # fmt: skip
DRIVE = Drive(Path("/dev/sdz"), "65:144", Path("/nowhere"), MEDIUM)


def commands_to(run: Run, pause: Callable[[float], None] = lambda _: None) -> Commands:
    """Commands to a drive that is no device here, so that nobody can hold it."""
    return Commands(Tools(run), FakeClock(), pause, lambda _: nullcontext())


def of(kind: MediumKind) -> Drive:
    return replace(DRIVE, medium=replace(MEDIUM, kind=kind))


def recorded(name: str) -> Ran:
    err = RECORDED / f"{name}.err"
    return Ran(0, (RECORDED / f"{name}.out").read_bytes(), err.read_bytes() if err.exists() else b"")


@dataclass
class Sanitizes:
    """What all have: a sanitize that goes on by itself, whoever asks or does not."""

    mode: str = "ok"
    given: list[str] = field(default_factory=list)  # every command that destroys, in order
    looks: int = 0
    is_running: bool = False
    has_failed: bool = False
    has_succeeded: bool = False

    def begin(self, what: str) -> None:
        self.given.append(what)
        if self.mode != "idle":
            self.is_running, self.looks, self.has_failed, self.has_succeeded = True, 0, False, False

    def power_cut(self) -> None:
        """A sanitize goes on when the power is back."""

    def look(self) -> int | None:
        """Return the progress, and None where it is not at work."""
        if not self.is_running:
            return None
        self.looks += 1
        if self.looks > LOOKS and self.mode != "stuck":
            self.is_running = False
            self.has_failed, self.has_succeeded = self.mode == "fail", self.mode != "fail"
            return None
        return min(0xFFFF, self.looks * (1 << 16) // (LOOKS + 1))

    @property
    def is_silent(self) -> bool:
        return self.mode == "silent" and self.is_running and self.looks == 1


def istdout(words: Mapping[int, int]) -> bytes:
    """What `hdparm --Istdout` prints of a drive whose other words are 0, under a sum that is right."""
    data = bytearray(512)
    for number, value in {83: 1 << 14, 255: 0xA5, **words}.items():
        struct.pack_into("<H", data, 2 * number, value)
    data[511] = -sum(data) & 0xFF
    all_words = struct.unpack("<256H", data)
    rows = (" ".join(f"{word:04x}" for word in all_words[at : at + 8]) for at in range(0, 256, 8))
    return ("\n/dev/sdz:\n" + "\n".join(rows) + "\n").encode()


@dataclass
class AtaDrive(Sanitizes):
    password: str | None = None
    is_locked: bool = False
    words: dict[int, int] = field(default_factory=dict)

    def power_cut(self) -> None:
        self.is_locked = self.password is not None

    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        match command[1:]:
            case ["-V"]:
                return Ran(0, b"hdparm v9.65\n")
            case ["--Istdout", _]:
                return Ran(0, self._identity())
            case ["--sanitize-status", _]:
                return self._status()
            case [*_, "--sanitize-block-erase" | "--sanitize-crypto-scramble" | "hex:00000000" as what, _]:
                if self.mode == "frozen":
                    return Ran(5, b"", b"SANITIZE failed: Input/output error\n")
                self.begin(what)
                return Ran(0, b"\n/dev/sdz:\nOperation started in background\n")
            case ["--user-master", "u", option, password, _]:
                return self._security(option, password)
        raise AssertionError(command)

    def _identity(self) -> bytes:
        enabled, frozen = self.password is not None, self.mode == "frozen"
        state = 1 | enabled << 1 | self.is_locked << 2 | frozen << 3 | 1 << 5
        return istdout({59: 0xF000, 82: 2, 89: 1, 90: 1, 128: state, **self.words})

    def _status(self) -> Ran:
        if self.is_silent:
            self.looks += 1
            return Ran(None, why="hdparm did not end within 30 s")
        progress = self.look()
        if self.has_failed:
            return Ran(5, b"", b"SANITIZE failed: Input/output error\nDrive in SD3 Sanitize Operation Failed state\n")
        states = {True: "SD2 Sanitize operation In Process", False: "SD0 Sanitize Idle"}
        state = "SD1 Sanitize Frozen" if self.mode == "frozen" else states[progress is not None]
        lines = ["", "/dev/sdz:", "Issuing SANITIZE_STATUS command", "Sanitize status:", f"    State:    {state}"]
        if progress is not None:
            lines.append(f"    Progress: 0x{progress:x} ({100 * progress // 65535}%)")
        if self.has_succeeded:
            lines.append("    Last Sanitize Operation Completed Without Error")
        return Ran(0, "\n".join((*lines, "")).encode())

    def _security(self, option: str, password: str) -> Ran:
        refused = Ran(5, b"", b"SECURITY_ERASE: Input/output error\n")
        if self.mode == "frozen" or (option != "--security-set-pass" and password != self.password):
            return refused
        if option == "--security-set-pass":
            self.password = password
        elif option == "--security-disable":
            self.password = None
        else:
            self.given.append(option)
            if self.mode == "cut":
                self.mode = "ok"
                return Ran(None, why="hdparm did not end within 30 s")
            if self.mode == "fail":
                return refused
            self.password, self.is_locked = (self.password, False) if self.mode == "idle" else (None, False)
        return Ran(0, b"", b"")


@dataclass
class NvmeDrive(Sanitizes):
    namespaces: tuple[int, ...] = (1,)
    controllers: int = 1  # -1: several, and it does not say how many
    unallocated_bytes: int = 0
    erase_covers_all: bool = False
    format_covers_all: bool = False
    actions: int = 7
    action: int = 0

    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        match command[1:]:
            case ["version"]:
                return Ran(0, b"nvme version 2.3 (git 2.3)\nlibnvme version 1.3 (git 1.3)\n")
            case ["id-ctrl", _, "--output-format=binary"]:
                return Ran(0, self._controller())
            case ["list-ns", _, "--all", "--output-format=json"]:
                listed = ",".join(f'{{"nsid":{one}}}' for one in self.namespaces)
                return Ran(0, f'{{"nsid_list":[{listed}]}}'.encode())
            case ["list-ctrl", _, "--output-format=json"] if self.controllers < 0:
                return Ran(1, b"", b"NVMe status: Invalid Field in Command(0x4002)\n")
            case ["list-ctrl", _, "--output-format=json"]:
                listed = ",".join(f'{{"ctrl_id":{one}}}' for one in range(self.controllers))
                return Ran(0, f'{{"num_ctrl":{self.controllers},"ctrl_list":[{listed}]}}'.encode())
            case ["sanitize-log", _, "--output-format=binary"]:
                return self._log()
            case ["sanitize", _, action, *_]:
                self.action = int(action.rpartition("=")[2])
                self.begin(action)
                return Ran(0)
            case ["format", _, session, "--force", _]:
                self.given.append(session)
                return Ran(0, b"Success formatting namespace:1\n")
        raise AssertionError(command)

    def _controller(self) -> bytes:
        data = bytearray(4096)
        data[76] = 0 if self.controllers == 1 else 2
        struct.pack_into("<H", data, 256, 2 | 8)
        data[296:312] = self.unallocated_bytes.to_bytes(16, "little")
        struct.pack_into("<I", data, 328, self.actions)
        data[524] = self.format_covers_all | self.erase_covers_all << 1 | 4
        return bytes(data)

    def _log(self) -> Ran:
        if self.is_silent:
            self.looks += 1
            return Ran(1, b"", b"NVMe status: Namespace Not Ready(0x82)\n")
        progress = self.look()
        state = 2 if progress is not None else 3 if self.has_failed else 1 if self.has_succeeded else 0
        log = struct.pack("<HHIIII", 0xFFFF if progress is None else progress, state, self.action, 600, 20, 10)
        return Ran(0, log.ljust(512, b"\0"))


@dataclass
class ScsiDrive(Sanitizes):
    has: tuple[int, ...] = (1, 2, 3)

    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        match command:
            case ["sg_sanitize", "--version"]:
                return Ran(0, b"", b"sg_sanitize: version: 1.15 20201223\n")
            case ["sg_opcodes", "--no-inquiry", operation, _]:
                is_there = int(operation.rpartition(",")[2], 16) in self.has
                how = "supported [conforming to SCSI standard]" if is_there else "NOT supported"
                return Ran(0, f"\n  Opcode=0x48  Service_action=0x0002\n  Command is {how}\n".encode())
            case ["sg_requests", "--raw", _]:
                return self._sense()
            case ["sg_sanitize", what, *_]:
                if self.mode == "frozen":
                    return Ran(5, b"", b"Sanitize failed: Illegal request\n")
                self.begin(what)
                return Ran(0)
        raise AssertionError(command)

    def _sense(self) -> Ran:
        if self.is_silent:
            self.looks += 1
            return Ran(None, why="sg_requests did not end within 30 s")
        progress = self.look()
        if self.has_failed:
            return Ran(0, bytes([0x70, 0, 3, *bytes(9), 0x31, 3, *bytes(4)]))
        if progress is None:
            return Ran(0, bytes([0x70, *bytes(17)]))
        return Ran(0, bytes([0x70, 0, 0, *bytes(9), 4, 0x1B, 0, 0x80, progress >> 8, progress & 0xFF]))
