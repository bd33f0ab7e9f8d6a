"""A visit in the lab: a machine beside a scanner, an engineer's stick, a cable to the control plane, and what is typed.

python -m tests.lab.scanner_room      makes the visit and writes its transcript into the guide
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.bundle.fingerprint import fingerprint
from provisioning.bundle.host import field as field_of
from provisioning.bundle.make import Contents, make
from provisioning.bundle.manifest import Manifest
from provisioning.bundle.needed import NEEDED
from provisioning.packaging import plan
from provisioning.packaging.build import ROOT, build, fetch
from shared.clock import SystemClock
from shared.signing import SoftwareSigner
from tests.lab import cache
from tests.lab.centre import Centre, centre
from tests.lab.guest import Done
from tests.lab.image import image
from tests.lab.lab import Lab
from tests.lab.wire import LabError

GUIDE = ROOT / "docs/guides/visit.md"
SITE_FILE = "/var/lib/leadglass-provision/bundle/0.1.0/site/ct2.toml"
ASSET, ENGINEER, RECEIVER = "CT 2, room 1.14", "Erika Muster", "Wang Fang"
BEGIN, END = "<!-- transcript -->\n", "<!-- end of the transcript -->\n"
# As the administrator has published it: the phantom of the self-test may be sent, and hubs may be plugged in.
POLICY = """\
layer: organisation
modalities: [{ae_title: LEADGLASS-TEST, description: self-test}]
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 5}
devices:
  contact: IT service, 4711
  rules: ["allow with-interface one-of { 09:00:00 }"]
"""
_SITE = """\
version = 1
centre = "{centre}"
asset = "{asset}"
hosts_port = {hosts_port}
guard = true
keys = "file"
policy_root = "{root}"
deny_by_default = true
engineer = "{engineer}"
received_by = "{receiver}"
"""
_CLOCK = (Path(__file__).parent / "inside/clock.py").read_bytes()
_OF = 1_700_000_000  # when its files were made, for the same bytes every time
_DISK, _STICK = "30G", "96M"
_PAST_HERE = re.compile(r"(?<=leadglass/log/)[0-9a-f]+|[0-9a-f]{8,}|\d+")


@dataclass
class Session:
    """A root shell at the machine. What is typed and what comes back is the transcript; `took_s`: of the last line."""

    lab: Lab
    lines: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def type(self, command: str, *answers: str, check: bool = True) -> str:
        """Return what the command printed. Raises LabError: it ended with another code than 0 and `check` is set."""
        began = time.monotonic()
        done: Done = self.lab.guest.run(command, stdin="".join(f"{a}\n" for a in answers), timeout_s=300, check=False)
        self.took_s = time.monotonic() - began
        said = done.out + done.err
        self.lines += [f"# {command}", *(line.rstrip() for line in said.splitlines())]
        if check and done.code != 0:
            raise LabError(f"code {done.code} of {command!r}:\n{said}")
        return said

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True)
class Sheet:
    """What the engineer has on paper."""

    digest: str
    fingerprint: str


@dataclass(frozen=True)
class ScannerRoom:
    lab: Lab
    centre: Centre
    session: Session
    sheet: Sheet

    def ready(self) -> None:
        """What was there before the engineer came: a disk for images, a keyboard, a clock that is kept, a cable."""
        lab = self.lab
        lab.network.plug(self.centre.for_hosts)
        lab.disk(self.centre.folder / "images.img")
        lab.usb.keyboard("console", port="2")
        lab.guest.put("/run/clock.py", _CLOCK)
        # The machine is started from outside, so what its initramfs would be told is told nobody.
        lab.guest.run(
            "python3 /run/clock.py && mkdir /var/lib/leadglass /mnt/stick && mount /dev/vdb /var/lib/leadglass && "
            "mount --bind /bin/true /usr/sbin/update-initramfs"
        )

    def plug_the_stick_in(self) -> None:
        self.lab.usb.stick("engineer", self.centre.folder / "stick.img", port="1")
        self.lab.tree.await_device("3-1")
        self.lab.tree.authorize("3-1")
        self.lab.tree.await_disk("3-1")


@contextmanager
def scanner_room(folder: Path) -> Iterator[ScannerRoom]:
    with centre(folder) as running:
        running.publish(POLICY)
        sheet = _stick(folder, running)
        _ext4(folder / "images.img", _DISK)
        with Lab(image()) as lab:
            room = ScannerRoom(lab, running, Session(lab), sheet)
            room.ready()
            yield room


def package() -> Path:
    """Return the Debian package of this tree."""
    locks = [(ROOT / "requirements" / f"{lock}.txt").read_bytes() for lock in plan.LOCKS]
    sources = [Path(fetch.__code__.co_filename).read_bytes(), Path(plan.__file__).read_bytes()]
    libraries = cache.kept("deb-libraries", cache.key(*locks, *sources), lambda made: fetch(made / "site")) / "site"
    trees = [path for name in (*plan.OUR_PACKAGES, "systemd") for path in sorted((ROOT / name).rglob("*"))]
    contents = [
        part
        for path in trees
        if path.is_file() and "__pycache__" not in path.parts
        for part in (path.relative_to(ROOT).as_posix(), path.read_bytes())
    ]
    name = cache.key(libraries.parent.name, (ROOT / "pyproject.toml").read_bytes(), *contents)
    made = cache.kept("visit-deb", name, lambda folder: _built(libraries, folder))
    return next(made.glob("*.deb"))


def _built(libraries: Path, folder: Path) -> None:
    build(libraries, folder, folder / "work", _OF)


def packages() -> list[Path]:
    """Return the Debian packages that a bundle carries, ours among them."""
    needed = cache.kept("bundle-packages", cache.key(*NEEDED), _downloaded)
    return [package(), *sorted(needed.glob("*.deb"))]


def _downloaded(folder: Path) -> None:
    command = ["apt-get", "--quiet=2", "--option=APT::Sandbox::User=root", "download", *NEEDED]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _stick(folder: Path, running: Centre) -> Sheet:
    """Make what the engineer carries, the bundle, and return what goes along on paper."""
    files = folder / "stick"
    files.mkdir()
    (root,) = running.person("policy", "root", "--json").json()["roots"].values()
    site = _SITE.format(
        centre=running.enrol_url, asset=ASSET, hosts_port=running.ports["host"], root=root, engineer=ENGINEER,
        receiver=RECEIVER,
    )  # fmt: skip
    (folder / "ct2.toml").write_text(site)
    signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    contents = Contents(packages(), [folder / "ct2.toml"])
    made = SystemClock().now()
    _bundle, digest = make(files, contents, lambda version: Manifest(version, made), signer, field_of)
    _ext4(folder / "stick.img", _STICK, files)
    return Sheet(digest, fingerprint(signer.public))


def _ext4(file: Path, size: str, files: Path | None = None) -> None:
    holding = ["-d", str(files)] if files is not None else []
    how = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"]
    subprocess.run(["mke2fs", *how, *holding, str(file), size], check=True, capture_output=True)


def visit(room: ScannerRoom) -> str:
    """Make the visit as it is typed, and return its transcript. Raises LabError."""
    session = room.session
    room.plug_the_stick_in()
    session.type("mount -o ro /dev/sda /mnt/stick")
    session.type("mkdir -m 700 /root/leadglass && cp /mnt/stick/leadglass-*.bundle /root/leadglass/bundle")
    inside = "cd /root/leadglass && "
    session.type(f"{inside}echo '{room.sheet.digest}  bundle' | sha256sum --check && tar -xf bundle --no-same-owner")
    session.type(f"{inside}sh begin.sh bundle '{room.sheet.fingerprint}'")
    session.type("rm -r /root/leadglass && umount /mnt/stick")
    session.type(f"leadglass-provision visit --site-file {SITE_FILE}", room.centre.code(ASSET))
    session.type("leadglass-agent status --data /var/lib/leadglass")
    return session.text()


def shape(transcript: str) -> list[str]:
    """Return what of a transcript is the same wherever it is made: commands, and how each line begins."""
    lines = [line for line in transcript.splitlines() if line.strip()]
    return [_PAST_HERE.sub("N", line if line.startswith("# ") else line[:40].split("  ")[0]) for line in lines]


def in_guide() -> str:
    """Return the transcript that the guide shows."""
    return GUIDE.read_text().partition(f"{BEGIN}```text\n")[2].partition(f"```\n{END}")[0]


def main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="leadglass-visit-") as folder, scanner_room(Path(folder)) as room:
        made = visit(room)
    before, _, rest = GUIDE.read_text().partition(BEGIN)
    GUIDE.write_text(f"{before}{BEGIN}```text\n{made}```\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
