"""What the lab keeps: whole or not at all, under what went into it, and not for ever."""

import os
from pathlib import Path

import pytest

from tests.lab.cache import kept, key


def write(folder: Path) -> None:
    (folder / "thing").write_text(str(len(list(folder.parent.glob("kind-*")))))


def test_a_thing_is_made_once(tmp_path: Path) -> None:
    first = kept("kind", "a", write, tmp_path)
    (first / "mark").touch()

    assert (kept("kind", "a", write, tmp_path) / "mark").exists()


def test_what_could_not_be_made_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        kept("kind", "a", fail, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kind.lock"]

    assert (kept("kind", "a", write, tmp_path) / "thing").exists()


def test_only_the_two_that_were_used_last_are_kept(tmp_path: Path) -> None:
    for age, name in enumerate(("c", "b", "a")):
        os.utime(kept("kind", name, write, tmp_path), (age, age))
    kept("kind", "d", write, tmp_path)

    assert sorted(path.name for path in tmp_path.glob("kind-*")) == ["kind-a", "kind-d"]


def test_a_key_tells_apart_what_lies_in_different_parts() -> None:
    assert key("ab", "c") != key("a", "bc")
    assert key("ab") == key(b"ab")
