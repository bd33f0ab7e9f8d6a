"""The search of files: what is found does not depend on how much of a file is zeros."""

from pathlib import Path

import pytest

from provisioning.demo.disk import Found, search_files
from provisioning.demo.needles import Counts, Needle

NAME = Needle(b"Kwartelstaart", Counts.ANYWHERE, "a name")
WIDE = Needle("Kwartel".encode("utf-16-be"), Counts.ANYWHERE, "a name in UTF-16")
SHORT = Needle(b"Bosch", Counts.ALONE, "a short name")
_BLOCK_BYTES = 4096


def found(path: Path) -> list[Found]:
    return list(search_files([path], (NAME, WIDE, SHORT)))


@pytest.mark.parametrize("needle", [NAME, WIDE, SHORT])
@pytest.mark.parametrize("around", range(-30, 2))
@pytest.mark.parametrize("blocks", [0, 1, 2, 7])
def test_a_needle_is_found_wherever_it_lies_among_zeros(
    tmp_path: Path, needle: Needle, around: int, blocks: int
) -> None:
    file, at = tmp_path / "file", max(blocks * _BLOCK_BYTES + around, 0)
    file.write_bytes(bytes(at) + needle.data + bytes(3 * _BLOCK_BYTES))

    assert found(file) == [Found(file, needle, at)]


def test_the_first_place_of_each_needle_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" + bytes(10_000) + NAME.data + bytes(20_000) + NAME.data + SHORT.data + b" " + SHORT.data)

    assert [(one.needle, one.offset) for one in found(file)] == [
        (NAME, 10_001), (SHORT, 10_001 + 20_000 + 2 * len(NAME.data) + len(SHORT.data) + 1),
    ]  # fmt: skip


def test_nothing_is_found_in_zeros_and_what_is_not_alone_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100_000) + b"xBosch" + bytes(100_000))

    assert found(file) == []
