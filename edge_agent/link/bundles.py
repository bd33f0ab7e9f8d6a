"""The policy's bundles as they came last, kept so that an agent that starts without its centre can offer them again."""

import threading
from collections.abc import Callable

from edge_agent.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept_bundles (
    one INTEGER PRIMARY KEY CHECK (one = 1), head BLOB NOT NULL, layer BLOB NOT NULL
) STRICT;
"""


class KeptBundles:
    """Safe to use from any thread."""

    def __init__(self, database: Database, on_change: Callable[[], None] = lambda: None) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self._on_change, self._lock = database, on_change, threading.Lock()
        database.create(_SCHEMA)
        rows = database.read("SELECT head, layer FROM kept_bundles")
        self._held: tuple[bytes, bytes] | None = rows[0] if rows else None

    def held(self) -> tuple[bytes, bytes] | None:
        """Return head and layer, None where none ever came."""
        with self._lock:
            return self._held

    def keep(self, head: bytes, layer: bytes) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        with self._lock:
            if self._held == (head, layer):
                return
            with self._database.transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO kept_bundles VALUES (1, ?, ?)", (head, layer))
            self._held = head, layer
        self._on_change()
