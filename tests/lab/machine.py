"""The machine as QEMU is told to build it: software emulation, so that it is the same with and without KVM.

    bus ehci.0     USB 2 controller, always there          buses 1-*
    bus xhci.0     USB 3 controller, always there          buses 2-* (USB 2 speeds) and 3-* (USB 3)
    slot0..slot3   free PCI Express ports, for a controller that is added later

A TPM 2.0 where a boot asks for one: swtpm, whose socket is beside the others.

No network card, no PS/2 keyboard: the only keys that a guest can see come over USB.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.image import Image
from tests.lab.newc import Entry

MEMORY = "1280M"  # what a machine has touched is all that it takes of ours
SLOTS = 4
# What nobody looks at costs time to emulate, and code that lies elsewhere in each process is translated anew for each.
QUIET = (
    "quiet loglevel=4 mitigations=off nokaslr norandmaps init_on_alloc=0 hardened_usercopy=off "
    "transparent_hugepage=never cryptomgr.notests random.trust_cpu=on net.ifnames=0 no_timer_check tsc=reliable "
    "systemd.show_status=0 fsck.mode=skip audit=0 root=/dev/vda ro rootfstype=ext4"
)
TPM_SOCKET = "tpm.sock"
DEFAULT_DENY = "usbcore.authorized_default=0"


@dataclass(frozen=True)
class Boot:
    """How the guest starts. `extra` is laid over the initramfs, after what the lab itself lays there."""

    append: str = f"{DEFAULT_DENY} panic=-1"  # the initramfs opens no shell where `panic` is set
    console: str = "console=ttyS0"
    extra: dict[str, Entry] = field(default_factory=dict)
    tpm: bool = False

    @property
    def command_line(self) -> str:
        return f"{self.console} {QUIET} {self.append}".strip()


@dataclass(frozen=True)
class Memory:
    """The guest's memory as a file: kept for a snapshot, or mapped from one and changed only for this machine."""

    file: Path
    kept: bool


def arguments(image: Image, boot: Boot, initramfs: Path, folder: Path, memory: Memory | None) -> list[str]:
    """Return the command. Sockets and the console's text are in `folder`."""
    ram = f"memory-backend-ram,id=ram,size={MEMORY}"
    if memory is not None:
        share = "on" if memory.kept else "off"
        ram = f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory.file},share={share}"
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-object", ram, "-M", "q35,memory-backend=ram,vmport=off,smm=off,hpet=off,i8042=off", "-m", MEMORY,
        # With one processor the same work costs less, and a watchdog ends a service that only waited for its turn.
        "-smp", "2", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "qemu64",
        "-kernel", str(image.kernel), "-initrd", str(initramfs), "-append", boot.command_line,
        "-chardev", f"file,id=console,path={folder}/console.log", "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,path={folder}/qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
        "-blockdev", f"driver=file,node-name=root,filename={image.root},read-only=on",
        "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=agent,path={folder}/agent.sock,server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=leadglass.lab",
        "-device", "usb-ehci,id=ehci", "-device", "qemu-xhci,id=xhci,p2=8,p3=8",
    ]  # fmt: skip
    if boot.tpm:
        command += ["-chardev", f"socket,id=tpm,path={folder}/{TPM_SOCKET}"]
        command += ["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]
    for number in range(SLOTS):
        command += ["-device", f"pcie-root-port,id=slot{number},chassis={number + 1},slot={number + 1}"]
    return command
