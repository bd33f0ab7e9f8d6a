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


def test_what_two_newer_ones_followed_and_nobody_used_for_a_day_is_removed(tmp_path: Path) -> None:
    now = tmp_path.stat().st_mtime
    for name, unused_s in (("c", 200_000), ("b", 100_000), ("a", 1_000)):
        made = kept("kind", name, write, tmp_path)
        os.utime(made, (now - unused_s, now - unused_s))
    kept("kind", "d", write, tmp_path)

    assert sorted(path.name for path in tmp_path.glob("kind-*")) == ["kind-a", "kind-d"]


def test_a_key_tells_apart_what_lies_in_different_parts() -> None:
    assert key("ab", "c") != key("a", "bc")
    assert key("ab") == key(b"ab")
