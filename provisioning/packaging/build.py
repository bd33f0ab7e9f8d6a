"""Makes the package: what the locks pin, fetched by pip against its hashes, our own files, and dpkg-deb.

The same sources give the same bytes: every file is as old as SOURCE_DATE_EPOCH says, in one order, with bytecode that
names no time, packed by one thread.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from provisioning.packaging import plan
from shared.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = Path(__file__).parent / "scripts"
_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")


class NotBuilt(Unavailable):
    """A step did not succeed; its own last words are in the text."""


def release(root: Path = ROOT) -> plan.Release:
    """Return which release the source tree `root` is. Raises Malformed, OSError."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return plan.Release(project["version"], (root / "edge_agent" / "formats").read_text())


def epoch() -> int:
    """Return how old everything in the package is to be: as said, or as the newest commit. Raises NotBuilt."""
    named = os.environ.get("SOURCE_DATE_EPOCH") or _run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"])
    try:
        return int(named)
    except ValueError as exc:
        raise NotBuilt(f"SOURCE_DATE_EPOCH is no number: {named[:40]!r}") from exc


def fetch(site: Path, root: Path = ROOT) -> None:
    """Fill `site` with what the locks pin, compiled for where it will lie. Raises NotBuilt, Malformed, OSError."""
    site.mkdir(parents=True)
    pinned = site.with_name("requirements.txt")
    pinned.write_text(plan.requirements([(root / "requirements" / f"{lock}.txt").read_text() for lock in plan.LOCKS]))
    _run([
        sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", str(site),
        "--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile", "--python-version", plan.PYTHON,
        "--implementation", "cp", *(f"--platform={name}_x86_64" for name in _PLATFORMS), "--requirement", str(pinned),
    ])  # fmt: skip
    pinned.unlink()
    # Programs of libraries, made for the Python that fetched them.
    shutil.rmtree(site / "bin", ignore_errors=True)
    _compile(site, f"/{plan.SITE}")


def build(fetched: Path, out: Path, work: Path, age: int, root: Path = ROOT) -> Path:
    """Return the package of the tree `root`, made in `out` with the libraries in `fetched`. `work` is a new folder.

    `age` is the time of every file, in seconds since 1970.

    Raises NotBuilt, Malformed, OSError.
    """
    made, tree = release(root), work / "tree"
    site, share = tree / plan.SITE, tree / plan.SHARE
    shutil.copytree(fetched, site, symlinks=True)
    _place_ours(root, site)
    shutil.copytree(root / "systemd", share / "systemd")
    shutil.copy(root / "edge_agent" / "formats", share / "formats")
    (tree / plan.HOME / "pyvenv.cfg").write_text(plan.VENV)
    launcher = (_SCRIPTS / "launcher").read_text()
    for name, module in plan.LAUNCHED.items():
        _script(tree / plan.HOME / "bin" / name, made.fill(launcher, module))
    for place, target in plan.links().items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).symlink_to(target)
    control = tree / "DEBIAN"
    control.mkdir()
    _settle_modes(tree)
    # Of a folder each file system has another size.
    size = sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir())
    (control / "control").write_text(made.control(size // 1024))
    for name in plan.SCRIPTS:
        _script(control / name, made.fill((_SCRIPTS / name).read_text()))
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (age, age), follow_symlinks=False)
    out.mkdir(parents=True, exist_ok=True)
    package = out / made.file_name
    _run(
        ["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zzstd", "-z3", "--build", str(tree), str(package)],
        {"SOURCE_DATE_EPOCH": str(age)},
    )  # fmt: skip
    return package


def _place_ours(root: Path, site: Path) -> None:
    for package in plan.OUR_PACKAGES:
        for source in sorted((root / package).rglob("*")):
            named = source.relative_to(root).as_posix()
            if source.is_file() and plan.is_for_hosts(named):
                (site / named).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, site / named)
        _compile(site / package, f"/{plan.SITE}/{package}")


def _compile(folder: Path, place: str) -> None:
    if "{}.{}".format(*sys.version_info[:2]) != plan.PYTHON:
        raise NotBuilt(
            f"run this with Python {plan.PYTHON}, for which the package is; this is {sys.version.split()[0]}"
        )
    # One process and one seed: what a set holds is written in the order of its hashes.
    _run(
        [
            sys.executable, "-P", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash",
            "-s", str(folder), "-p", place, str(folder),
        ],
        {"PYTHONHASHSEED": "0"},
    )  # fmt: skip


def _settle_modes(tree: Path) -> None:
    """Whatever umask this runs under: folders and what was executable 0755, all else 0644."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.parent == tree / plan.HOME / "bin"
            path.chmod(0o755 if runs else 0o644)


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **(environment or {})},
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise NotBuilt(f"{Path(command[0]).name} failed:\n" + "\n".join(done.stderr.splitlines()[-12:]))
    return done.stdout
