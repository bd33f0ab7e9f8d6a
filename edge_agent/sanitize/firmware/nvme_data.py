"""What an NVMe drive says of itself, as nvme-cli hands it on in binary: the layout is NVMe's, not the tool's.

    Identify Controller   [76] CMIC  [256:258] OACS  [296:312] unallocated capacity  [328:332] SANICAP  [524] FNA
    Identify Namespace    [0:8] size in blocks
    Sanitize Status log   [0:2] progress  [2:4] status  [4:8] dword 10 of the command
                          [8:12] seconds for an overwrite, [12:16] block erase, [16:20] crypto erase

NVM Express Base Specification 2.0, figures 275 (controller) and 236 (log page 81h).
"""

import json
import struct
from dataclasses import dataclass

from edge_agent.sanitize.firmware.sanitizing import State, Status
from shared.errors import Malformed

IDENTIFY_BYTES, LOG_BYTES = 4096, 20
_MOST_NAMESPACES = 1024
_NO_ESTIMATE = 0xFFFFFFFF
_NEVER, _WELL, _RUNNING, _FAILED, _WELL_WITHOUT_DEALLOCATION = range(5)
_GLOBALLY_ERASED = 1 << 8


@dataclass(frozen=True)
class Controller:
    """`unallocated_bytes` is capacity that is in no namespace. Of `covers_all`: whether it reaches every namespace."""

    several_controllers: bool
    formats: bool
    manages_namespaces: bool
    unallocated_bytes: int
    sanitize_crypto: bool
    sanitize_block: bool
    sanitize_overwrite: bool
    format_covers_all: bool
    erase_covers_all: bool
    format_crypto: bool


def parse_controller(data: bytes) -> Controller:
    """Raises Malformed."""
    if len(data) != IDENTIFY_BYTES:
        raise Malformed("answer of nvme id-ctrl", f"expected {IDENTIFY_BYTES} bytes, found {len(data)}")
    admin, sanitize, format_attributes = (
        *struct.unpack_from("<H", data, 256),
        *struct.unpack_from("<I", data, 328),
        data[524],
    )
    return Controller(
        several_controllers=bool(data[76] & 2),
        formats=bool(admin & 2),
        manages_namespaces=bool(admin & 8),
        unallocated_bytes=int.from_bytes(data[296:312], "little"),
        sanitize_crypto=bool(sanitize & 1),
        sanitize_block=bool(sanitize & 2),
        sanitize_overwrite=bool(sanitize & 4),
        format_covers_all=bool(format_attributes & 1),
        erase_covers_all=bool(format_attributes & 2),
        format_crypto=bool(format_attributes & 4),
    )


def parse_namespaces(output: bytes) -> tuple[int, ...]:
    """Return the numbers of the namespaces that `nvme list-ns -o json` names. Raises Malformed."""
    match _object(output, "answer of nvme list-ns"):
        case {"nsid_list": list(listed)} if len(listed) <= _MOST_NAMESPACES:
            numbers = [one.get("nsid") if isinstance(one, dict) else None for one in listed]
            good = [one for one in numbers if isinstance(one, int) and not isinstance(one, bool) and one > 0]
            if len(good) == len(listed) == len(set(good)):
                return tuple(good)
    raise Malformed("answer of nvme list-ns", "expected 'nsid_list' with numbers of namespaces, none twice")


def parse_controllers(output: bytes) -> int:
    """Return how many controllers `nvme list-ctrl -o json` counts. Raises Malformed."""
    match _object(output, "answer of nvme list-ctrl"):
        case {"num_ctrl": int(count), "ctrl_list": list(listed)} if count == len(listed):
            return count
    raise Malformed("answer of nvme list-ctrl", "expected 'num_ctrl' and as many in 'ctrl_list'")


@dataclass(frozen=True)
class SanitizeLog:
    progress: int
    state: int
    passes: int
    globally_erased: bool
    action: int
    estimates_s: dict[int, int | None]  # by action

    @property
    def status(self) -> Status:
        if self.state == _RUNNING:
            return Status(State.RUNNING, self.progress)
        if self.state == _FAILED:
            return Status(State.FAILED)
        return Status(State.IDLE, 0, self._record)

    @property
    def _record(self) -> str:
        """What the log keeps of the last one; whether anything was written since tells one from the next."""
        if self.state not in {_WELL, _WELL_WITHOUT_DEALLOCATION}:
            return ""
        since = "nothing written since" if self.globally_erased else "written since"
        return f"action {self.action} completed, {self.passes} passes, {since}"


def parse_sanitize_log(data: bytes) -> SanitizeLog:
    """Raises Malformed."""
    if len(data) < LOG_BYTES:
        raise Malformed("answer of nvme sanitize-log", f"expected {LOG_BYTES} bytes or more, found {len(data)}")
    progress, status, command, overwrite, block, crypto = struct.unpack_from("<HHIIII", data)
    state = status & 7
    if state > _WELL_WITHOUT_DEALLOCATION:
        raise Malformed("answer of nvme sanitize-log", f"status {state} is none that we know")
    estimates = {3: overwrite, 2: block, 4: crypto}
    return SanitizeLog(
        progress=progress,
        state=state,
        passes=status >> 3 & 0x1F,
        globally_erased=bool(status & _GLOBALLY_ERASED),
        action=command & 7,
        estimates_s={action: None if one == _NO_ESTIMATE else one for action, one in estimates.items()},
    )


def _object(output: bytes, what: str) -> object:
    try:
        return json.loads(output.decode("ascii"))
    except (ValueError, RecursionError) as exc:
        raise Malformed(what, "it is no JSON") from exc
