"""What of `leadglass-wipe`'s folder is in the journal, and what the centre has confirmed, or refused for good."""

from edge_agent.database import Database
from edge_agent.wipes.outbox import Told

_SCHEMA = """
CREATE TABLE IF NOT EXISTS wipe_told (
    file TEXT PRIMARY KEY, version INTEGER NOT NULL, confirmed INTEGER NOT NULL
) STRICT;
"""


class WipeStore:
    """Every change is part of a transaction of the caller's, or one of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def noted(self) -> dict[str, tuple[int, bool]]:
        """Return, by file, the version that was noted, and whether the centre has confirmed it."""
        rows = self._database.read("SELECT file, version, confirmed FROM wipe_told")
        return {file: (version, bool(confirmed)) for file, version, confirmed in rows}

    def note(self, told: Told) -> None:
        self._keep(told, confirmed=False)

    def confirm(self, told: Told) -> None:
        self._keep(told, confirmed=True)

    def _keep(self, told: Told, *, confirmed: bool) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO wipe_told VALUES (?, ?, ?) ON CONFLICT (file) DO UPDATE SET "
                "version = excluded.version, confirmed = excluded.confirmed",
                (told.name, told.version, int(confirmed)),
            )
