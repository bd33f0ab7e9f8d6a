"""Rules of the house that no linter knows: what deciding modules touch, what each side installs, what locks hold."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("shared", "edge_agent", "control_plane", "provisioning")
LOCKS = ("agent", "provision", "server", "verify", "demo", "dev")

NEVER_ON_A_HOST = {
    "alembic", "apiflask", "apscheduler", "argon2-cffi", "cheroot", "flask", "jinja2", "joserfc", "msgspec", "pydantic",
    "pyotp", "pyyaml", "shamir-mnemonic", "sqlalchemy", "webauthn", "werkzeug",
}  # fmt: skip
NEVER_AT_THE_CENTRE = {"psutil", "pynetdicom", "pyudev"}
NEVER_OUTSIDE_DEVELOPMENT = {
    "authlib", "hypothesis", "import-linter", "mypy", "oidc-provider-mock", "pyte", "pytest", "ruff", "selenium", "uv",
}  # fmt: skip

# ---- deciding modules

DECIDING = {"accept.py", "choose.py", "classify.py", "decide.py", "evaluate.py", "plan.py", "rule.py"}
TOUCHING = {"os", "pathlib", "socket", "sqlite3", "subprocess", "time"}


def touched(source: str) -> list[str]:
    """Return the imports, with their lines, that a module which decides may not have."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        found += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] in TOUCHING]
    return found


def test_modules_that_decide_touch_nothing() -> None:
    faults = [
        f"{path.relative_to(ROOT)} {fault}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name in DECIDING
        for fault in touched(path.read_text(encoding="utf-8"))
    ]

    assert not faults, "a module that decides takes values and returns values; these import the world:\n" + "\n".join(
        faults
    )


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path as p",
        "from pathlib import Path",
        "def f():\n    from time import monotonic",
        "import re, socket",
    ],
)
def test_an_import_of_the_world_is_seen(source: str) -> None:
    assert len(touched(source)) == 1


def test_an_import_that_only_looks_like_it_is_not() -> None:
    assert touched("import ossaudio\nfrom datetime import time\nfrom shared import time as t") == []


# ---- what each side installs


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def bare(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def locked(lock: str) -> dict[str, str]:
    """Return name and version of every requirement in a lock."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    lines = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", text, re.MULTILINE)
    return {name.lower(): version for name, version in lines}


@pytest.mark.parametrize(
    "extra, never",
    [
        ("agent", NEVER_ON_A_HOST | NEVER_OUTSIDE_DEVELOPMENT),
        ("provision", NEVER_ON_A_HOST | NEVER_OUTSIDE_DEVELOPMENT),
        ("server", NEVER_AT_THE_CENTRE | NEVER_OUTSIDE_DEVELOPMENT),
        ("verify", NEVER_ON_A_HOST | NEVER_AT_THE_CENTRE | NEVER_OUTSIDE_DEVELOPMENT),
        ("demo", NEVER_OUTSIDE_DEVELOPMENT),
    ],
)
def test_a_side_neither_asks_for_nor_locks_what_belongs_to_another(extra: str, never: set[str]) -> None:
    asked = {bare(requirement) for requirement in project()["project"]["optional-dependencies"][extra]}

    assert not asked & never
    assert not locked(extra).keys() & never


def test_without_an_extra_only_cryptography_is_asked_for() -> None:
    assert [bare(requirement) for requirement in project()["project"]["dependencies"]] == ["cryptography"]


@pytest.mark.parametrize("extra", LOCKS)
def test_a_lock_holds_everything_that_its_extra_asks_for(extra: str) -> None:
    declared = project()
    asked = declared["project"]["dependencies"] + declared["project"]["optional-dependencies"][extra]
    asked += declared["dependency-groups"]["build"]

    assert {bare(requirement) for requirement in asked} - {"leadglass"} <= locked(extra).keys(), "run `make lock`"


# ---- locks


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_is_pinned_and_hashed(lock: str) -> None:
    entries = re.sub(r"\\\n", " ", (ROOT / "requirements" / f"{lock}.txt").read_text()).splitlines()
    entries = [entry for entry in entries if entry and not entry.startswith("#")]

    unpinned = [
        entry[:60] for entry in entries if not re.match(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)
    ]
    assert entries
    assert not unpinned


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_says_nothing_about_where_packages_come_from(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()

    assert not re.findall(r"^.*(?:://|index|find-links|trusted-host|^-i\b|file:).*$", text, re.MULTILINE)


@pytest.mark.parametrize("lock", ["agent", "provision", "server", "verify", "demo"])
def test_locks_agree_so_that_one_environment_can_serve_several(lock: str) -> None:
    assert locked(lock).items() <= locked("dev").items()


# ---- the tree

# Put together here, so that this file does not name them either.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(labels))
        for labels in [
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("pypi", "python", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
        ]
    ).encode()
)
NOT_SOURCE = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    "__pycache__",
    "build",
    "dist",
}


def source_files() -> Iterator[Path]:
    """Yield what git has or would take; where there is no git, everything but what is made here."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in NOT_SOURCE and not name.endswith(".egg-info")]
            yield from (Path(folder) / name for name in files)
        return
    yield from (ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name)


def test_no_file_names_a_package_registry() -> None:
    naming = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in source_files()
        if path.is_file() and (match := REGISTRY_HOSTS.search(path.read_bytes()))
    ]

    assert not naming, "where packages come from is the business of whoever installs them:\n" + "\n".join(naming)


# ---- a light start

HEAVY = ("cryptography", "paho", "pydicom", "pynetdicom", "securesystemslib", "tuf", "urllib3")
SHOW_HELP = f"""
import sys
sys.argv = ["leadglass-agent", "--help"]
from edge_agent.__main__ import main
try:
    code = main()
except SystemExit as end:
    code = end.code
sys.stdout.flush()
print(code or 0, *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""


def test_asking_the_agent_for_help_loads_nothing_heavy() -> None:
    shown = subprocess.run([sys.executable, "-c", SHOW_HELP], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "usage: leadglass-agent" in shown.stdout, shown.stderr
    assert shown.stderr.split() == ["0"], "loaded only to print the help: " + shown.stderr


ASKING = """
import sys
from control_plane.__main__ import main
for command in ("hosts list", "code --asset CT", "status", "find", "devices", "commands"):
    assert main([*command.split(), "--as", "/nowhere/credential.json"])
print(*(name for name in ("alembic", "flask", "sqlalchemy") if name in sys.modules))
"""


def test_a_command_that_asks_a_centre_loads_no_part_of_one() -> None:
    asked = subprocess.run([sys.executable, "-c", ASKING], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (asked.returncode, asked.stdout.split()) == (0, []), asked.stderr
