"""Loop devices for tests: real block devices of this machine."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def loop_on(image: Path, *options: str) -> Iterator[Path]:
    """Yield the node of a loop device on a file, or skip where there is none to be had."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    done = subprocess.run(
        ["losetup", "--find", "--show", *options, str(image)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    node = Path(done.stdout.strip())
    try:
        yield node
    finally:
        subprocess.run(["losetup", "--detach", str(node)], check=True)
