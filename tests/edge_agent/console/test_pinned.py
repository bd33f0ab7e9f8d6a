from pathlib import Path

import pytest

from edge_agent.console.pinned import PinnedConsole, PinsUnreadable
from edge_agent.console.pins import Pins
from edge_agent.console.plan import PINS
from edge_agent.console.sysfs import ConsoleSysfs


@pytest.fixture
def console(tmp_path: Path) -> PinnedConsole:
    (tmp_path / "sys").mkdir()
    return PinnedConsole(tmp_path, ConsoleSysfs(tmp_path / "sys"), tmp_path / "udev.rules")


def test_without_any_pin_there_is_no_doubt(console: PinnedConsole) -> None:
    assert not console.refresh()
    assert not console.is_doubtful


def test_a_list_that_cannot_be_read_is_no_empty_list(console: PinnedConsole, tmp_path: Path) -> None:
    (tmp_path / PINS).write_text("{")

    with pytest.raises(PinsUnreadable):
        console.refresh()

    assert console.is_doubtful


def test_a_list_that_is_gone_while_udev_still_has_its_rule_is_no_empty_list(
    console: PinnedConsole, tmp_path: Path
) -> None:
    (tmp_path / "udev.rules").write_text("# pins\n")

    console.refresh()

    assert console.is_doubtful


def test_the_doubt_ends_with_a_list_that_can_be_read(console: PinnedConsole, tmp_path: Path) -> None:
    (tmp_path / PINS).write_text("{")
    with pytest.raises(PinsUnreadable):
        console.refresh()
    (tmp_path / PINS).write_bytes(Pins().encode())

    assert console.refresh()
    assert not console.is_doubtful
