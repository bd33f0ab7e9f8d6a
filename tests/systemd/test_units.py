"""Every unit: systemd understands all of it, it is exposed no more than it has to be, and it says why."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.health.cgroup import GUARD_UNIT, SLICE
from shared.fleet.budget import MEMORY_BYTES

SERVER = "leadglass-server.service"
FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = tuple(sorted(path.name for kind in ("service", "timer", "slice") for path in FOLDER.glob(f"*.{kind}")))
# The most that each may be exposed, in tenths, as systemd-analyze takes its threshold.
MOST_EXPOSED = {
    "leadglass-addresses.service": 20,
    "leadglass-agent.service": 15,
    "leadglass-backup.service": 15,
    "leadglass-backups-verify.service": 15,
    "leadglass-guard.service": 40,
    "leadglass-server.service": 15,
    "leadglass-spool-verify.service": 15,
}
# What systemd-analyze calls otherwise than the setting is called.
SETTINGS = {"UserOrDynamicUser": "User", "RootDirectoryOrRootImage": "RootDirectory"}
ENROLLED = "[Service]\nIPAddressAllow=10.1.2.0/24\nIPAddressAllow=10.9.0.7 10.0.0.53\n"

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)


def copy(folder: Path, unit: str, *changes: tuple[str, str], drop_in: str = "") -> Path:
    """Return the unit beside all others, each with a program that is there, and with `changes` made to its lines."""
    for name in UNITS:
        text = re.sub(
            r"^ExecStart=(.*\\\n)*.*$", "ExecStart=/bin/true", (FOLDER / name).read_text(), flags=re.MULTILINE
        )
        for old, new in changes if name == unit else ():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    if drop_in:
        (folder / f"{unit}.d").mkdir()
        (folder / f"{unit}.d/20-addresses.conf").write_text(drop_in)
    return folder / unit


def verify(unit: Path) -> str:
    """Return what systemd has to say of a unit, which is nothing of a good one. Its exit code is 0 for unknown keys."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "leadglass" in line)


def security(unit: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", "security", "--offline=true", *options, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def is_within(unit: Path, tenths: int) -> bool:
    return security(unit, f"--threshold={tenths}").returncode == 0


def without_reason(unit: Path) -> list[str]:
    """Return each protection that the unit does not have and whose setting no comment names."""
    comments = "\n".join(line for line in unit.read_text().splitlines() if line.startswith("#"))
    left = [row["json_field"] for row in json.loads(security(unit, "--json=short").stdout) if row["set"] is False]
    names = {field: SETTINGS.get(field, field).split("_")[0] for field in left}
    return [field for field, name in names.items() if not re.search(rf"\b{name}\b", comments)]


def test_there_is_a_limit_for_every_service() -> None:
    assert set(MOST_EXPOSED) == {name for name in UNITS if name.endswith(".service")}


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(tmp_path: Path, unit: str) -> None:
    assert verify(copy(tmp_path, unit)) == ""


def test_a_line_that_systemd_does_not_understand_would_be_seen(tmp_path: Path) -> None:
    unit = "leadglass-agent.service"

    assert "NoNewPrivilege" in verify(copy(tmp_path, unit, ("NoNewPrivileges=", "NoNewPrivilege=")))


@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_it_is_exposed_no_more_than_it_has_to_be_and_says_why(tmp_path: Path, unit: str) -> None:
    assert is_within(copy(tmp_path, unit), MOST_EXPOSED[unit])
    assert without_reason(tmp_path / unit) == []


def test_the_agent_is_exposed_no_more_once_enrolment_let_others_in(tmp_path: Path) -> None:
    unit = copy(tmp_path, "leadglass-agent.service", drop_in=ENROLLED)

    assert "non-localhost" in security(unit).stdout
    assert is_within(unit, MOST_EXPOSED[unit.name])


def test_a_unit_with_less_protection_or_without_a_reason_would_be_seen(tmp_path: Path) -> None:
    weaker = copy(
        tmp_path, "leadglass-agent.service",
        ("PrivateUsers=yes\n", ""), ("\nCapabilityBoundingSet=\n", "\n"), ("IPAddressDeny=any\n", ""),
    )  # fmt: skip

    assert not is_within(weaker, MOST_EXPOSED["leadglass-agent.service"])
    assert "PrivateUsers" in without_reason(weaker)


@pytest.mark.parametrize("unit", ["leadglass-agent.service", "leadglass-server.service", "leadglass-guard.service"])
@pytest.mark.parametrize(
    "line",
    [
        "Type=notify", "NotifyAccess=main", "Restart=always", "StartLimitIntervalSec=0", "MemorySwapMax=0",
        "LimitCORE=0", "NoNewPrivileges=yes", "UMask=0077", "ProtectSystem=strict",
    ],
)  # fmt: skip
def test_every_service_that_stays_says(unit: str, line: str) -> None:
    text = (FOLDER / unit).read_text()

    assert line in text.splitlines()
    assert re.search(r"^WatchdogSec=[0-9]+$", text, re.MULTILINE)


def of(unit: str, key: str) -> str | None:
    return dict(line.split("=", 1) for line in (FOLDER / unit).read_text().splitlines() if line[:1].isupper()).get(key)


def test_agent_and_guard_alone_are_in_the_slice_that_has_the_budget() -> None:
    in_slice = {name for name in MOST_EXPOSED if of(name, "Slice") == SLICE}

    assert in_slice == {"leadglass-agent.service", GUARD_UNIT}
    assert (of(SLICE, "MemoryHigh"), of(SLICE, "MemorySwapMax")) == (f"{MEMORY_BYTES >> 20}M", "0")
    assert int(str(of(SLICE, "MemoryMax"))[:-1]) << 20 > MEMORY_BYTES
    assert all(of(name, "Slice") == "leadglass-background.slice" for name in set(MOST_EXPOSED) - in_slice - {SERVER})


def test_no_limit_of_ours_makes_an_image_wait_for_the_processor() -> None:
    assert [name for name in UNITS if of(name, "CPUQuota") is not None] == []


def test_the_centre_s_account_is_made_as_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.d/leadglass-server.conf"], check=True)

    assert "leadglass-server:" in (tmp_path / "etc/passwd").read_text()
