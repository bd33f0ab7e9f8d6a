"""Losses that were noted before a person could give one up are open ones afterwards, on every engine."""

from alembic import command
from alembic.config import Config

from control_plane.db import engine as engines
from control_plane.db.engine import close_database, engine_of
from tests.contracts.database.originals import Place
from tests.control_plane.vault.bench import Bench
from tests.control_plane.vault.test_losses import given_up, harmed, states

HELD = "SELECT object_id, host_id, dataset_sha256, found, told, over_by FROM lost_objects ORDER BY object_id"


def test_losses_of_before_are_open_ones_and_can_be_given_up(place: Place, bench: Bench) -> None:
    host = bench.enrol()
    image, _ = harmed(bench, host), harmed(bench, host, dataset=b"other")
    before = bench.rows(HELD)
    assert len(before) == 2
    downgraded(bench)
    assert "settled" not in bench.rows("SELECT * FROM lost_objects")[0]._fields
    close_database(bench.database)

    again = Bench(bench.folder, url=place.url)  # as after an upgrade
    assert again.rows(HELD) == before
    assert states(again) == (["lost", "lost"], 2, 0)
    given_up(again, image)
    assert states(again) == (["lost", "lost, settled"], 1, 1)
    close_database(again.database)


def downgraded(bench: Bench) -> None:
    with engine_of(bench.database).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engines._MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0023")
