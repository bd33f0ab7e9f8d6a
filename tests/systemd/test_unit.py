"""The guard's unit: systemd understands all of it, and what it leaves exposed is what its comments give reasons for."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = "leadglass-guard.service"
MOST_EXPOSED = 40  # tenths, as systemd-analyze takes its threshold

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)


def copy(folder: Path, *changes: tuple[str, str]) -> Path:
    """Return the unit with a program that is there, and with `changes` made to its lines."""
    text = re.sub("^ExecStart=.*$", "ExecStart=/bin/true", (FOLDER / UNIT).read_text(), flags=re.MULTILINE)
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / UNIT).write_text(text)
    return folder / UNIT


def verify(unit: Path) -> str:
    """Return what systemd has to say of a unit, which is nothing of a good one. Its exit code is 0 for unknown keys."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if UNIT in line)


def exposed(unit: Path) -> dict[str, bool]:
    """Return, for each protection that systemd knows, whether the unit has it."""
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {row["json_field"]: not row["set"] for row in json.loads(done.stdout) if row["set"] is not None}


def is_within(unit: Path, tenths: int) -> bool:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={tenths}", str(unit)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert verify(copy(tmp_path)) == ""


def test_a_line_that_systemd_does_not_understand_would_be_seen(tmp_path: Path) -> None:
    assert "NoNewPrivilege" in verify(copy(tmp_path, ("NoNewPrivileges=", "NoNewPrivilege=")))


def test_it_is_exposed_no_more_than_it_has_to_be(tmp_path: Path) -> None:
    assert is_within(copy(tmp_path), MOST_EXPOSED)


def test_a_unit_with_less_protection_would_be_seen(tmp_path: Path) -> None:
    weaker = copy(
        tmp_path,
        ("RestrictAddressFamilies=AF_UNIX AF_NETLINK\n", ""),
        ("IPAddressDeny=any\n", ""),
        ("CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SETUID CAP_SETGID CAP_KILL\n", ""),
    )

    assert not is_within(weaker, MOST_EXPOSED)


def test_what_is_left_exposed_is_known_by_name(tmp_path: Path) -> None:
    left = {name for name, is_exposed in exposed(copy(tmp_path)).items() if is_exposed}

    assert left == {
        "UserOrDynamicUser",
        "PrivateNetwork",
        "PrivateDevices",
        "PrivateUsers",
        "ProcSubset",
        "ProtectClock",
        "ProtectKernelTunables",
        "ProtectProc",
        "DeviceAllow",
        "CapabilityBoundingSet_CAP_DAC_FOWNER_IPC_OWNER",
        "CapabilityBoundingSet_CAP_KILL",
        "CapabilityBoundingSet_CAP_SET_UID_GID_PCAP",
        "CapabilityBoundingSet_CAP_SYS_ADMIN",
        "CapabilityBoundingSet_CAP_SYS_PTRACE",
        "RestrictAddressFamilies_AF_NETLINK",
        "RestrictAddressFamilies_AF_UNIX",
        "SystemCallFilter_clock",
        "SystemCallFilter_privileged",
    }


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
        "IPAddressDeny=any",
        "MemorySwapMax=0",
        "LimitCORE=0",
        "RuntimeDirectoryPreserve=yes",
    ],
)
def test_it_says(line: str) -> None:
    assert line in (FOLDER / UNIT).read_text().splitlines()


@pytest.mark.parametrize(
    "key", ["PrivateNetwork", "PrivateUsers", "PrivateDevices", "ProtectKernelTunables", "ProtectClock", "ProtectProc"]
)
def test_it_leaves_out_what_would_stop_it_from_guarding_and_says_why(key: str) -> None:
    text = (FOLDER / UNIT).read_text()

    assert not re.search(rf"^{key}=", text, re.MULTILINE)
    assert re.search(rf"^# .*\b{key}\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    "program, file",
    [
        ("systemd-sysusers", "sysusers.d/leadglass.conf"),
        ("systemd-tmpfiles", "tmpfiles.d/leadglass-guard.conf"),
    ],
)
def test_the_account_and_the_folder_are_made_as_they_say(tmp_path: Path, program: str, file: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package systemd)")
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.d/leadglass.conf"], check=True)
    options = ["--create"] if program == "systemd-tmpfiles" else []
    done = subprocess.run([program, f"--root={tmp_path}", *options, FOLDER / file], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    if program == "systemd-tmpfiles":
        assert (tmp_path / "run/leadglass-guard/writable").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "run/leadglass-guard").stat().st_mode & 0o777 == 0o755
    else:
        assert "leadglass:" in (tmp_path / "etc/group").read_text()


def test_what_grub_adds_is_the_default_deny() -> None:
    script = f'GRUB_CMDLINE_LINUX=quiet; . "{FOLDER}/grub.d/leadglass.cfg"; echo "$GRUB_CMDLINE_LINUX"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.split() == ["quiet", "usbcore.authorized_default=0"]
