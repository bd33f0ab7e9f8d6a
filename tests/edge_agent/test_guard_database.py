"""What becomes of a database that is damaged somewhere, and of one that cannot be written."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.memory import Presence, WasThere
from edge_agent.devices.openness import Openness
from edge_agent.devices.reconcile import Mark
from edge_agent.guard_database import opened
from edge_agent.usb_policy.acquaintance import Acquaintances
from shared.devices.record import GuardEvent
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.usb_bus import usb_device


def fill(database: Database) -> None:
    journal, presence = GuardJournal(database, FakeClock()), Presence(database, "boot")
    known = Acquaintances(database, lambda: timedelta(0))
    for number in range(60):
        device = usb_device(f"1-{number}", serial=f"S{number}")
        journal.record(Note(GuardEvent.ATTACHED, device.port, {"serial": device.serial}))
        presence.note(device.port, WasThere(Mark(device.fingerprint, "1", "boot"), FakeClock().now(), Openness()))
        known.remember(device)
    database.empty_log()


def written(database: Database) -> int:
    return GuardJournal(database, FakeClock()).written()


def destroy(file: Path, name: str) -> None:
    """Write over the first leaf of a table or an index (https://www.sqlite.org/fileformat2.html, 1.6)."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        ((number,),) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchall()
        ((size_bytes,),) = database.execute("PRAGMA page_size").fetchall()
    data = bytearray(file.read_bytes())
    while data[(at := (number - 1) * size_bytes)] in (0x02, 0x05):
        first_cell = at + int.from_bytes(data[at + 12 : at + 14], "big")
        number = int.from_bytes(data[first_cell : first_cell + 4], "big")
    with file.open("r+b") as written_over:
        written_over.seek(at)
        written_over.write(b"\xff" * size_bytes)


def test_a_sound_database_is_used_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path, MemoryLog()) as first:
        fill(first.database)

    with opened(tmp_path, MemoryLog()) as again:
        assert (written(again.database), again.lost, again.unrecorded) == (60, "", "")


@pytest.mark.parametrize("name", ["guard_record", "present_device", "known_device", "known_device_nth"])
def test_damage_anywhere_costs_the_past_and_not_the_guard(tmp_path: Path, name: str) -> None:
    with opened(tmp_path, MemoryLog()) as first:
        fill(first.database)
    destroy(tmp_path / "guard.sqlite", name)

    with opened(tmp_path, log := MemoryLog()) as second:
        assert second.lost != ""
        fill(second.database)
    with opened(tmp_path, MemoryLog()) as third:
        assert (written(third.database), third.lost) == (60, "")

    assert log.names() == ["guard.database-damaged"]
    assert (tmp_path / "damaged-guard.sqlite").exists()


def test_an_index_that_does_not_fit_its_table_is_damage(tmp_path: Path) -> None:
    with opened(tmp_path, MemoryLog()) as first:
        fill(first.database)
    with closing(sqlite3.connect(tmp_path / "guard.sqlite")) as database:
        database.execute("PRAGMA writable_schema=1")
        database.execute("UPDATE sqlite_master SET sql = replace(sql, '(nth)', '(serial)') WHERE type = 'index'")
        database.commit()

    with opened(tmp_path, MemoryLog()) as second:
        assert "known_device_nth" in second.lost


def test_a_file_that_is_no_database_at_all_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "guard.sqlite").write_bytes(b"something else" * 1000)

    with opened(tmp_path, MemoryLog()) as found:
        fill(found.database)

        assert "not a database" in found.lost


def test_where_no_file_can_be_made_nothing_counts_as_recorded(tmp_path: Path) -> None:
    with opened(tmp_path / "no such folder", log := MemoryLog()) as found:
        journal = GuardJournal(found.database, FakeClock(), unrecorded=found.unrecorded)

        assert "No such file" in found.unrecorded
        assert journal.written() == 0
    assert log.names() == ["guard.database-unusable"]


def test_a_database_in_memory_is_one_for_both_connections_and_for_no_other(tmp_path: Path) -> None:
    with closing(Database(None)) as one, closing(Database(None)) as other:
        fill(one)

        assert (written(one), written(other)) == (60, 0)
        assert list(tmp_path.iterdir()) == []
