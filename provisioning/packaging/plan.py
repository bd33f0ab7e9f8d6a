"""What goes into the package of a modality host, and where.

Decided by names alone, of what there is:

/opt/leadglass/pyvenv.cfg, bin/python        an environment on Debian's own Python, of exactly one minor version
/opt/leadglass/bin/leadglass-*               launchers
/opt/leadglass/lib/pythonX.Y/site-packages   what the locks pin, and our packages, compiled
/opt/leadglass/share/leadglass/              the files of systemd/, and `formats`: what this version reads
/usr/bin/leadglass-*, /usr/lib/sysusers.d/   links
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.errors import Malformed

PYTHON = "3.11"
HOME = "opt/leadglass"
SITE = f"{HOME}/lib/python{PYTHON}/site-packages"
SHARE = f"{HOME}/share/leadglass"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
LAUNCHED: Mapping[str, str] = {
    "leadglass-agent": "edge_agent",
    "leadglass-guard": "edge_agent.guard_main",
    "leadglass-provision": "provisioning",
    "leadglass-verify": "provisioning.verify",
    "leadglass-wipe": "edge_agent.wipe_main",
}
VENV = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
LOCKS = ("provision",)  # which holds the agent's
# Of the centre a host has what draws pages, and nothing else.
OUR_PACKAGES = ("control_plane/paper", "edge_agent", "provisioning", "shared")

# What `pip` builds our own package with is not what it runs with.
_NOT_ON_A_HOST = {"pip", "setuptools"}
_LEFT_OUT = ("provisioning/bootstrap.py", "provisioning/demo/", "provisioning/packaging/")
_ENTRY = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?:[^\n]|\\\n)+?(?=\n[^ ]|\n*\Z)", re.MULTILINE | re.DOTALL)
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){1,3}(~[a-z0-9.]+)?")
_FORMAT = re.compile(r"[a-z-]+ [1-9][0-9]{0,8}")

# systemd 252 is what the units are held with; the wheels of `cryptography` need this glibc.
_DEPENDS = (
    f"python3 (>= {PYTHON}), python3 (<< {PYTHON[:2]}{int(PYTHON[2:]) + 1}~), libc6 (>= 2.34), libudev1, "
    "systemd (>= 252), udev"
)
# Without these systemd-creds cannot speak to a TPM, and keys lie in files; and a drive that is to be wiped is not asked
# for its health, and has no command of its own.
_RECOMMENDS = (
    "cryptsetup-bin, hdparm, libtss2-esys-3.0.2-0, libtss2-mu0, libtss2-rc0, libtss2-tcti-device0, mmc-utils, "
    "nvme-cli, sg3-utils, smartmontools"
)


@dataclass(frozen=True)
class Release:
    """`formats` is the text of `edge_agent/formats`: one `name number` a line."""

    version: str
    formats: str

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.version):
            raise Malformed("version", f"{self.version[:40]!r} is no version of a release")
        if not self.formats or not all(_FORMAT.fullmatch(line) for line in self.formats.splitlines()):
            raise Malformed("formats", "expected lines of a name and a number")

    @property
    def file_name(self) -> str:
        return f"leadglass-agent_{self.version}_amd64.deb"

    def control(self, size_kib: int) -> str:
        return (
            f"Package: leadglass-agent\nVersion: {self.version}\nArchitecture: amd64\n"
            "Maintainer: Leadglass maintainers <maintainers@leadglass.invalid>\n"
            f"Installed-Size: {size_kib}\nDepends: {_DEPENDS}\nRecommends: {_RECOMMENDS}\n"
            "Section: admin\nPriority: optional\n"
            "Description: protects the images of a modality host\n"
            " Agent, device guard and the field engineer's tools, with their Python environment\n"
            " in /opt/leadglass. It activates nothing: `leadglass-provision install` does.\n"
        )

    def fill(self, template: str, module: str = "") -> str:
        """Return a script with this release's values in their places."""
        filled = template.replace("@VERSION@", self.version).replace("@FORMATS@", self.formats.strip())
        return filled.replace("@MODULE@", module)


def is_for_hosts(path: str) -> bool:
    """Return whether a file of our source tree, by its path within it, belongs on a modality host."""
    if path.startswith(_LEFT_OUT) or "__pycache__" in path:
        return False
    return path.startswith(tuple(f"{package}/" for package in OUR_PACKAGES))


def requirements(locks: Sequence[str]) -> str:
    """Return what the locks pin, each once, without what only builds. Raises Malformed: they disagree."""
    pinned: dict[str, str] = {}
    for lock in locks:
        for found in _ENTRY.finditer(lock):
            if pinned.setdefault(found["name"], found[0]) != found[0]:
                raise Malformed("requirements", f"two locks pin {found['name']} differently; run `make lock`")
    return "".join(f"{entry}\n" for name, entry in sorted(pinned.items()) if name not in _NOT_ON_A_HOST)


def links(names: Iterable[str] = LAUNCHED) -> dict[str, str]:
    """Return where each link lies, and what it leads to."""
    led = {f"usr/bin/{name}": f"/{HOME}/bin/{name}" for name in names}
    return led | {
        f"{HOME}/bin/python": f"/usr/bin/python{PYTHON}",
        "usr/lib/sysusers.d/leadglass.conf": f"/{SHARE}/systemd/sysusers.d/leadglass.conf",
    }
