"""A database of before hosts had a standing keeps who was revoked, and what was found out about the others."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from control_plane.db import engine as engines
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Host

_BEFORE = "0011"
_INSERT = """INSERT INTO hosts (host_id, asset, enrolled, active, evidence_spki, state_number, doubt)
             VALUES (:host, :host, '2026-03-01 08:00:00', :active, x'00', 0, :doubt)"""


_HOSTS = (("host-a", True, "restored"), ("host-b", False, ""), ("host-c", True, "cloned"), ("host-d", False, "cloned"))


def _at(revision: str, path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(engines._MIGRATIONS))
    engine = create_engine(sqlite_url(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for host, active, doubt in _HOSTS:
            connection.execute(text(_INSERT), {"host": host, "active": active, "doubt": doubt})
    engine.dispose()


def test_hosts_that_were_revoked_have_a_tombstone_and_cloned_ones_are_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "centre.sqlite"
    _at(_BEFORE, path)

    with open_database(sqlite_url(path))() as session:
        hosts = {host.host_id: (host.standing, host.tombstone, host.active) for host in session.query(Host)}
    assert hosts == {
        "host-a": ("active", False, True),
        "host-b": ("revoked", True, False),
        "host-c": ("quarantined", False, True),
        "host-d": ("revoked", True, False),
    }
