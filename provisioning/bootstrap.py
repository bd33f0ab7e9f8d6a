"""Make the Python environment, and the few Debian packages, that Leadglass runs with.

    python3 provisioning/bootstrap.py {agent,provision,server,demo,dev} [--with mosquitto,dcmtk] [--quiet]

`make` calls this before anything else. It leaves `.venv` (or `$LEADGLASS_VENV`) with exactly what the lock
`requirements/<profile>.txt` pins, and Leadglass itself in editable form.

    no folder, or an empty one                    create
    ours, its stamp names this profile's state    nothing to do, and nothing is printed
    ours, its stamp names an older state          install over it
    ours, without a stamp                         a run was interrupted: make it again
    somebody else's                               refuse; nothing that we did not make is ever deleted

The stamp is removed before the first change and written after the last one, so a run that is cut off anywhere is
seen as such by the next. Runs at the same time wait for each other on a file lock.

This file runs before anything is installed, so it knows the standard library only. It is written in the grammar of
Python 3.6, so that an older interpreter says what it is missing instead of pointing at a syntax error.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this has not read pyproject.toml yet
    sys.exit(
        "leadglass needs Python 3.11 or newer, and {} is {}.{}. Name another one: make PYTHON=python3.11 ...".format(
            sys.executable, *sys.version_info[:2]
        )
    )

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NoReturn

# The locks are resolved within dev.txt, so a larger profile holds a smaller one with the very same versions.
COVERED_BY = {
    "agent": ("agent", "provision", "demo", "dev"),
    "provision": ("provision", "demo", "dev"),
    "server": ("server", "demo", "dev"),
    "demo": ("demo", "dev"),
    "dev": ("dev",),
}

OUR_PACKAGES = ("control_plane", "edge_agent", "provisioning", "shared")

# Debian package: (a program, or the path of a file, that shows that it is there, what we want it for)
DEBIAN_PACKAGES = {
    "age": ("age", "checks sealed backups with an implementation that is not ours"),
    "btrfs-progs": ("mkfs.btrfs", "makes media that the guard has to know"),
    "chromium": ("chromium", "is the browser that people sign in with"),
    "chromium-driver": ("chromedriver", "steers that browser"),
    "cryptsetup-bin": ("cryptsetup", "makes encrypted media that the guard has to know"),
    "curl": ("curl", "sends what our own delivery is measured against"),
    "dcmtk": ("storescu", "plays the modality with an implementation that is not ours"),
    "dosfstools": ("mkfs.vfat", "makes media that the guard has to know"),
    "e2fsprogs": ("mke2fs", "makes media that the guard has to know"),
    "exfatprogs": ("mkfs.exfat", "makes media that the guard has to know"),
    "faketime": ("faketime", "sets the clock of an agent under test wrong"),
    "fdisk": ("sfdisk", "makes partition tables that the guard has to know"),
    "fuse3": ("fusermount3", "mounts gocryptfs"),
    "g++": ("g++", "builds what asks USBGuard's own library"),
    "genisoimage": ("genisoimage", "makes media that the guard has to know"),
    "gocryptfs": ("gocryptfs", "is measured against"),
    "libnss3-tools": ("certutil", "has a reader of PDF trust the hospital's root"),
    "libtss2-esys-3.0.2-0": ("/usr/share/doc/libtss2-esys-3.0.2-0/copyright", "lets systemd-creds speak to a TPM"),
    "libtss2-rc0": ("/usr/share/doc/libtss2-rc0/copyright", "lets systemd-creds say what a TPM refused"),
    "libusbguard-dev": ("/usr/include/usbguard/Rule.hpp", "has deciding measured against USBGuard's own library"),
    "golang-go": ("go", "builds what judges the audit log with an implementation that is not ours"),
    "golang-golang-x-mod-dev": (
        "/usr/share/gocode/src/golang.org/x/mod/go.mod",
        "judges the audit log with an implementation that is not ours",
    ),
    "mmdebstrap": ("mmdebstrap", "makes the guest of the lab out of packages"),
    "mosquitto": ("mosquitto", "is the broker that carries policy to the hosts"),
    "nginx-light": ("nginx", "takes what our own delivery is measured against"),
    "ntfs-3g": ("mkfs.ntfs", "makes media that the guard has to know"),
    "nwipe": ("nwipe", "judges wiped drives with an implementation that is not ours, and is measured against"),
    "nvme-cli": ("nvme", "asks a drive that is not there what it can"),
    "orthanc": ("Orthanc", "plays archive and modality with an implementation that is not ours"),
    "poppler-utils": ("pdftoppm", "renders our pages to pictures, reads their text, and judges signatures of PDFs"),
    "postgresql": ("pg_ctlcluster", "is a database that the control plane is held with"),
    "qemu-system-x86": ("qemu-system-x86_64", "is the machine that the lab plugs devices into"),
    "rabbitmq-server": ("/usr/lib/rabbitmq/bin/rabbitmq-server", "is a broker that the contract is held with"),
    "rclone": ("rclone", "is measured against"),
    "restic": ("restic", "is measured against"),
    "shellcheck": ("shellcheck", "reads the scripts of our Debian package as every shell may"),
    "softhsm2": ("softhsm2-util", "stands in for a token that holds a person's key"),
    "swtpm": ("swtpm", "is a TPM of software, for the lab's machine and beside it"),
    "systemd": ("systemd-analyze", "reads the guard's unit as a host does"),
    "udev": ("udevadm", "evaluates the guard's udev rules as a host does"),
    "udftools": ("mkudffs", "makes media that the guard has to know"),
    "umockdev": ("umockdev-wrapper", "stands in for devices that are not there"),
    "usbguard": ("usbguard-rule-parser", "reads rules and generates policies with an implementation that is not ours"),
    "xfsprogs": ("mkfs.xfs", "makes media that the guard has to know"),
}

# Debian package: the services that its installation enables and that must not run beside ours
SERVICES = {
    "mosquitto": ("mosquitto.service",),
    "nginx-light": ("nginx.service",),
    "orthanc": ("orthanc.service",),
    "postgresql": ("postgresql.service",),
    "rabbitmq-server": ("rabbitmq-server.service", "epmd.socket", "epmd.service"),
    "usbguard": ("usbguard.service", "usbguard-dbus.service"),
}

MARKER = ".leadglass-environment"
STAMP = ".leadglass-stamp.json"
POLICY_RC_D = Path("/usr/sbin/policy-rc.d")
POLICY_RC_D_TEXT = "#!/bin/sh\n# leadglass bootstrap: no service is started during this one installation\nexit 101\n"


class BootstrapFailed(Exception):
    """The environment could not be made; the text says what to do about it."""


# ---- deciding: what is to be done with the environment


class Action(Enum):
    NOTHING = "nothing"
    CREATE = "create"
    INSTALL_OVER = "install over"
    MAKE_AGAIN = "make again"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Stamp:
    """What a finished run left: which interpreter and place, and the state of each profile in it."""

    base: str
    profiles: Mapping[str, str]

    def text(self) -> str:
        return json.dumps({"version": 1, "base": self.base, "profiles": dict(self.profiles)}, indent=1) + "\n"


def parse_stamp(text: str) -> Stamp | None:
    """Return the stamp, or None for anything that this version did not write whole."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("version") != 1:
        return None
    base, profiles = value.get("base"), value.get("profiles")
    if not isinstance(base, str) or not isinstance(profiles, dict):
        return None
    if not all(isinstance(key, str) for key in profiles.values()):
        return None
    return Stamp(base, profiles)


@dataclass(frozen=True)
class Found:
    """The place of the environment, as it stands before we touch it."""

    holds_something: bool = False
    ours: bool = False
    runs: bool = False
    stamp: Stamp | None = None


@dataclass(frozen=True)
class Wanted:
    profile: str
    base: str
    profiles: Mapping[str, str]  # the state that each profile should have by the files as they are now


def choose_action(found: Found, wanted: Wanted) -> Action:
    if not found.holds_something:
        return Action.CREATE
    if not found.ours:
        return Action.REFUSE
    if found.stamp is None or not found.runs or found.stamp.base != wanted.base:
        return Action.MAKE_AGAIN
    for profile in COVERED_BY[wanted.profile]:
        if found.stamp.profiles.get(profile) == wanted.profiles[profile]:
            return Action.NOTHING
    return Action.INSTALL_OVER


def stamp_after(action: Action, found: Found, wanted: Wanted) -> Stamp:
    """Name only the states that still hold once `wanted` has been installed."""
    kept: dict[str, str] = {}
    if action is Action.INSTALL_OVER and found.stamp is not None:
        kept = {name: key for name, key in found.stamp.profiles.items() if wanted.profiles.get(name) == key}
    kept[wanted.profile] = wanted.profiles[wanted.profile]
    return Stamp(wanted.base, kept)


# ---- deciding: which way leads to an environment with pip


class Method(Enum):
    VENV = "python -m venv"
    HOST_PIP = "python -m venv --without-pip, filled by the host's own pip"
    VIRTUALENV = "virtualenv"
    PIP_WHEEL = "python -m venv --without-pip, filled by pip from Debian's python3-pip-whl"
    INSTALL_VENV = "python -m venv, after installing Debian's python3-venv"


@dataclass(frozen=True)
class HostFacts:
    has_venv: bool = True
    has_ensurepip: bool = True
    host_pip: tuple[int, int] | None = None
    has_virtualenv: bool = False
    has_apt_get: bool = False
    has_dpkg: bool = False
    may_install: bool = False  # root, or sudo without a password
    distribution_python: bool = False  # the interpreter is the one that Debian's packages belong to


def plan_methods(facts: HostFacts) -> tuple[Method, ...]:
    """Return the ways worth trying here, the plainest first and those that change the host last."""
    methods: list[Method] = []
    if facts.has_venv and facts.has_ensurepip:
        methods.append(Method.VENV)
    if facts.has_venv and facts.host_pip is not None and facts.host_pip >= (22, 3):  # the first with --python
        methods.append(Method.HOST_PIP)
    if facts.has_virtualenv:
        methods.append(Method.VIRTUALENV)
    if facts.has_venv and facts.has_apt_get and facts.has_dpkg:
        methods.append(Method.PIP_WHEEL)
    if facts.has_apt_get and facts.may_install and facts.distribution_python:
        methods.append(Method.INSTALL_VENV)
    return tuple(methods)


def no_way(facts: HostFacts, failures: Sequence[str]) -> str:
    """Say why there is no environment, and the one command that leads to one."""
    if facts.has_apt_get and facts.distribution_python:
        command = "sudo apt-get install -y python3-venv python3-pip-whl"
    elif facts.has_apt_get:
        command = "make PYTHON=/usr/bin/python3 ... (this interpreter came without venv and pip)"
    else:
        command = "install Python 3.11 or newer with its venv module, or virtualenv, from your distribution"
    tried = "".join(f"\n  tried {failure}" for failure in failures)
    return f"no Python environment could be made here{tried}\n  type this, then run the same command again: {command}"


# ---- deciding: what pip's last words mean

_HINTS = (
    (
        ("DO NOT MATCH THE HASHES", "Hashes are required"),
        (
            "a file differs from the lock. Do not work around this: find out who serves it (a mirror, a proxy), or run "
            "`make lock` if you meant to change the lock."
        ),
    ),
    (("No space left on device",), "the disk is full."),
    (
        ("CERTIFICATE_VERIFY_FAILED", "SSLError"),
        (
            "the index's certificate is not trusted here; behind an inspecting proxy, set PIP_CERT to your "
            "organisation's CA file."
        ),
    ),
    (
        (
            "Temporary failure in name resolution",
            "Failed to establish a new connection",
            "NewConnectionError",
            "Connection refused",
            "Network is unreachable",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "ProxyError",
        ),
        (
            "the package index does not answer; set PIP_INDEX_URL to a mirror, or PIP_NO_INDEX=1 and PIP_FIND_LINKS "
            "to a folder of wheels."
        ),
    ),
    (
        ("No matching distribution", "from versions: none"),
        (
            "the index has no ready-made package for this Python and machine, or did not answer at all; sources are "
            "not built here, because that would run code that the lock does not pin."
        ),
    ),
    (("Permission denied",), "a folder is not writable for you; was it made with sudo?"),
)


def hint_for(pip_output: str) -> str:
    for signs, hint in _HINTS:
        if any(sign in pip_output for sign in signs):
            return hint
    return "pip's lines above say why."


def last_lines(text: str, count: int = 12) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join("    " + line for line in lines[-count:])


# ---- deciding: Debian packages


@dataclass(frozen=True)
class PackagePlan:
    install: tuple[str, ...] = ()  # we do it
    ask: tuple[str, ...] = ()  # the person has to
    command: str = ""  # what the person types


def plan_packages(missing: Sequence[str], *, has_apt_get: bool, may_install: bool) -> PackagePlan:
    if not missing:
        return PackagePlan()
    if has_apt_get and may_install:
        return PackagePlan(install=tuple(missing))
    command = "sudo apt-get install -y --no-install-recommends " + " ".join(missing)
    if not has_apt_get:
        command = "install with your distribution's own tool: " + " ".join(missing)
    return PackagePlan(ask=tuple(missing), command=command)


def services_to_stop(installed: Collection[str], *, systemd_runs: bool) -> tuple[str, ...]:
    """Return the services that came with what *we* installed; one that was there before is the host's own affair."""
    if not systemd_runs:
        return ()
    return tuple(service for name in installed for service in SERVICES.get(name, ()))


# ---- touching: the host


@dataclass(frozen=True)
class Result:
    code: int
    output: str


Runner = Callable[[Sequence[str]], Result]


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Drop what would make Python or pip work on another environment than the one named to it."""
    leaks = (
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_PYTHON",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_REQUIRE_HASHES",
        "PIP_NO_BINARY",
    )
    kept = {name: value for name, value in environment.items() if name not in leaks}
    kept.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_ROOT_USER_ACTION="ignore")
    kept.update(PYTHONNOUSERSITE="1")
    return kept


def run(command: Sequence[str], extra: Mapping[str, str] | None = None) -> Result:
    """Run a program with clean surroundings; its output comes back in one piece."""
    environment = clean_environment(os.environ)
    environment.update(extra or {})
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return Result(127, f"{command[0]}: {error.strerror}")
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"))


def which(program: str) -> str | None:
    """Find a program, also where Debian puts daemons and an ordinary PATH does not look, or a file by its path."""
    if program.startswith("/"):
        return program if Path(program).exists() else None
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def root_prefix() -> tuple[str, ...] | None:
    """Return what goes before a command that needs root, or None where we have no way to it."""
    if os.geteuid() == 0:
        return ()
    if which("sudo") and run(["sudo", "-n", "true"]).code == 0:
        return ("sudo", "-n")
    return None


def importable(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def host_pip_version() -> tuple[int, int] | None:
    shown = run([sys.executable, "-m", "pip", "--version"])
    match = re.match(r"pip (\d+)\.(\d+)", shown.output)
    return (int(match.group(1)), int(match.group(2))) if shown.code == 0 and match else None


def host_facts() -> HostFacts:
    return HostFacts(
        has_venv=importable("venv"),
        has_ensurepip=importable("ensurepip"),
        host_pip=host_pip_version(),
        has_virtualenv=which("virtualenv") is not None,
        has_apt_get=which("apt-get") is not None,
        has_dpkg=which("dpkg") is not None,
        may_install=root_prefix() is not None,
        distribution_python=sys.base_prefix == "/usr",
    )


class Progress:
    """One line a step: what, then how long it took."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        if self._quiet:
            yield
            return
        began = time.monotonic()
        print(f"  {text} ...", end="", flush=True)
        try:
            yield
        except BaseException:
            print(" failed", flush=True)
            raise
        print(f" {time.monotonic() - began:.1f} s", flush=True)


# ---- touching: the environment


@dataclass(frozen=True)
class Pip:
    """A command that installs into one environment, whoever's pip it is."""

    command: tuple[str, ...]
    extra: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> Result:
        return run([*self.command, *arguments], self.extra)


class CouldNot(Exception):
    """One way to an environment does not work here; the next one may."""


def _checked(result: Result) -> Result:
    if result.code != 0:
        lines = [line for line in result.output.splitlines() if line.strip()]
        raise CouldNot(lines[-1].strip() if lines else f"it ended with code {result.code}")
    return result


def _python(venv: Path) -> str:
    return str(venv / "bin" / "python")


def create_with_venv(venv: Path) -> Pip:
    _checked(run([sys.executable, "-m", "venv", str(venv)]))
    pip = Pip((_python(venv), "-m", "pip"))
    _checked(pip("--version"))
    return pip


def create_with_host_pip(venv: Path) -> Pip:
    _checked(run([sys.executable, "-m", "venv", "--without-pip", str(venv)]))
    pip = Pip((sys.executable, "-m", "pip", "--python", _python(venv)))
    _checked(pip("--version"))
    return pip


def create_with_virtualenv(venv: Path) -> Pip:
    _checked(run([which("virtualenv") or "virtualenv", "--quiet", "--python", sys.executable, str(venv)]))
    pip = Pip((_python(venv), "-m", "pip"))
    _checked(pip("--version"))
    return pip


def fetch_pip_wheel(folder: Path) -> Path:
    """Fetch Debian's own pip wheel with apt's signature check; this needs no root."""
    apt = "apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 download python3-pip-whl"
    _checked(run(["sh", "-c", f'cd "$1" && exec {apt}', "sh", str(folder)]))
    for package in folder.glob("python3-pip-whl_*.deb"):
        _checked(run(["dpkg", "-x", str(package), str(folder / "unpacked")]))
    for wheel in sorted(folder.glob("unpacked/usr/share/python-wheels/pip-*.whl")):
        return wheel
    raise CouldNot("python3-pip-whl holds no pip wheel")


def create_with_pip_wheel(venv: Path, fetch: Callable[[Path], Path] = fetch_pip_wheel) -> Pip:
    """Run pip straight out of its wheel, which then installs itself into the environment."""
    _checked(run([sys.executable, "-m", "venv", "--without-pip", str(venv)]))
    with tempfile.TemporaryDirectory(prefix="leadglass-pip-") as folder:
        wheel = fetch(Path(folder))
        from_wheel = Pip((_python(venv), "-m", "pip"), {"PYTHONPATH": str(wheel)})
        _checked(from_wheel("install", "--quiet", "--no-index", "--no-deps", str(wheel)))
    pip = Pip((_python(venv), "-m", "pip"))
    _checked(pip("--version"))
    return pip


def create_after_installing_venv(venv: Path) -> Pip:
    _checked(apt_install(["python3-venv", "python3-pip-whl"], root_prefix() or (), run))
    return create_with_venv(venv)


CREATE = {
    Method.VENV: create_with_venv,
    Method.HOST_PIP: create_with_host_pip,
    Method.VIRTUALENV: create_with_virtualenv,
    Method.PIP_WHEEL: create_with_pip_wheel,
    Method.INSTALL_VENV: create_after_installing_venv,
}


def empty(venv: Path) -> None:
    """Leave the folder with nothing but our marker, which says that we may empty it again."""
    venv.mkdir(parents=True, exist_ok=True)
    (venv / MARKER).write_text("Made by Leadglass (provisioning/bootstrap.py). It may be deleted at any time.\n")
    for entry in venv.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        else:
            entry.unlink()


def create(venv: Path, facts: HostFacts, makers: Mapping[Method, Callable[[Path], Pip]] = CREATE) -> Pip:
    """Take the first way that works."""
    failures: list[str] = []
    for method in plan_methods(facts):
        empty(venv)
        try:
            return makers[method](venv)
        except CouldNot as reason:
            failures.append(f"{method.value}: {reason}")
    raise BootstrapFailed(no_way(facts, failures))


def install_lock(pip: Pip, lock: Path) -> None:
    # Wheels only: building a source distribution would fetch and run code that the lock does not pin.
    result = pip(
        "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(lock)
    )
    if result.code != 0:
        raise BootstrapFailed(
            f"pip could not install {lock.name}\n{last_lines(result.output)}\n  {hint_for(result.output)}"
        )


def install_ourselves(pip: Pip, root: Path) -> None:
    result = pip("install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--editable", str(root))
    if result.code != 0:
        raise BootstrapFailed(f"pip could not install leadglass itself\n{last_lines(result.output)}")


def digest(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def look_at_files(root: Path, profile: str) -> Wanted:
    project = (root / "pyproject.toml").read_bytes()
    # The editable form maps the packages that exist when it is made, so a new one makes it stale.
    packages = " ".join(name for name in OUR_PACKAGES if (root / name).is_dir()).encode()
    locks = {name: root / "requirements" / (name + ".txt") for name in COVERED_BY}
    return Wanted(
        profile,
        base=digest(sys.version.encode(), sys.base_prefix.encode(), str(root).encode()),
        profiles={name: digest(lock.read_bytes(), project, packages) for name, lock in locks.items()},
    )


def look_at_environment(venv: Path) -> Found:
    try:
        holds_something = any(venv.iterdir())
    except FileNotFoundError:
        return Found()
    except NotADirectoryError:
        return Found(holds_something=True)
    try:
        stamp = parse_stamp((venv / STAMP).read_text())
    except FileNotFoundError:
        stamp = None
    return Found(
        holds_something=holds_something,
        ours=(venv / MARKER).exists(),
        runs=os.access(_python(venv), os.X_OK),
        stamp=stamp,
    )


def installed(venv: Path) -> list[str]:
    return sorted(entry.name for entry in venv.glob("lib/python3*/site-packages/*"))


def store_stamp(venv: Path, stamp: Stamp) -> None:
    new = venv / (STAMP + ".new")
    with new.open("w") as file:
        file.write(stamp.text())
        file.flush()
        os.fsync(file.fileno())
    new.replace(venv / STAMP)


@contextlib.contextmanager
def one_at_a_time(venv: Path, progress: Progress) -> Iterator[None]:
    venv.parent.mkdir(parents=True, exist_ok=True)
    with venv.with_name(venv.name + ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"leadglass: another run is preparing {venv}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- touching: Debian packages


def apt_install(packages: Sequence[str], prefix: Sequence[str], execute: Runner) -> Result:
    """Install without questions; where apt's lists are missing or stale, fetch them and try once more."""
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=60"]
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    first = execute(install)
    if first.code == 0:
        return first
    updated = execute([*apt, "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "update"])
    return execute(install) if updated.code == 0 else updated


@contextlib.contextmanager
def no_service_starts(prefix: Sequence[str], execute: Runner, policy: Path = POLICY_RC_D) -> Iterator[None]:
    """Keep package scripts from starting daemons (Debian's policy-rc.d) for as long as the block runs.

    A policy that the host has of its own stays as it is. One that a killed run of ours left behind is taken away.
    """
    if policy.exists() and policy.read_text(errors="replace") != POLICY_RC_D_TEXT:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="leadglass-apt-") as folder:
        ours = Path(folder) / "policy-rc.d"
        ours.write_text(POLICY_RC_D_TEXT)
        placed = execute([*prefix, "install", "-m", "755", str(ours), str(policy)])
    if placed.code != 0:
        raise CouldNot(f"{policy} could not be put in place, and without it a broker would be started")
    try:
        yield
    finally:
        execute([*prefix, "rm", "-f", str(policy)])


def ensure_debian_packages(
    packages: Sequence[str],
    progress: Progress,
    *,
    find: Callable[[str], str | None] = which,
    execute: Runner = run,
    prefix: Callable[[], tuple[str, ...] | None] = root_prefix,
    policy: Path = POLICY_RC_D,
    systemd: Path = Path("/run/systemd/system"),
) -> PackagePlan:
    """Install what is missing where we may, and return what is left for the person to do."""
    missing = [name for name in packages if find(DEBIAN_PACKAGES[name][0]) is None]
    if not missing:
        return PackagePlan()
    as_root = prefix()
    has_apt_get = find("apt-get") is not None
    plan = plan_packages(missing, has_apt_get=has_apt_get, may_install=as_root is not None)
    if not plan.install or as_root is None:
        return plan
    try:
        what = "{} from Debian, no service started".format(", ".join(plan.install))
        with progress.step(what), no_service_starts(as_root, execute, policy):
            _checked(apt_install(plan.install, as_root, execute))
            for service in services_to_stop(plan.install, systemd_runs=systemd.exists()):
                _checked(execute([*as_root, "systemctl", "disable", "--now", service]))
    except CouldNot as reason:
        progress.say(f"    {reason}")
        return plan_packages(missing, has_apt_get=has_apt_get, may_install=False)
    return PackagePlan()


# ---- joining


def ensure_environment(root: Path, venv: Path, profile: str, progress: Progress) -> None:
    wanted = look_at_files(root, profile)
    if choose_action(look_at_environment(venv), wanted) is Action.NOTHING:
        return
    with one_at_a_time(venv, progress):
        found = look_at_environment(venv)  # again: whoever had the lock may have done it
        action = choose_action(found, wanted)
        if action is Action.NOTHING:
            return
        if action is Action.REFUSE:
            raise BootstrapFailed(
                f"{venv} was not made by leadglass, so it is left alone; remove it, or set LEADGLASS_VENV to another "
                "place"
            )
        lock = root / "requirements" / (profile + ".txt")
        count = len(re.findall(r"^[A-Za-z0-9].*==", lock.read_text(), re.MULTILINE))
        why = {
            Action.CREATE: "not there yet",
            Action.MAKE_AGAIN: "an earlier run was cut off, or Python changed",
            Action.INSTALL_OVER: f"{profile} is new or its lock changed",
        }[action]
        shown = venv.relative_to(root) if venv.is_relative_to(root) else venv
        progress.say(f"leadglass: preparing {shown} for {profile} ({why})")
        (venv / STAMP).unlink(missing_ok=True)
        if action is Action.INSTALL_OVER:
            pip = Pip((_python(venv), "-m", "pip"))
        else:
            with progress.step("environment for Python {}.{}".format(*sys.version_info[:2])):
                pip = create(venv, host_facts())
        before = installed(venv)
        try:
            with progress.step(f"{count} packages, each checked against its hash"):
                install_lock(pip, lock)
        except BootstrapFailed:
            # pip fetches everything before it changes anything: without a network, what worked goes on working.
            if action is Action.INSTALL_OVER and found.stamp is not None and installed(venv) == before:
                store_stamp(venv, found.stamp)
            raise
        with progress.step("leadglass itself"):
            install_ourselves(Pip((_python(venv), "-m", "pip")), root)
        store_stamp(venv, stamp_after(action, found, wanted))


def package_names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in DEBIAN_PACKAGES:
            raise argparse.ArgumentTypeError("{!r} is not among {}".format(name, ", ".join(sorted(DEBIAN_PACKAGES))))
    return names


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(143)  # as an exception, so that policy-rc.d is taken away on the way out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Make the environment that Leadglass runs with.")
    parser.add_argument("profile", choices=sorted(COVERED_BY))
    parser.add_argument(
        "--with",
        dest="packages",
        type=package_names,
        default=(),
        metavar="PACKAGE,...",
        help="Debian packages to have: " + ", ".join(sorted(DEBIAN_PACKAGES)),
    )
    parser.add_argument("--quiet", action="store_true", help="say something only when it fails")
    options = parser.parse_args(arguments)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _end)

    root = Path(__file__).resolve().parent.parent
    venv = Path(os.environ.get("LEADGLASS_VENV") or root / ".venv").expanduser().absolute()
    progress = Progress(quiet=options.quiet)
    try:
        ensure_environment(root, venv, options.profile, progress)
        left = ensure_debian_packages(options.packages, progress)
    except BootstrapFailed as failure:
        print(f"leadglass: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print("leadglass: {}: {}".format(error.filename or "the system says", error.strerror), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nleadglass: stopped; the next run repairs what is half done", file=sys.stderr)
        return 130
    for name in left.ask:
        print(f"leadglass: going on without {name}, which {DEBIAN_PACKAGES[name][1]}", file=sys.stderr)
    if left.command:
        print(f"leadglass: to have it: {left.command}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
