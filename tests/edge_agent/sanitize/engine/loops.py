"""Loop devices on files that are full of what somebody left there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.edge_agent.sanitize.loops import loop_on


@contextmanager
def loop_device(file: Path, size_bytes: int, sector_bytes: int = 512) -> Iterator[Path]:
    """Yield the node of a loop device on `file`; skip where none is to be had."""
    file.write_bytes(b"PATIENT." * (size_bytes // 8))
    with loop_on(file, f"--sector-size={sector_bytes}") as node:
        yield node


def number(node: Path) -> str:
    device = node.stat().st_rdev
    return f"{os.major(device)}:{os.minor(device)}"
