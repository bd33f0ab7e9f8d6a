"""Drives that are put into a running machine, each a file: what is on it can be read from outside.

`firmware` makes those that QEMU cannot: a program in the guest is their firmware (inside/firmware_disk.py).
"""

from pathlib import Path

from tests.lab.guest import Guest, Spawned
from tests.lab.qmp import Qmp

FIRMWARE_DISK = Path(__file__).parent / "inside" / "firmware_disk.py"
STARTED_S = 60.0


class Drives:
    """`slot` is one of the machine's free PCI Express ports; a node is what the guest's kernel calls the drive."""

    def __init__(self, qmp: Qmp, guest: Guest, folder: Path) -> None:
        self._qmp, self._guest, self._folder = qmp, guest, folder

    def nvme(
        self, name: str, node: str, size_bytes: int, slot: str, *, discard: str = "unmap", file: Path | None = None
    ) -> Path:
        """Put in an NVMe drive and return its file: a new one, or `file`, which another machine had before.

        With `discard="ignore"` it says that it forgot, and did not.
        """
        file = self._file(name, size_bytes, discard, file)
        self._qmp.ask("device_add", driver="nvme", id=name, serial=name, drive=name, bus=slot)
        self._guest.await_there(f"/sys/block/{node}/size")
        return file

    def pull(self, name: str, node: str) -> None:
        """Take a drive out of the running machine, as its slot's button does."""
        self._qmp.ask("device_del", id=name)
        self._guest.await_gone(f"/sys/block/{node}")

    def scsi(self, name: str, node: str, size_bytes: int, slot: str) -> Path:
        """Put in a SCSI disk as QEMU emulates one, behind an adapter of its own."""
        file = self._file(name, size_bytes, "unmap")
        self._qmp.ask("device_add", driver="virtio-scsi-pci", id=f"{name}-bus", bus=slot)
        self._qmp.ask("device_add", driver="scsi-hd", id=name, serial=name, drive=name, bus=f"{name}-bus.0")
        self._guest.await_there(f"/sys/block/{node}/size")
        return file

    def firmware(self, *disks: str) -> tuple[Spawned, dict[str, str]]:
        """Start disks, each SERIAL:ata[:HIDDEN] or SERIAL:scsi; return the program, and their nodes by serial."""
        self._guest.put("/run/firmware_disk.py", FIRMWARE_DISK.read_bytes())
        program = self._guest.spawn(["python3", "/run/firmware_disk.py", *disks])
        ready = [program.await_line("ready", STARTED_S)[1].split() for _ in disks]
        return program, {serial: node for _, serial, node in ready}

    def _file(self, name: str, size_bytes: int, discard: str, file: Path | None = None) -> Path:
        if file is None:
            file = self._folder / f"{name}.img"
            with file.open("wb") as opened:
                opened.truncate(size_bytes)
        self._qmp.ask(
            "blockdev-add", node_name=name, driver="raw", discard=discard,
            file={"driver": "file", "filename": str(file), "discard": discard},
        )  # fmt: skip
        return file
