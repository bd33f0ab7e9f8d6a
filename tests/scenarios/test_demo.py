"""The demo as people start it: it shows everything or fails, and leaves nothing running."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.demo.processes import left_behind, wait_until

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "provisioning.demo", "--plain", *arguments]


def shown(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("--data", str(data), *arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


def test_shows_everything_it_promises(tmp_path: Path) -> None:
    done = shown(tmp_path / "data")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed, 0 not reached" in done.stdout
    assert left_behind(tmp_path) == []
    assert (tmp_path / "data" / "agent" / "identity").is_dir()
    assert (tmp_path / "data" / "control_plane" / "db").is_dir()


@pytest.mark.soak
def test_shows_the_same_without_a_broker(tmp_path: Path) -> None:
    done = shown(tmp_path / "data", "--no-broker")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "hosts pull policy over HTTPS" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaves_nothing_running_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        command("--data", str(tmp_path / "data")), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        # The first line that is judged comes when the control plane and its broker run.
        assert any(line.startswith("  [ ok ]") for line in demo.stdout)
        demo.send_signal(number)
        demo.stdout.read()

    assert demo.returncode == 128 + number
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
def test_leaves_nothing_running_when_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("--data", str(tmp_path / "data")), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert any(line.startswith("  [ ok ]") for line in demo.stdout)
        demo.kill()

    assert wait_until(lambda: left_behind(tmp_path) == [], 120) is not None


def test_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("do not touch")

    done = shown(tmp_path)

    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_refuses_a_former_demos_folder_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "leadglass-demo").write_text("")

    done = shown(tmp_path)

    assert done.returncode == 2
    assert "what a former demo left" in done.stderr
