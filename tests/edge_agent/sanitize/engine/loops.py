"""Loop devices, which need root, on files of a disk."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def loop_device(file: Path, size_bytes: int, sector_bytes: int = 512) -> Iterator[Path]:
    """Yield the node of a loop device on `file`, full of what somebody left there; skip where none is to be had."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    file.write_bytes(b"PATIENT." * (size_bytes // 8))
    attach = ["losetup", "--find", "--show", f"--sector-size={sector_bytes}", str(file)]
    done = subprocess.run(attach, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    try:
        yield Path(done.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


def number(node: Path) -> str:
    device = node.stat().st_rdev
    return f"{os.major(device)}:{os.minor(device)}"
