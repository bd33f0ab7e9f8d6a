"""The guest's kernel, initramfs and root file system, made by Debian's own tools from Debian's packages.

    vmlinuz, initrd.img   of linux-image-amd64; the initramfs is initramfs-tools' own, with udev in it
    root.ext4             never written: each machine lays what it changes over it, in memory
    packages.txt          what is in it, with versions

What the project locks for a host is beside it as wheels. The project itself is not: a change of its code needs no new
image. Needs root, and network or a mirror.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Unavailable
from tests.lab import cache

ROOT = Path(__file__).resolve().parents[2]
ETC = Path(__file__).parent / "etc"
LOCK = ROOT / "requirements" / "agent.txt"

PACKAGES = (
    "linux-image-amd64", "initramfs-tools", "busybox", "udev", "systemd-sysv", "dbus", "kmod", "procps", "python3",
    "cryptsetup-bin", "dosfstools", "e2fsprogs", "fdisk", "hdparm", "mmc-utils", "nvme-cli", "sg3-utils",
    "smartmontools", "usbguard",
    "libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0", "libtss2-tcti-device0",
)  # fmt: skip
# Debian's kernel package without the drivers of what the machine does not have.
DRIVERS = (
    "ata/*", "block/*", "cdrom/*", "char/*", "hid/*", "input/*", "md/*", "mmc/*", "net/mii/*", "net/net_failover.ko",
    "net/usb/*", "net/virtio_net.ko", "nvme/*", "pci/*", "scsi/*", "target/*", "thunderbolt/*", "uio/*", "usb/*",
    "virtio/*",
)  # fmt: skip
LEFT_OUT = ("share/man", "share/doc", "share/locale", "share/info", "share/i18n", "lib/x86_64-linux-gnu/gconv")
# What no scenario needs and every start would wait for. USBGuard is started by what measures it.
MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "dev-hugepages.mount", "dev-mqueue.mount", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "fstrim.timer", "getty@tty1.service", "modprobe@dm_mod.service", "modprobe@drm.service",
    "modprobe@efi_pstore.service", "modprobe@fuse.service", "modprobe@loop.service", "nvmf-autoconnect.service",
    "proc-sys-fs-binfmt_misc.automount", "serial-getty@ttyS0.service", "smartmontools.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-tracing.mount", "systemd-binfmt.service", "systemd-firstboot.service", "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service", "systemd-logind.service", "systemd-random-seed.service",
    "systemd-timesyncd.service",
    "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service", "systemd-user-sessions.service",
    "usbguard-dbus.service",
)  # fmt: skip
DISABLED = ("usbguard.service", "e2scrub_reap.service")
SITE = "usr/local/lib/{python}/dist-packages"
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
SIZE = "1500M"
PROGRAMS = {
    "cryptsetup": "cryptsetup-bin", "mkfs.vfat": "dosfstools", "mke2fs": "e2fsprogs", "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86", "swtpm": "swtpm",
}  # fmt: skip


class NoLab(Unavailable):
    """This machine cannot make the guest; the text says why."""


@dataclass(frozen=True)
class Image:
    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def root(self) -> Path:
        return self.folder / "root.ext4"

    @property
    def python(self) -> str:
        """Return the guest's Python as `python3.11`."""
        return (self.folder / "python.txt").read_text()


def image() -> Image:
    """Return the image, made now if it is not in the cache. Raises NoLab."""
    missing = [package for program, package in PROGRAMS.items() if which(program) is None]
    if missing:
        raise NoLab(f"not installed: Debian package {', '.join(missing)}")
    suite = suite_of(Path("/etc/os-release").read_text())
    if platform.machine() != "x86_64" or suite is None:
        raise NoLab("the lab's guest is made from the packages of a Debian host on x86_64")
    if not cache.kept_there("image", _key(suite)):
        _may_build()
    return Image(cache.kept("image", _key(suite), lambda folder: build(folder, suite)))


def which(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def suite_of(os_release: str) -> str | None:
    named = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return named.get("VERSION_CODENAME") if named.get("ID") == "debian" else None


def _may_build() -> None:
    if os.geteuid() != 0:
        raise NoLab("making the lab's image needs root, once; run `make lab` as root")


def _key(suite: str) -> str:
    files = [path for path in sorted(ETC.rglob("*")) if path.is_file()]
    return cache.key(suite, Path(__file__).read_bytes(), LOCK.read_bytes(), *(path.read_bytes() for path in files))


def build(folder: Path, suite: str) -> None:
    """Raises NoLab: a step did not succeed; its own last words are in the text."""
    # A tar and not a folder: what mmdebstrap mounts while it works is never under a folder that we delete.
    tree, packed = folder / "tree", folder / "tree.tar"
    _run(_mmdebstrap(packed, suite))
    tree.mkdir()
    _run(["tar", "--extract", "--numeric-owner", "--file", str(packed), "--directory", str(tree)])
    packed.unlink()
    python = next(path.name for path in sorted((tree / "usr/bin").glob("python3.*")) if path.name[8:].isdigit())
    site = tree / SITE.format(python=python)
    _run(_pip(site, python.removeprefix("python")))
    _run(["chroot", str(tree), python, "-m", "compileall", "-q", "/" + SITE.format(python=python)])
    for kernel in (tree / "boot").glob("vmlinuz-*"):
        kernel.rename(folder / "vmlinuz")
    for initramfs in (tree / "boot").glob("initrd.img-*"):
        initramfs.rename(folder / "initrd.img")
    listed = _run(["chroot", str(tree), "dpkg-query", "-W"])
    (folder / "packages.txt").write_text(listed)
    (folder / "python.txt").write_text(python)
    _settle(tree)
    _run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(tree), f"{folder}/root.ext4", SIZE])
    shutil.rmtree(tree)


def _mmdebstrap(packed: Path, suite: str) -> list[str]:
    left_out = [f"--dpkgopt=path-exclude=/usr/{place}/*" for place in LEFT_OUT]
    modules = "/lib/modules/*/kernel"
    drivers = [f"--dpkgopt=path-exclude={modules}/{place}/*" for place in ("drivers", "sound")]
    drivers += [f"--dpkgopt=path-include={modules}/drivers/{place}" for place in DRIVERS]
    return [
        "mmdebstrap", "--variant=minbase", "--format=tar", "--include=" + ",".join(PACKAGES),
        '--aptopt=Apt::Install-Recommends "false"', "--aptopt=Acquire::Retries 3", *left_out, *drivers,
        f'--essential-hook=cp -r {ETC}/. "$1/etc/"',  # before the kernel makes its initramfs
        suite, str(packed), *[str(path) for path in SOURCES if path.exists()][:1],
    ]  # fmt: skip


def _pip(site: Path, python: str) -> list[str]:
    """The wheels that the lock pins, for the guest's Python whatever the host's is."""
    platforms = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
    return [
        sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", str(site),
        "--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile", "--python-version", python,
        "--implementation", "cp", *(f"--platform={name}_x86_64" for name in platforms), "--requirement", str(LOCK),
    ]  # fmt: skip


def _settle(tree: Path) -> None:
    """Leave a system that starts the same way every time: no first-boot questions, no timers, no login prompts."""
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        _mask(units / unit)
    # systemd runs all of them at every reload, more than half of its cost, and none finds a unit to make here.
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for generator in (tree / "usr/lib/systemd/system-generators").iterdir():
        _mask(generators / generator.name)
    for unit in DISABLED:
        for link in units.glob(f"*/{unit}"):
            link.unlink()
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (tree / "etc/machine-id").write_text("1ab00000000000000000000000001ab0\n")
    (tree / "etc/hostname").write_text("lab\n")
    (tree / "etc/fstab").write_text("")
    for place in ("var/lib/apt", "var/cache/apt", "usr/share/initramfs-tools/cache"):
        shutil.rmtree(tree / place, ignore_errors=True)


def _mask(place: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to("/dev/null")


def _run(command: Sequence[str]) -> str:
    # A build that nobody waits for any more ends.
    command = ["setpriv", "--pdeathsig", "TERM", *command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = "\n".join(done.stderr.splitlines()[-12:])
        raise NoLab(f"{command[3]} could not make the lab's image:\n{words}")
    return done.stdout
