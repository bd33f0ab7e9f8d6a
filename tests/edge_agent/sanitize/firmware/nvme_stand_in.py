"""Unmodified nvme-cli on an NVMe controller that is not there: umockdev hands its ioctls to the firmware below.

    umockdev-wrapper python nvme_stand_in.py MODE     ok, idle, fail, refuse

Has our own code ask what the controller can, and sanitize it; prints what came of it as JSON. QEMU has no sanitize.
"""

import ctypes
import json
import os
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

from edge_agent.sanitize.capabilities import considered
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.firmware.commands import Commands
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.programs import Ran, run
from shared.clock import SystemClock
from shared.sanitization.medium import MediumKind
from shared.sanitization.technique import Available, Technique
from tests.edge_agent.devices.umockdev import TestBed
from tests.edge_agent.sanitize.drive_trees import not_looked_at
from tests.edge_agent.sanitize.firmware.drives import of
from tests.fakes.watch import Watched

CONTROLLER = (
    "P: /devices/pci0000:00/0000:00:04.0/nvme/nvme0\nN: nvme0\n"
    "E: SUBSYSTEM=nvme\nE: DEVNAME=/dev/nvme0\nE: MAJOR=240\nE: MINOR=0\nA: dev=240:0\n"
)
ADMIN_COMMAND = 0xC0484E41  # NVME_IOCTL_ADMIN_CMD, of a struct nvme_passthru_cmd
COMMAND_BYTES, ADDRESS_AT = 72, 24
IDENTIFY, GET_LOG_PAGE, SANITIZE, SANITIZE_LOG = 0x06, 0x02, 0x84, 0x81
INVALID_FIELD = 0x02
_POINTER = ctypes.c_void_p


class Firmware:
    """An NVMe controller with one namespace; each look at its log finds a sanitize further."""

    def __init__(self, mode: str) -> None:
        self._mode, self._state, self._looks, self._action = mode, 0, 0, 0
        self.commands: list[str] = []

    def admin(self, operation: int, dword10: int, length: int) -> tuple[int, bytes]:
        """Return status and data of an admin command."""
        if operation == SANITIZE and self._mode != "refuse":
            self.commands.append(f"sanitize {dword10 & 7}")
            self._action = dword10 & 7
            self._state, self._looks = (0 if self._mode == "idle" else 2), 0
            return 0, b""
        if operation == GET_LOG_PAGE and dword10 & 0xFF == SANITIZE_LOG:
            return 0, self._log().ljust(length, b"\0")
        if operation == IDENTIFY and dword10 & 0xFF == 1:
            controller = bytearray(4096)
            struct.pack_into("<I", controller, 328, 3)  # crypto and block erase
            return 0, bytes(controller)
        if operation == IDENTIFY and dword10 & 0xFF in {2, 0x10}:
            return 0, struct.pack("<I", 1).ljust(4096, b"\0")
        return INVALID_FIELD, b""

    def _log(self) -> bytes:
        if self._state == 2:
            self._looks += 1
            if self._looks > 2:
                self._state = 3 if self._mode == "fail" else 1
        progress = self._looks * 0x4000 if self._state == 2 else 0xFFFF
        return struct.pack("<HHIIII", progress, self._state, self._action, 600, 20, 10)


class Ioctls:
    """umockdev's handler of ioctls, by ctypes; it answers from a thread of GLib's."""

    def __init__(self, bed: TestBed, node: str, firmware: Firmware) -> None:
        self.firmware = firmware
        self._library, glib = ctypes.CDLL("libumockdev.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
        for name in ("base_new", "client_get_arg", "data_resolve", "data_retrieve"):
            getattr(self._library, f"umockdev_ioctl_{name}").restype = _POINTER
        self._library.umockdev_ioctl_client_get_request.restype = ctypes.c_ulong
        base = _POINTER(self._library.umockdev_ioctl_base_new())
        handler = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER)
        self._handler = handler(lambda _, client, __: self._handle(client))  # kept: GLib calls it later
        glib.g_signal_connect_data(base, b"handle-ioctl", self._handler, None, None, 0)
        assert self._library.umockdev_testbed_attach_ioctl(bed._bed, node.encode(), base, None)
        main_loop = ctypes.CDLL("libglib-2.0.so.0")
        main_loop.g_main_loop_new.restype = _POINTER
        loop = _POINTER(main_loop.g_main_loop_new(None, 0))
        threading.Thread(target=main_loop.g_main_loop_run, args=(loop,), daemon=True).start()

    def _handle(self, client: int) -> int:
        library, whose = self._library, _POINTER(client)
        if library.umockdev_ioctl_client_get_request(whose) & 0xFFFFFFFF != ADMIN_COMMAND:
            return 0
        argument = _POINTER(library.umockdev_ioctl_client_get_arg(whose))
        command = self._resolved(argument, 0, COMMAND_BYTES)
        length, dword10 = struct.unpack_from("<II", self._retrieved(command), 36)
        status, data = self.firmware.admin(self._retrieved(command)[0], dword10, length)
        if data:
            there = self._resolved(command, ADDRESS_AT, length)
            library.umockdev_ioctl_data_update(
                there, ctypes.c_size_t(0), data[:length], ctypes.c_int(min(length, len(data)))
            )
        library.umockdev_ioctl_client_complete(whose, ctypes.c_long(status), ctypes.c_int(0))
        return 1

    def _resolved(self, data: Any, at: int, length: int) -> Any:
        return _POINTER(
            self._library.umockdev_ioctl_data_resolve(data, ctypes.c_size_t(at), ctypes.c_size_t(length), None)
        )

    def _retrieved(self, data: Any) -> bytes:
        length = ctypes.c_size_t()
        start = self._library.umockdev_ioctl_data_retrieve(data, ctypes.byref(length))
        return ctypes.string_at(start, COMMAND_BYTES)


def seeing(bed: TestBed) -> Any:
    """Return what runs programs that see the test bed."""
    environment = [f"LD_PRELOAD={os.environ['LD_PRELOAD']}", f"UMOCKDEV_DIR={bed.root}", "LC_ALL=C"]

    def seen(command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        return run(["/usr/bin/env", *environment, f"/usr/sbin/{command[0]}", *command[1:]], timeout_s)

    return seen


def main(mode: str) -> NoReturn:
    bed, firmware = TestBed(), Firmware(mode)
    bed.load(CONTROLLER)
    answering = Ioctls(bed, "/dev/nvme0", firmware)
    here = of(MediumKind.NVME)
    drive = Drive(here.node.with_name("nvme0"), "240:0", here.sysfs, here.medium)
    tools = Tools(seeing(bed))
    commands = Commands(tools, SystemClock(), lambda _: None, lambda _: nullcontext())
    step = commands.run(commands.begin(Technique.NVME_SANITIZE_BLOCK, drive), drive, Watched())
    told = {
        "considered": {
            one.technique.value: one.available.value
            for one in considered(drive, tools, not_looked_at)
            if one.technique.value.startswith("nvme") and one.available is Available.YES
        },
        "outcome": step.outcome.value,
        "accepted": step.accepted,
        "progress_seen": step.progress_seen,
        "completed": step.completed,
        "detail": step.detail,
        "tool": step.tool,
        "facts": dict(step.facts),
        "commands": answering.firmware.commands,
    }
    print(json.dumps(told), flush=True)
    # GLib's thread has no end, and may be in our handler yet: from within, while nothing of it is taken apart.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
