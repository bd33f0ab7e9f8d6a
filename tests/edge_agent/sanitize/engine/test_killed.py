"""Wipes in processes of their own, several drives at once, killed at random and begun again."""

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.sanitize.engine.pass_state import PassState
from tests.edge_agent.sanitize.engine.loops import loop_device
from tests.shared.sanitization.openssl import by_openssl

MIB = 1 << 20
SIZE = 24 * MIB + 512


def begun(node: Path, state: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.edge_agent.sanitize.engine.wiping", str(node), str(state), str(4 * MIB)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def killed_at(node: Path, state: Path, chunks: int) -> None:
    """Begin, or go on, and kill it once it said that it wrote so many chunks, or ended."""
    with begun(node, state) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            for _ in range(chunks - 1):
                process.stdout.readline()
                os.write(process.stdin.fileno(), b"\n")
        process.stdout.readline()
        process.kill()


def finished(node: Path, state: Path) -> dict[str, Any]:
    with begun(node, state) as process:
        out = process.communicate()[0]
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def endure(folder: Path, seed: int, kills: int) -> None:
    """Wipe one drive through so many kills; what it left is recomputed from the seed by openssl."""
    chance, file, state = random.Random(seed), folder / f"drive{seed}", folder / f"state{seed}"
    with loop_device(file, SIZE) as node:
        for _ in range(kills):
            killed_at(node, state, chance.randrange(1, 26))
        found = finished(node, state)
    content = PassState.parse(state.read_bytes()).content

    assert (found["completed"], found["equal"], found["resumed"]) == (True, True, kills)
    assert content.seed is not None
    assert file.read_bytes() == by_openssl(content.seed, 0, SIZE)


def test_two_drives_at_once_are_killed_again_and_again_and_wiped_whole(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(endure, tmp_path, seed, kills) for seed, kills in ((1, 2), (2, 1))]:
            done.result()


@pytest.mark.soak
@pytest.mark.parametrize("seed", [3, 4])
def test_a_wipe_that_is_killed_twenty_five_times(tmp_path: Path, seed: int) -> None:
    endure(tmp_path, seed, kills=25)


def test_control_a_state_that_runs_ahead_of_the_drive_is_found_out(tmp_path: Path) -> None:
    file, state = tmp_path / "drive", tmp_path / "state"
    with loop_device(file, SIZE) as node:
        killed_at(node, state, 1)
        ahead = replace(PassState.parse(state.read_bytes()), position=SIZE - 512)
        state.write_bytes(ahead.encode())
        found = finished(node, state)

    assert (found["completed"], found["equal"]) == (True, False)


def test_memory_does_not_grow_with_the_drive(tmp_path: Path) -> None:
    peaks = []
    for size in (MIB, 192 * MIB):
        with loop_device(tmp_path / f"drive{size}", size) as node:
            peaks.append(finished(node, tmp_path / f"state{size}")["peak_bytes"])

    assert peaks[1] < 64 * MIB
    assert peaks[1] < peaks[0] + 12 * MIB
