"""A guest that starts from a snapshot within a second, or cold with a kernel command line and initramfs of its own.

    with Lab(image()) as lab:
        lab.usb.stick("one", FAT)
        lab.guest.await_there("/sys/bus/usb/devices/2-1/authorized")

Everything goes over Unix sockets in a temporary folder. What a guest changes is in its memory and gone with it.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from shared.clock import SystemClock
from tests.lab import cache
from tests.lab.console import Console
from tests.lab.drives import Drives
from tests.lab.gadgets import Gadgets
from tests.lab.guest import Guest
from tests.lab.image import Image
from tests.lab.machine import TPM_SOCKET, Boot, Memory, arguments
from tests.lab.network import Network
from tests.lab.newc import Entry, File, Link, archive
from tests.lab.qmp import Qmp
from tests.lab.tpm import SoftwareTpm
from tests.lab.tree import Tree
from tests.lab.usb import Usb
from tests.lab.wire import LabError, until

INSIDE = Path(__file__).parent / "inside"
AGENT_UNIT = """\
[Unit]
Description=Does what the lab asks
DefaultDependencies=no
After=systemd-udev-trigger.service systemd-tmpfiles-setup-dev.service
[Service]
ExecStart=/usr/bin/python3 -u /opt/lab/agent.py
KillMode=process
OOMScoreAdjust=-900
"""
BOOT_S, RESTORE_S = 300.0, 180.0


class Lab:
    """One machine, restored from a snapshot: `saved`, or else the one of a machine that has just started.

    With `restored=False` it starts cold, which takes 15 to 30 seconds, and nobody waits for it.
    """

    guest: Guest
    usb: Usb
    drives: Drives
    gadgets: Gadgets
    tree: Tree
    console: Console
    network: Network

    def __init__(
        self, image: Image, boot: Boot | None = None, *, restored: bool = True, saved: Path | None = None
    ) -> None:
        self._image, self._boot, self._restored, self._saved = image, boot or Boot(), restored, saved
        self._tpm: SoftwareTpm | None = None
        self._kept: Path | None = None
        self._qmp: Qmp | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Lab":
        self._folder = Path(tempfile.mkdtemp(prefix="leadglass-lab-"))
        try:
            if self._restored:
                self._restore(self._saved or snapshot(self._image, self._boot))
            else:
                self._power_on(Memory(self._kept / "ram", kept=True) if self._kept else None)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._qmp is not None:
            self.guest.close()
            self._qmp.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._tpm is not None:
            self._tpm.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def keeping(self, folder: Path) -> "Lab":
        """Hold the machine's memory in `folder`, so that it can be saved there."""
        self._kept = folder
        return self

    def await_ready(self, timeout_s: float = BOOT_S) -> None:
        """Wait until the guest answers, and give it the host's time."""
        until("the guest answers", self._answers, timeout_s)
        self.guest.set_clock(SystemClock().now())

    def save(self, folder: Path) -> None:
        """Keep memory and devices of a machine that was started `keeping(folder)`; it stays stopped."""
        assert self._qmp is not None
        self._qmp.ask("stop")
        self._moves_no_memory()
        self._qmp.ask("migrate", uri=f"exec:cat > {folder}/state")
        until("the machine's state is saved", self._is_moved)

    def disk(self, file: Path) -> None:
        """Put a disk into the machine, for good: the file is what is on it."""
        assert self._qmp is not None
        self._qmp.ask("blockdev-add", node_name="disk", driver="raw", file={"driver": "file", "filename": str(file)})
        self._qmp.ask("device_add", driver="virtio-blk-pci", id="disk", drive="disk", bus="slot2")
        self.guest.await_there("/sys/block/vdb/size")  # not the disk itself: all of it would be read

    def _power_on(self, memory: Memory | None, *, incoming: bool = False) -> None:
        initramfs = self._folder / "initrd.img"
        base = self._image.initramfs.read_bytes()
        # What follows a compressed archive begins at a multiple of four.
        initramfs.write_bytes(base + bytes(-len(base) % 4) + archive(laid_over(self._boot, self._image)))
        command = arguments(self._image, self._boot, initramfs, self._folder, memory)
        command += ["-incoming", "defer"] if incoming else []
        if self._boot.tpm:
            self._tpm = SoftwareTpm(self._folder / "tpm", self._folder / TPM_SOCKET)
        with (self._folder / "qemu.log").open("wb") as log:
            # It ends with the thread that started it, also when that is killed.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._qmp = self._connected()
        self.guest = Guest(self._folder / "agent.sock")
        self.usb = Usb(self._qmp, self._folder)
        self.drives = Drives(self._qmp, self.guest, self._folder)
        self.gadgets = Gadgets(self.guest)
        self.tree = Tree(self.guest)
        self.network = Network(self._qmp, self.guest)
        self.console = Console(self._qmp, self._folder / "console.log")

    def _answers(self) -> bool:
        """Raises LabError: the machine has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            words = (self._folder / "qemu.log").read_text()[-500:] + self.console.text()[-1500:]
            raise LabError(f"the machine ended with code {self._process.returncode}: {words}")
        return self.guest.is_ready()

    def _connected(self) -> Qmp:
        try:
            return Qmp(self._folder / "qmp.sock")
        except LabError as exc:
            raise LabError(f"QEMU: {(self._folder / 'qemu.log').read_text()[-1500:]}") from exc

    def _restore(self, saved: Path) -> None:
        memory = Memory(saved / "ram", kept=False)
        if self._kept is not None:
            memory = Memory(self._kept / "ram", kept=True)
            subprocess.run(["cp", "--sparse=always", saved / "ram", memory.file], check=True)
        self._power_on(memory, incoming=True)
        assert self._qmp is not None
        self._moves_no_memory()
        self._qmp.ask("migrate-incoming", uri=f"exec:cat {saved}/state")
        until("the machine's state is restored", self._is_moved)
        self._qmp.ask("cont")
        self.await_ready(RESTORE_S)

    def _moves_no_memory(self) -> None:
        assert self._qmp is not None
        self._qmp.ask("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def _is_moved(self) -> bool:
        assert self._qmp is not None
        status = self._qmp.ask("query-migrate").get("status")
        if status == "failed":
            raise LabError("the machine's state could not be moved")
        return bool(status == "completed")


def laid_over(boot: Boot, image: Image) -> dict[str, Entry]:
    """Return what the initramfs gets beside Debian's own: under /lab what the root file system shall show."""
    system = "/lab/etc/systemd/system"
    return {
        "/lab/opt/lab/agent.py": File((INSIDE / "agent.py").read_bytes()),
        f"{system}/lab-agent.service": File(AGENT_UNIT.encode()),
        f"{system}/sysinit.target.wants/lab-agent.service": Link("../lab-agent.service"),
        f"/lab/usr/local/lib/{image.python}/dist-packages/leadglass.pth": File(b"/opt/leadglass\n"),
        **boot.extra,
    }


def snapshot(image: Image, boot: Boot) -> Path:
    """Return the folder with a machine that has just started this way, made now if it is not in the cache."""
    parts = (
        Path(__file__).with_name("machine.py").read_bytes(), Path(__file__).read_bytes(), boot.command_line,
        str(boot.tpm),
    )  # fmt: skip
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, check=True).stdout
    name = cache.key(image.folder.name, version, archive(laid_over(boot, image)), *parts)
    return cache.kept("snapshot", name, lambda folder: _start_and_save(image, boot, folder))


def _start_and_save(image: Image, boot: Boot, folder: Path) -> None:
    with Lab(image, boot, restored=False).keeping(folder) as lab:
        lab.await_ready()
        lab.guest.run("systemctl is-system-running --wait", timeout_s=120, check=False)
        lab.guest.run("udevadm settle; sync")
        lab.save(folder)
