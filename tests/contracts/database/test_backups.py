"""A backup of one engine restores on the other: it holds rows, and no engine's files."""

from pathlib import Path

import pytest

from control_plane.db.engine import close_database
from control_plane.settings import Folders
from shared.audit.record import Event
from tests.contracts.database.conftest import Place
from tests.control_plane.backup.kept import Kept, all_rows
from tests.fakes.postgresql import Server

# What a restore adds by itself: that it was one, and its record.
_ADDED = {"audit_records", "audit_statements", "audit_subjects", "backups", "facts"}


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_a_backup_of_one_engine_restores_on_the_other(
    place: Place, to: str, postgresql: Server, tmp_path: Path
) -> None:
    kept = Kept.new(tmp_path, place.url)
    url = "" if to == "sqlite" else postgresql.new_database()
    before = all_rows(kept.bench.database)
    kept.back_up()

    new = Folders(tmp_path / "new", url or None)
    kept.restore(new)
    again = kept.restored(new, url)

    after = all_rows(again.database)
    assert {name: after[name] for name in after.keys() - _ADDED} == {
        name: before[name] for name in before.keys() - _ADDED
    }
    for name in _ADDED - {"backups"}:
        assert set(before[name]) <= set(after[name])
    for image in kept.images:
        assert again.read(image) == image.dataset
    assert {verdict.state for verdict in again.reading.prove().values()} == {"verified"}
    assert Event.CENTRE_RESTORED in again.events()
    for database in (kept.bench.database, again.database):
        close_database(database)
