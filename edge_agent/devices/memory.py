"""What the guard remembers over its own restarts: which devices were there when it last looked."""

from dataclasses import dataclass
from datetime import datetime

from edge_agent.database import Database
from edge_agent.devices.openness import Openness
from edge_agent.devices.reconcile import Mark
from shared import clock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS present_device (
    port TEXT PRIMARY KEY, boot TEXT NOT NULL, instance TEXT NOT NULL, fingerprint TEXT NOT NULL, since TEXT NOT NULL,
    openness TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class WasThere:
    mark: Mark
    since: datetime
    openness: Openness  # of its storage, by the verdict before


class Presence:
    """`boot` is the kernel's id of this start: what was there before it says nothing of what is there now."""

    def __init__(self, database: Database, boot: str) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self.boot = database, boot
        database.create(_SCHEMA)
        with database.transaction() as connection:
            connection.execute("DELETE FROM present_device WHERE boot <> ?", (boot,))

    def there(self) -> dict[str, WasThere]:
        """Return what was noted, by port."""
        rows = self._database.read("SELECT port, openness, since, fingerprint, instance, boot FROM present_device")
        return {
            port: WasThere(Mark(*mark), clock.parse(since), Openness.parse(openness))
            for port, openness, since, *mark in rows
        }

    def note(self, port: str, was: WasThere) -> None:
        with self._database.transaction() as connection:
            mark = was.mark
            values = (port, mark.boot, mark.instance, mark.fingerprint, clock.text(was.since), str(was.openness))
            connection.execute("INSERT OR REPLACE INTO present_device VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget(self, port: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM present_device WHERE port = ?", (port,))
