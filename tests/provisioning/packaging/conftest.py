"""The package of this tree, and of the next version; built once for what is in the tree."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from provisioning.packaging import plan
from provisioning.packaging.build import ROOT, build, fetch
from tests.faults.vault import Vault, publishing
from tests.lab import cache
from tests.provisioning.packaging.machine import Machine, machine

_TREE = (*plan.OUR_PACKAGES, "systemd", "requirements")
NEXT = "0.2.0"
AGE = 1_700_000_000


@dataclass(frozen=True)
class Packages:
    this: Path
    next: Path  # as `tree_of` has it


@pytest.fixture(scope="session")
def libraries() -> Path:
    locks = [(ROOT / "requirements" / f"{lock}.txt").read_bytes() for lock in plan.LOCKS]
    sources = [Path(fetch.__code__.co_filename).read_bytes(), Path(plan.__file__).read_bytes()]
    return cache.kept("deb-libraries", cache.key(*locks, *sources), lambda folder: fetch(folder / "site")) / "site"


@pytest.fixture(scope="session")
def packages(libraries: Path) -> Packages:
    names = [path for name in _TREE for path in sorted((ROOT / name).rglob("*")) if _counts(path)]
    names += [ROOT / "pyproject.toml", Path(__file__)]
    contents = [part for path in names for part in (path.relative_to(ROOT).as_posix(), path.read_bytes())]
    made = cache.kept("deb", cache.key(libraries.parent.name, *contents), lambda folder: _make(folder, libraries))
    return Packages(*(next(path for path in (made / name).glob("*.deb")) for name in ("this", "next")))


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _make(folder: Path, libraries: Path) -> None:
    build(libraries, folder / "this", folder / "work-this", AGE)
    tree = tree_of(folder / "tree", NEXT)
    build(libraries, folder / "next", folder / "work-next", AGE, tree)
    for name in ("work-this", "work-next", "tree"):
        shutil.rmtree(folder / name)


def tree_of(folder: Path, version: str) -> Path:

    for name in _TREE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, after in (
        ("pyproject.toml", 'version = "0.1.0"', f'version = "{version}"'),
        ("edge_agent/formats", "spool 1", "spool 2"),
        ("systemd/leadglass-agent.service", "Description=Leadglass agent", f"Description=Leadglass agent {version}"),
        ("edge_agent/__init__.py", 'VERSION = "0.1.0"', f'VERSION = "{version}"'),
    ):
        text = (ROOT / file).read_text()
        assert before in text
        (folder / file).write_text(text.replace(before, after))
    # A module of the one version that needs another of the same: files of two versions do not run.
    (folder / "edge_agent/next_only.py").write_text("")
    agent = folder / "edge_agent/agent.py"
    agent.write_text(agent.read_text().replace("import fcntl\n", "import fcntl\nimport edge_agent.next_only\n"))
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path / "machine") as made:
        yield made


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Vault]:
    with publishing(tmp_path / "centre") as vault:
        yield vault


@pytest.fixture
def enrolled(centre: Vault, bench: Machine) -> AgentFolder:
    folder = AgentFolder(bench.state)
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder
