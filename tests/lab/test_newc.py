"""The archives that are laid over an initramfs, read by cpio."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.newc import Entry, File, Link, archive

ENTRIES: dict[str, Entry] = {
    "/etc/rules/a": File(b"rule\n"),
    "/usr/lib/check": File(b"#!/bin/sh\n", 0o755),
    "/etc/link": Link("rules/a"),
}


@pytest.mark.skipif(shutil.which("cpio") is None, reason="reading an archive with another implementation: no cpio")
def test_what_is_packed_is_what_cpio_unpacks(tmp_path: Path) -> None:
    subprocess.run(
        ["cpio", "--extract", "--unconditional", "--quiet"], input=archive(ENTRIES), cwd=tmp_path, check=True
    )

    assert (tmp_path / "etc/rules/a").read_bytes() == b"rule\n"
    assert (tmp_path / "usr/lib/check").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "etc/link").readlink() == Path("rules/a")
    assert not (tmp_path / "etc/rules/a").is_symlink()


def test_each_archive_ends_where_another_can_begin() -> None:
    packed = archive(ENTRIES)

    assert len(packed) % 512 == 0
    assert packed.rstrip(b"\0").endswith(b"TRAILER!!!")
    assert packed == archive(dict(reversed(ENTRIES.items())))
