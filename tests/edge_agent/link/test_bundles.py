"""The bundles that came last outlive the agent, also an agent that knew one layer."""

from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.link.bundles import Kept, KeptBundles
from shared.policy.document import ORGANISATION

LAYERS = {ORGANISATION: b"layer", "site-north": b"site"}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "agent.sqlite")


def test_head_and_every_layer_are_there_after_a_restart(database: Database) -> None:
    KeptBundles(database).keep(b"head", LAYERS)

    assert KeptBundles(database).held() == Kept(b"head", LAYERS)


def test_only_what_differs_is_told_of_and_it_replaces_the_whole(database: Database) -> None:
    told: list[None] = []
    bundles = KeptBundles(database, lambda: told.append(None))
    bundles.keep(b"head", LAYERS)
    bundles.keep(b"head", dict(LAYERS))
    bundles.keep(b"head", {ORGANISATION: b"layer"})

    assert len(told) == 2
    assert KeptBundles(database).held() == Kept(b"head", {ORGANISATION: b"layer"})


@pytest.mark.parametrize("is_any", [True, False])
def test_what_an_agent_kept_that_knew_one_layer_is_taken_over(database: Database, is_any: bool) -> None:
    database.create(
        "CREATE TABLE kept_bundles "
        "(one INTEGER PRIMARY KEY CHECK (one = 1), head BLOB NOT NULL, layer BLOB NOT NULL) STRICT;"
    )
    if is_any:
        with database.transaction() as connection:
            connection.execute("INSERT INTO kept_bundles VALUES (1, x'aa', x'bb')")

    for _ in range(2):
        assert KeptBundles(database).held() == (Kept(b"\xaa", {ORGANISATION: b"\xbb"}) if is_any else None)
    KeptBundles(database).keep(b"head", LAYERS)
    assert KeptBundles(database).held() == Kept(b"head", LAYERS)
