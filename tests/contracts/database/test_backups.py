"""A backup of one engine restores on the other: it holds rows, and no engine's files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control_plane.backup.restoring import RestoreRefused
from control_plane.backup.verifying import prove
from control_plane.db.engine import close_database
from control_plane.settings import Folders
from shared.audit.events import Event
from tests.contracts.database.originals import Place
from tests.control_plane.backup.kept import Kept, all_rows
from tests.control_plane.vault.bench import ROOT
from tests.fakes.postgresql import Server

# What a restore adds by itself: that it was one, and its record.
_ADDED = {
    "audit_names",
    "audit_pieces",
    "audit_records",
    "audit_statements",
    "audit_subjects",
    "backups",
    "facts",
}
_GROWN = {"log_head", "log_tiles"}


def test_a_backup_that_is_made_while_images_arrive_holds_every_body_that_its_rows_name(
    place: Place, tmp_path: Path
) -> None:
    kept = Kept.new(tmp_path, place.url)
    host = kept.bench.enrol()
    arriving = [host.seal() for _ in range(30)]

    with ThreadPoolExecutor(2) as pool:
        received = pool.map(kept.bench.receive, arriving)
        made = [kept.back_up() for _ in range(3)]
        assert len(list(received)) == len(arriving)

    for one in made:
        proved = prove(kept.backups, one.folder, ROOT)
        assert (proved.damaged, proved.manifest.objects) == ((), one.manifest.objects)
    assert 2 <= made[0].manifest.objects <= made[-1].manifest.objects <= 32
    close_database(kept.bench.database)


def test_a_restore_that_is_refused_leaves_the_database_as_empty_as_it_was(
    place: Place, postgresql: Server, tmp_path: Path
) -> None:
    kept = Kept.new(tmp_path, place.url)
    kept.bench.sql("UPDATE audit_records SET leaf = :leaf WHERE seq = 1", leaf=bytes(32))
    kept.back_up()
    new = Folders(tmp_path / "new", postgresql.new_database())

    with pytest.raises(RestoreRefused):
        kept.restore(new)

    kept.restore(new, without_damaged=True)
    close_database(kept.bench.database)


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
    same = before.keys() - _ADDED - _GROWN
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after.keys() == before.keys()
    for name in _ADDED - {"backups"}:
        assert set(before[name]) <= set(after[name])
    for image in kept.images:
        assert again.read(image) == image.dataset
    ((*_, checkpoint),) = before["log_head"]
    # The Merkle log goes on from where it was.
    assert {verdict.state for verdict in again.reading.prove([str(checkpoint)]).values()} == {"verified"}
    assert Event.CENTRE_RESTORED in again.events()
    for database in (kept.bench.database, again.database):
        close_database(database)
