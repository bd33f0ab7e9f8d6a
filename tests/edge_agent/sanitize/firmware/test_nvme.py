"""NVMe: structures are read by the standard's layout, and unmodified nvme-cli is what asks for them."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.firmware import nvme_data
from edge_agent.sanitize.firmware.sanitizing import State
from shared.errors import Malformed
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import Step, StepOutcome
from shared.sanitization.technique import Technique
from tests.edge_agent.sanitize.firmware.drives import NvmeDrive, commands_to, of
from tests.fakes.watch import Watched

NVME = of(MediumKind.NVME)
STAND_IN = Path(__file__).with_name("nvme_stand_in.py")
needs_the_tool = pytest.mark.skipif(
    shutil.which("nvme", path="/usr/sbin") is None or shutil.which("umockdev-wrapper") is None,
    reason="nvme-cli or umockdev is not installed (Debian packages)",
)


def log(progress: int = 0xFFFF, status: int = 0, command: int = 0, *estimates: int) -> bytes:
    return struct.pack("<HHIIII", progress, status, command, *(estimates or (600, 20, 10))).ljust(512, b"\0")


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1))
def test_every_status_of_the_log_is_a_state_or_refused(progress: int, status: int, command: int) -> None:
    states = {0: State.IDLE, 1: State.IDLE, 2: State.RUNNING, 3: State.FAILED, 4: State.IDLE}
    if status & 7 not in states:
        with pytest.raises(Malformed):
            nvme_data.parse_sanitize_log(log(progress, status, command))
        return
    found = nvme_data.parse_sanitize_log(log(progress, status, command))
    assert found.status.state is states[status & 7]
    assert found.status.progress == (progress if status & 7 == 2 else 0)
    assert bool(found.status.record) == (status & 7 in {1, 4})


def test_a_log_that_is_cut_and_an_estimate_that_is_none_are_told_apart() -> None:
    assert nvme_data.parse_sanitize_log(log(0, 0, 0, 0xFFFFFFFF, 20, 10)).estimates_s == {3: None, 2: 20, 4: 10}
    with pytest.raises(Malformed):
        nvme_data.parse_sanitize_log(log()[:19])


@given(st.binary(max_size=200))
def test_what_is_no_list_of_namespaces_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        nvme_data.parse_namespaces(data)
    with pytest.raises(Malformed):
        nvme_data.parse_controllers(data)


@pytest.mark.parametrize(
    "text",
    [
        '{"nsid_list":[{"nsid":1},{"nsid":1}]}', '{"nsid_list":[{"nsid":true}]}', '{"nsid_list":[{"nsid":0}]}',
        '{"nsid_list":[{}]}', '{"nsid_list":{"nsid":1}}', "[]", "[" * 100_000,
    ],
)  # fmt: skip
def test_a_list_that_names_none_or_one_twice_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        nvme_data.parse_namespaces(text.encode())


def test_the_lists_of_nvme_cli_2_3_as_recorded_in_the_lab_are_read() -> None:
    recorded = b'{\n  "nsid_list":[\n    {\n      "nsid":1\n    }\n  ]\n}\n'

    assert nvme_data.parse_namespaces(recorded) == (1,)
    assert nvme_data.parse_controllers(b'{\n  "num_ctrl":0,\n  "ctrl_list":[\n  ]\n}\n') == 0


def formatted(firmware: NvmeDrive) -> Step:
    commands = commands_to(firmware)
    return commands.run(commands.begin(Technique.NVME_FORMAT_CRYPTO, NVME), NVME, Watched())


def test_a_format_is_not_given_where_a_namespace_came_that_it_would_reach() -> None:
    firmware = NvmeDrive(format_covers_all=True)
    firmware.namespaces = (1, 2)
    step = formatted(firmware)

    assert (step.outcome, firmware.given) == (StepOutcome.REFUSED, [])


def test_a_format_says_whether_it_covers_the_whole_drive() -> None:
    whole, part = NvmeDrive(), NvmeDrive(unallocated_bytes=1 << 30)

    assert formatted(whole).facts["namespaces_covered"] is True
    assert formatted(part).facts["namespaces_covered"] is False
    assert formatted(whole).outcome is StepOutcome.DONE
    assert not formatted(whole).progress_seen


# ---- the tool itself, on a device that is not there


@needs_the_tool
def test_unmodified_nvme_cli_sanitizes_a_stand_in_and_ours_follows_it_to_the_end() -> None:
    done = stood_in("ok")

    assert done["considered"] == {"nvme-sanitize-block": "yes", "nvme-sanitize-crypto": "yes"}
    assert (done["outcome"], done["accepted"], done["progress_seen"], done["completed"]) == ("done", True, True, True)
    assert done["commands"] == ["sanitize 2"]
    assert done["tool"].startswith("nvme version")
    assert done["facts"]["estimate_s"] == 20


@needs_the_tool
@pytest.mark.parametrize(
    "mode, outcome, part",
    [
        ("idle", "unknown", "never seen at work"),
        ("fail", "failed", "says that it failed"),
        ("refuse", "refused", "NVMe status"),
    ],
)
def test_unmodified_nvme_cli_is_not_believed_where_the_device_did_not_do_it(mode: str, outcome: str, part: str) -> None:
    done = stood_in(mode)

    assert (done["outcome"], done["completed"]) == (outcome, False)
    assert part in done["detail"]


def stood_in(mode: str) -> dict[str, Any]:
    run = subprocess.run(
        ["umockdev-wrapper", sys.executable, str(STAND_IN), mode],
        capture_output=True, text=True, timeout=180, check=False, env=dict(os.environ, PYTHONPATH=str(Path.cwd())),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer
