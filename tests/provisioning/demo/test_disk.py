"""Every byte of a file is searched, also where most of it are zeros."""

from pathlib import Path

import pytest

from provisioning.demo.disk import search_files
from provisioning.demo.needles import Counts, Needle

ENDS_IN_ZEROS = Needle(b"\x01D\x00o\x00e\x00\x00\x00", Counts.ANYWHERE, "a name")
DIGITS = Needle(b"77654033", Counts.ALONE, "a number")


@pytest.mark.parametrize("needle", [ENDS_IN_ZEROS, DIGITS])
@pytest.mark.parametrize("before", [0, 1, 100_000])
@pytest.mark.parametrize("after", [0, 1, 5, 200, 100_000])
def test_what_stands_in_the_midst_of_zeros_is_found_in_its_place(
    tmp_path: Path, needle: Needle, before: int, after: int
) -> None:
    (tmp_path / "segment").write_bytes(bytes(before) + needle.data + bytes(after))

    (found,) = search_files([tmp_path / "segment"], [ENDS_IN_ZEROS, DIGITS])
    assert (found.needle, found.offset) == (needle, before)
