from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from edge_agent.database import Database, DatabaseUnavailable
from edge_agent.deliver.restores import Restores
from edge_agent.https import Answer
from shared.fleet.receipt import RESTORED_HEADER, restore_mark

ONE, OTHER = restore_mark(["one"]), restore_mark(["one", "another"])
ACKNOWLEDGED = 7


class Host:
    """The part of a host that hears of restores; opened again it has its database and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "agent.sqlite")
        self.doubted_after, self.woken = list[int](), Event()
        self.open()

    def open(self, doubt_after: Callable[[int], None] | None = None) -> None:
        cast = doubt_after or self.doubted_after.append
        self._restores = Restores(self.database, lambda: ACKNOWLEDGED, cast, self.woken.set)

    def hears(self, mark: str | None) -> None:
        self._restores.heard(Answer(200, b"", {} if mark is None else {RESTORED_HEADER.lower(): mark}))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_each_restore_casts_doubt_once_on_what_the_centre_has_not_confirmed(host: Host) -> None:
    for mark in (None, ONE, ONE, None):
        host.hears(mark)
    assert host.doubted_after == [ACKNOWLEDGED]
    assert host.woken.is_set()
    host.open()
    host.hears(ONE)
    assert host.doubted_after == [ACKNOWLEDGED]

    host.hears(OTHER)

    assert host.doubted_after == [ACKNOWLEDGED, ACKNOWLEDGED]


@pytest.mark.parametrize("text", ["", "x" * 32, ONE + "0", ONE[:-1], ONE.upper()], ids=repr)
def test_what_is_no_mark_is_passed_over(host: Host, text: str) -> None:
    host.hears(text)
    assert host.doubted_after == []


def test_doubt_that_could_not_be_written_is_cast_by_the_next_answer(host: Host) -> None:
    def fails(_seq: int) -> None:
        raise DatabaseUnavailable("the disk is full")

    host.open(fails)
    with pytest.raises(DatabaseUnavailable):
        host.hears(ONE)
    host.open()

    host.hears(ONE)

    assert host.doubted_after == [ACKNOWLEDGED]


def test_the_mark_changes_with_each_restore_and_with_nothing_else() -> None:
    assert restore_mark([]) == ""
    assert restore_mark(["b", "a", "b"]) == restore_mark(["a", "b"])
    assert len({"", ONE, OTHER}) == 3
