"""Whether people have isolated this host: it then takes nothing in, and delivers what it has, also after a restart."""

from collections.abc import Callable

from edge_agent.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS isolation (one INTEGER PRIMARY KEY CHECK (one = 1), isolated INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO isolation VALUES (1, 0);
"""


class Isolation:
    """Read from memory by any thread, each time that something new would come in."""

    def __init__(self, database: Database) -> None:
        self._database, self._listeners = database, list[Callable[[], None]]()
        database.create(_SCHEMA)
        ((isolated,),) = database.read("SELECT isolated FROM isolation")
        self._isolated = bool(isolated)

    def is_isolated(self) -> bool:
        return self._isolated

    def is_open(self) -> bool:
        return not self._isolated

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def change(self, *, isolated: bool) -> None:
        """Durable once this returns. Raises DatabaseUnavailable."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE isolation SET isolated = ?", (int(isolated),))
        self._isolated = isolated
        for listener in self._listeners:
            listener()
